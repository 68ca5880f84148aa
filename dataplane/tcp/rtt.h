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
    if (srtt_ == Micros{0}) {
      srtt_ = r;
      variance_ = r / 2;
    } else {
      // (2.3): the variance first, with the old mean.
      const Micros off = srtt_ > r ? srtt_ - r : r - srtt_;
      variance_ = (3 * variance_ + off) / 4;
      srtt_ = (7 * srtt_ + r) / 8;
    }
    base_ = std::clamp(srtt_ + std::max(kGranularity, 4 * variance_), kMin, kMax);
    rto_ = base_;
  }

  // (5.5)
  void back_off() { rto_ = std::min(rto_ * 2, kMax); }
  // The peer answered: the doubling is over (Karn's rule still holds for samples).
  void forget_back_off() { rto_ = base_; }
  void syn_was_lost() { base_ = rto_ = kAfterSynLoss; }

  Micros rto() const { return rto_; }
  Micros srtt() const { return srtt_; }
  Micros variance() const { return variance_; }
  bool known() const { return srtt_ != Micros{0}; }

 private:
  Micros srtt_{0};
  Micros variance_{0};
  Micros base_{kInitial};
  Micros rto_{kInitial};
};

}  // namespace sluice::tcp
