// Which segments count: RFC 9293 section 3.10.7.4, steps one to five, and RFC 5961.
#include "script.h"

namespace sluice::tcp {
namespace {

class Acceptability : public Script {
 protected:
  // RCV.NXT 1, RCV.WND 3072.
  void small() {
    config.receive_buffer = 4096;
    establish();
  }
  // RCV.NXT 3073, RCV.WND 0.
  void full() {
    small();
    burst({". 1:1537 ack 1", ". 1537:3073 ack 1"});
    out(". 1 ack 3073 win 0");
  }
};

// The four cases of the table.
TEST_F(Acceptability, Rfc9293_3_10_7_4_NoTextWindowOpen) {
  small();
  in(". 1 ack 1");
  in(". 3072 ack 1");
  EXPECT_EQ(stats().drop_tcp_unacceptable, 0u);
  in(". 3074 ack 1");
  out(". 1 ack 1");
  quiet(500ms);
  in(". 0 ack 1");  // a keepalive probe
  out(". 1 ack 1");
  EXPECT_EQ(stats().drop_tcp_unacceptable, 2u);
}

TEST_F(Acceptability, Rfc9293_3_10_7_4_NoTextWindowClosed) {
  full();
  write(10);
  out("P. 1:11 ack 3073");
  in(". 3073 ack 11");  // taken: nothing is sent again
  quiet(2s);
  in(". 3074 ack 11");
  out(". 11 ack 3073 win 0");
}

TEST_F(Acceptability, Rfc9293_3_10_7_4_TextWindowOpen) {
  small();
  in(". 3073:3083 ack 1");
  out(". 1 ack 1");
  in(". -9:1 ack 1");
  out(". 1 ack 1");
  readable(0);
  in(". -9:11 ack 1");  // its end is in the window
  out(". 1 ack 11");
  readable(10);
}

TEST_F(Acceptability, Rfc9293_3_10_7_4_TextWindowClosed) {
  full();
  write(10);
  out("P. 1:11 ack 3073");
  // The text is refused, the acknowledgement counts ("special allowance").
  in(". 3073:3173 ack 11");
  out(". 11 ack 3073 win 0");
  readable(3072);
  quiet(2s);
}

TEST_F(Acceptability, Rfc9293_3_10_7_4_FinWindowClosed) {
  full();
  in("F. 3073 ack 1");
  out(". 1 ack 3074");
  read(3072);
  end_of_stream();
}

TEST_F(Acceptability, Rfc9293_3_10_7_4_ResetWindowClosed) {
  full();
  in("R 3073");
  ended(CloseReason::reset_by_peer);
}

// RFC 5961 section 3.2.
TEST_F(Acceptability, Bug20_Rfc5961_3_2_Reset) {
  small();
  in("R 4000");  // outside of the window
  in("R 0");
  in("R 2");
  out(". 1 ack 1");
  open();
  in("R 1");
  ended(CloseReason::reset_by_peer);
  EXPECT_EQ(stack().connection_count(), 0u);
}

// RFC 5961 section 4.2, wherever it points.
TEST_F(Acceptability, Rfc5961_4_2_Syn) {
  small();
  in("S 1");
  out(". 1 ack 1");
  quiet(500ms);
  in("S 0 <mss 1000>");
  out(". 1 ack 1");
  quiet(500ms);
  in("S 100000");
  out(". 1 ack 1");
  quiet(500ms);
  in("S. 0 ack 1 <mss 1000>");
  out(". 1 ack 1");
  state(State::established);
  EXPECT_EQ(stats().tcp_challenge_acks, 4u);
}

// RFC 5961 section 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
TEST_F(Acceptability, Rfc5961_5_2_Ack) {
  establish("mss 1000", 2000);
  in(". 1:11 ack 2");
  out(". 1 ack 1");
  quiet(500ms);
  in(". 1:11 ack -2000");
  out(". 1 ack 1");
  readable(0);
  in(". 1:11 ack -1999");
  readable(10);
  after(40ms, ". 1 ack 11");
}

TEST_F(Acceptability, Rfc9293_3_10_7_4_NoAckBit) {
  establish();
  in("P 1:11");
  readable(0);
  EXPECT_EQ(stats().drop_tcp_no_ack, 1u);
}

// RFC 5961 section 7: two a second for one connection.
TEST_F(Acceptability, Rfc5961_7_LimitPerConnection) {
  establish();
  in("S 1");
  out(". 1 ack 1");
  for (int i = 0; i < 20; ++i) in("S 1");
  quiet(490ms);
  in("S 1");
  quiet(10ms);
  in("S 1");
  out(". 1 ack 1");
}

// ... and about a hundred a second for all, by a number that nobody can count on (CVE-2016-5696).
TEST_F(Acceptability, Rfc5961_7_LimitOfTheStack) {
  std::size_t answered = 0;
  listen();
  for (std::uint16_t p = 0; p < 300; ++p) {
    peer(static_cast<std::uint16_t>(40000 + p));
    establish();
    in("S 1");
    answered += drain();
  }
  EXPECT_GE(answered, 75u);
  EXPECT_LE(answered, 150u);
  // The keepalive probes of as many idle peers are all answered.
  quiet(1s);
  answered = 0;
  for (std::uint16_t p = 0; p < 300; ++p) {
    peer(static_cast<std::uint16_t>(40000 + p));
    in(". 0 ack 1");
    answered += drain();
  }
  EXPECT_EQ(answered, 300u);
}

TEST_F(Acceptability, ResetsAreLimited) {
  std::size_t answered = 0;
  for (std::uint16_t p = 1; p < 3000; ++p) {
    peer(p);
    in("S 0");
    answered += drain();
  }
  EXPECT_GE(answered, 750u);
  EXPECT_LE(answered, 1500u);
}

TEST_F(Acceptability, Bug36_ChecksumAndHeader) {
  establish();
  std::vector<std::uint8_t> bytes = bytes_of("P. 1:11 ack 1");
  const IpAddress from = *IpAddress::parse(remote), to = *IpAddress::parse(local);
  stack().input({from, to, bytes}, now);  // its checksum is zero
  EXPECT_EQ(stats().drop_tcp_checksum, 1u);
  bytes[12] = 0x40;  // data offset below 5
  in_bytes(bytes);
  bytes[12] = 0xf0;  // beyond the end
  in_bytes(bytes);
  in_bytes(std::vector<std::uint8_t>(19));
  EXPECT_EQ(stats().drop_tcp_header, 3u);
  readable(0);
}

TEST_F(Acceptability, Bug37_ImpossibleAddresses) {
  listen();
  const std::vector<std::uint8_t> bytes = bytes_of("S 0");
  for (const char* from : {"0.0.0.0", "224.0.0.1", "255.255.255.255"}) {
    stack().input({*IpAddress::parse(from), *IpAddress::parse(local), bytes, true}, now);
  }
  EXPECT_EQ(stats().drop_tcp_address, 3u);
  turn();
}

}  // namespace
}  // namespace sluice::tcp
