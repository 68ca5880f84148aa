// UTF-8 (RFC 3629) for what leaves as JSON: text from outside may be any bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::control {

// Length of the UTF-8 sequence at `at`, 0 if there is none.
std::size_t utf8_length(std::string_view text, std::size_t at);
// The text with U+FFFD in place of each byte that belongs to no sequence.
std::string valid_utf8(std::string_view text);

}  // namespace sluice::control
