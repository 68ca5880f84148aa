#include "rtt.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

TEST(Rtt, Rfc6298_2_1_OneSecondAtFirst) {
  const RttEstimator rtt;
  EXPECT_EQ(rtt.rto(), Seconds{1});
  EXPECT_FALSE(rtt.known());
}

// (2.2): SRTT = R, RTTVAR = R/2, RTO = SRTT + max(G, 4 RTTVAR).
TEST(Rtt, Rfc6298_2_2_FirstSample) {
  RttEstimator rtt;
  rtt.sample(Millis{300});
  EXPECT_EQ(rtt.srtt(), Millis{300});
  EXPECT_EQ(rtt.rto(), Millis{900});
}

// (2.3): RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'|, SRTT = 7/8 SRTT + 1/8 R'.
TEST(Rtt, Rfc6298_2_3_NextSample) {
  RttEstimator rtt;
  rtt.sample(Millis{800});
  rtt.sample(Millis{1600});
  EXPECT_EQ(rtt.srtt(), Millis{900});
  EXPECT_EQ(rtt.rto(), Millis{900 + 4 * (300 + 200)});
  rtt.sample(Millis{100});
  EXPECT_EQ(rtt.srtt(), Micros{800'000});
  EXPECT_EQ(rtt.rto(), Micros{800'000 + 4 * (375'000 + 200'000)});
}

TEST(Rtt, Bounds) {
  RttEstimator rtt;
  rtt.sample(Micros{0});
  EXPECT_TRUE(rtt.known());
  EXPECT_EQ(rtt.rto(), RttEstimator::kMin);
  rtt.sample(Seconds{500});
  EXPECT_EQ(rtt.rto(), RttEstimator::kMax);
}

TEST(Rtt, Rfc6298_5_5_BackOff) {
  RttEstimator rtt;
  for (const int seconds : {2, 4, 8, 16, 32, 60, 60}) {
    rtt.back_off();
    EXPECT_EQ(rtt.rto(), Seconds{seconds});
  }
  rtt.sample(Millis{100});
  EXPECT_EQ(rtt.rto(), Millis{300});
  rtt.back_off();
  rtt.forget_back_off();
  EXPECT_EQ(rtt.rto(), Millis{300});
}

TEST(Rtt, Rfc6298_5_7_AfterALostSyn) {
  RttEstimator rtt;
  rtt.back_off();
  rtt.syn_was_lost();
  EXPECT_EQ(rtt.rto(), Seconds{3});
  rtt.sample(Millis{100});
  EXPECT_EQ(rtt.rto(), Millis{300});
}

// SRTT and RTTVAR of before the timeout, or the sample, whatever is more.
TEST(Rtt, Rfc4015_3_2_Step8) {
  RttEstimator rtt;
  rtt.sample(Millis{400});
  rtt.back_off();
  rtt.sample_after_spurious_timeout(Seconds{1}, Millis{400}, Millis{200});
  EXPECT_EQ(rtt.srtt(), Seconds{1});
  EXPECT_EQ(rtt.rto(), Seconds{3});
  rtt.sample_after_spurious_timeout(Millis{10}, Millis{400}, Millis{200});
  EXPECT_EQ(rtt.srtt(), Millis{402});
  EXPECT_EQ(rtt.rto(), Millis{1202});
}

// A steady path converges, and its timeout never falls below the least.
TEST(Rtt, Converges) {
  RttEstimator rtt;
  rtt.sample(Seconds{2});
  for (int i = 0; i < 200; ++i) rtt.sample(Millis{50});
  EXPECT_NEAR(static_cast<double>(rtt.srtt().count()), 50'000, 100);
  EXPECT_EQ(rtt.rto(), RttEstimator::kMin);
}

}  // namespace
}  // namespace sluice::tcp
