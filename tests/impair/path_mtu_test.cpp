#include "path_mtu.h"

#include <gtest/gtest.h>

#include "packet/checksum.h"
#include "packet/icmp.h"
#include "test_packets.h"

namespace sluice::impair {
namespace {

TEST(PathMtu, Rfc1191PacketTooBigIsWellFormed) {
  const Bytes segment = make_segment(7, kAck, 1460);
  ASSERT_TRUE(dont_fragment(segment));
  const Bytes error = packet_too_big(segment, 1400);
  ASSERT_EQ(ip_version(error), 4u);
  EXPECT_LE(error.size(), 576u);
  EXPECT_TRUE(packet::checksum_ok(ByteSpan{error}.first(20)));
  EXPECT_TRUE(packet::checksum_ok(ByteSpan{error}.subspan(20)));
  EXPECT_EQ(load_be32(&error[16]), 0xc6120001u) << "goes to the packet's source";
  const auto parsed = packet::parse_icmp_error(false, ByteSpan{error}.subspan(20));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->mtu, 1400u);
  EXPECT_EQ(parsed->source_port, 1000u);
  EXPECT_EQ(load_be32(&parsed->quoted[4]), 7u);
}

TEST(PathMtu, Rfc4443PacketTooBigIsWellFormed) {
  const Bytes segment = make_segment(7, kAck, 1440, 6);
  ASSERT_TRUE(dont_fragment(segment));
  const Bytes error = packet_too_big(segment, 1300);
  ASSERT_EQ(ip_version(error), 6u);
  EXPECT_LE(error.size(), 1280u);
  const auto address = [](const std::uint8_t* p) {
    return IpAddress::v6(std::span<const std::uint8_t, 16>{p, 16});
  };
  EXPECT_TRUE(packet::l4_checksum_ok(address(&error[8]), address(&error[24]), 58,
                                     ByteSpan{error}.subspan(40)));
  const auto parsed = packet::parse_icmp_error(true, ByteSpan{error}.subspan(40));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->mtu, 1300u);
  EXPECT_EQ(parsed->source_port, 1000u);
}

TEST(PathMtu, Rfc1122ErrorsAreNotAnswered) {
  const Bytes error = packet_too_big(make_segment(7, kAck, 1460), 1400);
  EXPECT_TRUE(packet_too_big(error, 100).empty());
  const Bytes error6 = packet_too_big(make_segment(7, kAck, 1440, 6), 1300);
  EXPECT_TRUE(packet_too_big(error6, 100).empty());
  Bytes fragment = make_segment(7, kAck, 1460);
  store_be16(&fragment[6], 100);
  EXPECT_TRUE(packet_too_big(fragment, 1400).empty());
}

TEST(PathMtu, Rfc791FragmentsPutTogetherAreThePacket) {
  Bytes segment = make_segment(7, kAck, 1460);
  store_be16(&segment[6], 0);
  ASSERT_FALSE(dont_fragment(segment));
  const std::vector<Bytes> pieces = fragment(segment, 576);
  ASSERT_EQ(pieces.size(), 3u);
  Bytes whole(segment.begin(), segment.begin() + 20);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Bytes& piece = pieces[i];
    EXPECT_LE(piece.size(), 576u);
    EXPECT_EQ(load_be16(&piece[2]), piece.size());
    EXPECT_TRUE(packet::checksum_ok(ByteSpan{piece}.first(20)));
    const std::uint16_t field = load_be16(&piece[6]);
    EXPECT_EQ((field & 0x1fff) * 8u, whole.size() - 20);
    EXPECT_EQ((field & 0x2000) != 0, i + 1 < pieces.size());
    whole.insert(whole.end(), piece.begin() + 20, piece.end());
  }
  EXPECT_TRUE(std::equal(whole.begin() + 20, whole.end(), segment.begin() + 20, segment.end()));
}

}  // namespace
}  // namespace sluice::impair
