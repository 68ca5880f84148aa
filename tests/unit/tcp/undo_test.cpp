#include "undo.h"

#include <gtest/gtest.h>

#include <set>

namespace sluice::tcp {
namespace {

// Across the wrap.
constexpr Seq at(std::uint32_t n) { return Seq(0xfffffff0u) + n; }

TEST(ResentRanges, AllReported) {
  ResentRanges r;
  r.add(at(0), at(10), false);
  r.add(at(10), at(20), false);
  r.add(at(30), at(40), false);
  EXPECT_FALSE(r.all_reported());
  r.reported(at(10), at(20));
  r.reported(at(30), at(40));
  EXPECT_FALSE(r.all_reported());
  r.reported(at(30), at(40));
  EXPECT_FALSE(r.all_reported());
  r.reported(at(0), at(10));
  EXPECT_TRUE(r.all_reported());
}

TEST(ResentRanges, Twice) {
  ResentRanges r;
  r.add(at(0), at(10), true);
  r.reported(at(0), at(10));
  EXPECT_FALSE(r.all_reported());
}

TEST(ResentRanges, MoreThanThereIsRoomFor) {
  ResentRanges r;
  for (std::uint32_t i = 0; i <= ResentRanges::kCapacity; ++i) {
    r.add(at(20 * i), at(20 * i + 10), false);
  }
  r.reported(at(0), at(1000));
  EXPECT_FALSE(r.all_reported());
}

// Against a set of numbers, whatever is reported.
TEST(ResentRanges, Random) {
  std::uint64_t random = 1;
  const auto below = [&](std::uint64_t n) {
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint32_t>((random >> 33) % n);
  };
  for (int run = 0; run < 1000; ++run) {
    ResentRanges r;
    std::set<std::uint32_t> left;
    std::uint32_t next = 0;
    for (int i = 0; i < 3; ++i) {
      const std::uint32_t start = next + below(2), end = start + 1 + below(8);
      r.add(at(start), at(end), false);
      for (std::uint32_t n = start; n < end; ++n) left.insert(n);
      next = end;
    }
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t start = below(30), end = start + 1 + below(30);
      r.reported(at(start), at(end));
      for (std::uint32_t n = start; n < end; ++n) left.erase(n);
      ASSERT_EQ(r.all_reported(), left.empty());
    }
  }
}

}  // namespace
}  // namespace sluice::tcp
