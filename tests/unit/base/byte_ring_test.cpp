#include "base/byte_ring.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <vector>

namespace sluice {
namespace {

TEST(ByteRing, HoldsNoMemoryUntilAsked) {
  ByteRing ring;
  EXPECT_EQ(ring.capacity(), 0u);
  EXPECT_TRUE(ring.run().empty());
  EXPECT_EQ(ring.capacity_for(1), ByteRing::kSmallest);
  EXPECT_EQ(ring.capacity_for(5000), 8192u);
  ASSERT_TRUE(ring.reserve(5000));
  EXPECT_EQ(ring.capacity(), 8192u);
  ring.release();
  EXPECT_EQ(ring.capacity(), 0u);
}

// Against a deque, through growth, wrap and bytes put down ahead.
TEST(ByteRing, EqualsADeque) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    ByteRing ring;
    std::deque<std::uint8_t> model;
    std::uint8_t next = 0;
    for (int step = 0; step < 400; ++step) {
      std::vector<std::uint8_t> bytes(random() % 700);
      for (auto& b : bytes) b = next++;
      switch (random() % 3) {
        case 0:
          ASSERT_TRUE(ring.reserve(model.size() + bytes.size()));
          ring.append(bytes);
          model.insert(model.end(), bytes.begin(), bytes.end());
          break;
        case 1: {
          // The second half first, then growth, then the first half.
          const std::size_t half = bytes.size() / 2;
          ASSERT_TRUE(ring.reserve(model.size() + bytes.size()));
          ring.write_beyond(half, ByteSpan{bytes}.subspan(half));
          ASSERT_TRUE(
              ring.reserve(ring.capacity() + (ring.capacity() < 30'000 ? random() % 2 : 0)));
          ring.write_beyond(0, ByteSpan{bytes}.first(half));
          ring.extend(bytes.size());
          model.insert(model.end(), bytes.begin(), bytes.end());
          break;
        }
        default: {
          const std::size_t n = std::min<std::size_t>(random() % 1500, model.size());
          ring.drop(n);
          model.erase(model.begin(), model.begin() + static_cast<std::ptrdiff_t>(n));
        }
      }
      ASSERT_EQ(ring.size(), model.size());
      std::vector<std::uint8_t> all(model.size());
      ring.copy_out(0, all);
      ASSERT_TRUE(std::equal(all.begin(), all.end(), model.begin()));
      // Two runs make the whole.
      const ByteSpan first = ring.run();
      const ByteSpan second = ring.run(first.size());
      ASSERT_EQ(first.size() + second.size(), model.size());
      ASSERT_TRUE(std::equal(second.begin(), second.end(),
                             model.begin() + static_cast<std::ptrdiff_t>(first.size())));
    }
  }
}

}  // namespace
}  // namespace sluice
