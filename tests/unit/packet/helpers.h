// Frames for tests, written byte by byte or from hex.
#pragma once

#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ip_address.h"

namespace sluice::test {

// "45 00 00 1c" to bytes; whitespace and colons between bytes are ignored.
inline std::vector<std::uint8_t> hex(std::string_view text) {
  std::vector<std::uint8_t> out;
  int high = -1;
  for (const char c : text) {
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<std::uint8_t>(high * 16 + digit));
      high = -1;
    }
  }
  return out;
}

inline IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

}  // namespace sluice::test
