// A policy for tests: the service "kb" at kb.tools.example, agent classes that may use all, a part
// or nothing of it, and an issuer whose tokens count.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "crypto/jose.h"
#include "policy/snapshot.h"

namespace sluice::test {

inline constexpr std::string_view kToolAddress = "198.18.2.10";
inline constexpr std::uint16_t kToolPort = 8080;
inline constexpr std::string_view kTaskId = "9705a1d2-1234-4567-89ab-cdef01234567";

crypto::SigningKey example_key();
// Classes: research (all of kb), lookup-only (its tool "lookup"), nothing, trial (nothing, in audit
// mode), elsewhere (all, from 203.0.113.0/24).
policy::Snapshot example_policy(const crypto::SigningKey& key, std::uint64_t generation);
// Good for five minutes from `now_s`.
std::string example_token(const crypto::SigningKey& key, std::int64_t now_s,
                          std::string_view agent_class, std::string_view scope = "",
                          std::string_view task = kTaskId);

}  // namespace sluice::test
