#include "congestion.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

constexpr std::uint32_t kMss = 1000;

Congestion started(std::uint32_t mss = kMss) {
  Congestion c;
  c.start(mss, false);
  return c;
}

TEST(Congestion, Rfc6928_2_InitialWindow) {
  EXPECT_EQ(started(500).window(), 5000u);
  EXPECT_EQ(started(1460).window(), 14600u);
  EXPECT_EQ(started(2000).window(), 14600u);
  EXPECT_EQ(started(8960).window(), 17920u);
}

TEST(Congestion, Rfc5681_3_1_OneSegmentAfterALostSyn) {
  Congestion c;
  c.start(kMss, true);
  EXPECT_EQ(c.window(), kMss);
}

TEST(Congestion, SlowStartDoublesPerRound) {
  Congestion c = started();
  for (int i = 0; i < 10; ++i) c.on_ack(kMss, 10'000);
  EXPECT_EQ(c.window(), 20'000u);
}

TEST(Congestion, OneAckGrowsByABoundedAmount) {
  Congestion c = started();
  c.on_ack(1'000'000, 10'000);
  EXPECT_EQ(c.window(), 10'000 + Congestion::kMaxGrowthPerAck * kMss);
}

TEST(Congestion, Rfc5681_3_1_AvoidanceAddsASegmentPerRound) {
  Congestion c = started();
  c.on_loss(20'000);
  EXPECT_EQ(c.threshold(), 10'000u);
  EXPECT_EQ(c.window(), 10'000u);
  EXPECT_FALSE(c.in_slow_start());
  for (int i = 0; i < 10; ++i) c.on_ack(kMss, 10'000);
  EXPECT_EQ(c.window(), 11'000u);
}

// RFC 7661: what was not used does not grow.
TEST(Congestion, ApplicationLimited) {
  Congestion c = started();
  for (int i = 0; i < 100; ++i) c.on_ack(kMss, kMss);
  EXPECT_EQ(c.window(), 10'000u);
  c.on_loss(20'000);
  for (int i = 0; i < 100; ++i) c.on_ack(kMss, kMss);
  EXPECT_EQ(c.window(), 10'000u);
}

// Equation (4): from what was in flight, and not below two segments.
TEST(Congestion, Rfc5681_3_1_LossCountsFlightNotWindow) {
  Congestion c = started();
  for (int i = 0; i < 10; ++i) c.on_ack(kMss, 10'000);
  c.on_loss(6000);
  EXPECT_EQ(c.threshold(), 3000u);
  c.on_loss(1000);
  EXPECT_EQ(c.threshold(), 2 * kMss);
}

// A timeout of the same segment again must not halve again.
TEST(Congestion, Rfc5681_3_1_OneReductionPerEvent) {
  Congestion c = started();
  c.on_timeout(10'000, true);
  EXPECT_EQ(c.threshold(), 5000u);
  EXPECT_EQ(c.window(), kMss);
  c.on_timeout(1000, false);
  c.on_timeout(1000, false);
  EXPECT_EQ(c.threshold(), 5000u);
  EXPECT_TRUE(c.in_slow_start());
}

TEST(Congestion, Rfc6582_3_2_InflateAndDeflate) {
  Congestion c = started();
  c.on_loss(10'000);
  c.inflate(3 * kMss);
  EXPECT_EQ(c.window(), 8000u);
  c.inflate(kMss);
  c.deflate(3000);  // a partial ACK: what left, less one segment
  EXPECT_EQ(c.window(), 7000u);
  c.deflate(500);
  EXPECT_EQ(c.window(), 6500u);
  c.end_recovery(1000);  // min(ssthresh, max(FlightSize, SMSS) + SMSS)
  EXPECT_EQ(c.window(), 2000u);
  c.end_recovery(50'000);
  EXPECT_EQ(c.window(), 5000u);
}

TEST(Congestion, NeverBelowOneSegmentNorAboveTheLimit) {
  Congestion c = started();
  c.deflate(1'000'000'000);
  EXPECT_GE(c.window(), kMss);
  for (int i = 0; i < 10'000; ++i) c.on_ack(UINT32_MAX, UINT32_MAX);
  EXPECT_EQ(c.window(), Congestion::kMaxWindow);
}

TEST(Congestion, Rfc5681_4_1_RestartWindow) {
  Congestion c = started();
  for (int i = 0; i < 10; ++i) c.on_ack(kMss, 10'000);
  c.restart_after_idle();
  EXPECT_EQ(c.window(), 10'000u);
  c.on_timeout(10'000, true);
  c.restart_after_idle();  // never up
  EXPECT_EQ(c.window(), kMss);
}

TEST(Congestion, Rfc6937_3_WindowOfRecovery) {
  Congestion c = started();
  c.on_loss(20'000);
  c.set_recovery_window(13'000);
  EXPECT_EQ(c.window(), 13'000u);
  EXPECT_EQ(c.threshold(), 10'000u);
  c.set_recovery_window(0);
  EXPECT_EQ(c.window(), kMss);
}

// RFC 4015 section 3.2: as if the event had not been, but never down.
TEST(Congestion, Rfc4015_3_2_Undo) {
  Congestion c = started();
  const Congestion before = c;
  c.on_timeout(10'000, true);
  c.undo(before);
  EXPECT_EQ(c.window(), 10'000u);
  EXPECT_EQ(c.threshold(), before.threshold());
  for (int i = 0; i < 5; ++i) c.on_ack(kMss, 10'000);
  c.undo(before);
  EXPECT_EQ(c.window(), 15'000u);
}

}  // namespace
}  // namespace sluice::tcp
