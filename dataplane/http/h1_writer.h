// The writing half of HTTP/1.1, shared by both roles.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "grammar.h"
#include "http/message.h"

namespace sluice::http {

std::string_view reason_phrase(std::uint16_t status);

inline void append_number(std::string& out, std::uint64_t n) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, n).ptr;
  out.append(digits, static_cast<std::size_t>(end - digits));
}

inline void append_fields(std::string& out, const FieldBlock& fields) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const Field f = fields.at(i);
    if (is_hop_by_hop(f.name) || f.name == "content-length" || f.name == "host") continue;
    out.append(f.name).append(": ").append(f.value).append("\r\n");
  }
}

inline void append_chunk(std::string& out, std::string_view data, bool chunked) {
  if (!chunked) {
    out.append(data);
    return;
  }
  constexpr char kHex[] = "0123456789abcdef";
  char size[18];
  std::size_t at = sizeof size;
  for (std::size_t n = data.size(); n > 0; n >>= 4) size[--at] = kHex[n & 15];
  out.append(size + at, sizeof size - at).append("\r\n").append(data).append("\r\n");
}

}  // namespace sluice::http
