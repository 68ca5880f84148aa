#include "hystart.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

// A round of n ACKs that all show `rtt`. True if slow start is over.
bool round_of(HyStart& h, Micros rtt, int n = 8) {
  for (int i = 0; i < n; ++i) h.sample(rtt);
  return h.end_round();
}

TEST(HyStart, Rfc9406_4_2_LongerRoundTripsMakeItConservative) {
  HyStart h;
  EXPECT_FALSE(round_of(h, Micros{80'000}));
  EXPECT_FALSE(round_of(h, Micros{89'999}));  // the threshold is an eighth: 10 ms
  EXPECT_FALSE(h.conservative());
  for (int i = 0; i < 7; ++i) h.sample(Micros{102'000});
  EXPECT_FALSE(h.conservative());  // seven samples prove nothing
  h.sample(Micros{102'000});
  EXPECT_TRUE(h.conservative());
}

// Section 4.3: never below 4 ms, never above 16 ms.
TEST(HyStart, Rfc9406_4_3_ThresholdIsClamped) {
  HyStart quick;
  round_of(quick, Micros{1000});
  round_of(quick, Micros{4999});
  EXPECT_FALSE(quick.conservative());
  round_of(quick, Micros{8999});
  EXPECT_TRUE(quick.conservative());
  HyStart slow;
  round_of(slow, Micros{600'000});
  round_of(slow, Micros{615'999});
  EXPECT_FALSE(slow.conservative());
  round_of(slow, Micros{631'999});
  EXPECT_TRUE(slow.conservative());
}

TEST(HyStart, Rfc9406_4_2_OneShortSampleIsEnoughAgainstIt) {
  HyStart h;
  round_of(h, Micros{50'000});
  h.sample(Micros{50'500});
  for (int i = 0; i < 20; ++i) h.sample(Micros{90'000});
  EXPECT_FALSE(h.conservative());
}

// The round in which it began counts as one of the five.
TEST(HyStart, Rfc9406_4_2_FiveConservativeRoundsEndSlowStart) {
  HyStart h;
  round_of(h, Micros{50'000});
  EXPECT_FALSE(round_of(h, Micros{60'000}));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(round_of(h, Micros{60'000 + i}));
  EXPECT_TRUE(round_of(h, Micros{65'000}));
}

TEST(HyStart, Rfc9406_4_2_ShortAgainResumesSlowStart) {
  HyStart h;
  round_of(h, Micros{50'000});
  round_of(h, Micros{60'000});
  EXPECT_TRUE(h.conservative());
  EXPECT_FALSE(round_of(h, Micros{59'999}));
  EXPECT_FALSE(h.conservative());
  // And it looks on: six rounds later it would have been over.
  for (int i = 0; i < 6; ++i) EXPECT_FALSE(round_of(h, Micros{60'000}));
  round_of(h, Micros{70'000});
  EXPECT_TRUE(h.conservative());
}

TEST(HyStart, RoundsWithFewSamplesDecideNothing) {
  HyStart h;
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(round_of(h, Micros{10'000 * (i + 1)}, 7));
  EXPECT_FALSE(h.conservative());
}

}  // namespace
}  // namespace sluice::tcp
