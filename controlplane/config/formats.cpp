#include "formats.h"

#include <algorithm>
#include <array>

#include "base/ip_address.h"
#include "match/tools.h"
#include "policy/decide.h"

namespace sluice::control {
namespace {

const Complaint kGood = std::nullopt;
const Complaint kOther = "";

constexpr bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alnum(char c) { return is_lower(c) || is_upper(c) || is_digit(c); }
constexpr bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool all(std::string_view text, auto fits) { return std::all_of(text.begin(), text.end(), fits); }

bool is_one_of(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

}  // namespace

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (is_upper(c)) c = static_cast<char>(c | 0x20);
  }
  return out;
}

Complaint check_name(std::string_view text) {
  if (text.empty() || text.size() > 63) return kOther;
  const auto fits = [](char c) { return is_lower(c) || is_digit(c) || is_one_of(c, "-_."); };
  const auto edge = [](char c) { return is_lower(c) || is_digit(c); };
  if (!all(text, fits) || !edge(text.front()) || !edge(text.back())) return kOther;
  return kGood;
}

Complaint check_label_key(std::string_view text) {
  if (text.empty() || text.size() > 128) return kOther;
  const auto fits = [](char c) { return is_alnum(c) || is_one_of(c, "-_./"); };
  return all(text, fits) && is_alnum(text.front()) && is_alnum(text.back()) ? kGood : kOther;
}

Complaint check_host(std::string_view text) {
  if (text.empty()) return kOther;
  if (text.size() > 253) return "a host name has at most 253 characters";
  if (text.find("://") != std::string_view::npos) return "give the host only, not a URL";
  if (text.find(':') != std::string_view::npos) return "give the host only, without a port";
  if (text.ends_with('.')) return "leave out the dot at the end";
  std::string_view rest = text;
  std::string_view label;
  while (true) {
    const std::size_t dot = rest.find('.');
    label = rest.substr(0, dot);
    if (label.empty()) return "an empty label";
    if (label.size() > 63) return "a label has at most 63 characters";
    if (!all(label, [](char c) { return is_alnum(c) || c == '-' || c == '_'; })) {
      return "only letters, digits, \"-\", \"_\" and \".\" may stand in a host name";
    }
    if (label.front() == '-' || label.back() == '-') return "a label starts or ends with \"-\"";
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  // WHATWG URL section 3.5: a name that ends in a number is an IPv4 address, or nothing.
  if (all(label, is_digit) && !IpAddress::parse(text)) return "not a valid IPv4 address";
  return kGood;
}

Complaint check_host_pattern(std::string_view text) {
  if (text == "*") return "a bare \"*\" would take every host; write \"*.example\"";
  if (text.starts_with("[") && text.ends_with("]")) {
    const auto address = IpAddress::parse(text.substr(1, text.size() - 2));
    return address && address->is_v6() ? kGood : Complaint("not a valid IPv6 address");
  }
  if (text.starts_with("*.")) text.remove_prefix(2);
  if (text.find('*') != std::string_view::npos) {
    return "\"*\" may only stand for the first labels, as in \"*.example\"";
  }
  return check_host(text);
}

Complaint check_address(std::string_view text) {
  if (text.find('/') != std::string_view::npos) return "give the address only, without \"/\"";
  if (text.starts_with("[")) return "leave out the brackets";
  const auto address = IpAddress::parse(text);
  if (!address) return kOther;
  if (address->is_v4() && text.find(':') != std::string_view::npos) {
    return "write an IPv4-mapped address as IPv4";
  }
  if (address->is_unspecified()) return "the unspecified address is no machine's";
  if (address->is_multicast()) return "a multicast address is no machine's";
  if (address->is_broadcast()) return "the broadcast address is no machine's";
  if (address->is_loopback()) return "a loopback address never leaves its machine";
  return kGood;
}

Complaint check_endpoint_host(std::string_view text) {
  if (text.starts_with("[")) return "leave out the brackets";
  if (text.find(':') != std::string_view::npos || IpAddress::parse(text)) {
    if (!IpAddress::parse(text)) return check_host(text);
    return check_address(text);
  }
  return check_host(text);
}

Complaint check_path_prefix(std::string_view text) {
  if (text.find('?') != std::string_view::npos) return "a prefix has no query";
  std::array<char, 1024> room;
  const auto canonical = policy::canonical_path(text, room);
  if (!canonical) return "it " + std::string(policy::to_string(canonical.error()));
  if (*canonical != text) return "write it as \"" + std::string(*canonical) + "\"";
  return kGood;
}

Complaint check_source_prefix(std::string_view text) {
  const auto prefix = IpPrefix::parse(text);
  if (!prefix) return kOther;
  if (prefix->address.is_v4() && text.find(':') != std::string_view::npos) {
    return "write an IPv4-mapped prefix as IPv4";
  }
  // Host bits are most often a mistyped length.
  std::array<std::uint8_t, 16> bytes{};
  const ByteSpan given = prefix->address.bytes();
  std::copy(given.begin(), given.end(), bytes.begin());
  for (std::size_t bit = prefix->bits; bit < given.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] & ~(0x80u >> (bit % 8)));
  }
  const IpAddress network = given.size() == 4
                                ? IpAddress::v4(std::span<const std::uint8_t, 4>(bytes.data(), 4))
                                : IpAddress::v6(bytes);
  if (network != prefix->address) {
    return "bits after the prefix are set; the network is " +
           IpPrefix{network, prefix->bits}.to_string();
  }
  return kGood;
}

Complaint check_file(std::string_view text) {
  if (text.empty() || text.size() > 4095) return kOther;
  if (text.front() != '/') return "not an absolute path";
  if (!all(text, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; })) {
    return "control characters in the path";
  }
  return kGood;
}

Complaint check_method(std::string_view text) {
  if (text.empty() || text.size() > 32) return kOther;
  if (text == "CONNECT") return "CONNECT belongs to services of protocol tcp";
  if (all(text, [](char c) { return is_upper(c) || c == '-' || c == '_'; })) return kGood;
  if (all(text, [](char c) { return is_alnum(c) || c == '-' || c == '_'; }) &&
      std::any_of(text.begin(), text.end(), is_lower)) {
    return "methods are case-sensitive and written in capitals";
  }
  return kOther;
}

Complaint check_path_pattern(std::string_view text) {
  if (text.empty() || text.size() > 512) return "1 to 512 characters";
  if (!all(text, [](char c) { return c >= 0x20 && c < 0x7f; })) {
    return "only printable ASCII: paths are matched in their escaped form";
  }
  const auto matcher = match::ToolMatcher::build({{{}, std::string(text), 1}});
  if (matcher) return kGood;
  const std::string& error = matcher.error();
  const std::size_t quoted = error.find("\": ");
  return quoted == std::string::npos ? error : error.substr(quoted + 3);
}

Complaint check_tool_name(std::string_view text) {
  if (text.empty() || text.size() > 128) return kOther;
  if (text == "*") return "\"*\" is the name of all tools that are not listed";
  const auto fits = [](char c) { return is_alnum(c) || is_one_of(c, "_-./:"); };
  return all(text, fits) && is_alnum(text.front()) ? kGood : kOther;
}

Complaint check_tool_reference(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (check_name(text.substr(0, slash))) return kOther;
  if (slash == std::string_view::npos) return kGood;
  return check_tool_name(text.substr(slash + 1)) ? kOther : kGood;
}

Complaint check_allow_rule(std::string_view text) {
  if (!policy::parse_allow_rule(text)) return kOther;
  const auto fits = [](char c) { return is_alnum(c) || is_one_of(c, "_-./:*?"); };
  if (!all(text, fits)) return "only letters, digits, \"_\", \"-\", \".\", \":\", \"*\" and \"?\"";
  return kGood;
}

Complaint check_permission(std::string_view text) {
  if (text.empty() || text.size() > 128) return kOther;
  // RFC 6749 section 3.3, scope-token.
  const auto fits = [](char c) { return c > 0x20 && c < 0x7f && c != '"' && c != '\\'; };
  return all(text, fits) ? kGood : kOther;
}

Complaint check_uuid(std::string_view text) {
  if (text.size() != 36) return kOther;
  bool zero = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !is_hex(text[i])) return kOther;
    zero = zero && (dash || text[i] == '0');
  }
  return zero ? Complaint("the nil UUID names no task") : kGood;
}

Complaint check_https_url(std::string_view text) {
  constexpr std::string_view kScheme = "https://";
  if (text.starts_with("http://")) return "plain http would let anyone replace the keys";
  if (!text.starts_with(kScheme)) return kOther;
  if (!all(text, [](char c) { return c > 0x20 && c < 0x7f; })) return "characters to be escaped";
  std::string_view authority = text.substr(kScheme.size());
  authority = authority.substr(0, authority.find_first_of("/?#"));
  if (authority.find('@') != std::string_view::npos) return "user names do not belong here";
  std::array<char, 256> room;
  if (!policy::canonical_host(authority, room)) return "the host is not valid";
  if (text.find('#') != std::string_view::npos) return "a fragment does not belong here";
  return kGood;
}

Complaint check_printable(std::string_view text) {
  if (text.empty() || text.size() > 512) return kOther;
  return all(text, [](char c) { return c > 0x20 && c < 0x7f; }) ? kGood : kOther;
}

Complaint check_one_line(std::string_view text) {
  if (text.size() > 1024) return "at most 1024 bytes";
  const auto fits = [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; };
  return all(text, fits) ? kGood : Complaint("control characters and line breaks");
}

Value name_value() {
  return text_as(check_name,
                 "a name of 1 to 63 characters from a-z, 0-9, \"-\", \"_\", \".\", starting and "
                 "ending with a letter or digit");
}
Value file_value() { return text_as(check_file, "the absolute path of a file"); }
Value host_value() {
  return text_as(check_host, "a host name such as kb.backend.example", "hostname");
}
Value address_value() {
  return text_as(check_address, "an IPv4 or IPv6 address such as 198.18.1.17");
}

}  // namespace sluice::control
