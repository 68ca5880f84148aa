// Characters and small productions of RFC 9110 and RFC 9112.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::http {

inline char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// RFC 9110 section 5.6.2.
inline constexpr auto kTchar = [] {
  std::array<bool, 256> table{};
  for (const char c : std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                       "ABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();
inline bool is_tchar(char c) { return kTchar[static_cast<unsigned char>(c)]; }
inline bool is_token(std::string_view s) {
  bool ok = !s.empty();
  for (const char c : s) ok &= is_tchar(c);
  return ok;
}

// RFC 9110 section 5.5: visible characters, spaces, tabs and obs-text; no CR, LF or NUL.
inline bool is_field_value(std::string_view s) {
  // No early way out: this way the compiler makes vector code of it.
  unsigned bad = 0;
  for (const char c : s) {
    const auto u = static_cast<unsigned char>(c);
    bad |= static_cast<unsigned>(u < 0x20) & static_cast<unsigned>(u != '\t');
    bad |= static_cast<unsigned>(u == 0x7f);
  }
  return bad == 0;
}

inline std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

inline bool equal_ci(std::string_view a, std::string_view lower_case) {
  if (a.size() != lower_case.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower_case[i]) return false;
  }
  return true;
}

// RFC 9110 section 8.6: digits only, within 2^63.
inline std::optional<std::uint64_t> parse_length(std::string_view s) {
  if (s.empty() || s.size() > 18) return std::nullopt;
  std::uint64_t n = 0;
  for (const char c : s) {
    if (c < '0' || c > '9') return std::nullopt;
    n = n * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return n;
}

// RFC 9112 section 3.2.3 and RFC 9110 section 7.2: host [":" port], a name, an IPv4 address or an
// IPv6 literal in brackets. `port` gets the port's text.
inline bool is_authority(std::string_view s, std::string_view* port = nullptr) {
  if (s.empty() || s.size() > 255) return false;
  std::size_t end = 0;
  if (s.front() == '[') {
    end = s.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    for (const char c : s.substr(1, end - 1)) {
      const char l = lower(c);
      const bool ok = (c >= '0' && c <= '9') || (l >= 'a' && l <= 'f') || c == ':' || c == '.';
      if (!ok) return false;
    }
    ++end;
  } else {
    for (; end < s.size() && s[end] != ':'; ++end) {
      const char c = s[end];
      const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '.' || c == '_' || c == '~' || c == '%';
      if (!ok) return false;
    }
    if (end == 0) return false;
  }
  std::string_view rest = s.substr(end);
  if (rest.empty()) return true;
  if (rest.front() != ':' || rest.size() > 6) return false;  // an empty port is allowed
  rest.remove_prefix(1);
  for (const char c : rest) {
    if (c < '0' || c > '9') return false;
  }
  if (port != nullptr) *port = rest;
  return true;
}

// `s` in lower case.
inline std::string lowered(std::string_view s) {
  std::string result(s);
  for (char& c : result) c = lower(c);
  return result;
}

// A request target: visible ASCII without fragment.
inline bool is_target(std::string_view s) {
  if (s.empty()) return false;
  for (const char c : s) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u >= 0x7f || c == '#') return false;
  }
  return true;
}

// Calls each(element) for the elements of a comma-separated list.
template <typename Each>
void for_each_element(std::string_view list, Each&& each) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    const std::string_view element = trim(list.substr(0, comma));
    if (!element.empty()) each(element);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

// RFC 9110 section 7.6.1 and the fields older proxies treat alike.
inline bool is_hop_by_hop(std::string_view name) {
  switch (name.size()) {
    case 2:
      return name == "te";
    case 7:
      return name == "upgrade" || name == "trailer";
    case 10:
      return name == "connection" || name == "keep-alive";
    case 16:
      return name == "proxy-connection";
    case 17:
      return name == "transfer-encoding";
    default:
      return false;
  }
}

// RFC 9110 section 6.5.1: what may not come in a trailer.
inline bool forbidden_in_trailers(std::string_view name) {
  return is_hop_by_hop(name) || name == "content-length" || name == "host" ||
         name == "authorization" || name == "txn-token" || name == "content-encoding" ||
         name == "content-type" || name == "content-range" || name == "cache-control" ||
         name == "expect" || name == "max-forwards" || name == "set-cookie" ||
         name == "proxy-authorization";
}

}  // namespace sluice::http
