#include "congestion.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

constexpr std::uint32_t kMss = 1000;

class Window : public ::testing::Test {
 protected:
  Window() { c.start(kMss, false); }
  // One ACK of `bytes` with `in_flight` before it. The round trip lasts 100 ms.
  void ack(std::uint32_t bytes, std::uint32_t in_flight, Micros rtt = Micros{0}) {
    una = una + bytes;
    c.on_ack({.now = now,
              .bytes = bytes,
              .in_flight = in_flight,
              .una = una,
              .nxt = una + (in_flight - std::min(bytes, in_flight)),
              .rtt = rtt,
              .srtt = Micros{100'000}});
  }
  // As many ACKs of one segment as the window is wide, over one round trip.
  void round(Micros rtt = Micros{0}) {
    const std::uint32_t n = c.window() / kMss;
    for (std::uint32_t i = 0; i < n; ++i) {
      now += Micros{100'000} / n;
      const std::uint32_t full = c.window() / kMss * kMss;
      una = una + kMss;
      c.on_ack({.now = now,
                .bytes = kMss,
                .in_flight = full,
                .una = una,
                .nxt = una + full,
                .rtt = rtt,
                .srtt = Micros{100'000}});
    }
  }

  Congestion c;
  Seq una{0xffffff00};
  Time now{Seconds{100}};
};

TEST_F(Window, Rfc6928_2_InitialWindow) {
  for (const auto& [mss, window] :
       {std::pair{500u, 5000u}, {1460u, 14600u}, {2000u, 14600u}, {8960u, 17920u}}) {
    c.start(mss, false);
    EXPECT_EQ(c.window(), window);
  }
}

TEST_F(Window, Rfc5681_3_1_OneSegmentAfterALostSyn) {
  c.start(kMss, true);
  EXPECT_EQ(c.window(), kMss);
}

TEST_F(Window, SlowStartDoublesPerRound) {
  for (int i = 0; i < 10; ++i) ack(kMss, 10'000);
  EXPECT_EQ(c.window(), 20'000u);
}

TEST_F(Window, OneAckGrowsByABoundedAmount) {
  ack(1'000'000, 10'000);
  EXPECT_EQ(c.window(), 10'000 + Congestion::kMaxGrowthPerAck * kMss);
}

TEST_F(Window, SlowStartStopsAtTheThreshold) {
  c.on_timeout(20'000, true);
  EXPECT_EQ(c.threshold(), 14'000u);
  for (int i = 0; i < 12; ++i) ack(kMss, c.window());
  EXPECT_EQ(c.window(), 13'000u);
  ack(10 * kMss, 13'000);
  EXPECT_EQ(c.window(), 14'000u);
  EXPECT_FALSE(c.in_slow_start());
}

// RFC 7661: what was not used does not grow.
TEST_F(Window, Bug26_ApplicationLimitedDoesNotGrow) {
  for (int i = 0; i < 100; ++i) ack(kMss, kMss);
  EXPECT_EQ(c.window(), 10'000u);
  c.on_loss(20'000);
  for (int i = 0; i < 100; ++i) {
    now += Seconds{1};
    ack(kMss, kMss);
  }
  EXPECT_EQ(c.window(), 14'000u);
}

// ... and the hour is not made up for when the application wants more again.
TEST_F(Window, Rfc9438_5_8_NoLeapAfterApplicationLimited) {
  c.on_loss(100'000);
  for (int i = 0; i < 10; ++i) round();
  const std::uint32_t before = c.window();
  for (int i = 0; i < 3600; ++i) {
    now += Seconds{1};
    ack(kMss, kMss);
  }
  EXPECT_LE(c.window(), before + kMss);
  c.on_idle(now += Millis{100}, false);
  round();
  EXPECT_LE(c.window(), before + 3 * kMss);
}

// The ACKs of one turn come before anything new is sent: all of them count.
TEST_F(Window, BurstOfAcksGrowsLikeOneByOne) {
  c.on_loss(20'000);
  Congestion one_by_one = c;
  for (int r = 0; r < 20; ++r) {
    now += Millis{100};
    for (std::uint32_t left = 14'000; left > 0; left -= kMss) ack(kMss, left);
  }
  std::swap(c, one_by_one);
  now = Time{Seconds{100}};
  for (int r = 0; r < 20; ++r) {
    now += Millis{100};
    for (int i = 0; i < 14; ++i) ack(kMss, 14'000);
  }
  EXPECT_GT(c.window(), 15'000u);
  EXPECT_EQ(c.window(), one_by_one.window());
}

// gVisor 5f8c66e2: an ACK took the window down.
TEST_F(Window, Bug27_AckNeverLowersTheWindow) {
  std::uint64_t random = 1;
  const auto below = [&](std::uint64_t n) {
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint32_t>((random >> 33) % n);
  };
  Congestion saved = c;
  for (int i = 0; i < 100'000; ++i) {
    now += Micros{below(below(10) == 0 ? 60'000'000 : 50'000)};
    const std::uint32_t before = c.window();
    ack(below(5 * kMss), below(2) == 0 ? before : below(2 * before), Micros{below(200'000)});
    ASSERT_GE(c.window(), before);
    if (below(100) == 0) c.on_loss(below(2 * before));
    if (below(200) == 0) c.on_timeout(below(2 * before), true);
    if (below(200) == 0) c.undo(saved);
    if (below(100) == 0) saved = c;
    if (below(50) == 0) c.set_mss(48 + below(9000));
    if (below(100) == 0) c.on_idle(now, below(2) == 0);
    ASSERT_GE(c.window(), 48u);
  }
}

// Equation (4): from what was in flight, and not below two segments.
TEST_F(Window, Rfc5681_3_1_LossCountsFlightNotWindow) {
  for (int i = 0; i < 10; ++i) ack(kMss, 10'000);
  c.on_loss(6000);
  EXPECT_EQ(c.threshold(), 4200u);
  EXPECT_EQ(c.window(), 4200u);
  c.on_loss(1000);
  EXPECT_EQ(c.threshold(), 2 * kMss);
}

// A timeout of the same segment again must not reduce again.
TEST_F(Window, Bug26_OneReductionPerTimeout) {
  c.on_timeout(10'000, true);
  EXPECT_EQ(c.threshold(), 7000u);
  EXPECT_EQ(c.window(), kMss);
  c.on_timeout(1000, false);
  c.on_timeout(1000, false);
  EXPECT_EQ(c.threshold(), 7000u);
  EXPECT_TRUE(c.in_slow_start());
}

// RFC 9438 section 4.6: 0.7 of it, and back to it after cbrt(0.3 * 160 / 0.4) = 4.93 s.
TEST_F(Window, Rfc9438_4_6_BackToWhereTheLossWas) {
  for (int i = 0; i < 4; ++i) round();
  ASSERT_EQ(c.window(), 160'000u);
  c.on_loss(160'000);
  EXPECT_EQ(c.window(), 112'000u);
  for (int i = 0; i < 25; ++i) round();
  EXPECT_NEAR(c.window(), 154'000, 1000);  // half the time, seven eighths of the way
  for (int i = 0; i < 24; ++i) round();
  EXPECT_NEAR(c.window(), 160'000, 500);
  for (int i = 0; i < 25; ++i) round();
  EXPECT_NEAR(c.window(), 166'000, 1500);
}

// RFC 9438 section 4.8: the stage after a timeout begins where slow start ended.
TEST_F(Window, Rfc9438_4_8_AfterATimeout) {
  for (int i = 0; i < 4; ++i) round();
  c.on_timeout(100'000, true);
  while (c.in_slow_start()) round();
  EXPECT_NEAR(c.window(), 70'000, kMss);
  for (int i = 0; i < 50; ++i) round();
  // W_cubic(5 s) = 70 + 0.4 * 125 = 120.
  EXPECT_NEAR(c.window(), 120'000, 4000);
}

// RFC 9438 section 4.9, RFC 4015 section 3.2: as if the event had not been, but never down.
TEST_F(Window, Rfc9438_4_9_Undo) {
  for (int i = 0; i < 4; ++i) round();
  c.on_loss(160'000);
  for (int i = 0; i < 10; ++i) round();
  const Congestion before = c;
  c.on_loss(c.window());
  c.undo(before);
  EXPECT_EQ(c.window(), before.window());
  EXPECT_EQ(c.threshold(), 112'000u);
  c.on_timeout(before.window(), true);
  c.on_timeout(kMss, false);
  ack(kMss, kMss);
  now += Seconds{60};
  c.undo(before);
  EXPECT_EQ(c.window(), before.window());
  EXPECT_EQ(c.threshold(), 112'000u);
  // And it grows on as if nothing had been.
  for (int i = 0; i < 20; ++i) round();
  const Congestion undone = c;
  c = before;
  now -= Seconds{62};
  for (int i = 0; i < 20; ++i) round();
  EXPECT_NEAR(undone.window(), c.window(), kMss);
  const std::uint32_t grown = c.window();
  c.undo(before);
  EXPECT_EQ(c.window(), grown);
}

// An undo of the first loss leads back to a slow start without threshold.
TEST_F(Window, UndoOfTheFirstLoss) {
  const Congestion before = c;
  c.on_loss(10'000);
  c.undo(before);
  EXPECT_EQ(c.window(), 10'000u);
  EXPECT_TRUE(c.in_slow_start());
  ack(kMss, 10'000);
  EXPECT_EQ(c.window(), 11'000u);
}

// RFC 4015 section 3.2 step 6: a bounded burst, and back by slow start.
TEST_F(Window, Rfc4015_3_2_Step6) {
  for (int i = 0; i < 4; ++i) round();
  c.on_loss(100'000);
  while (c.window() < 100'000) round();
  const Congestion before = c;
  c.on_timeout(100'000, true);
  c.undo(before);
  c.ease_in(90'000, 30'000);
  EXPECT_EQ(c.window(), 30'000u);
  EXPECT_EQ(c.threshold(), 90'000u);
  round();
  EXPECT_EQ(c.window(), 60'000u);
  c.undo(before);
  c.ease_in(90'000, 200'000);
  EXPECT_EQ(c.window(), before.window());
  EXPECT_EQ(c.threshold(), before.threshold());
}

// RFC 9406: round trips that become longer slow the growth down to a quarter, and five rounds of
// that end slow start where the window is.
TEST_F(Window, Rfc9406_4_2_LeavesSlowStart) {
  round(Micros{50'000});
  EXPECT_EQ(c.window(), 20'000u);
  round(Micros{50'000});
  EXPECT_EQ(c.window(), 40'000u);
  round(Micros{70'000});
  const std::uint32_t entered = c.window();
  EXPECT_GT(entered, 50'000u);
  EXPECT_LT(entered, 64'000u);
  round(Micros{70'000});
  EXPECT_NEAR(c.window(), entered * 1.25, 2 * kMss);
  for (int i = 0; i < 4; ++i) round(Micros{70'000});
  EXPECT_FALSE(c.in_slow_start());
  EXPECT_LT(c.threshold(), entered * 3);
}

// A known threshold needs no search.
TEST_F(Window, Rfc9406_4_3_OnlyTheFirstSlowStart) {
  c.on_timeout(1'000'000, true);
  for (int i = 0; i < 6; ++i) round(Micros{50'000});
  const std::uint32_t before = c.window();
  round(Micros{150'000});
  EXPECT_EQ(c.window(), 2 * before);
}

TEST_F(Window, Rfc6582_3_2_InflateAndDeflate) {
  c.on_loss(10'000);
  c.inflate(3 * kMss);
  EXPECT_EQ(c.window(), 10'000u);
  c.inflate(kMss);
  c.deflate(3000);  // a partial ACK: what left, less one segment
  EXPECT_EQ(c.window(), 9000u);
  c.deflate(500);
  EXPECT_EQ(c.window(), 8500u);
  c.end_recovery(1000);  // min(ssthresh, max(FlightSize, SMSS) + SMSS)
  EXPECT_EQ(c.window(), 2000u);
  c.end_recovery(50'000);
  EXPECT_EQ(c.window(), 7000u);
}

TEST_F(Window, NeverBelowOneSegmentNorAboveTheLimit) {
  c.deflate(1'000'000'000);
  EXPECT_GE(c.window(), kMss);
  for (int i = 0; i < 10'000; ++i) ack(UINT32_MAX / 2, UINT32_MAX);
  EXPECT_EQ(c.window(), Congestion::kMaxWindow);
}

TEST_F(Window, Rfc5681_4_1_RestartWindow) {
  for (int i = 0; i < 10; ++i) ack(kMss, 10'000);
  c.on_idle(now, false);
  EXPECT_EQ(c.window(), 20'000u);
  c.on_idle(now, true);
  EXPECT_EQ(c.window(), 10'000u);
  c.on_timeout(10'000, true);
  c.on_idle(now, true);  // never up
  EXPECT_EQ(c.window(), kMss);
}

TEST_F(Window, Rfc6937_3_WindowOfRecovery) {
  c.on_loss(20'000);
  c.set_recovery_window(13'000);
  EXPECT_EQ(c.window(), 13'000u);
  EXPECT_EQ(c.threshold(), 14'000u);
  c.set_recovery_window(0);
  EXPECT_EQ(c.window(), kMss);
}

// RFC 7661 section 4.4.3: three quarters of what had been reached are near again in slow start.
TEST_F(Window, Rfc7661_4_4_3_ThresholdAfterIdle) {
  c.on_loss(40'000);
  for (int i = 0; i < 50; ++i) round();
  const std::uint32_t reached = c.window();
  ASSERT_GT(reached, 45'000u);
  c.on_idle(now, true);
  EXPECT_EQ(c.window(), 10'000u);
  EXPECT_NEAR(c.threshold(), reached / 4 * 3, 1);
}

}  // namespace
}  // namespace sluice::tcp
