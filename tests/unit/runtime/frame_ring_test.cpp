#include "runtime/frame_ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace sluice::runtime {
namespace {

// Bytes that tell which record they belong to.
std::vector<std::uint8_t> content(std::uint64_t number, std::size_t length) {
  std::vector<std::uint8_t> bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::uint8_t>(number * 31 + i);
  return bytes;
}

bool push(FrameRing& ring, std::uint64_t number, std::size_t length) {
  return ring.push({.time = number,
                    .wire_length = static_cast<std::uint32_t>(length + 4),
                    .port = static_cast<std::uint16_t>(number % 3),
                    .outbound = number % 2 == 1},
                   content(number, length));
}

bool is(const FrameRing::View& view, std::uint64_t number, std::size_t length) {
  return view.frame.time == number && view.frame.wire_length == length + 4 &&
         view.frame.port == number % 3 && view.frame.outbound == (number % 2 == 1) &&
         std::ranges::equal(view.bytes, content(number, length));
}

TEST(FrameRing, KeepsOrderAndBytesHoweverOftenItGoesRound) {
  FrameRing ring(4096);
  EXPECT_FALSE(ring.front());
  std::uint64_t in = 0, out = 0;
  const auto length = [](std::uint64_t number) { return std::size_t{number * 37 % 1000}; };
  for (int round = 0; round < 2000; ++round) {
    while (push(ring, in, length(in))) ++in;
    ASSERT_GT(in, out);
    for (int i = 0; i < 2 && out < in; ++i) {
      const auto view = ring.front();
      ASSERT_TRUE(view);
      ASSERT_TRUE(is(*view, out, length(out))) << out;
      ASSERT_TRUE(is(*ring.front(), out, length(out))) << "until it is let go";
      ring.pop();
      ++out;
    }
  }
  EXPECT_GT(out, 3000u);
}

TEST(FrameRing, ARefusedRecordLeavesNoTrace) {
  FrameRing ring(4096);
  EXPECT_FALSE(push(ring, 0, 4096)) << "longer than the ring";
  EXPECT_FALSE(ring.front());
  std::uint64_t kept = 0;
  while (push(ring, kept, 100)) ++kept;
  EXPECT_EQ(kept, 4096u / 160) << "a head of 32 bytes each, and bytes in steps of 32";
  EXPECT_FALSE(push(ring, 99, 100));
  for (std::uint64_t i = 0; i < kept; ++i) {
    ASSERT_TRUE(is(*ring.front(), i, 100));
    ring.pop();
  }
  EXPECT_FALSE(ring.front());
  EXPECT_TRUE(push(ring, 7, 0));
  EXPECT_TRUE(is(*ring.front(), 7, 0));
}

TEST(FrameRing, CarriesEverythingBetweenTwoThreads) {
  constexpr std::uint64_t kCount = 50'000;
  FrameRing ring(8192);
  const auto length = [](std::uint64_t number) { return std::size_t{number * 101 % 1514}; };
  std::thread producer([&] {
    for (std::uint64_t i = 0; i < kCount;) {
      if (push(ring, i, length(i))) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  std::uint64_t wrong = 0;
  for (std::uint64_t expected = 0; expected < kCount;) {
    const auto view = ring.front();
    if (!view) {
      std::this_thread::yield();
      continue;
    }
    if (!is(*view, expected, length(expected))) ++wrong;
    ring.pop();
    ++expected;
  }
  producer.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace sluice::runtime
