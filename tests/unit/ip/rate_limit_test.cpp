#include "rate_limit.h"

#include <gtest/gtest.h>

namespace sluice::ip {
namespace {

constexpr Time kStart{Seconds{1'000'000}};

TEST(RateLimit, BurstThenTheRate) {
  RateLimit limit(1000, 5);
  int taken = 0;
  while (taken < 9 && limit.allow(kStart)) ++taken;
  EXPECT_EQ(taken, 5);
  EXPECT_FALSE(limit.allow(kStart + Micros{999}));
  EXPECT_TRUE(limit.allow(kStart + Micros{1000}));
  EXPECT_FALSE(limit.allow(kStart + Micros{1000}));
  taken = 0;
  while (taken < 9 && limit.allow(kStart + Seconds{100}))
    ++taken;  // a silence saves no more than the burst
  EXPECT_EQ(taken, 5);
}

TEST(RateLimit, ZeroIsNever) {
  RateLimit limit(0, 5);
  EXPECT_FALSE(limit.allow(kStart));
  EXPECT_FALSE(limit.allow(kStart + Seconds{1}));
}

// rte_meter: a period in whole units of time makes a rate that is not the one asked for.
TEST(RateLimit, Bug60_NoDriftWhateverTheRate) {
  for (const std::uint32_t rate : {7u, 300u, 700u, 1000u, 1'700'000u}) {
    RateLimit limit(rate, 10);
    const std::int64_t seconds = rate > 1000 ? 1 : 60;
    const std::int64_t step = rate > 1000 ? 1 : 100;
    std::uint64_t taken = 0;
    for (Time now = kStart; now < kStart + Seconds{seconds}; now += Micros{step}) {
      for (int at_once = 0; at_once < 20 && limit.allow(now); ++at_once) ++taken;
    }
    const auto expected = rate * static_cast<std::uint64_t>(seconds);
    EXPECT_LE(taken, expected + 10);
    EXPECT_GE(taken, expected) << rate;
  }
}

}  // namespace
}  // namespace sluice::ip
