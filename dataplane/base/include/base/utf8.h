// UTF-8 (RFC 3629): text from outside may be any bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

// Length of the UTF-8 sequence at `at` (shortest form, no surrogates, at most U+10FFFF), 0 if there
// is none. `at` < text.size().
std::size_t utf8_length(std::string_view text, std::size_t at);
// Index of the first byte that belongs to no sequence, or npos.
std::size_t first_not_utf8(std::string_view text);
// The text with U+FFFD in place of each byte that belongs to no sequence.
std::string replace_not_utf8(std::string_view text);

}  // namespace sluice
