// HyStart++, RFC 9406: leaves the first slow start before the queue of the path overflows.
//
// When round trips of one round are longer than those of the round before, growth becomes four
// times slower (conservative slow start). If they become short again it was noise; if five rounds
// pass, slow start is over.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/time.h"

namespace sluice::tcp {

class HyStart {
 public:
  // Section 4.3.
  static constexpr Micros kMinThreshold{4'000};
  static constexpr Micros kMaxThreshold{16'000};
  static constexpr int kThresholdDivisor = 8;
  static constexpr std::uint8_t kSamples = 8;
  static constexpr std::uint32_t kGrowthDivisor = 4;
  static constexpr std::uint8_t kConservativeRounds = 5;

  void start() { *this = HyStart{}; }
  bool conservative() const { return conservative_; }

  // The round-trip time one ACK has shown.
  void sample(Micros rtt) {
    current_ = std::min(current_, rtt);
    if (samples_ < kSamples) ++samples_;
    if (samples_ < kSamples) return;
    if (conservative_) {
      if (current_ < baseline_) conservative_ = false;
      return;
    }
    if (last_ == kNone) return;
    const Micros threshold =
        std::max(kMinThreshold, std::min(last_ / kThresholdDivisor, kMaxThreshold));
    if (current_ < last_ + threshold) return;
    baseline_ = current_;
    conservative_ = true;
    rounds_ = 0;
  }

  // What was SND.NXT when the round began has been acknowledged. True: slow start is over.
  bool end_round() {
    last_ = current_;
    current_ = kNone;
    samples_ = 0;
    return conservative_ && ++rounds_ >= kConservativeRounds;
  }

 private:
  static constexpr Micros kNone = Micros::max();

  Micros last_ = kNone;     // the least of the round before
  Micros current_ = kNone;  // the least of this one
  Micros baseline_ = kNone;
  std::uint8_t samples_ = 0;
  std::uint8_t rounds_ = 0;  // conservative ones, the partial first included
  bool conservative_ = false;
};

}  // namespace sluice::tcp
