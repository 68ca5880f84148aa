// A strict, bounded reader of JSON text (RFC 8259) for token headers and claims: no DOM, no
// allocation. Refuses duplicate member names at every level (RFC 7515 section 4), invalid UTF-8,
// lone surrogates, U+0000, and nesting, names or member counts over their bounds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"

namespace sluice::crypto {

class JsonCursor {
 public:
  static constexpr int kMaxDepth = 8;
  static constexpr std::size_t kMaxMembers = 64;
  static constexpr std::size_t kMaxName = 256;

  enum class Error : std::uint8_t { none, syntax, duplicate_member, too_deep, too_large };

  // A string as it stands in the text, without its quotes.
  struct Text {
    std::string_view raw;
    bool escaped = false;
  };

  explicit JsonCursor(std::string_view text);

  // The next character that is not white space; 0 at the end.
  char next();
  bool at_end() { return next() == 0 && at_ == text_.size(); }

  std::optional<Text> string();
  // A number; a fraction is cut off. No exponent, at most 15 digits.
  std::optional<std::int64_t> integer();
  // Any value; its text.
  std::optional<std::string_view> value();

  // Calls on_member(name) for each member; it must read the value and return true.
  template <class F>
  bool object(F&& on_member) {
    if (!enter('{')) return false;
    std::array<Text, kMaxMembers> names;
    for (std::size_t n = 0; !leave('}', n > 0); ++n) {
      const auto name = member_name();
      if (!name || !is_new(*name, names.data(), n)) return false;
      names[n] = *name;
      if (!on_member(*name)) return fail(Error::syntax);
    }
    return ok();
  }
  // Calls on_element() for each element; it must read the value and return true.
  template <class F>
  bool array(F&& on_element) {
    if (!enter('[')) return false;
    for (bool first = true; !leave(']', !first); first = false) {
      if (!on_element()) return fail(Error::syntax);
    }
    return ok();
  }

  bool ok() const { return error_ == Error::none; }
  Error error() const { return error_; }

  // Resolves escapes; `out` needs raw.size() bytes. Returns the length.
  static std::size_t unescape(std::string_view raw, MutByteSpan out);
  static bool equals(const Text& text, std::string_view plain);

 private:
  bool fail(Error error) {
    if (error_ == Error::none) error_ = error;
    return false;
  }
  bool enter(char bracket);
  // True at the closing bracket or after an error; else past the comma that `more` demands.
  bool leave(char bracket, bool more);
  std::optional<Text> member_name();
  bool is_new(const Text& name, const Text* names, std::size_t count);
  bool literal(std::string_view word);
  bool number(std::string_view& raw);
  std::size_t digits();

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  Error error_ = Error::none;
};

}  // namespace sluice::crypto
