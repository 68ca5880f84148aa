// RFC 7638.
#pragma once

#include <string>
#include <string_view>

namespace sluice::crypto {

// Of a P-256 key whose coordinates are given in base64url.
std::string thumbprint_ec(std::string_view x, std::string_view y);

}  // namespace sluice::crypto
