// A TCP sequence number: 32 bits, compared modulo 2^32 (RFC 9293 section 3.4).
//
// Comparisons hold for numbers less than 2^31 apart. There is deliberately no conversion to an
// integer: offsets, not sequence numbers, go into data structures.
#pragma once

#include <cstdint>

namespace sluice::tcp {

class Seq {
 public:
  constexpr Seq() = default;
  explicit constexpr Seq(std::uint32_t raw) : raw_(raw) {}

  constexpr std::uint32_t raw() const { return raw_; }

  friend constexpr Seq operator+(Seq a, std::uint32_t n) { return Seq(a.raw_ + n); }
  friend constexpr Seq operator-(Seq a, std::uint32_t n) { return Seq(a.raw_ - n); }
  // Signed distance from b to a.
  friend constexpr std::int32_t operator-(Seq a, Seq b) {
    return static_cast<std::int32_t>(a.raw_ - b.raw_);
  }
  friend constexpr bool operator==(Seq, Seq) = default;
  friend constexpr bool operator<(Seq a, Seq b) { return a - b < 0; }
  friend constexpr bool operator<=(Seq a, Seq b) { return a - b <= 0; }
  friend constexpr bool operator>(Seq a, Seq b) { return a - b > 0; }
  friend constexpr bool operator>=(Seq a, Seq b) { return a - b >= 0; }

 private:
  std::uint32_t raw_ = 0;
};

// Distance from a forward to b; b must not lie before a.
constexpr std::uint32_t distance(Seq a, Seq b) { return b.raw() - a.raw(); }
constexpr Seq later(Seq a, Seq b) { return a < b ? b : a; }
constexpr Seq earlier(Seq a, Seq b) { return a < b ? a : b; }

}  // namespace sluice::tcp
