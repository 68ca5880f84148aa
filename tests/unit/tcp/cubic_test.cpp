// CUBIC in integers against the formulas of RFC 9438 in doubles, which know nothing of each other.
#include "cubic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace sluice::tcp {
namespace {

constexpr std::uint32_t kMss = 1000;

double seconds(Micros t) { return static_cast<double>(t.count()) / 1e6; }

// Windows in segments, time in seconds, names as in section 4.1.2.
struct Formulas {
  static constexpr double kC = 0.4, kBeta = 0.7;
  double cwnd, w_max = 0, cwnd_prior = 0, k = 0, w_est = 0, t = 0;

  void reduce() {
    w_max = cwnd < w_max ? cwnd * (1 + kBeta) / 2 : cwnd;
    cwnd_prior = cwnd;
    cwnd *= kBeta;
  }
  void begin() {
    k = cwnd < w_max ? std::cbrt((w_max - cwnd) / kC) : 0;
    w_max = std::max(w_max, cwnd);
    w_est = cwnd;
    t = 0;
  }
  double w_cubic(double at) const { return kC * std::pow(at - k, 3) + w_max; }
  void ack(double segments, double rtt) {
    const double alpha = w_est < cwnd_prior ? 3 * (1 - kBeta) / (1 + kBeta) : 1;
    w_est += alpha * segments / cwnd;
    if (w_cubic(t) < w_est) {
      cwnd = std::max(cwnd, w_est);
      return;
    }
    const double target = std::clamp(w_cubic(t + rtt), cwnd, 1.5 * cwnd);
    cwnd += std::min((target - cwnd) / cwnd * segments, target - cwnd);
  }
};

TEST(Cubic, CubeRootIsExact) {
  for (std::uint64_t n = 0; n < 3000; ++n) {
    const std::uint64_t cube = n * n * n;
    EXPECT_EQ(Cubic::cube_root(cube), n);
    EXPECT_EQ(Cubic::cube_root(cube - (n > 0 ? 1 : 0)), n > 0 ? n - 1 : 0);
    EXPECT_EQ(Cubic::cube_root(cube + 3 * n * n + 3 * n), n);
  }
  for (std::uint64_t n = 3000; n <= 2'642'245; n += 997) {
    EXPECT_EQ(Cubic::cube_root(n * n * n), n);
    EXPECT_EQ(Cubic::cube_root(n * n * n - 1), n - 1);
  }
  EXPECT_EQ(Cubic::cube_root(UINT64_MAX), 2'642'245u);
}

// Figure 2, to five parts in a million, from one byte to the largest window.
TEST(Cubic, Rfc9438_4_2_K) {
  for (const std::uint32_t mss : {48u, 536u, 1448u, 8948u, 65'483u}) {
    for (double below = 1; below < 67'108'864; below *= 1.37) {
      const auto bytes = static_cast<std::uint32_t>(below);
      const double k = std::cbrt(bytes / (0.4 * mss));
      EXPECT_NEAR(seconds(Cubic::time_to_rise(bytes, mss)), k, k * 5e-6 + 1e-6) << below;
    }
  }
  EXPECT_EQ(Cubic::time_to_rise(0, kMss), Micros{0});
}

// C * t^3, to two bytes and one part in a million.
TEST(Cubic, Rfc9438_4_2_Rise) {
  for (const std::uint32_t mss : {48u, 536u, 1448u, 8948u, 65'483u}) {
    for (double t = 1e-6; t < 140; t *= 1.29) {
      const auto us = Micros{static_cast<std::int64_t>(t * 1e6)};
      const double bytes = 0.4 * std::pow(seconds(us), 3) * mss;
      if (bytes > 4e9) break;
      EXPECT_NEAR(Cubic::rise(us, mss), bytes, 3 + bytes * 1e-6) << t;
      EXPECT_EQ(Cubic::rise(us, mss), Cubic::rise(-us, mss));
    }
  }
}

class Stage : public ::testing::Test {
 protected:
  // One ACK for each segment, a window's worth per round trip; both sides see the same.
  void run(Micros time, Micros rtt) {
    const Time end = now_ + time;
    while (now_ < end) {
      now_ += Micros{static_cast<std::int64_t>(static_cast<double>(rtt.count()) * kMss / window_)};
      model_.t = running_ ? model_.t + seconds(now_ - seen_) : 0;
      if (!running_) model_.begin();
      running_ = true;
      seen_ = now_;
      model_.ack(1, seconds(rtt));
      window_ += cubic_.growth(window_, kMss, kMss, now_, rtt);
      worst_ = std::max(worst_, std::abs(window_ - model_.cwnd * kMss) / window_);
    }
  }
  void start(std::uint32_t window) {
    window_ = window;
    model_.cwnd = window_ / 1000.0;
  }
  void reduce() {
    cubic_.reduce(window_);
    window_ = window_ * 7 / 10;
    model_.reduce();
    running_ = false;
  }

  Cubic cubic_;
  Formulas model_{};
  std::uint32_t window_ = 0;
  Time now_{Seconds{1000}}, seen_{};
  bool running_ = false;
  double worst_ = 0;
};

// From 70 segments back to 100 takes K = cbrt(30 / 0.4) = 4.2 s, slowing down towards it; in as
// long again the window is 130.
TEST_F(Stage, Rfc9438_4_4_ConcaveThenConvex) {
  start(100'000);
  reduce();
  EXPECT_EQ(window_, 70'000u);
  const Micros k{4'217'163};
  const Micros rtt{200'000};
  run(k / 2, rtt);
  EXPECT_GT(window_, 95'000u);
  run(k - k / 2, rtt);
  EXPECT_NEAR(window_, 100'000, 200);
  run(k, rtt);
  EXPECT_NEAR(window_, 130'000, 4000);
  EXPECT_LT(worst_, 2e-4);
}

// The same with a short round trip: there Reno is faster, with 9/17 of a segment a round up to the
// window before the loss, then one.
TEST_F(Stage, Rfc9438_4_3_RenoFriendly) {
  start(20'000);
  reduce();
  const Micros rtt{10'000};
  run(11 * rtt, rtt);
  EXPECT_NEAR(window_, 14'000 + 11 * 529, 300);
  while (window_ < 20'000) run(rtt, rtt);
  const std::uint32_t before = window_;
  run(10 * rtt, rtt);
  EXPECT_NEAR(window_, before + 10'000, 1000);
  EXPECT_LT(worst_, 2e-4);
}

// Without a loss before, there is nothing to return to: convex at once (section 4.10).
TEST_F(Stage, Rfc9438_4_10_FirstStage) {
  start(200'000);
  const Micros rtt{100'000};
  run(Seconds{5}, rtt);
  EXPECT_NEAR(window_, 250'000 + 0.4 * 3 * 25 * 0.1 * 1000, 3000);
  EXPECT_LT(worst_, 2e-4);
}

TEST_F(Stage, Rfc9438_4_7_FastConvergence) {
  start(100'000);
  reduce();  // W_max 100
  cubic_.reduce(80'000);
  // W_max is 80 * 0.85 = 68; K = cbrt((68 - 56) / 0.4) = 3.107 s.
  window_ = 56'000;
  for (int i = 0; i < 3107; ++i) {
    now_ += Millis{1};
    window_ += cubic_.growth(window_, window_ / 400, kMss, now_, Millis{400});
  }
  EXPECT_NEAR(window_, 68'000, 150);
}

TEST_F(Stage, Rfc9438_4_8_AfterATimeoutKIsZero) {
  start(100'000);
  reduce();
  run(Seconds{1}, Micros{100'000});
  cubic_.timeout(window_);
  model_.w_max = 0;
  model_.cwnd_prior = window_ / 1000.0;
  start(50'000);
  running_ = false;
  run(Seconds{3}, Micros{300'000});
  EXPECT_NEAR(model_.k, 0, 1e-9);
  EXPECT_LT(worst_, 2e-4);
}

// The target is at most half as much again, however far the curve is.
TEST_F(Stage, Rfc9438_4_2_TargetIsClamped) {
  std::uint32_t window = 10'000;
  cubic_.growth(window, kMss, kMss, now_, Micros{100});
  now_ += Seconds{100};
  EXPECT_EQ(cubic_.growth(window, window, kMss, now_, Micros{100}), 5000u);
}

// gVisor 5f8c66e2: an ACK took the window down, where the curve is below it.
TEST_F(Stage, Bug27_CurveBelowTheWindow) {
  start(100'000);
  reduce();
  cubic_.growth(70'000, 0, kMss, now_, Micros{1000});
  for (std::uint32_t i = 0; i < 1000; ++i) {
    now_ += Micros{1000};
    EXPECT_EQ(cubic_.growth(99'000, i % 3 * kMss, kMss, now_, Micros{1000}), 0u);
  }
}

// Section 5.8: time in which the application limited is not time of the curve.
TEST_F(Stage, Rfc9438_5_8_PausedTimeDoesNotCount) {
  start(100'000);
  reduce();
  run(Seconds{1}, Micros{100'000});
  now_ += Seconds{3600};
  cubic_.pause(now_);
  seen_ = now_;
  run(Seconds{3}, Micros{100'000});
  EXPECT_NEAR(window_, 99'400, 1000);
  EXPECT_LT(worst_, 2e-4);
}

}  // namespace
}  // namespace sluice::tcp
