// What the gateway must know of a certificate it offers: its names, its end, its digest.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace sluice::crypto {

struct CertificateInfo {
  std::vector<std::string> names;         // DNS names, lower case; may start with "*."
  std::int64_t not_after = 0;             // Unix seconds
  std::array<std::uint8_t, 32> digest{};  // SHA-256 of the DER form
};

// The first certificate of a PEM chain.
std::expected<CertificateInfo, std::string> inspect_certificate(const std::string& chain_file);

// False when the chain's first certificate is of an elliptic curve and the key is not its own:
// wolfSSL 5.5 takes any key of the curve for it. True for other kinds, which wolfSSL compares.
bool curve_key_belongs(const std::string& chain_file, const std::string& key_file);

}  // namespace sluice::crypto
