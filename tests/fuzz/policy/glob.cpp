// glob_match against the definition, by dynamic programming. Input: pattern, NUL, text.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "policy/decide.h"

namespace {

bool by_definition(std::string_view pattern, std::string_view text) {
  std::vector<char> row(text.size() + 1, 0);
  row[0] = 1;
  for (const char p : pattern) {
    std::vector<char> next(text.size() + 1, 0);
    if (p == '*') {
      char any = 0;
      for (std::size_t i = 0; i <= text.size(); ++i) next[i] = any |= row[i];
    } else {
      for (std::size_t i = 0; i < text.size(); ++i) {
        next[i + 1] = row[i] != 0 && (p == '?' || p == text[i]);
      }
    }
    row = next;
  }
  return row[text.size()] != 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 512) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t split = input.find('\0');
  const std::string_view pattern = input.substr(0, split);
  const std::string_view text =
      split == std::string_view::npos ? std::string_view{} : input.substr(split + 1);
  if (sluice::policy::glob_match(pattern, text) != by_definition(pattern, text)) std::abort();
  (void)sluice::policy::parse_allow_rule(pattern);
  return 0;
}
