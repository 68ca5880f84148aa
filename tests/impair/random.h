// Random numbers that are the same on every machine and in every build.
#pragma once

#include <cstdint>

namespace sluice::impair {

// SplitMix64.
class Random {
 public:
  explicit Random(std::uint64_t seed = 0) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  // A stream of its own for one purpose: what is drawn from it does not shift the others, so one
  // fault can be taken out of a run and the rest stays as it was.
  Random(std::uint64_t seed, std::uint64_t purpose)
      : state_(seed * 0x9e3779b97f4a7c15ULL + purpose * 0xd1342543de82ef95ULL + 1) {
    next();
  }
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : next() % n; }
  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1.0p-53 < p; }

 private:
  std::uint64_t state_;
};

}  // namespace sluice::impair
