// SipHash-2-4 (Aumasson, Bernstein 2012), 64-bit output: a keyed hash for tables and secrets that
// peers must not be able to predict.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "base/bytes.h"

namespace sluice {

inline std::uint64_t siphash24(std::uint64_t k0, std::uint64_t k1, ByteSpan bytes) {
  std::uint64_t v0 = k0 ^ 0x736f6d6570736575ULL, v1 = k1 ^ 0x646f72616e646f6dULL;
  std::uint64_t v2 = k0 ^ 0x6c7967656e657261ULL, v3 = k1 ^ 0x7465646279746573ULL;
  const auto round = [&] {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  };
  const auto compress = [&](std::uint64_t m) {
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  };
  static_assert(std::endian::native == std::endian::little);
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t m;
    std::memcpy(&m, bytes.data() + i, sizeof m);
    compress(m);
  }
  std::uint64_t last = std::uint64_t{bytes.size()} << 56;
  for (unsigned shift = 0; i < bytes.size(); ++i, shift += 8) {
    last |= std::uint64_t{bytes[i]} << shift;
  }
  compress(last);
  v2 ^= 0xff;
  for (int r = 0; r < 4; ++r) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace sluice
