#include "packet/icmp.h"

#include <gtest/gtest.h>

#include "helpers.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"

namespace sluice::packet {
namespace {

using test::ip;

std::vector<std::uint8_t> v4_error(std::uint8_t type, std::uint8_t code, std::uint16_t mtu = 0,
                                   std::size_t quoted_payload = 1460) {
  std::vector<std::uint8_t> bytes(8 + 20 + 8);
  bytes[0] = type;
  bytes[1] = code;
  store_be16(&bytes[6], mtu);
  write_ipv4(MutByteSpan{bytes}.subspan(8), {.source = ip("198.18.1.1"),
                                             .destination = ip("198.18.9.9"),
                                             .protocol = kProtocolTcp,
                                             .payload = quoted_payload});
  store_be16(&bytes[28], 50000);
  store_be16(&bytes[30], 443);
  store_be32(&bytes[32], 0x01020304);
  return bytes;
}

std::vector<std::uint8_t> v6_error(std::uint8_t type, std::uint8_t code, std::uint32_t field = 0) {
  std::vector<std::uint8_t> bytes(8 + 40 + 8);
  bytes[0] = type;
  bytes[1] = code;
  store_be32(&bytes[4], field);
  write_ipv6(MutByteSpan{bytes}.subspan(8), {.source = ip("2001:db8::1"),
                                             .destination = ip("2001:db8:9::9"),
                                             .next_header = kProtocolTcp,
                                             .payload = 1440});
  store_be16(&bytes[48], 50000);
  store_be16(&bytes[50], 443);
  return bytes;
}

TEST(IcmpError, QuotedFlow) {
  const auto bytes = v4_error(kIcmpUnreachable, 1);
  const auto error = parse_icmp_error(false, bytes);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->source, ip("198.18.1.1"));
  EXPECT_EQ(error->destination, ip("198.18.9.9"));
  EXPECT_EQ(error->source_port, 50000);
  EXPECT_EQ(error->destination_port, 443);
  ASSERT_EQ(error->quoted.size(), 8u);
  EXPECT_EQ(load_be32(&error->quoted[4]), 0x01020304u);
  EXPECT_EQ(error->mtu, 0);
}

// RFC 1122 section 4.2.3.9: codes 2 to 4 are hard (4 since became path MTU discovery), 0, 1 and 5
// are soft, and so are time exceeded and parameter problem.
TEST(IcmpError, HardAndSoft) {
  for (const std::uint8_t code : std::initializer_list<std::uint8_t>{0, 1, 5, 6, 7, 8, 11, 12}) {
    EXPECT_FALSE(parse_icmp_error(false, v4_error(3, code))->hard) << int{code};
  }
  for (const std::uint8_t code : std::initializer_list<std::uint8_t>{2, 3, 9, 10, 13}) {
    EXPECT_TRUE(parse_icmp_error(false, v4_error(3, code))->hard) << int{code};
  }
  EXPECT_FALSE(parse_icmp_error(false, v4_error(11, 0))->hard);
  EXPECT_FALSE(parse_icmp_error(false, v4_error(12, 0))->hard);
  EXPECT_FALSE(parse_icmp_error(true, v6_error(1, 0))->hard);
  EXPECT_FALSE(parse_icmp_error(true, v6_error(1, 3))->hard);
  EXPECT_TRUE(parse_icmp_error(true, v6_error(1, 4))->hard);
  EXPECT_TRUE(parse_icmp_error(true, v6_error(4, 1))->hard);
  EXPECT_FALSE(parse_icmp_error(true, v6_error(4, 0))->hard);
}

TEST(IcmpError, IgnoredTypes) {
  EXPECT_FALSE(parse_icmp_error(false, v4_error(4, 0)).has_value());  // source quench, RFC 6633
  EXPECT_FALSE(parse_icmp_error(false, v4_error(5, 1)).has_value());  // redirect
  EXPECT_FALSE(parse_icmp_error(false, v4_error(3, 16)).has_value());
  EXPECT_FALSE(is_icmp_error(false, 4));
  EXPECT_FALSE(is_icmp_error(true, kIcmpv6Redirect));
}

TEST(IcmpError, NextHopMtuRfc1191) {
  EXPECT_EQ(parse_icmp_error(false, v4_error(3, 4, 1400))->mtu, 1400);
  EXPECT_FALSE(parse_icmp_error(false, v4_error(3, 4, 1400))->hard);
  // Section 7.1: a router that leaves the field zero gets the next plateau below the packet.
  EXPECT_EQ(parse_icmp_error(false, v4_error(3, 4, 0, 1480))->mtu, 1492);
  EXPECT_EQ(parse_icmp_error(false, v4_error(3, 4, 0, 1460))->mtu, 1006);
  EXPECT_EQ(parse_icmp_error(false, v4_error(3, 4, 1))->mtu, 68);
}

TEST(IcmpError, PacketTooBigRfc8201) {
  EXPECT_EQ(parse_icmp_error(true, v6_error(2, 0, 1400))->mtu, 1400);
  EXPECT_EQ(parse_icmp_error(true, v6_error(2, 0, 0x20000))->mtu, 0xffff);
  EXPECT_FALSE(parse_icmp_error(true, v6_error(2, 0, 1279)).has_value());
}

TEST(IcmpError, EveryTruncationIsRefused) {
  for (const bool ipv6 : {false, true}) {
    const auto whole = ipv6 ? v6_error(1, 4) : v4_error(3, 3);
    ASSERT_TRUE(parse_icmp_error(ipv6, whole).has_value());
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const std::vector<std::uint8_t> cut(whole.begin(),
                                          whole.begin() + static_cast<std::ptrdiff_t>(n));
      EXPECT_FALSE(parse_icmp_error(ipv6, cut).has_value()) << n;
    }
  }
}

TEST(IcmpError, QuotesThatNameNoFlow) {
  auto later_fragment = v4_error(3, 3);
  store_be16(&later_fragment[8 + 6], 5);
  EXPECT_FALSE(parse_icmp_error(false, later_fragment).has_value());
  auto icmp = v4_error(3, 3);
  icmp[8 + 9] = kProtocolIcmp;  // RFC 1122 section 3.2.2: no errors about errors
  EXPECT_FALSE(parse_icmp_error(false, icmp).has_value());
  auto long_header = v4_error(3, 3);
  long_header[8] = 0x4f;
  EXPECT_FALSE(parse_icmp_error(false, long_header).has_value());
}

}  // namespace
}  // namespace sluice::packet
