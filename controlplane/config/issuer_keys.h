// The public keys of an issuer document, from JWK to what policy holds.
#pragma once

#include "node.h"
#include "policy/snapshot.h"

namespace sluice::control {

// The keys of spec.jwks.keys that are good; everything else is reported.
std::vector<policy::IssuerKey> import_keys(const Node& spec, const std::string& pointer,
                                           Errors& errors);
// Bits of policy::Issuer::algorithms; names that are none are left out.
std::uint8_t algorithm_bits(const Node& spec);

}  // namespace sluice::control
