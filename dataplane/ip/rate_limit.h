// A token bucket on virtual time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace sluice::ip {

class RateLimit {
 public:
  // `burst` tokens at most, refilled at `per_second`.
  RateLimit(std::uint32_t per_second, std::uint32_t burst)
      : cost_(per_second == 0 ? Micros{0} : Micros{1'000'000 / per_second}),
        span_(cost_ * burst),
        open_(per_second != 0) {}

  bool allow(Time now) {
    if (!open_) return false;
    const Time earliest = std::max(due_, now - span_ + cost_);
    if (earliest > now) return false;
    due_ = earliest + cost_;
    return true;
  }

 private:
  Micros cost_;
  Micros span_;
  bool open_;
  // When the next token would exist had the bucket no depth (GCRA).
  Time due_ = Time::min();
};

}  // namespace sluice::ip
