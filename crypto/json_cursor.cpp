#include "json_cursor.h"

#include <cstring>

#include "base/utf8.h"

namespace sluice::crypto {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Four hexadecimal digits; negative if they are not.
int hex4(std::string_view text) {
  if (text.size() < 4) return -1;
  int v = 0;
  for (const char c : text.substr(0, 4)) {
    const int digit = is_digit(c)              ? c - '0'
                      : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                      : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                               : -1;
    if (digit < 0) return -1;
    v = v * 16 + digit;
  }
  return v;
}

bool is_high_surrogate(int unit) { return unit >= 0xD800 && unit <= 0xDBFF; }
bool is_low_surrogate(int unit) { return unit >= 0xDC00 && unit <= 0xDFFF; }

// Length of the escape at the start of `text` (a backslash), 0 if it is none.
std::size_t escape_length(std::string_view text) {
  if (text.size() < 2) return 0;
  if (text[1] != 'u') return std::strchr("\"\\/bfnrt", text[1]) != nullptr && text[1] != 0 ? 2 : 0;
  const int unit = hex4(text.substr(2));
  if (unit <= 0 || is_low_surrogate(unit)) return 0;
  if (!is_high_surrogate(unit)) return 6;
  const bool paired = text.size() >= 12 && text[6] == '\\' && text[7] == 'u' &&
                      is_low_surrogate(hex4(text.substr(8)));
  return paired ? 12 : 0;
}

std::size_t put_utf8(std::uint32_t c, std::uint8_t* out) {
  if (c < 0x80) {
    out[0] = static_cast<std::uint8_t>(c);
    return 1;
  }
  const std::size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (std::size_t i = length - 1; i > 0; --i) {
    out[i] = static_cast<std::uint8_t>(0x80 | (c & 0x3F));
    c >>= 6;
  }
  constexpr std::uint8_t kLead[] = {0, 0, 0xC0, 0xE0, 0xF0};
  out[0] = static_cast<std::uint8_t>(kLead[length] | c);
  return length;
}

std::uint32_t short_escape(char c) {
  switch (c) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return static_cast<std::uint8_t>(c);
  }
}

}  // namespace

JsonCursor::JsonCursor(std::string_view text) : text_(text) {
  if (first_not_utf8(text) != std::string_view::npos) fail(Error::syntax);
}

char JsonCursor::next() {
  if (!ok()) return 0;
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
    ++at_;
  }
  return at_ < text_.size() ? text_[at_] : '\0';
}

std::optional<JsonCursor::Text> JsonCursor::string() {
  if (next() != '"') {
    fail(Error::syntax);
    return std::nullopt;
  }
  const std::size_t start = ++at_;
  Text text;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '"') {
      text.raw = text_.substr(start, at_ - start);
      ++at_;
      return text;
    }
    if (static_cast<std::uint8_t>(c) < 0x20) break;
    if (c == '\\') {
      const std::size_t length = escape_length(text_.substr(at_));
      if (length == 0) break;
      text.escaped = true;
      at_ += length;
    } else {
      ++at_;
    }
  }
  fail(Error::syntax);
  return std::nullopt;
}

std::size_t JsonCursor::digits() {
  const std::size_t start = at_;
  while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  return at_ - start;
}

// RFC 8259 section 6.
bool JsonCursor::number(std::string_view& raw) {
  next();
  const std::size_t start = at_;
  if (at_ < text_.size() && text_[at_] == '-') ++at_;
  const bool zero = at_ < text_.size() && text_[at_] == '0';
  const std::size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return fail(Error::syntax);
  if (at_ < text_.size() && text_[at_] == '.') {
    ++at_;
    if (digits() == 0) return fail(Error::syntax);
  }
  if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    ++at_;
    if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
    if (digits() == 0) return fail(Error::syntax);
  }
  raw = text_.substr(start, at_ - start);
  return true;
}

std::optional<std::int64_t> JsonCursor::integer() {
  std::string_view raw;
  if (!ok() || !number(raw)) return std::nullopt;
  const bool negative = raw.front() == '-';
  const std::string_view whole = raw.substr(negative ? 1 : 0, raw.find('.') - (negative ? 1 : 0));
  if (whole.size() > 15 || raw.find_first_of("eE") != std::string_view::npos) {
    fail(Error::too_large);
    return std::nullopt;
  }
  std::int64_t v = 0;
  for (const char c : whole) v = v * 10 + (c - '0');
  return negative ? -v : v;
}

bool JsonCursor::literal(std::string_view word) {
  if (!text_.substr(at_).starts_with(word)) return fail(Error::syntax);
  at_ += word.size();
  return true;
}

std::optional<std::string_view> JsonCursor::value() {
  const char c = next();
  const std::size_t start = at_;
  bool good = false;
  std::string_view ignored;
  switch (c) {
    case '"':
      good = string().has_value();
      break;
    case '{':
      good = object([this](const Text&) { return value().has_value(); });
      break;
    case '[':
      good = array([this] { return value().has_value(); });
      break;
    case 't':
      good = literal("true");
      break;
    case 'f':
      good = literal("false");
      break;
    case 'n':
      good = literal("null");
      break;
    default:
      good = ok() && number(ignored);
  }
  if (!good) {
    fail(Error::syntax);
    return std::nullopt;
  }
  return text_.substr(start, at_ - start);
}

bool JsonCursor::enter(char bracket) {
  if (next() != bracket) return fail(Error::syntax);
  if (depth_ >= kMaxDepth) return fail(Error::too_deep);
  ++depth_;
  ++at_;
  return true;
}

bool JsonCursor::leave(char bracket, bool more) {
  const char c = next();
  if (!ok()) return true;
  if (c == bracket) {
    ++at_;
    --depth_;
    return true;
  }
  if (!more) {
    if (c != 0) return false;
  } else if (c == ',') {
    ++at_;
    // No trailing comma.
    if (next() != bracket) return false;
  }
  fail(Error::syntax);
  return true;
}

std::optional<JsonCursor::Text> JsonCursor::member_name() {
  const auto name = string();
  if (!name) return std::nullopt;
  if (name->raw.size() > kMaxName) {
    fail(Error::too_large);
    return std::nullopt;
  }
  if (next() != ':') {
    fail(Error::syntax);
    return std::nullopt;
  }
  ++at_;
  return name;
}

bool JsonCursor::is_new(const Text& name, const Text* names, std::size_t count) {
  if (count >= kMaxMembers) return fail(Error::too_large);
  std::uint8_t plain[kMaxName];
  std::string_view wanted = name.raw;
  if (name.escaped) {
    wanted = {reinterpret_cast<const char*>(plain), unescape(name.raw, plain)};
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (equals(names[i], wanted)) return fail(Error::duplicate_member);
  }
  return true;
}

std::size_t JsonCursor::unescape(std::string_view raw, MutByteSpan out) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < raw.size() && n < out.size();) {
    if (raw[i] != '\\') {
      out[n++] = static_cast<std::uint8_t>(raw[i++]);
      continue;
    }
    const std::size_t length = escape_length(raw.substr(i));
    if (length == 0) break;
    std::uint32_t c = 0;
    if (length == 2) {
      c = short_escape(raw[i + 1]);
    } else {
      c = static_cast<std::uint32_t>(hex4(raw.substr(i + 2)));
      if (length == 12) {
        const auto low = static_cast<std::uint32_t>(hex4(raw.substr(i + 8)));
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
      }
    }
    // An escape is always longer than what it stands for, so this stays in bounds when out has
    // raw.size() bytes; the local keeps it so when it has fewer.
    std::uint8_t bytes[4];
    const std::size_t size = put_utf8(c, bytes);
    if (size > out.size() - n) break;
    std::memcpy(out.data() + n, bytes, size);
    n += size;
    i += length;
  }
  return n;
}

bool JsonCursor::equals(const Text& text, std::string_view plain) {
  if (!text.escaped) return text.raw == plain;
  if (text.raw.size() > kMaxName) return false;
  std::uint8_t buffer[kMaxName];
  const std::size_t n = unescape(text.raw, buffer);
  return std::string_view(reinterpret_cast<const char*>(buffer), n) == plain;
}

}  // namespace sluice::crypto
