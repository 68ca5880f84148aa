#include "packet/checksum.h"

#include <gtest/gtest.h>

#include <random>

#include "helpers.h"

namespace sluice::packet {
namespace {

using test::hex;
using test::ip;

// RFC 1071 section 4.1, word by word.
std::uint16_t slow_checksum(ByteSpan bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    const std::uint32_t low = i + 1 < bytes.size() ? bytes[i + 1] : 0u;
    sum += (std::uint32_t{bytes[i]} << 8) | low;
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

TEST(Checksum, Rfc1071Section3Example) {
  const auto bytes = hex("00 01 f2 03 f4 f5 f6 f7");
  EXPECT_EQ(fold(sum_bytes(bytes)), 0xddf2);
  EXPECT_EQ(checksum(bytes), 0x220d);
}

TEST(Checksum, AgreesWithTheDefinitionAtEveryLengthAndAlignment) {
  std::mt19937 random(1);
  std::vector<std::uint8_t> bytes(400);
  for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
  for (std::size_t start = 0; start < 9; ++start) {
    for (std::size_t n = 0; n + start <= bytes.size(); ++n) {
      const ByteSpan piece = ByteSpan{bytes}.subspan(start, n);
      ASSERT_EQ(checksum(piece), slow_checksum(piece)) << start << " " << n;
    }
  }
}

TEST(Checksum, CarriesAreNotLostInLongRunsOfOnes) {
  const std::vector<std::uint8_t> ones(65535, 0xff);
  EXPECT_EQ(checksum(ones), slow_checksum(ones));
}

TEST(Checksum, EmptyIsAllOnes) { EXPECT_EQ(checksum({}), 0xffff); }

// A header seen in many textbooks: 172.16.10.99 to 172.16.10.12, checksum b1e6.
TEST(Checksum, KnownIpv4Header) {
  const auto header = hex("45 00 00 3c 1c 46 40 00 40 06 b1 e6 ac 10 0a 63 ac 10 0a 0c");
  EXPECT_TRUE(checksum_ok(header));
  auto zeroed = header;
  zeroed[10] = zeroed[11] = 0;
  EXPECT_EQ(checksum(zeroed), 0xb1e6);
}

TEST(Checksum, PseudoHeaderIsTheFieldsOfRfc9293Section3_1) {
  const auto fields = hex("c6 12 01 02 c6 12 01 01 00 06 00 14");
  EXPECT_EQ(fold(pseudo_header_sum(ip("198.18.1.2"), ip("198.18.1.1"), 6, 20)),
            fold(sum_bytes(fields)));
}

TEST(Checksum, PseudoHeaderIsTheFieldsOfRfc8200Section8_1) {
  const auto fields =
      hex("2001 0db8 0000 0000 0000 0000 0000 0001 2001 0db8 0000 0000 0000 0000 0000 0002"
          "0000 0014 0000 003a");
  EXPECT_EQ(fold(pseudo_header_sum(ip("2001:db8::1"), ip("2001:db8::2"), 58, 20)),
            fold(sum_bytes(fields)));
}

TEST(Checksum, UdpZeroIsSentAsOnes) {
  // Chosen so that everything sums to ffff.
  std::vector<std::uint8_t> udp(10);
  store_be16(&udp[4], 10);
  const std::uint16_t needed = l4_checksum(ip("198.18.1.2"), ip("198.18.1.1"), 17, udp);
  store_be16(&udp[8], needed);
  EXPECT_EQ(l4_checksum(ip("198.18.1.2"), ip("198.18.1.1"), 17, udp), 0xffff);
}

TEST(Checksum, TcpAcceptsBothZeros) {
  std::vector<std::uint8_t> tcp(20);
  const std::uint16_t needed = l4_checksum(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp);
  store_be16(&tcp[4], needed);  // now the checksum field must be zero, or minus zero
  EXPECT_TRUE(l4_checksum_ok(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp));
  store_be16(&tcp[16], 0xffff);
  EXPECT_TRUE(l4_checksum_ok(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp));
  store_be16(&tcp[16], 1);
  EXPECT_FALSE(l4_checksum_ok(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp));
}

// RFC 1624 section 4: the example that RFC 1141 gets wrong.
TEST(Checksum, Rfc1624Section4Example) {
  EXPECT_EQ(checksum_update16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

TEST(Checksum, IncrementalUpdateAgreesWithRecomputing) {
  std::mt19937 random(2);
  std::vector<std::uint8_t> bytes(40);
  for (int round = 0; round < 2000; ++round) {
    for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
    bytes[0] = 0x45;  // never all zero
    const std::uint16_t before = checksum(bytes);
    const std::uint32_t old_value = load_be32(&bytes[12]);
    const auto new_value = static_cast<std::uint32_t>(random());
    store_be32(&bytes[12], new_value);
    ASSERT_EQ(checksum_update32(before, old_value, new_value), checksum(bytes));
  }
}

}  // namespace
}  // namespace sluice::packet
