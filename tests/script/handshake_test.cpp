// Opening connections: RFC 9293 sections 3.5 and 3.10.7.2 to 3.10.7.4, with RFC 7323, RFC 6298 and
// RFC 6928.
#include "script.h"

namespace sluice::tcp {
namespace {

using Handshake = Script;

TEST_F(Handshake, Rfc9293_3_5_Passive) {
  listen();
  in("S 0 win 1000 <mss 1460,sackOK,ts 77,wscale 3>");
  // RFC 7323 section 2.2: the window of a SYN is not scaled.
  out("S. 0 ack 1 win 65535 <mss 1460,sackOK,ts 77,wscale 7>");
  EXPECT_EQ(stack().connection_count(), 0u);
  in(". 1 ack 1 win 500 <ts 78>");
  state(State::established);
  EXPECT_EQ(accepted, 1u);
  write(100);
  out("P. 1:101 ack 1 <ts 78>");
}

TEST_F(Handshake, Rfc9293_3_5_PassiveWithoutOptions) {
  listen();
  in("S 0 win 4000");
  out("S. 0 ack 1 win 65535 <mss 1460>");
  in(". 1 ack 1 win 4000");
  write(1000);
  // RFC 9293 section 3.7.1: 536 when the peer named no MSS.
  out(". 1:537 ack 1 <>");
  out("P. 537:1001 ack 1 <>");
}

TEST_F(Handshake, Rfc9293_3_7_1_DefaultMssOfIpv6) {
  local = "2001:db8::1", remote = "2001:db8::2";
  listen();
  in("S 0 win 4000");
  out("S. 0 ack 1 <mss 1440>");
  in(". 1 ack 1");
  write(2000);
  out(". 1:1221 ack 1");
  out("P. 1221:2001 ack 1");
}

TEST_F(Handshake, Bug34_Rfc9293_3_7_1_MssZeroAndTiny) {
  establish("mss 0");
  write(600);
  out(". 1:537 ack 1");
  out("P. 537:601 ack 1");
  peer(40001);
  establish("mss 1");
  write(100);
  out(". 1:49 ack 1");
  out(". 49:97 ack 1");
  out("P. 97:101 ack 1");
}

TEST_F(Handshake, Bug34_Rfc9293_3_7_1_OptionsComeOffTheMss) {
  establish("mss 1000,ts");
  write(1000);
  out(". 1:989 ack 1");
  out("P. 989:1001 ack 1");
}

TEST_F(Handshake, Rfc9293_3_5_Active) {
  connect();
  out("S 0 win 65535 <mss 1460,sackOK,ts 0,wscale 7>");
  in("S. 0 ack 1 win 2000 <mss 1000,sackOK,ts 9,wscale 4>");
  out(". 1 ack 1 win 2040 <ts 9>");
  state(State::established);
  write(1000);
  out(". 1:989 ack 1 <ts 9>");  // 1000 less 12 of timestamps
  out("P. 989:1001 ack 1 <ts 9>");
}

TEST_F(Handshake, Rfc9293_3_5_ActiveWithoutOptions) {
  connect();
  out("S 0 win 65535 <mss 1460,sackOK,ts 0,wscale 7>");
  in("S. 0 ack 1 win 2000");
  out(". 1 ack 1 win 65535 <>");
  in(". 101:201 ack 1");
  out(". 1 ack 1 <>");
}

// RFC 7323 section 2.3: no shift above 14.
TEST_F(Handshake, Rfc7323_2_3_ShiftIsAtMost14) {
  config.mtu = 9000;
  establish("mss 8000,wscale 200", 1);
  write(60'000);
  EXPECT_EQ(drain(), 2u);  // initial window
  in(". 1 ack 16001 win 1");
  EXPECT_EQ(drain(), 2u);  // 1 << 14, though the congestion window would take four
}

// The window of the SYN-ACK is taken as it is, that of the ACK after it is scaled.
TEST_F(Handshake, Bug1_Rfc7323_2_2_WindowOfSynNotScaled) {
  connect();
  out("S 0");
  in("S. 0 ack 1 win 500 <mss 1000,wscale 7>");
  out(". 1 ack 1");
  write(1000);
  out(". 1:501 ack 1");  // half of the largest window and more: worth sending
  in(". 1 ack 501 win 10");
  out("P. 501:1001 ack 1");
}

TEST_F(Handshake, Rfc9293_3_5_SimultaneousOpen) {
  connect();
  out("S 0");
  in("S 0 win 1000 <mss 1000>");
  out("S. 0 ack 1 win 65535 <mss 1460>");
  state(State::syn_received);
  in("S. 0 ack 1 win 1000 <mss 1000>");
  state(State::established);
  EXPECT_TRUE(conn->established());
  write(10);
  out("P. 1:11 ack 1");
}

// The peer's SYN-ACK was lost, but not the ACK that follows.
TEST_F(Handshake, Rfc9293_3_5_SimultaneousOpenByAck) {
  connect();
  out("S 0");
  in("S 0 win 1000 <mss 1000>");
  out("S. 0 ack 1");
  after(1000ms, "S. 0 ack 1");
  in(". 1 ack 1");
  state(State::established);
}

TEST_F(Handshake, Rfc9293_3_10_7_3_UnacceptableAck) {
  connect();
  out("S 0");
  in("S. 0 ack 2 <mss 1000>");
  out("R 2");
  in(". 0 ack 0");
  out("R 0");
  state(State::syn_sent);
  in("S. 0 ack 1 <mss 1000>");
  out(". 1 ack 1");
  state(State::established);
}

TEST_F(Handshake, Rfc9293_3_10_7_3_Reset) {
  connect();
  out("S 0");
  in("R 0");  // acknowledges nothing
  in("R. 0 ack 2");
  state(State::syn_sent);
  in("R. 0 ack 1");
  ended(CloseReason::refused);
  EXPECT_EQ(stack().connection_count(), 0u);
}

TEST_F(Handshake, Rfc9293_3_10_7_3_DataAndFinOnSynAck) {
  connect();
  out("S 0");
  in("SF. 0:100 ack 1 <mss 1000>");
  out(". 1 ack 102");
  readable(100);
  end_of_stream(false);
  state(State::close_wait);
}

TEST_F(Handshake, Bug22_Rfc9293_3_5_DataOnHandshakeAck) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("P. 1:101 ack 1");
  readable(100);
  after(40ms, ". 1 ack 101");
  read(100);
}

TEST_F(Handshake, Bug22_Rfc9293_3_5_FinOnHandshakeAck) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("FP. 1:101 ack 1");
  out(". 1 ack 102");
  end_of_stream(false);  // the data comes first
  read(100);
  end_of_stream();
  state(State::close_wait);
}

// The bare ACK of the handshake was lost: the data behind it serves.
TEST_F(Handshake, Rfc9293_3_5_DataWhenHandshakeAckWasLost) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("P. 101:201 ack 1");
  out(". 1 ack 1");
  in("P. 1:101 ack 1");
  out(". 1 ack 201");
  readable(200);
}

TEST_F(Handshake, Bug20_Rfc9293_3_10_7_2_Listen) {
  listen();
  in("R 0");
  in("R. 0 ack 7");
  in(". 0 ack 7");
  out("R 7");
  in("F 0");  // neither SYN nor ACK
  in("S. 0 ack 9");
  out("R 9");
  EXPECT_EQ(stack().connection_count(), 0u);
}

TEST_F(Handshake, Rfc9293_3_10_7_1_Closed) {
  in("S 0");
  out("R. 0 ack 1");
  in("S 0:10");
  out("R. 0 ack 11");
  in(". 5 ack 77");
  out("R 77");
  in("F 5:15");
  out("R. 0 ack 16");
  in("R 5");
  in("R. 5 ack 1");
}

// Data on a SYN is not taken; it comes again after the handshake.
TEST_F(Handshake, Rfc9293_3_10_7_2_DataOnSyn) {
  listen();
  in("S 0:100 <mss 1000>");
  out("S. 0 ack 1");
  in("P. 1:100 ack 1");
  readable(99);
  after(40ms, ". 1 ack 100");
}

TEST_F(Handshake, Rfc6298_2_1_SynIsRepeatedAfterOneSecond) {
  connect(60s);
  out("S 0");
  after(1000ms, "S 0 win 65535 <mss 1460,sackOK,ts 0,wscale 7>");
  after(2000ms, "S 0");
  after(4000ms, "S 0");
  in("S. 0 ack 1 <mss 1000>");
  out(". 1 ack 1");
  // RFC 6298 (5.7): three seconds after a SYN was lost; RFC 5681 section 3.1: one segment.
  write(2000);
  out(". 1:1001 ack 1");
  after(3000ms, ". 1:1001 ack 1");
}

// A SYN-ACK that waited in the network echoes the first SYN when the second is out: no sample.
TEST_F(Handshake, Rfc6298_3_AnswerToARepeatedSynIsNotTimed) {
  connect(60s);
  out("S 0");
  std::vector<std::uint8_t> answer = bytes_of("S. 0 ack 1 <mss 1000,ts>");
  after(1000ms, "S 0");
  quiet(2ms);
  in_bytes(answer);
  turn();
  out(". 1 ack 1");
  write(100);
  out("P. 1:101 ack 1");
  quiet(2ms);
  in(". 1 ack 101");
  write(100);
  out("P. 101:201 ack 1");
  after(200ms, "P. 101:201 ack 1");
}

TEST_F(Handshake, Rfc6928_InitialWindowOfTenSegments) {
  establish("mss 1000");
  write(20'000);
  EXPECT_EQ(drain(), 10u);
  peer(40001);
  establish("mss 1460");
  write(20'000);
  EXPECT_EQ(drain(), 10u);
}

TEST_F(Handshake, Rfc6928_InitialWindowOfJumboFrames) {
  config.mtu = 9000;
  establish("mss 8960");
  write(60'000);
  out(". 1:8961 ack 1");
  out(". 8961:17921 ack 1");
}

TEST_F(Handshake, ConnectTimesOut) {
  connect(2500ms);
  out("S 0");
  after(1000ms, "S 0");
  quiet(1499ms);
  open();
  quiet(10ms);
  ended(CloseReason::timed_out);
  EXPECT_EQ(stack().connection_count(), 0u);
}

TEST_F(Handshake, WriteAndShutdownBeforeEstablished) {
  connect();
  out("S 0");
  write(100);
  shutdown();
  in("S. 0 ack 1 <mss 1000>");
  out("FP. 1:101 ack 1");
  state(State::fin_wait_1);
}

// RFC 6528: M ticks every 4 us, F depends on the tuple.
TEST_F(Handshake, Rfc6528_InitialSequenceNumbers) {
  listen();
  in("S 0");
  out("S. 0 ack 1");
  const std::uint32_t first = iss();
  in("R 1");
  quiet(1s);
  in("S 0");
  out("S. 0 ack 1");
  EXPECT_EQ(iss() - first, 250'000u);
  const std::uint32_t here = iss();
  peer(40001);
  in("S 0");
  out("S. 0 ack 1");
  const std::uint32_t distance = iss() - here;
  EXPECT_GT(std::min(distance, 0 - distance), 100'000u);
}

}  // namespace
}  // namespace sluice::tcp
