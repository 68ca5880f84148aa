#include "prr.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

constexpr std::uint32_t kMss = 1000, kThreshold = 10'000;

// One segment lost of twenty: for two that arrive one goes, until the flight is the threshold.
TEST(Prr, Rfc6937_3_1_Proportional) {
  Prr p;
  p.start(20'000);
  std::uint32_t in_flight = 19'000, sent = 0;
  for (int ack = 0; ack < 19; ++ack) {
    in_flight -= kMss;
    const std::uint32_t window = p.window(kMss, in_flight, kThreshold, kMss, false);
    while (in_flight + kMss <= window) {
      p.sent(kMss);
      in_flight += kMss;
      sent += kMss;
    }
  }
  EXPECT_EQ(sent, 10'000u);
  EXPECT_EQ(in_flight, kThreshold);
}

TEST(Prr, Rfc6937_3_1_FirstRetransmissionInAnyCase) {
  Prr p;
  p.start(20'000);
  EXPECT_EQ(p.window(0, 15'000, kThreshold, kMss, false), 16'000u);
  p.sent(kMss);
  EXPECT_EQ(p.window(0, 16'000, kThreshold, kMss, false), 16'000u);
}

// Conservation: below the threshold as much goes as arrived.
TEST(Prr, Rfc6937_3_1_ConservativeReductionBound) {
  Prr p;
  p.start(20'000);
  EXPECT_EQ(p.window(kMss, 2000, kThreshold, kMss, false), 3000u);
  p.sent(kMss);
  EXPECT_EQ(p.window(kMss, 2000, kThreshold, kMss, false), 3000u);
}

// A good sign, SND.UNA moved and nothing more was lost: a segment more.
TEST(Prr, Rfc6937_3_1_SlowStartReductionBound) {
  Prr p;
  p.start(20'000);
  p.window(kMss, 2000, kThreshold, kMss, false);
  p.sent(kMss);
  EXPECT_EQ(p.window(kMss, 2000, kThreshold, kMss, true), 4000u);
}

TEST(Prr, NeverBeyondTheThreshold) {
  Prr p;
  p.start(20'000);
  EXPECT_EQ(p.window(15'000, 9500, kThreshold, kMss, true), kThreshold);
  p.sent(500);
  EXPECT_EQ(p.window(0, kThreshold, kThreshold, kMss, true), kThreshold);
}

}  // namespace
}  // namespace sluice::tcp
