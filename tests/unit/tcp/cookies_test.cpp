#include "cookies.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

constexpr std::uint64_t kSecret[2] = {0x0123456789abcdef, 0xfedcba9876543210};

class Cookies : public ::testing::Test {
 protected:
  Seq make(std::uint8_t mss = 0, const CookieOptions& o = {}) {
    return cookies.make(key, irs, mss, o, now);
  }
  std::optional<CookieOptions> read(Seq iss, bool timestamps = false, std::uint32_t echo = 0) {
    return cookies.read(key, irs, iss, timestamps, echo, now);
  }

  SynCookies cookies{kSecret};
  FlowKey key{IpAddress::v4(0xc6120001), IpAddress::v4(0xc6120002), 443, 40000};
  Seq irs{0xfffffff0};
  Time now{Seconds{64 * 1000}};
};

TEST_F(Cookies, EachMssOfTheTable) {
  for (std::uint8_t i = 0; i < SynCookies::kMss.size(); ++i) {
    EXPECT_EQ(SynCookies::mss_index(SynCookies::kMss[i]), i);
    const auto o = read(make(i));
    ASSERT_TRUE(o.has_value());
    EXPECT_EQ(o->mss, SynCookies::kMss[i]);
  }
  EXPECT_EQ(SynCookies::kMss[SynCookies::mss_index(1459)], 1440);
  EXPECT_EQ(SynCookies::kMss[SynCookies::mss_index(65535)], 8940);
  EXPECT_EQ(SynCookies::kMss[SynCookies::mss_index(1)], 48);
}

TEST_F(Cookies, EveryCombinationOfOptions) {
  for (std::uint32_t clock : {0u, 5u, 31u, 1000u, 0x7fffffffu, 0xffffffffu}) {
    for (int scale = -1; scale <= 14; ++scale) {
      for (const bool sack : {false, true}) {
        CookieOptions asked{.mss = 1460,
                            .timestamps = true,
                            .scaled = scale >= 0,
                            .scale = static_cast<std::uint8_t>(scale < 0 ? 0 : scale),
                            .sack = sack};
        const std::uint32_t ts = SynCookies::timestamp(clock, asked);
        // Never ahead of the clock, never far behind.
        EXPECT_LE(clock - ts, SynCookies::kLowBits);
        const auto got = read(make(SynCookies::mss_index(1460), asked), true, ts);
        ASSERT_TRUE(got.has_value());
        EXPECT_EQ(*got, asked);
      }
    }
  }
}

// What came back with other options than it went out with is not ours.
TEST_F(Cookies, EchoIsCovered) {
  const CookieOptions asked{.timestamps = true, .scaled = true, .scale = 7, .sack = true};
  const Seq iss = make(0, asked);
  const std::uint32_t ts = SynCookies::timestamp(123'456, asked);
  for (std::uint32_t bits = 0; bits <= SynCookies::kLowBits; ++bits) {
    const std::uint32_t echo = (ts & ~SynCookies::kLowBits) | bits;
    EXPECT_EQ(read(iss, true, echo).has_value(), echo == ts) << bits;
  }
  EXPECT_FALSE(read(iss).has_value());
}

TEST_F(Cookies, TupleIsCovered) {
  const Seq iss = make();
  EXPECT_TRUE(read(iss).has_value());
  FlowKey other = key;
  other.remote_port = 40001;
  EXPECT_FALSE(cookies.read(other, irs, iss, false, 0, now).has_value());
  other = key;
  other.local_port = 444;
  EXPECT_FALSE(cookies.read(other, irs, iss, false, 0, now).has_value());
  other = key;
  other.remote = IpAddress::v4(0xc6120003);
  EXPECT_FALSE(cookies.read(other, irs, iss, false, 0, now).has_value());
  other = key;
  other.local = IpAddress::v4(0xc6120003);
  EXPECT_FALSE(cookies.read(other, irs, iss, false, 0, now).has_value());
  EXPECT_FALSE(cookies.read(key, irs + 1000, iss, false, 0, now).has_value());
}

// 64 to 128 seconds, also across a change of the secret (every 16 ticks) and of the count's octet.
TEST_F(Cookies, Age) {
  for (const int tick : {0, 1, 15, 16, 254, 255, 256, 4095}) {
    for (const int into : {0, 1, 63}) {
      const Time made{Seconds{64 * tick + into}};
      now = made;
      const Seq iss = make(3);
      for (int later = 0; later < 400; ++later) {
        now = made + Seconds{later};
        EXPECT_EQ(read(iss).has_value(), into + later < 128) << tick << " " << into << " " << later;
      }
    }
  }
}

// Guesses succeed at the rate that is left to chance: of 2^32 numbers 8 per tick are valid, so in
// a million none is expected (the chance of one is 0.4 %, and the secret is fixed).
TEST_F(Cookies, Guesses) {
  std::uint32_t guess = 1;
  int valid = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    guess = guess * 1664525 + 1013904223;
    valid += read(Seq{guess}).has_value() ? 1 : 0;
  }
  EXPECT_EQ(valid, 0);
}

// All workers have one secret, and whichever of them gets the ACK must know it.
TEST_F(Cookies, AnotherWorkerWithTheSameSecret) {
  SynCookies other{kSecret};
  EXPECT_TRUE(other.read(key, irs, make(2), false, 0, now).has_value());
  const std::uint64_t secret[2] = {kSecret[0], kSecret[1] + 1};
  EXPECT_FALSE(SynCookies{secret}.read(key, irs, make(2), false, 0, now).has_value());
}

TEST_F(Cookies, Rfc9293_3_4_1_GrowForOneTuple) {
  Seq last = make(7);
  for (int tick = 1; tick < 100; ++tick) {
    now += Seconds{64};
    const Seq next = make(0);
    EXPECT_GT(next, last);
    last = next;
  }
}

}  // namespace
}  // namespace sluice::tcp
