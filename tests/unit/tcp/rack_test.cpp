#include "rack.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

constexpr Time at(std::int64_t us) { return Time{Micros{us}}; }

SentSegment segment(std::int64_t sent, std::uint32_t start, bool retransmitted = false) {
  SentSegment s;
  s.sent = at(sent);
  s.start = Seq(start);
  s.length = 100;
  s.retransmitted = retransmitted;
  return s;
}

// Reports it delivered, at `now`, with an ACK of its own.
void deliver(Rack& r, const SentSegment& s, std::int64_t now, bool ambiguous = false) {
  r.delivered(s, at(now), r.highest(s.start), ambiguous);
}

TEST(MinRtt, Rfc8985_6_2_WindowedMinimum) {
  MinRtt m;
  EXPECT_FALSE(m.known());
  m.sample(Micros{500}, at(0));
  m.sample(Micros{700}, at(1000));
  EXPECT_EQ(m.value(), Micros{500});
  // A path that became longer is believed in the end.
  m.sample(Micros{900}, Time{} + MinRtt::kHalf + Micros{1});
  EXPECT_EQ(m.value(), Micros{500});
  m.sample(Micros{900}, Time{} + 2 * MinRtt::kHalf + Micros{2});
  EXPECT_EQ(m.value(), Micros{900});
}

TEST(MinRtt, AfterALongSilenceOldValuesAreForgotten) {
  MinRtt m;
  m.sample(Micros{500}, at(0));
  m.sample(Micros{900}, Time{} + 5 * MinRtt::kHalf);
  EXPECT_EQ(m.value(), Micros{900});
}

TEST(Rack, Rfc8985_6_2_LatestSentOfThoseDelivered) {
  Rack r;
  EXPECT_FALSE(r.valid());
  deliver(r, segment(1000, 100), 1500);
  EXPECT_EQ(r.sent(), at(1000));
  EXPECT_EQ(r.rtt(), Micros{500});
  deliver(r, segment(900, 0), 1600);
  EXPECT_EQ(r.sent(), at(1000));
  deliver(r, segment(1000, 200), 1600);  // same time: the higher one
  EXPECT_EQ(r.end(), Seq(300));
  EXPECT_EQ(r.rtt(), Micros{600});
}

TEST(Rack, Rfc8985_6_2_AmbiguousAnswersDoNotCount) {
  Rack r;
  deliver(r, segment(1000, 100), 1500);
  deliver(r, segment(2000, 0, true), 2600, true);  // the echo is of the first transmission
  EXPECT_EQ(r.sent(), at(1000));
  deliver(r, segment(2000, 0, true), 2400);  // faster than the least round trip
  EXPECT_EQ(r.sent(), at(1000));
  deliver(r, segment(2000, 0, true), 2500);
  EXPECT_EQ(r.sent(), at(2000));
}

TEST(Rack, Rfc8985_6_2_Reordering) {
  Rack r;
  deliver(r, segment(1000, 100), 1500);
  deliver(r, segment(900, 0, true), 1600);
  EXPECT_FALSE(r.reordering_seen());  // a hole that was filled
  deliver(r, segment(1100, 300), 1700);
  deliver(r, segment(1050, 200), 1700);
  EXPECT_TRUE(r.reordering_seen());
}

// The first report of all, about several segments, wherever their sequence numbers lie.
TEST(Rack, Rfc8985_6_2_FirstReportIsNoReordering) {
  for (const std::uint32_t start : {100u, 0x7fffff00u, 0x80000100u, 0xffffff80u}) {
    Rack r;
    const Seq before = r.highest(Seq(start));
    for (std::uint32_t i = 0; i < 3; ++i) {
      r.delivered(segment(1000, start + 100 * i), at(2000), before, false);
    }
    EXPECT_FALSE(r.reordering_seen()) << start;
  }
}

TEST(Rack, Rfc8985_6_2_Window) {
  Rack r;
  const Micros srtt{10'000};
  deliver(r, segment(1000, 0), 9000);
  EXPECT_EQ(r.reordering_window(false, 2, srtt), Micros{2000});
  EXPECT_EQ(r.reordering_window(false, 3, srtt), Micros{0});
  EXPECT_EQ(r.reordering_window(true, 1, srtt), Micros{0});
  r.reordering_found();
  EXPECT_EQ(r.reordering_window(true, 9, srtt), Micros{2000});
}

TEST(Rack, Rfc8985_6_2_DsackGrowsTheWindowOncePerRound) {
  Rack r;
  const Micros srtt{10'000};
  deliver(r, segment(1000, 0), 9000);
  r.duplicate_reported(Seq(100), Seq(500));
  r.duplicate_reported(Seq(400), Seq(900));
  EXPECT_EQ(r.multiplier(), 2u);
  EXPECT_EQ(r.reordering_window(false, 0, srtt), Micros{4000});
  r.duplicate_reported(Seq(500), Seq(900));
  for (std::uint32_t seq = 900; seq < 100'000; seq += 900) {
    r.duplicate_reported(Seq(seq), Seq(seq + 900));
  }
  EXPECT_EQ(r.reordering_window(false, 0, srtt), srtt);  // the bound
  for (int i = 1; i < Rack::kPersist; ++i) r.recovery_ended();
  EXPECT_GT(r.multiplier(), 1u);
  r.recovery_ended();
  EXPECT_EQ(r.multiplier(), 1u);
}

// gVisor #6113, #9778: with round trips shorter than the clock's grain everything counted as lost.
TEST(Rack, Bug28_TinyRoundTripTimes) {
  Rack r;
  deliver(r, segment(1000, 0), 1000);
  EXPECT_TRUE(r.valid());
  EXPECT_GE(r.rtt(), Micros{1});
  EXPECT_EQ(r.reordering_window(false, 1, Micros{1}), Rack::kGranularity);
}

}  // namespace
}  // namespace sluice::tcp
