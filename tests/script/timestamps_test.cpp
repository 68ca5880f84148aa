// RFC 7323: PAWS, TS.Recent; and sequence numbers around 2^32.
#include "script.h"

namespace sluice::tcp {
namespace {

using Timestamps = Script;

TEST_F(Timestamps, Rfc7323_5_3_Paws) {
  establish("mss 1000,ts");
  in("P. 1:11 ack 1 <ts 4999>");
  out(". 1 ack 1 <ts 5000>");
  readable(0);
  in("P. 1:11 ack 1 <ts 5000>");
  readable(10);
  after(40ms, ". 1 ack 11 <ts 5000>");
}

TEST_F(Timestamps, Rfc7323_5_3_PawsAcrossTheWrap) {
  peer_clock = 0xfffffff0;
  establish("mss 1000,ts");
  quiet(100ms);
  in("P. 1:11 ack 1 <ts 84>");
  readable(10);
  after(40ms, ". 1 ack 11 <ts 84>");
  in("P. 11:21 ack 1 <ts 4294967295>");
  out(". 1 ack 11 <ts 84>");
}

// Section 5.5: after 24 days of silence TS.Recent says nothing.
TEST_F(Timestamps, Rfc7323_5_5_OutdatedTimestamp) {
  establish("mss 1000,ts");
  skip(std::chrono::days{25});
  in("P. 1:11 ack 1 <ts 1>");
  readable(10);
  after(40ms, ". 1 ack 11");
}

// Section 5.2: a RST is judged by its sequence number alone.
TEST_F(Timestamps, Rfc7323_5_2_ResetIsExempt) {
  establish("mss 1000,ts");
  in("R 1 <ts 1>");
  ended(CloseReason::reset_by_peer);
  peer(40001);
  establish("mss 1000,ts");
  in("R 1 <nots>");
  ended(CloseReason::reset_by_peer);
}

TEST_F(Timestamps, Rfc7323_3_2_MissingTimestamp) {
  establish("mss 1000,ts");
  in("P. 1:11 ack 1 <nots>");
  readable(0);
  EXPECT_EQ(stats().drop_tcp_no_timestamp, 1u);
}

TEST_F(Timestamps, Rfc7323_3_2_OnEverySegment) {
  establish("mss 1012,ts");
  write(1000);
  out("P. 1:1001 ack 1 <ts 5000>");
  shutdown();
  out("F. 1001 ack 1 <ts 5000>");
}

// Section 4.3: with a delayed ACK the earliest segment is echoed.
TEST_F(Timestamps, Rfc7323_4_3_DelayedAck) {
  establish("mss 1000,ts");
  in("P. 1:101 ack 1 <ts 6000>");
  in("P. 101:201 ack 1 <ts 6100>");
  after(40ms, ". 1 ack 201 <ts 6000>");
}

// ... and of what is out of order nothing, until the gap is filled.
TEST_F(Timestamps, Rfc7323_4_3_OutOfOrder) {
  establish("mss 1000,ts");
  in("P. 101:201 ack 1 <ts 6000>");
  out(". 1 ack 1 <ts 5000>");
  in("P. 1:101 ack 1 <ts 6100>");
  out(". 1 ack 201 <ts 6100>");
}

// Our ISN is brought to just below 2^32: all that is relative must hold across it.
class Wrap : public Script {
 protected:
  void near_wrap(std::string_view options) {
    listen();
    in("S 0");
    out("S. 0 ack 1");
    in("R 1");
    // M ticks every 4 us (RFC 6528).
    now += Micros{std::int64_t{0xffffffff - 2500 - iss()} * 4};
    turn();
    establish(options);
    ASSERT_GT(iss(), 0xffffffff - 3000);
  }
};

TEST_F(Wrap, Bug33_Rfc9293_3_4_SendingAndSack) {
  round_trip = 20ms;
  near_wrap("mss 1000,sackOK");
  write(10'000);
  EXPECT_EQ(drain(), 10u);
  quiet(20ms);
  in(". 1 ack 1 <sack 1001-2001>");
  in(". 1 ack 1 <sack 1001-3001>");
  in(". 1 ack 1 <sack 1001-5001>");
  out(". 1:1001 ack 1");
  in(". 1 ack 5001");
  in(". 1 ack 10001");
  quiet(2s);
  shutdown();
  out("F. 10001 ack 1");
}

TEST_F(Wrap, Rfc6298_TimeoutAcrossTheWrap) {
  near_wrap("mss 1000");
  write(4000);
  EXPECT_EQ(drain(), 4u);
  after(200ms, ". 1:1001 ack 1");
  in(". 1 ack 3001");
  out("P. 3001:4001 ack 1");
  in(". 1 ack 4001");
}

}  // namespace
}  // namespace sluice::tcp
