#include "wire.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace sluice::tcp {
namespace {

// In a buffer of exactly that size, so that a sanitizer sees a read past the end.
bool parse(std::initializer_list<int> bytes, Options& o) {
  const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
  std::size_t i = 0;
  for (const int b : bytes) exact[i++] = static_cast<std::uint8_t>(b);
  return parse_options({exact.get(), bytes.size()}, o);
}

TEST(Options, AllOfASyn) {
  Options o;
  EXPECT_TRUE(parse({2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4, 1, 3, 3, 7}, o));
  EXPECT_TRUE(o.has_mss && o.sack_permitted && o.has_timestamps && o.has_window_scale);
  EXPECT_EQ(o.mss, 1460);
  EXPECT_EQ(o.timestamp, 0x102u);
  EXPECT_EQ(o.timestamp_echo, 0x304u);
  EXPECT_EQ(o.window_scale, 7);
}

TEST(Options, NothingAndPadding) {
  Options o;
  EXPECT_TRUE(parse({}, o));
  EXPECT_TRUE(parse({1, 1, 1, 0}, o));
  // After the end of the list nothing counts.
  EXPECT_TRUE(parse({0, 2, 4, 5, 0xb4, 0, 0, 0}, o));
  EXPECT_FALSE(o.has_mss);
}

TEST(Options, Bug36_ImpossibleLengthsEndTheReading) {
  for (const auto& bytes : std::vector<std::vector<int>>{
           {2}, {2, 0}, {2, 1, 5, 5}, {2, 4, 5}, {1, 1, 1, 8}, {5, 40, 0, 0}, {254, 255, 0, 0}}) {
    const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) exact[i] = static_cast<std::uint8_t>(bytes[i]);
    Options o;
    EXPECT_FALSE(parse_options({exact.get(), bytes.size()}, o)) << bytes.size();
    EXPECT_FALSE(o.has_mss || o.has_timestamps || o.sack_count > 0);
  }
  // What came before counts.
  Options o;
  EXPECT_FALSE(parse({2, 4, 4, 0, 3, 0, 0, 0}, o));
  EXPECT_EQ(o.mss, 1024);
}

TEST(Options, WrongLengthOfAKnownOptionIsSkipped) {
  Options o;
  EXPECT_TRUE(parse({2, 3, 9, 3, 4, 9, 9, 4, 3, 0, 8, 9, 0, 0, 0, 0, 0, 0, 0}, o));
  EXPECT_FALSE(o.has_mss || o.has_window_scale || o.sack_permitted || o.has_timestamps);
  EXPECT_TRUE(parse({5, 9, 0, 0, 0, 0, 0, 0, 0}, o));
  EXPECT_EQ(o.sack_count, 0);
}

TEST(Options, UnknownIsSkipped) {
  Options o;
  EXPECT_TRUE(parse({34, 6, 1, 2, 3, 4, 30, 3, 0, 2, 4, 1, 0}, o));
  EXPECT_EQ(o.mss, 256);
}

TEST(Options, Rfc7323_2_3_ShiftIsCapped) {
  Options o;
  EXPECT_TRUE(parse({3, 3, 255}, o));
  EXPECT_EQ(o.window_scale, 14);
}

// RFC 9293 section 3.1, MUST-64: options begin at any octet.
TEST(Options, AnyAlignment) {
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::vector<std::uint8_t> bytes(shift, 1);
    for (const int b : {8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 2, 4, 5, 0xb4, 3, 3, 7, 4, 2}) {
      bytes.push_back(static_cast<std::uint8_t>(b));
    }
    Options o;
    EXPECT_TRUE(parse_options(bytes, o)) << shift;
    EXPECT_EQ(o.timestamp, 0x01020304u);
    EXPECT_EQ(o.timestamp_echo, 0x05060708u);
    EXPECT_EQ(o.mss, 1460);
    EXPECT_EQ(o.window_scale, 7);
    EXPECT_TRUE(o.sack_permitted);
  }
}

// MUST-68 and MUST-69: each option but end and no-operation has a length, and what fills up the
// last word is no-operation or zero.
TEST(Header, OptionsHaveLengthsAndPaddingIsZero) {
  Outgoing out;
  out.options.has_window_scale = true;
  out.options.window_scale = 7;
  out.options.sack_permitted = true;
  std::vector<std::uint8_t> bytes(out.header_length(), 0x77);
  write_header(out, bytes);
  std::size_t kinds = 0;
  std::size_t at = 20;
  while (at < bytes.size() && bytes[at] != 0) {
    if (bytes[at] == 1) {
      ++at;
      continue;
    }
    ++kinds;
    ASSERT_LT(at + 1, bytes.size());
    ASSERT_GE(bytes[at + 1], 2);
    at += bytes[at + 1];
  }
  EXPECT_EQ(kinds, 2u);
  for (; at < bytes.size(); ++at) EXPECT_EQ(bytes[at], 0);
}

TEST(Options, SackBlocks) {
  Options o;
  EXPECT_TRUE(parse({1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9}, o));
  ASSERT_EQ(o.sack_count, 2);
  EXPECT_EQ(o.sack[0], (SackBlock{Seq(1), Seq(2)}));
  EXPECT_EQ(o.sack[1], (SackBlock{Seq(0xffffffff), Seq(9)}));
}

// What is written is what is read, in every combination, and a multiple of four.
TEST(Header, RoundTrip) {
  for (unsigned bits = 0; bits < 16; ++bits) {
    for (std::uint8_t blocks = 0; blocks <= 4; ++blocks) {
      Outgoing out;
      out.key.local_port = 443;
      out.key.remote_port = 40000;
      out.seq = Seq(0xdeadbeef);
      out.ack = Seq(0x01020304);
      out.flags = kAck | kPsh;
      out.window = 0xabcd;
      Options& o = out.options;
      o.has_mss = (bits & 1) != 0;
      o.has_window_scale = (bits & 2) != 0;
      o.sack_permitted = (bits & 4) != 0;
      o.has_timestamps = (bits & 8) != 0;
      if (o.has_mss) o.mss = 1460;
      if (o.has_window_scale) o.window_scale = 9;
      if (o.has_timestamps) o.timestamp = 0x11223344, o.timestamp_echo = 0x55667788;
      o.sack_count = blocks;
      for (std::uint8_t i = 0; i < blocks; ++i) o.sack[i] = {Seq(i * 10u), Seq(i * 10u + 5)};
      if (out.options_length() > kMaxOptions) continue;
      ASSERT_EQ(out.header_length() % 4, 0u);
      std::vector<std::uint8_t> bytes(out.header_length() + 3, 0x77);
      write_header(out, bytes);
      const auto view = packet::TcpView::parse(bytes);
      ASSERT_TRUE(view.has_value());
      Segment s;
      ASSERT_TRUE(read_segment(*view, IpAddress::v4(1), IpAddress::v4(2), s));
      EXPECT_EQ(s.key.remote_port, 443);
      EXPECT_EQ(s.key.local_port, 40000);
      EXPECT_EQ(s.seq, out.seq);
      EXPECT_EQ(s.ack, out.ack);
      EXPECT_EQ(s.flags, out.flags);
      EXPECT_EQ(s.window, out.window);
      EXPECT_EQ(s.payload.size(), 3u);
      EXPECT_EQ(load_be32(&bytes[16]), 0u);  // checksum, urgent pointer
      EXPECT_EQ(s.options.has_mss, o.has_mss);
      EXPECT_EQ(s.options.mss, o.mss);
      EXPECT_EQ(s.options.has_window_scale, o.has_window_scale);
      EXPECT_EQ(s.options.window_scale, o.window_scale);
      EXPECT_EQ(s.options.sack_permitted, o.sack_permitted);
      EXPECT_EQ(s.options.has_timestamps, o.has_timestamps);
      EXPECT_EQ(s.options.timestamp, o.timestamp);
      EXPECT_EQ(s.options.timestamp_echo, o.timestamp_echo);
      ASSERT_EQ(s.options.sack_count, blocks);
      for (std::uint8_t i = 0; i < blocks; ++i) EXPECT_EQ(s.options.sack[i], o.sack[i]);
    }
  }
}

TEST(Segment, LengthCountsSynAndFin) {
  Segment s;
  const std::uint8_t text[5] = {};
  s.payload = text;
  s.flags = kAck;
  EXPECT_EQ(s.length(), 5u);
  s.flags = kSyn | kFin;
  EXPECT_EQ(s.length(), 7u);
}

}  // namespace
}  // namespace sluice::tcp
