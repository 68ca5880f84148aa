// Input in pieces whose sizes the fuzzer chooses: each piece stands behind a length byte.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/bytes.h"

namespace sluice::fuzz {

inline void require(bool ok) {
  if (!ok) std::abort();
}

template <typename Each>
void for_each_piece(ByteSpan input, Each&& each) {
  while (input.size() > 1) {
    const std::size_t n = std::min<std::size_t>(std::size_t{input[0]} * 8 + 1, input.size() - 1);
    each(input.subspan(1, n));
    input = input.subspan(1 + n);
  }
}

}  // namespace sluice::fuzz
