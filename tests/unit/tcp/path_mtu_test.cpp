#include "path_mtu.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

constexpr Micros kShort{1'000'000};

class Mtu : public ::testing::Test {
 protected:
  Mtu() { p.start(1500); }
  // Probes until the search is over, on a path that takes `real`; how many it took.
  int search(std::uint16_t real, std::uint16_t most = 1500) {
    int probes = 0;
    for (Time end = now + Seconds{300}; now < end; now += Seconds{1}) {
      const std::uint16_t size = p.next_probe(most, now);
      if (size == 0) continue;
      EXPECT_GT(size, p.value());
      EXPECT_LE(size, most);
      p.probing(size, Seq{1});
      EXPECT_EQ(p.next_probe(most, now), 0u);
      ++probes;
      if (size <= real) {
        p.probe_arrived(now);
      } else {
        p.probe_lost(now);
      }
    }
    return probes;
  }
  PathMtu::Verdict told(std::uint16_t mtu) { return p.told(mtu, true, Seq{100}, now); }

  PathMtu p;
  Time now{Seconds{1000}};
};

TEST_F(Mtu, Rfc1191_3_LoweredByIcmp) {
  EXPECT_EQ(told(1500), PathMtu::Verdict::refused);
  EXPECT_EQ(told(551), PathMtu::Verdict::refused);
  EXPECT_EQ(p.told(1279, false, Seq{100}, now), PathMtu::Verdict::refused);
  EXPECT_EQ(told(1400), PathMtu::Verdict::lowered);
  EXPECT_EQ(p.value(), 1400u);
  EXPECT_EQ(told(1450), PathMtu::Verdict::refused);
}

// What got through is not too big: it takes a timeout to believe that the path has changed.
TEST_F(Mtu, Rfc5927_7_2_HeldUntilATimeout) {
  p.got_through(1500);
  EXPECT_EQ(told(1400), PathMtu::Verdict::held);
  EXPECT_EQ(p.value(), 1500u);
  EXPECT_EQ(p.timed_out(1, kShort, 1500, true, now), PathMtu::Timeout::told);
  EXPECT_EQ(p.value(), 1400u);
  EXPECT_EQ(p.timed_out(1, kShort, 1400, true, now), PathMtu::Timeout::nothing);
}

TEST_F(Mtu, Rfc5927_7_2_ForgottenWhenAcknowledged) {
  p.got_through(1500);
  EXPECT_EQ(told(1400), PathMtu::Verdict::held);
  p.acknowledged(Seq{100});
  p.acknowledged(Seq{101});
  EXPECT_EQ(p.timed_out(1, kShort, 1500, true, now), PathMtu::Timeout::nothing);
  EXPECT_EQ(p.value(), 1500u);
}

TEST_F(Mtu, Rfc5927_7_2_SmallerOnesGotThrough) {
  p.got_through(1300);
  EXPECT_EQ(told(1300), PathMtu::Verdict::lowered);
}

TEST_F(Mtu, Rfc4821_7_7_BlackHole) {
  p.start(9000);
  EXPECT_EQ(p.timed_out(2, kShort, 9000, true, now), PathMtu::Timeout::nothing);
  EXPECT_EQ(p.timed_out(3, kShort, 9000, true, now), PathMtu::Timeout::black_hole);
  EXPECT_EQ(p.value(), 1280u);
  EXPECT_EQ(p.timed_out(4, kShort, 1280, true, now), PathMtu::Timeout::black_hole);
  EXPECT_EQ(p.value(), 552u);
  EXPECT_EQ(p.timed_out(9, kShort, 552, true, now), PathMtu::Timeout::nothing);
  p.start(1500);
  EXPECT_EQ(p.timed_out(3, kShort, 1500, false, now), PathMtu::Timeout::black_hole);
  EXPECT_EQ(p.value(), 1280u);
  EXPECT_EQ(p.timed_out(9, kShort, 1280, false, now), PathMtu::Timeout::nothing);
}

TEST_F(Mtu, Rfc4821_7_7_SmallSegmentsSayNothing) {
  EXPECT_EQ(p.timed_out(9, kShort, 552, true, now), PathMtu::Timeout::nothing);
}

TEST_F(Mtu, Rfc4821_7_7_WhatGotThroughBeforeIsGivenMoreTime) {
  p.got_through(1500);
  EXPECT_EQ(p.timed_out(3, kShort, 1500, true, now), PathMtu::Timeout::nothing);
  EXPECT_EQ(p.timed_out(4, kShort, 1500, true, now), PathMtu::Timeout::black_hole);
}

// Timers that run out after many seconds: two must do, or the connection is given up before.
TEST_F(Mtu, Rfc4821_7_7_LongTimeoutsCountForMore) {
  const Micros long_ago = Seconds{10};
  p.got_through(1400);
  EXPECT_EQ(p.timed_out(1, Micros{0}, 1400, true, now), PathMtu::Timeout::nothing);
  EXPECT_EQ(p.timed_out(2, long_ago - Micros{1}, 1400, true, now), PathMtu::Timeout::nothing);
  EXPECT_EQ(p.timed_out(2, long_ago, 1400, true, now), PathMtu::Timeout::black_hole);
  EXPECT_EQ(p.value(), 1280u);
}

TEST_F(Mtu, Rfc4821_7_7_WhatGetsThroughNearlyEverywhereIsGivenMoreTime) {
  EXPECT_EQ(p.timed_out(3, kShort, 1280, true, now), PathMtu::Timeout::nothing);
  EXPECT_EQ(p.timed_out(4, kShort, 1280, true, now), PathMtu::Timeout::black_hole);
  EXPECT_EQ(p.value(), 552u);
  p = {};
  p.start(1500);
  EXPECT_EQ(p.timed_out(3, kShort, 1500, true, now), PathMtu::Timeout::black_hole);
  p.got_through(1280);
  EXPECT_EQ(p.timed_out(3, kShort, 1280, true, now), PathMtu::Timeout::nothing);
}

// It was an outage: one probe brings back what there was.
TEST_F(Mtu, Rfc4821_7_3_BackAfterAnOutage) {
  p.timed_out(3, kShort, 1500, true, now);
  EXPECT_EQ(p.next_probe(1500, now), 0u);
  EXPECT_EQ(search(1500), 1);
  EXPECT_EQ(p.value(), 1500u);
  now += Seconds{3600};
  EXPECT_EQ(p.next_probe(1500, now), 0u);
}

TEST_F(Mtu, Rfc4821_7_3_Search) {
  for (std::uint16_t real = 1280; real < 1500; ++real) {
    p = {};
    p.start(1500);
    p.timed_out(3, kShort, 1500, true, now);
    EXPECT_LE(search(real), 6);
    EXPECT_LE(p.value(), real);
    EXPECT_GE(p.value() + PathMtu::kCloseEnough, real);
  }
}

TEST_F(Mtu, Rfc1191_6_3_RaisedAfterTenMinutes) {
  EXPECT_EQ(told(1400), PathMtu::Verdict::lowered);
  now += Seconds{599};
  EXPECT_EQ(p.next_probe(1500, now), 0u);
  now += Seconds{2};
  EXPECT_EQ(p.next_probe(1500, now), 1500u);
  EXPECT_EQ(p.next_probe(1400, now), 0u);
  p.probing(1500, Seq{1});
  EXPECT_EQ(told(1400), PathMtu::Verdict::probe_lost);
  now += Seconds{599};
  EXPECT_EQ(p.next_probe(1500, now), 0u);
  now += Seconds{2};
  EXPECT_EQ(search(1500), 1);
  EXPECT_EQ(p.value(), 1500u);
}

TEST_F(Mtu, Rfc4821_7_6_UndecidedProbeIsRepeated) {
  p.timed_out(3, kShort, 1500, true, now);
  now += Seconds{11};
  p.probing(p.next_probe(1500, now), Seq{1});
  p.probe_undecided(now);
  EXPECT_EQ(p.next_probe(1500, now), 0u);
  now += Seconds{11};
  EXPECT_EQ(p.next_probe(1500, now), 1500u);
}

}  // namespace
}  // namespace sluice::tcp
