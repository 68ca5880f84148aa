// Sending: the window and probes (RFC 9293 section 3.8.6), timeouts (RFC 6298), congestion (RFC
// 5681), recovery without SACK (RFC 6582).
#include "script.h"

namespace sluice::tcp {
namespace {

class Send : public Script {
 protected:
  // Ten segments of 1000 are out.
  void ten(std::string_view options) {
    establish(options);
    write(10'000);
    EXPECT_EQ(drain(), 10u);
  }
};

TEST_F(Send, Rfc9293_3_8_6_1_ZeroWindowProbe) {
  establish("mss 1000", 0);
  write(500);
  after(200ms, ". 1:2 ack 1");
  in(". 1 ack 1 win 0");
  after(400ms, ". 1:2 ack 1");
  in(". 1 ack 1 win 0");
  after(800ms, ". 1:2 ack 1");
  in(". 1 ack 1 win 1000");
  out("P. 1:501 ack 1");
  in(". 1 ack 501");
  quiet(5s);
}

// The peer may take the octet of the probe.
TEST_F(Send, Rfc9293_3_8_6_1_ProbeIsAccepted) {
  establish("mss 1000", 0);
  write(500);
  after(200ms, ". 1:2 ack 1");
  in(". 1 ack 2 win 0");
  after(400ms, ". 2:3 ack 1");
  in(". 1 ack 3 win 5000");
  out("P. 3:501 ack 1");
}

// Probing never ends while the peer answers, and is never rarer than once a minute.
TEST_F(Send, Rfc9293_3_8_6_1_NeverGivesUp) {
  establish("mss 1000", 0);
  write(500);
  Micros most{0};
  for (int i = 0; i < 30; ++i) {
    most = std::max(most, until_sent(61s));
    out(". 1:2 ack 1");
    in(". 1 ack 1 win 0");
  }
  EXPECT_GT(most, 59s);
  open();
  in(". 1 ack 1 win 1000");
  out("P. 1:501 ack 1");
}

TEST_F(Send, Rfc9293_3_8_6_1_SilentPeerIsGivenUp) {
  establish("mss 1000", 0);
  write(500);
  skip(240s);
  ended(CloseReason::timed_out);
  EXPECT_EQ(stats().tcp_out_rsts, 1u);
}

// A closed window is probed for a FIN, too.
TEST_F(Send, Rfc9293_3_8_6_1_ProbeWithFin) {
  establish("mss 1000", 100);
  write(100);
  out("P. 1:101 ack 1");
  in(". 1 ack 101 win 0");
  shutdown();
  after(200ms, "F. 101 ack 1");
  in(". 1 ack 101 win 0");
  after(400ms, "F. 101 ack 1");
  in(". 1 ack 102 win 0");
  state(State::fin_wait_2);
  quiet(5s);
}

TEST_F(Send, Rfc9293_3_8_6_2_1_SillyWindow) {
  establish("mss 1000", 2000);
  write(3000);
  out(". 1:1001 ack 1");
  out(". 1001:2001 ack 1");
  in(". 1 ack 2001 win 400");
  // Neither a segment nor half the largest window: held, but not for ever.
  after(200ms, ". 2001:2401 ack 1");
  in(". 1 ack 2401 win 1000");
  out("P. 2401:3001 ack 1");
}

TEST_F(Send, Rfc9293_3_8_6_2_1_HalfTheWindowIsEnough) {
  establish("mss 1000", 800);
  write(1000);
  out(". 1:801 ack 1");
  in(". 1 ack 801 win 400");
  out("P. 801:1001 ack 1");
}

TEST_F(Send, Rfc6298_5_BackOff) {
  establish("mss 500");
  write(500);
  out("P. 1:501 ack 1");
  for (const int ms : {200, 400, 800, 1600, 3200, 6400, 12800, 25600}) {
    after(Millis{ms}, "P. 1:501 ack 1");
  }
  in(". 1 ack 501");
  quiet(120s);
  open();
}

TEST_F(Send, Rfc6298_3_KarnAndCollapse) {
  establish("mss 1000");
  write(1000);
  out("P. 1:1001 ack 1");
  after(200ms, "P. 1:1001 ack 1");
  after(400ms, "P. 1:1001 ack 1");
  in(". 1 ack 1001");  // tells nothing about the round trip
  write(1000);
  out("P. 1001:2001 ack 1");
  after(800ms, "P. 1001:2001 ack 1");
  in(". 1 ack 2001");
  write(1000);
  out("P. 2001:3001 ack 1");
  in(". 1 ack 3001");  // this does
  write(1000);
  out("P. 3001:4001 ack 1");
  after(200ms, "P. 3001:4001 ack 1");
}

// With timestamps the answer to a retransmission is a sample, too.
TEST_F(Send, Rfc7323_4_1_TimestampsSampleRetransmissions) {
  establish("mss 1012,ts");
  write(1000);
  out("P. 1:1001 ack 1");
  after(200ms, "P. 1:1001 ack 1");
  after(400ms, "P. 1:1001 ack 1");
  in(". 1 ack 1001");
  write(1000);
  out("P. 1001:2001 ack 1");
  after(200ms, "P. 1001:2001 ack 1");
}

TEST_F(Send, Rfc6298_2_RttOfTheHandshake) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  quiet(300ms);
  in(". 1 ack 1");
  write(100);
  out("P. 1:101 ack 1");
  after(900ms, "P. 1:101 ack 1");  // SRTT + 4 RTTVAR, RTTVAR = R/2
}

// (5.3): restarted by an ACK of new data, and by nothing else.
TEST_F(Send, Bug9_Rfc6298_5_3_Restart) {
  establish("mss 1000");
  write(2000);
  EXPECT_EQ(drain(), 2u);
  quiet(150ms);
  in(". 1 ack 1001");
  quiet(150ms);
  in(". 1 ack 1001");  // a duplicate
  after(50ms, "P. 1001:2001 ack 1");
}

TEST_F(Send, Rfc9293_3_8_3_R2) {
  establish();
  write(100);
  drain();
  skip(100s);
  open();
  skip(5s);
  ended(CloseReason::timed_out);
  EXPECT_EQ(stats().tcp_out_rsts, 1u);
  EXPECT_EQ(stats().tcp_give_ups, 1u);
}

TEST_F(Send, DisarmedTimerDoesNotFire) {
  establish();
  write(100);
  out("P. 1:101 ack 1");
  quiet(199ms);
  in(". 1 ack 101");
  quiet(60s);
}

TEST_F(Send, Rfc5681_3_1_OneSegmentAfterATimeout) {
  ten("mss 1000");
  after(200ms, ". 1:1001 ack 1");
  quiet(300ms);
  in(". 1 ack 1001");
  out(". 1001:2001 ack 1");
  out(". 2001:3001 ack 1");
}

// VPP: what a timeout had marked was subtracted again by the next one.
TEST_F(Send, Bug30_RepeatedTimeoutsCountOnce) {
  ten("mss 1000");
  for (const int ms : {200, 400, 800}) after(Millis{ms}, ". 1:1001 ack 1");
  in(". 1 ack 10001");
  write(30'000);
  EXPECT_EQ(drain(), 1u);  // slow start, up to seven tenths of what was out when it began
  in(". 1 ack 11001");
  EXPECT_EQ(drain(), 2u);
  in(". 1 ack 13001");
  EXPECT_EQ(drain(), 4u);
  in(". 1 ack 17001");
  EXPECT_EQ(drain(), 7u);
}

TEST_F(Send, Rfc5681_3_2_FastRetransmit) {
  ten("mss 1000");
  in(". 1 ack 1");
  in(". 1 ack 1");
  in(". 1 ack 1");
  out(". 1:1001 ack 1");
  in(". 1 ack 10001");
  quiet(2s);
  EXPECT_EQ(stats().tcp_fast_retransmits, 1u);
}

// RFC 3042: the first two duplicates let one new segment go each.
TEST_F(Send, Rfc3042_LimitedTransmit) {
  establish("mss 1000");
  write(13'000);
  EXPECT_EQ(drain(), 10u);
  in(". 1 ack 1");
  out(". 10001:11001 ack 1");
  in(". 1 ack 1");
  out(". 11001:12001 ack 1");
  in(". 1 ack 1");
  out(". 1:1001 ack 1");
}

// RFC 5681 section 2: what changes the window is no duplicate ACK, nor is what carries text.
TEST_F(Send, Rfc5681_2_WindowUpdatesAreNoDuplicates) {
  ten("mss 1000");
  for (const char* s : {". 1 ack 1 win 60000", ". 1 ack 1 win 50000", ". 1 ack 1 win 40000"}) in(s);
  nothing();
  in("P. 1:11 ack 1");
  in("P. 11:21 ack 1");
  in("P. 21:31 ack 1");
  EXPECT_EQ(stats().tcp_dup_acks_in, 0u);
  after(40ms, ". 10001 ack 31");
}

TEST_F(Send, Rfc6582_3_2_PartialAck) {
  ten("mss 1000");
  in(". 1 ack 1");
  in(". 1 ack 1");
  in(". 1 ack 1");
  out(". 1:1001 ack 1");
  in(". 1 ack 4001");
  out(". 4001:5001 ack 1");
  in(". 1 ack 10001");
  quiet(2s);
  EXPECT_EQ(stats().tcp_fast_retransmits, 1u);
  EXPECT_EQ(stats().tcp_retrans_segs, 2u);
}

// Section 3.2 step 2: duplicates of the recovery point are echoes.
TEST_F(Send, Rfc6582_3_2_NoSecondRecoveryFromEchoes) {
  ten("mss 1000");
  in(". 1 ack 1");
  in(". 1 ack 1");
  in(". 1 ack 1");
  out(". 1:1001 ack 1");
  in(". 1 ack 10001");
  write(1000);
  out("P. 10001:11001 ack 1");
  for (int i = 0; i < 5; ++i) in(". 1 ack 10001");
  nothing();
  in(". 1 ack 11001");
}

TEST_F(Send, Bug3_CongestionWindowLimits) {
  establish("mss 1000");
  write(100'000);
  EXPECT_EQ(drain(), 10u);
  in(". 1 ack 2001");
  EXPECT_EQ(drain(), 4u);  // slow start: two acknowledged, two more
}

TEST_F(Send, Bug59_Rfc5681_4_1_RestartAfterIdle) {
  establish("mss 1000");
  write(10'000);
  EXPECT_EQ(drain(), 10u);
  in(". 1 ack 10001");
  write(20'000);
  EXPECT_EQ(drain(), 20u);
  in(". 1 ack 30001");
  quiet(10s);
  write(20'000);
  EXPECT_EQ(drain(), 10u);
}

TEST_F(Send, SinkWithoutRoom) {
  establish("mss 1000");
  sink_full(true);
  write(2000);
  shutdown();
  quiet(50ms);
  sink_full(false);
  turn();
  out(". 1:1001 ack 1");
  out("FP. 1001:2001 ack 1");
}

TEST_F(Send, WriterIsWokenWhenThereIsRoom) {
  config.send_buffer = 4000;
  establish("mss 1000");
  EXPECT_EQ(try_write(5000), 4000u);
  EXPECT_EQ(drain(), 4u);
  const std::size_t calls = ready_calls;
  in(". 1 ack 1001");
  EXPECT_EQ(ready_calls, calls + 1);
  write(1000);
  out("P. 4001:5001 ack 1");
}

}  // namespace
}  // namespace sluice::tcp
