#include "base/timer_wheel.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <vector>

namespace sluice {
namespace {

struct Node : TimerNode {
  Time due = kNever;  // what the wheel should know
  int fired = 0;
};

Time at(std::int64_t us) { return Time{Micros{us}}; }

TEST(TimerWheel, FiresOnceNotEarlyAndWithinATick) {
  TimerWheel wheel(Time{}, Micros{100});
  Node n;
  wheel.arm(n, at(12'345));
  EXPECT_EQ(wheel.expire(at(12'344), 10, [](TimerNode&) { FAIL(); }), 0u);
  EXPECT_TRUE(n.armed());
  EXPECT_EQ(wheel.expire(at(12'445), 10, [](TimerNode&) {}), 1u);
  EXPECT_FALSE(n.armed());
  EXPECT_EQ(n.deadline(), kNever);
  EXPECT_EQ(wheel.next_deadline(), kNever);
}

TEST(TimerWheel, MovedLaterDoesNotFireAtTheOldTime) {
  TimerWheel wheel(Time{}, Micros{100});
  Node n;
  wheel.arm(n, at(1000));
  wheel.arm(n, at(50'000'000));
  EXPECT_EQ(wheel.expire(at(49'999'999), 10, [](TimerNode&) { FAIL(); }), 0u);
  EXPECT_EQ(wheel.expire(at(50'000'100), 10, [](TimerNode&) {}), 1u);
}

TEST(TimerWheel, CancelledAndNever) {
  TimerWheel wheel;
  Node n;
  wheel.arm(n, at(1000));
  wheel.cancel(n);
  wheel.cancel(n);
  wheel.arm(n, at(1000));
  wheel.arm(n, kNever);
  EXPECT_EQ(wheel.armed(), 0u);
  EXPECT_EQ(wheel.expire(at(1'000'000), 10, [](TimerNode&) { FAIL(); }), 0u);
}

TEST(TimerWheel, AtMostSoManyAtOnce) {
  TimerWheel wheel;
  std::deque<Node> nodes(100);
  for (Node& n : nodes) wheel.arm(n, at(1000));
  std::size_t fired = 0;
  const auto count = [&](TimerNode&) { ++fired; };
  EXPECT_EQ(wheel.expire(at(5000), 30, count), 30u);
  EXPECT_EQ(wheel.expire(at(5000), 1000, count), 70u);
  EXPECT_EQ(fired, 100u);
}

TEST(TimerWheel, ArmedAgainWhileItFires) {
  TimerWheel wheel(Time{}, Micros{100});
  Node n;
  wheel.arm(n, at(1000));
  Time now = at(0);
  int fired = 0;
  while (fired < 10) {
    now += Micros{100};
    ASSERT_LT(now, at(20'000));
    wheel.expire(now, 10, [&](TimerNode& node) {
      ++fired;
      wheel.arm(node, now + Micros{1000});
    });
  }
  wheel.cancel(n);
}

// VPP: what one that fires cancels has been taken from its slot already, and must not fire.
TEST(TimerWheel, Bug10_CancelledByOneThatFires) {
  TimerWheel wheel;
  std::deque<Node> nodes(10);
  for (Node& n : nodes) wheel.arm(n, at(1000));
  int fired = 0;
  wheel.expire(at(5000), 100, [&](TimerNode& node) {
    ++fired;
    for (Node& n : nodes) {
      if (&n != &node) wheel.cancel(n);
    }
  });
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(wheel.armed(), 0u);
}

// Any pattern of arming, moving, cancelling and long jumps of the clock: nothing fires early,
// nothing that is due stays, and next_deadline() is never later than the first.
TEST(TimerWheel, EqualsAList) {
  for (const std::int64_t tick : {1, 100, 1000}) {
    std::mt19937_64 random(static_cast<std::uint64_t>(tick));
    TimerWheel wheel(at(777), Micros{tick});
    std::deque<Node> nodes(200);
    Time now = at(0);
    for (int step = 0; step < 20'000; ++step) {
      Node& n = nodes[random() % nodes.size()];
      const auto scale = std::int64_t{1} << random() % 40;
      switch (random() % 4) {
        case 0:
        case 1:
          n.due = now + Micros{static_cast<std::int64_t>(random() % 1000) * scale / 1000 - 50};
          wheel.arm(n, n.due);
          break;
        case 2:
          n.due = kNever;
          wheel.cancel(n);
          break;
        default:
          now += Micros{static_cast<std::int64_t>(random() % 1000) * scale / 1000};
          wheel.expire(now, 1000, [&](TimerNode& node) {
            auto& fired = static_cast<Node&>(node);
            ASSERT_LE(fired.due, now);
            fired.due = kNever;
          });
          for (const Node& m : nodes) {
            if (m.due == kNever) continue;
            ASSERT_GT(m.due + Micros{tick}, now);
          }
      }
      if (step % 16 != 0) continue;
      Time first = kNever;
      for (const Node& m : nodes) first = std::min(first, m.due);
      if (first == kNever) {
        ASSERT_EQ(wheel.next_deadline(), kNever);
      } else {
        ASSERT_LE(wheel.next_deadline(), std::max(first, now) + Micros{tick});
      }
    }
    for (Node& n : nodes) wheel.cancel(n);
  }
}

}  // namespace
}  // namespace sluice
