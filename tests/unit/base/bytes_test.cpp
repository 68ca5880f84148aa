#include "base/bytes.h"

#include <gtest/gtest.h>

#include <array>

#include "base/siphash.h"

namespace sluice {
namespace {

TEST(ByteReader, ReadsInNetworkOrder) {
  const std::array<std::uint8_t, 15> bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  ByteReader in(bytes);
  EXPECT_EQ(in.u8(), 1);
  EXPECT_EQ(in.be16(), 0x0203);
  EXPECT_EQ(in.be32(), 0x04050607u);
  EXPECT_EQ(in.be64(), 0x08090a0b0c0d0e0fu);
  EXPECT_TRUE(in.ok());
  EXPECT_EQ(in.remaining(), 0u);
}

TEST(ByteReader, FailureSticks) {
  const std::array<std::uint8_t, 3> bytes{1, 2, 3};
  ByteReader in(bytes);
  EXPECT_EQ(in.be32(), 0u);
  EXPECT_FALSE(in.ok());
  EXPECT_EQ(in.u8(), 0);  // though one byte would be there
  EXPECT_TRUE(in.rest().empty());
  ByteReader other(bytes);
  other.skip(SIZE_MAX);
  EXPECT_FALSE(other.ok());
}

TEST(ByteWriter, WritesWhatReads) {
  std::array<std::uint8_t, 16> room{};
  ByteWriter out(room);
  out.u8(0xaa);
  out.be16(0xbbcc);
  out.be32(0x01020304);
  out.be64(0x1122334455667788);
  out.text("z");
  EXPECT_TRUE(out.ok());
  EXPECT_EQ(out.written(), 16u);
  out.u8(1);
  EXPECT_FALSE(out.ok());
  ByteReader in(room);
  EXPECT_EQ(in.u8(), 0xaa);
  EXPECT_EQ(in.be16(), 0xbbcc);
  EXPECT_EQ(in.be32(), 0x01020304u);
  EXPECT_EQ(in.be64(), 0x1122334455667788u);
  EXPECT_EQ(as_text(in.rest()), "z");
}

// The vectors of the paper's appendix: key 00..0f, input 00..n.
TEST(SipHash, ReferenceVectors) {
  std::array<std::uint8_t, 15> input{};
  for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<std::uint8_t>(i);
  const std::uint64_t k0 = 0x0706050403020100, k1 = 0x0f0e0d0c0b0a0908;
  EXPECT_EQ(siphash24(k0, k1, input), 0xa129ca6149be45e5u);
  EXPECT_EQ(siphash24(k0, k1, ByteSpan{input}.first(0)), 0x726fdb47dd0e0e31u);
  EXPECT_EQ(siphash24(k0, k1, ByteSpan{input}.first(8)), 0x93f5f5799a932462u);
}

}  // namespace
}  // namespace sluice
