// Round-trip time and retransmission timeout, RFC 6298.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace sluice::tcp {

class RttEstimator {
 public:
  static constexpr Micros kInitial{1'000'000};       // RFC 6298 (2.1)
  static constexpr Micros kAfterSynLoss{3'000'000};  // RFC 6298 (5.7)
  // RFC 6298 (2.4) says 1 s; 200 ms is what the hosts around us use, and our clock is 1000 times
  // finer.
  static constexpr Micros kMin{200'000};
  static constexpr Micros kMax{60'000'000};  // RFC 6298 (2.5)
  static constexpr Micros kGranularity{1'000};

  void sample(Micros r) {
    r = std::max(r, Micros{1});
    Micros mean = r, variance = r / 2;
    if (known()) {
      // (2.3): the variance first, with the old mean.
      const Micros off = srtt() > r ? srtt() - r : r - srtt();
      variance = (3 * this->variance() + off) / 4;
      mean = (7 * srtt() + r) / 8;
    }
    set(mean, variance);
  }
  // RFC 4015 section 3.2 step 8: `mean` and `variance` are of before the timeout.
  void sample_after_spurious_timeout(Micros r, Micros mean, Micros variance) {
    set(std::max(mean + 2 * kGranularity, r), std::max(variance, r / 2));
  }

  // (5.5)
  void back_off() { rto_ = brief(std::min(2 * rto(), kMax)); }
  // The peer answered: the doubling is over (Karn's rule still holds for samples).
  void forget_back_off() { rto_ = base_; }
  void syn_was_lost() { base_ = rto_ = brief(kAfterSynLoss); }

  Micros rto() const { return rto_; }
  Micros srtt() const { return srtt_; }
  Micros variance() const { return variance_; }
  bool known() const { return srtt_ != Brief{0}; }

 private:
  // Every connection has these: up to 71 minutes are enough.
  using Brief = std::chrono::duration<std::uint32_t, std::micro>;
  static constexpr Brief brief(Micros t) {
    return Brief{static_cast<std::uint32_t>(std::min<std::int64_t>(t.count(), UINT32_MAX))};
  }

  void set(Micros mean, Micros variance) {
    srtt_ = brief(mean);
    variance_ = brief(variance);
    base_ = brief(std::clamp(mean + std::max(kGranularity, 4 * variance), kMin, kMax));
    rto_ = base_;
  }

  Brief srtt_{0};
  Brief variance_{0};
  Brief base_ = brief(kInitial);
  Brief rto_ = brief(kInitial);
};

}  // namespace sluice::tcp
