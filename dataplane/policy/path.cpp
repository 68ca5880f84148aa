#include <algorithm>
#include <array>

#include "policy/decide.h"

namespace sluice::policy {
namespace {

constexpr bool is_alnum(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 3986 section 3.3 pchar, less ';' (refused) and '%'.
constexpr std::array<bool, 256> make_segment_table() {
  std::array<bool, 256> table{};
  for (unsigned c = 0; c < 256; ++c) {
    table[c] =
        is_alnum(static_cast<unsigned char>(c)) ||
        std::string_view("-._~!$&'()*+,=:@").find(static_cast<char>(c)) != std::string_view::npos;
  }
  table[0] = false;
  return table;
}
constexpr std::array<bool, 256> kSegment = make_segment_table();

constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr bool is_control(unsigned char c) { return c < 0x20 || c == 0x7f; }

bool is_escape(std::string_view text) {
  return text.size() >= 2 && hex_value(text[0]) >= 0 && hex_value(text[1]) >= 0;
}

class Output {
 public:
  explicit Output(std::span<char> room) : room_(room) {}
  void put(char c) {
    if (size_ < room_.size()) room_[size_] = c;
    size_++;
  }
  void put_escaped(unsigned char c) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    put('%');
    put(kHex[c >> 4]);
    put(kHex[c & 0xf]);
  }
  bool fits() const { return size_ <= room_.size(); }
  std::string_view view() const { return {room_.data(), size_}; }

 private:
  std::span<char> room_;
  std::size_t size_ = 0;
};

// In a canonical path "%25" is an escaped '%'. With two hex digits behind it, themselves escaped or
// not, it is an escape to a server that decodes twice.
bool has_double_escape(std::string_view path) {
  for (std::size_t at = path.find("%25"); at != std::string_view::npos;
       at = path.find("%25", at + 3)) {
    if (is_escape(path.substr(at + 3))) return true;
  }
  return false;
}

std::optional<PathError> bad_segments(std::string_view path) {
  std::size_t at = 1;
  while (at <= path.size()) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view segment = path.substr(at, end - at);
    if (segment == "." || segment == "..") return PathError::dot_segment;
    if (segment.empty() && end != path.size()) return PathError::empty_segment;
    at = end + 1;
  }
  return std::nullopt;
}

}  // namespace

std::string_view to_string(PathError error) {
  switch (error) {
    case PathError::not_absolute:
      return "does not start with \"/\"";
    case PathError::too_long:
      return "is too long";
    case PathError::bad_character:
      return "has a character that must be escaped";
    case PathError::bad_escape:
      return "has a \"%\" that is not followed by two hex digits";
    case PathError::hidden:
      return "hides a separator, a control character or another escape in an escape";
    case PathError::dot_segment:
      return "has a dot segment (\".\" or \"..\")";
    case PathError::empty_segment:
      return "has an empty segment (\"//\")";
    case PathError::path_parameter:
      return "has a path parameter (\";\")";
  }
  return "is not valid";
}

std::expected<std::string_view, PathError> canonical_path(std::string_view path,
                                                          std::span<char> buffer) {
  path = path.substr(0, path.find('?'));
  if (!path.starts_with('/')) return std::unexpected(PathError::not_absolute);
  Output out(buffer);
  for (std::size_t i = 0; i < path.size(); ++i) {
    const auto c = static_cast<unsigned char>(path[i]);
    if (c == '/' || kSegment[c]) {
      out.put(static_cast<char>(c));
    } else if (c == ';') {
      return std::unexpected(PathError::path_parameter);
    } else if (c == '%') {
      if (!is_escape(path.substr(i + 1))) return std::unexpected(PathError::bad_escape);
      const auto byte =
          static_cast<unsigned char>(hex_value(path[i + 1]) << 4 | hex_value(path[i + 2]));
      i += 2;
      if (is_control(byte) || byte == '/' || byte == '\\' || byte == ';') {
        return std::unexpected(PathError::hidden);
      }
      if (kSegment[byte]) {
        out.put(static_cast<char>(byte));
      } else {
        out.put_escaped(byte);
      }
    } else if (is_control(c) || c == ' ' || c == '#' || c == '\\' || c >= 0x80) {
      return std::unexpected(PathError::bad_character);
    } else {
      out.put_escaped(c);  // what clients often leave unescaped: "<>[]^`{|} and the double quote
    }
  }
  if (!out.fits()) return std::unexpected(PathError::too_long);
  if (has_double_escape(out.view())) return std::unexpected(PathError::hidden);
  if (const auto bad = bad_segments(out.view())) return std::unexpected(*bad);
  return out.view();
}

namespace {

bool valid_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return false;
  unsigned port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + static_cast<unsigned>(c - '0');
  }
  return port <= 65535;
}

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

}  // namespace

std::optional<std::string_view> canonical_host(std::string_view authority, std::span<char> buffer) {
  std::string_view host = authority;
  std::string_view rest;
  const bool literal = authority.starts_with('[');
  const std::size_t end = literal ? authority.find(']') + 1 : authority.find(':');
  if (literal && end == 0) return std::nullopt;
  if (end != std::string_view::npos) {
    host = authority.substr(0, end);
    rest = authority.substr(end);
  }
  if (!rest.empty() && (rest[0] != ':' || !valid_port(rest.substr(1)))) return std::nullopt;
  if (!literal && host.ends_with('.')) host.remove_suffix(1);
  // RFC 1035 section 2.3.4: 255 octets on the wire, which is 253 characters of text.
  if (host.empty() || host.size() > 253 || host.size() > buffer.size()) return std::nullopt;
  if (literal) {
    const auto address = IpAddress::parse(host.substr(1, host.size() - 2));
    if (!address || host.find(':') == std::string_view::npos) return std::nullopt;
  }
  char before = '.';
  for (std::size_t i = 0; i < host.size(); ++i) {
    const char c = lower(host[i]);
    if (!literal) {
      const bool ok = is_alnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
      if (!ok || (c == '.' && before == '.')) return std::nullopt;
    }
    buffer[i] = c;
    before = c;
  }
  if (!literal && before == '.') return std::nullopt;
  return std::string_view(buffer.data(), host.size());
}

}  // namespace sluice::policy
