// Closing: RFC 9293 sections 3.6 and 3.10.4, RFC 1122 section 4.2.2.13, RFC 2525 section 2.17,
// TIME-WAIT with RFC 6191 and RFC 1337.
#include "script.h"

namespace sluice::tcp {
namespace {

class Close : public Script {
 protected:
  // We close first; both FINs are acknowledged. Next sequence numbers: 2 and 2.
  void time_wait(std::string_view options = "mss 1000") {
    establish(options);
    shutdown();
    out("F. 1 ack 1");
    in("F. 1 ack 2");
    out(". 2 ack 2");
    ended(CloseReason::graceful);
    EXPECT_EQ(stack().time_wait_count(), 1u);
    EXPECT_EQ(stack().connection_count(), 0u);
  }
};

TEST_F(Close, Rfc9293_3_6_HalfClose) {
  establish();
  shutdown();
  out("F. 1 ack 1");
  state(State::fin_wait_1);
  EXPECT_EQ(try_write(10), 0u);
  in(". 1 ack 2");
  state(State::fin_wait_2);
  // The other direction goes on as long as the peer likes.
  quiet(300s);
  in("P. 1:101 ack 2");
  after(40ms, ". 2 ack 101");
  read(100);
  in("F. 101 ack 2");
  out(". 2 ack 102");
  ended(CloseReason::graceful);
  quiet(59s);
  EXPECT_EQ(stack().time_wait_count(), 1u);
  quiet(2s);
  EXPECT_EQ(stack().time_wait_count(), 0u);
}

TEST_F(Close, Rfc9293_3_6_PeerClosesFirst) {
  establish();
  in("F. 1 ack 1");
  out(". 1 ack 2");
  state(State::close_wait);
  end_of_stream();
  write(100);
  out("P. 1:101 ack 2");
  in(". 2 ack 101");
  shutdown();
  out("F. 101 ack 2");
  state(State::last_ack);
  in(". 2 ack 102");
  ended(CloseReason::graceful);
  EXPECT_EQ(stack().time_wait_count(), 0u);
}

TEST_F(Close, Rfc9293_3_6_SimultaneousClose) {
  establish();
  shutdown();
  out("F. 1 ack 1");
  in("F. 1 ack 1");
  out(". 2 ack 2");
  state(State::closing);
  in(". 2 ack 2");
  ended(CloseReason::graceful);
  EXPECT_EQ(stack().time_wait_count(), 1u);
}

// A kernel whose application has closed answers what crossed its FIN with a RST numbered by the
// acknowledgement in it, which is one before RCV.NXT: no second FIN, no wait.
TEST_F(Close, Rfc9293_3_6_ResetForWhatCrossedTheFin) {
  establish();
  write(24);
  out("P. 1:25 ack 1");
  shutdown();
  out("F. 25 ack 1");
  in("F. 1 ack 1");
  out(". 26 ack 2");
  state(State::closing);
  in("R 1");
  EXPECT_EQ(stack().connection_count(), 0u);
  quiet(10s);
}

TEST_F(Close, Rfc9293_3_6_ResetForWhatCrossedTheFinInCloseWait) {
  establish();
  write(24);
  out("P. 1:25 ack 1");
  in("F. 1 ack 1");
  out(". 25 ack 2");
  in("R 1");
  ended(CloseReason::reset_by_peer);
}

// RFC 5961 section 3.2: one before RCV.NXT is nothing special as long as there was no FIN.
TEST_F(Close, Rfc5961_3_2_ResetBeforeTheWindow) {
  establish();
  in("P. 1:101 ack 1");
  after(40ms, ". 1 ack 101");
  in("R 100");
  nothing();
  open();
  read(100);
}

TEST_F(Close, Bug7_FinRepeatedInFinWait1) {
  establish();
  shutdown();
  out("F. 1 ack 1");
  after(200ms, "F. 1 ack 1");
  after(400ms, "F. 1 ack 1");
  in(". 1 ack 2");
  quiet(10s);
}

TEST_F(Close, Bug7_FinRepeatedInClosing) {
  establish();
  shutdown();
  out("F. 1 ack 1");
  in("F. 1 ack 1");
  out(". 2 ack 2");
  after(200ms, "F. 1 ack 2");
  state(State::closing);
}

TEST_F(Close, Bug7_FinRepeatedInLastAck) {
  establish();
  in("F. 1 ack 1");
  out(". 1 ack 2");
  shutdown();
  out("F. 1 ack 2");
  after(200ms, "F. 1 ack 2");
  after(400ms, "F. 1 ack 2");
  in(". 2 ack 2");
  ended(CloseReason::graceful);
}

TEST_F(Close, Bug7_FinRepeatedTogetherWithText) {
  establish();
  write(100);
  out("P. 1:101 ack 1");
  shutdown();
  out("F. 101 ack 1");
  after(200ms, "FP. 1:101 ack 1");
  in(". 1 ack 101");
  // What is still out is the FIN alone.
  after(400ms, "F. 101 ack 1");
}

// R2 in LAST-ACK.
TEST_F(Close, FinNeverAcknowledged) {
  establish();
  in("F. 1 ack 1");
  out(". 1 ack 2");
  close();
  out("F. 1 ack 2");
  skip(100s);
  EXPECT_EQ(stack().connection_count(), 1u);
  skip(10s);
  EXPECT_EQ(stack().connection_count(), 0u);
  EXPECT_EQ(stats().tcp_out_rsts, 1u);
}

TEST_F(Close, Bug8_FinOutOfOrder) {
  establish();
  in("F. 101:201 ack 1");
  out(". 1 ack 1");
  end_of_stream(false);
  in(". 1:101 ack 1");
  out(". 1 ack 202");
  read(200);
  end_of_stream();
  state(State::close_wait);
}

TEST_F(Close, Bug8_BareFinOutOfOrder) {
  establish();
  in("F. 101 ack 1");
  out(". 1 ack 1");
  in(". 1:101 ack 1");
  out(". 1 ack 102");
  read(100);
  end_of_stream();
}

// The window takes part of the text in front of the FIN: both come again.
TEST_F(Close, Bug8_FinBeyondTheWindow) {
  config.receive_buffer = 4096;
  establish();
  in("F. 1:3501 ack 1");
  out(". 1 ack 3073 win 0");
  end_of_stream(false);
  read(3072);
  out(". 1 ack 3073 win 3072");
  in("F. 3073:3501 ack 1");
  out(". 1 ack 3502");
  read(428);
  end_of_stream();
}

// elks, Demikernel: the application heard of the end before it had the text in front of it.
TEST_F(Close, Bug58_TextComesBeforeTheEnd) {
  establish();
  burst({"P. 1:51 ack 1", "FP. 51:101 ack 1"});
  out(". 1 ack 102");
  end_of_stream(false);
  read(60);
  end_of_stream(false);
  readable(40);
  shutdown();
  out("F. 1 ack 102");
  in(". 102 ack 2");
  open();
  read(40);
  ended(CloseReason::graceful);
}

TEST_F(Close, RepeatedFinIsAcknowledged) {
  establish();
  in("F. 1 ack 1");
  out(". 1 ack 2");
  in("F. 1 ack 1");
  out(". 1 ack 2");
  state(State::close_wait);
}

TEST_F(Close, TextAfterFinIsIgnored) {
  establish();
  in("F. 1 ack 1");
  out(". 1 ack 2");
  in("P. 2:12 ack 1");
  readable(0);
  state(State::close_wait);
}

TEST_F(Close, Rfc2525_2_17_UnreadDataIsReset) {
  establish();
  in("P. 1:101 ack 1");
  close();
  out("R. 1 ack 101");
  EXPECT_EQ(stack().connection_count(), 0u);
}

TEST_F(Close, Rfc1122_4_2_2_13_DataAfterCloseIsReset) {
  establish();
  close();
  out("F. 1 ack 1");
  in("P. 1:101 ack 2");
  out("R. 2 ack 1");
  EXPECT_EQ(stack().connection_count(), 0u);
}

TEST_F(Close, FinWait2WithoutOwnerEnds) {
  establish();
  close();
  out("F. 1 ack 1");
  in(". 1 ack 2");
  EXPECT_EQ(stack().connection_count(), 1u);
  after(60s, "R. 2 ack 1");
  EXPECT_EQ(stack().connection_count(), 0u);
}

TEST_F(Close, Rfc9293_3_10_5_Abort) {
  establish();
  write(100);
  out("P. 1:101 ack 1");
  abort();
  out("R. 101 ack 1");
  in(". 1 ack 101");
  out("R 101");
}

TEST_F(Close, Bug57_CloseWhileConnecting) {
  connect();
  out("S 0");
  close();
  EXPECT_EQ(stack().connection_count(), 0u);
  in("S. 0 ack 1 <mss 1000>");
  out("R 1");
}

// ... also when the peer has opened at the same time: what it answers decides how that ends, and
// without an answer the time for connecting does.
TEST_F(Close, Bug57_CloseInASimultaneousOpen) {
  for (const bool answers : {true, false}) {
    connect(2500ms);
    out("S 0");
    in("S 0 <mss 1000>");
    out("S. 0 ack 1");
    close();
    if (answers) {
      in("S. 0 ack 1 <mss 1000>");
      out("F. 1 ack 1");
      in("F. 1 ack 2");
      out(". 2 ack 2");
      EXPECT_EQ(stack().time_wait_count(), 1u);
    } else {
      EXPECT_EQ(stack().connection_count(), 1u);
      skip(2600ms);
    }
    EXPECT_EQ(stack().connection_count(), 0u);
    peer(40001);
  }
}

// Everything was said and heard: such a RST takes nothing away.
TEST_F(Close, ResetInPlaceOfTheLastAck) {
  establish();
  in("F. 1 ack 1");
  out(". 1 ack 2");
  shutdown();
  out("F. 1 ack 2");
  in("R 2");
  ended(CloseReason::graceful);
}

TEST_F(Close, Rfc9293_3_6_1_TimeWaitLasts2Msl) {
  time_wait();
  quiet(59s);
  EXPECT_EQ(stack().time_wait_count(), 1u);
  // "Acknowledge it, and restart the 2 MSL timeout."
  in("F. 1 ack 2");
  out(". 2 ack 2");
  quiet(59s);
  EXPECT_EQ(stack().time_wait_count(), 1u);
  quiet(2s);
  EXPECT_EQ(stack().time_wait_count(), 0u);
}

// A FIN from anywhere else does not prolong it.
TEST_F(Close, TimeWaitNotRestartedByAnyFin) {
  time_wait();
  quiet(59s);
  in("F. 50001 ack 2");
  out(". 2 ack 2");
  quiet(2s);
  EXPECT_EQ(stack().time_wait_count(), 0u);
}

// The peer's retransmission timer may be a minute apart by now: while it still sends text again, it
// has not heard our last ACK, and a RST would tell it that the stream was cut off.
TEST_F(Close, Rfc9293_3_6_1_TimeWaitRestartedByRepeatedText) {
  establish();
  in("P. 1:1001 ack 1");
  read(1000);
  shutdown();
  out("F. 1 ack 1001");
  in("F. 1001 ack 2");
  out(". 2 ack 1002");
  quiet(59s);
  in("P. 1:1001 ack 2");
  out(". 2 ack 1002");
  quiet(59s);
  EXPECT_EQ(stack().time_wait_count(), 1u);
  // One that cannot know our FIN proves nothing.
  in("P. 1:1001 ack 1");
  out(". 2 ack 1002");
  quiet(2s);
  EXPECT_EQ(stack().time_wait_count(), 0u);
}

TEST_F(Close, Rfc1337_TimeWaitIgnoresReset) {
  time_wait();
  in("R 2");
  in("R. 2 ack 2");
  EXPECT_EQ(stack().time_wait_count(), 1u);
}

TEST_F(Close, Bug24_Rfc9293_3_6_1_NewSynInTimeWait) {
  time_wait();
  const std::uint32_t before = iss();
  in("S 5000 <mss 1000>");
  out("S. 0 ack 5001");
  EXPECT_GT(iss() - before, 2u);  // above the old connection's numbers
  EXPECT_LT(iss() - before, 1u << 31);
  EXPECT_EQ(stack().time_wait_count(), 0u);
  in(". 5001 ack 1");
  EXPECT_EQ(accepted, 2u);
  EXPECT_EQ(stats().tcp_time_wait_reused, 1u);
}

TEST_F(Close, Rfc9293_3_6_1_OldSynInTimeWait) {
  time_wait();
  in("S 1 <mss 1000>");
  out(". 2 ack 2");
  EXPECT_EQ(stack().time_wait_count(), 1u);
}

TEST_F(Close, Rfc6191_2_NewerTimestamp) {
  time_wait("mss 1000,ts");
  quiet(10ms);
  in("S -1000 <mss 1000,ts>");  // lower sequence number, later timestamp
  out("S. 0 ack -999");
  EXPECT_EQ(stack().time_wait_count(), 0u);
}

TEST_F(Close, Rfc6191_2_OlderTimestamp) {
  time_wait("mss 1000,ts");
  in("S 5000 <mss 1000,ts 17>");
  out(". 2 ack 2");
  EXPECT_EQ(stack().time_wait_count(), 1u);
}

TEST_F(Close, Rfc6191_2_TimestampWhereThereWasNone) {
  time_wait();
  in("S -1000 <mss 1000,ts>");
  out("S. 0 ack -999");
  EXPECT_EQ(stack().time_wait_count(), 0u);
}

TEST_F(Close, TimeWaitTableEvictsTheOldest) {
  config.time_wait_entries = 2;
  for (std::uint16_t p = 0; p < 3; ++p) {
    peer(static_cast<std::uint16_t>(40000 + p));
    establish();
    shutdown();
    out("F. 1 ack 1");
    in("F. 1 ack 2");
    out(". 2 ack 2");
  }
  EXPECT_EQ(stack().time_wait_count(), 2u);
  EXPECT_EQ(stats().tcp_time_wait_evicted, 1u);
}

}  // namespace
}  // namespace sluice::tcp
