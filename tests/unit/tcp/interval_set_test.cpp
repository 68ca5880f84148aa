#include "interval_set.h"

#include <gtest/gtest.h>

#include <bitset>
#include <random>

namespace sluice::tcp {
namespace {

using Added = IntervalSet::Added;

TEST(IntervalSet, JoinsWhatTouches) {
  IntervalSet s;
  EXPECT_EQ(s.add(10, 20), Added::fresh);
  EXPECT_EQ(s.add(30, 40), Added::fresh);
  EXPECT_EQ(s.count(), 2u);
  EXPECT_EQ(s.add(20, 30), Added::fresh);
  EXPECT_EQ(s.count(), 1u);
  EXPECT_EQ(s.front(), (Interval{10, 40}));
  EXPECT_EQ(s.add(5, 50), Added::fresh);
  EXPECT_EQ(s.front(), (Interval{5, 50}));
  EXPECT_EQ(s.add(5, 50), Added::nothing_new);
  EXPECT_EQ(s.add(6, 7), Added::nothing_new);
  EXPECT_EQ(s.add(7, 7), Added::nothing_new);
  EXPECT_EQ(s.add(9, 8), Added::nothing_new);
}

TEST(IntervalSet, FullRefusesNewRangesOnly) {
  IntervalSet s;
  for (std::uint32_t i = 0; i < IntervalSet::kCapacity; ++i) {
    EXPECT_EQ(s.add(10 * i, 10 * i + 1), Added::fresh);
  }
  EXPECT_EQ(s.add(10 * IntervalSet::kCapacity, 10 * IntervalSet::kCapacity + 1), Added::full);
  EXPECT_EQ(s.add(5, 6), Added::full);
  EXPECT_EQ(s.add(1, 5), Added::fresh);  // makes one longer
  EXPECT_EQ(s.add(0, 1'000'000), Added::fresh);
  EXPECT_EQ(s.count(), 1u);
}

TEST(IntervalSet, ShiftForgetsWhatIsBefore) {
  IntervalSet s;
  s.add(10, 20);
  s.add(30, 40);
  s.shift(15);
  EXPECT_EQ(s[0], (Interval{0, 5}));
  EXPECT_EQ(s[1], (Interval{15, 25}));
  s.shift(25);
  EXPECT_TRUE(s.empty());
}

// Against a bitmap, which cannot be wrong.
TEST(IntervalSet, EqualsABitmap) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    IntervalSet s;
    std::bitset<512> map;
    for (int step = 0; step < 60; ++step) {
      const auto a = static_cast<std::uint32_t>(random() % 500);
      const auto b = a + static_cast<std::uint32_t>(random() % 12);
      if (random() % 8 == 0) {
        s.shift(a % 20);
        map >>= a % 20;
        continue;
      }
      bool fresh = false;
      std::bitset<512> with = map;
      for (std::uint32_t i = a; i < b; ++i) with.set(i), fresh |= !map.test(i);
      const Added added = s.add(a, b);
      if (added == Added::full) continue;
      EXPECT_EQ(added, fresh ? Added::fresh : Added::nothing_new);
      map = with;
    }
    EXPECT_EQ(s.total(), map.count());
    for (std::size_t i = 0; i + 1 < s.count(); ++i) ASSERT_LT(s[i].end, s[i + 1].start);
    for (std::uint32_t i = 0; i < 512; ++i) {
      ASSERT_EQ(s.holding(i) != nullptr, map.test(i)) << i;
      const Interval hole = s.hole(i, 512);
      std::uint32_t start = i;
      while (start < 512 && map.test(start)) ++start;
      std::uint32_t end = start;
      while (end < 512 && !map.test(end)) ++end;
      ASSERT_EQ(hole, (Interval{start, end})) << i;
    }
    EXPECT_EQ(s.covered(100, 300), ((map >> 100) << 312).count());
  }
}

}  // namespace
}  // namespace sluice::tcp
