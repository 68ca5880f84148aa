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
      : per_second_(per_second),
        cost_(per_second == 0 ? 0 : kSecond / per_second),
        rest_(per_second == 0 ? 0 : kSecond % per_second),
        span_(per_second == 0 ? 0 : std::int64_t{kSecond} * burst / per_second) {}

  bool allow(Time now) {
    if (per_second_ == 0) return false;
    const Time earliest = std::max(due_, now - span_ + cost_);
    if (earliest > now) return false;
    if (earliest > due_) carry_ = 0;
    due_ = earliest + cost_;
    // What whole microseconds leave over: without it a rate that does not divide a million drifts.
    carry_ += rest_;
    if (carry_ >= per_second_) {
      carry_ -= per_second_;
      due_ += Micros{1};
    }
    return true;
  }

 private:
  static constexpr std::uint32_t kSecond = 1'000'000;  // us

  std::uint32_t per_second_;
  Micros cost_;              // of a token, rounded down
  std::uint32_t rest_;       // what was cut off, in 1/per_second_ us
  std::uint32_t carry_ = 0;  // of the same, not in due_ yet
  Micros span_;              // of a full bucket
  Time due_ = Time::min();   // when the next token would exist had the bucket no depth (GCRA)
};

}  // namespace sluice::ip
