// Recoveries that were for nothing: F-RTO (RFC 5682), Eifel (RFC 3522), duplicates reported (RFC
// 3708), and the response to them (RFC 4015).
#include "congestion.h"
#include "flight.h"

namespace sluice::tcp {
namespace {

constexpr std::uint32_t kNoThreshold = Congestion::kMaxWindow;

class Frto : public Flight {
 protected:
  // Ten segments are out, there is more to send, and the timer has run out.
  void time_out(std::string_view options = "mss 1000") {
    flight(options);
    write(20'000);
    after(180ms, ". 1:1001 ack 1");
    EXPECT_EQ(record().cur_cwnd, 1000u);
    EXPECT_EQ(record().cur_ssthresh, 7000u);
  }
  void time_out_with_sack() {
    flight("mss 1000,sackOK", 1);
    in(". 1 ack 1001");
    write(30'000);
    EXPECT_EQ(drain(), 10u);
    after(40ms, ". 11001:12001 ack 1");  // tail loss probe
    after(200ms, ". 1001:2001 ack 1");
    quiet(kRtt);
  }
};

TEST_F(Frto, Rfc5682_2_1_SpuriousTimeout) {
  time_out();
  in(". 1 ack 1001");
  out(". 10001:11001 ack 1");
  out(". 11001:12001 ack 1");
  in(". 1 ack 2001");
  EXPECT_EQ(stats().tcp_undos_frto, 1u);
  EXPECT_EQ(record().cur_cwnd, 10'000u);
  EXPECT_EQ(record().cur_ssthresh, kNoThreshold);
  in(". 1 ack 4001");
  EXPECT_EQ(drain(), 4u);
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
}

TEST_F(Frto, Rfc5682_2_1_DuplicateMeansLoss) {
  time_out();
  in(". 1 ack 1001");
  EXPECT_EQ(drain(), 2u);
  in(". 1 ack 1001");
  out(". 1001:2001 ack 1");
  EXPECT_EQ(stats().tcp_undos_frto, 0u);
  EXPECT_EQ(record().cur_ssthresh, 7000u);
}

TEST_F(Frto, Rfc5682_2_1_DuplicateInstead) {
  time_out();
  in(". 1 ack 1");
  in(". 1 ack 1001");
  out(". 1001:2001 ack 1");
  out(". 2001:3001 ack 1");
  EXPECT_EQ(stats().tcp_undos_frto, 0u);
}

// Acknowledged as a whole: it may have been the ACKs that got lost.
TEST_F(Frto, Rfc5682_2_1_AllAcknowledgedTellsNothing) {
  time_out();
  in(". 1 ack 10001");
  EXPECT_EQ(drain(), 1u);
  in(". 1 ack 11001");
  EXPECT_EQ(drain(), 2u);
  EXPECT_EQ(stats().tcp_undos_frto, 0u);
  EXPECT_EQ(record().cur_ssthresh, 7000u);
}

TEST_F(Frto, Rfc5682_2_1_NothingNewToSend) {
  flight("mss 1000");
  after(180ms, ". 1:1001 ack 1");
  in(". 1 ack 1001");
  out(". 1001:2001 ack 1");
  out(". 2001:3001 ack 1");
  EXPECT_EQ(stats().tcp_undos_frto, 0u);
}

TEST_F(Frto, Rfc5682_2_1_NoRoomAtThePeer) {
  flight("mss 1000", 10, 10'000);
  write(20'000);
  after(180ms, ". 1:1001 ack 1");
  in(". 1 ack 1001 win 9500");
  out(". 1001:2001 ack 1");
  out(". 2001:3001 ack 1");
}

// Another timeout before the first ACK: it still decides.
TEST_F(Frto, Rfc5682_2_1_SecondTimeout) {
  time_out();
  after(400ms, ". 1:1001 ack 1");
  in(". 1 ack 1001");
  EXPECT_EQ(drain(), 2u);
  in(". 1 ack 2001");
  EXPECT_EQ(stats().tcp_undos_frto, 1u);
  EXPECT_EQ(record().cur_cwnd, 10'000u);
}

// ... and after it: that is a loss.
TEST_F(Frto, Rfc5682_2_1_TimeoutAtTheSecondStep) {
  time_out();
  in(". 1 ack 1001");
  EXPECT_EQ(drain(), 2u);
  after(400ms, ". 1001:2001 ack 1");
  in(". 1 ack 2001");
  out(". 2001:3001 ack 1");
  out(". 3001:4001 ack 1");
  EXPECT_EQ(stats().tcp_undos_frto, 0u);
}

// Nor does RACK take what it thought to be the answer to the retransmission for a sign of loss.
TEST_F(Frto, Rfc5682_3_1_SpuriousTimeout) {
  time_out_with_sack();
  in(". 1 ack 2001");
  out(". 12001:13001 ack 1");
  out(". 13001:14001 ack 1");
  in(". 1 ack 2001 <sack 3001-4001>");
  EXPECT_EQ(stats().tcp_undos_frto, 1u);
  EXPECT_EQ(record().cur_cwnd, 10'000u);
  EXPECT_EQ(record().cur_ssthresh, kNoThreshold);
  in(". 1 ack 14001");
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
  drain();
}

TEST_F(Frto, Rfc5682_3_1_OnlyNewDataArrived) {
  time_out_with_sack();
  in(". 1 ack 2001");
  EXPECT_EQ(drain(), 2u);
  in(". 1 ack 2001 <sack 12001-13001>");
  out(". 2001:3001 ack 1");
  out(". 3001:4001 ack 1");
  EXPECT_EQ(stats().tcp_undos_frto, 0u);
}

// Section 3.1: what is SACKed before the first ACK does not decide.
TEST_F(Frto, Rfc5682_3_1_DuplicatesBeforeTheFirstAck) {
  time_out_with_sack();
  in(". 1 ack 1001 <sack 4001-5001>");
  in(". 1 ack 2001 <sack 4001-5001>");
  EXPECT_EQ(drain(), 2u);
  EXPECT_EQ(stats().tcp_undos_frto, 0u);
  in(". 1 ack 3001 <sack 4001-5001>");
  EXPECT_EQ(stats().tcp_undos_frto, 1u);
}

TEST_F(Frto, Rfc5682_2_NotDuringFastRecovery) {
  flight();
  write(20'000);
  in(". 1 ack 1 <sack 1001-4001>");
  out(". 1:1001 ack 1");
  EXPECT_EQ(drain(), 0u);
  after(200ms, ". 1:1001 ack 1");
  EXPECT_EQ(stats().tcp_timeouts, 1u);
  in(". 1 ack 4001");
  out(". 4001:5001 ack 1");
  out(". 5001:6001 ack 1");
  EXPECT_EQ(stats().tcp_undos_frto, 0u);
}

// The first round-trip time of what had not been sent counts in full.
TEST_F(Frto, Rfc4015_3_2_Step8_RetransmissionTimer) {
  time_out();
  in(". 1 ack 1001");
  EXPECT_EQ(drain(), 2u);
  in(". 1 ack 2001");
  EXPECT_EQ(stats().tcp_undos_frto, 1u);
  quiet(250ms);
  in(". 1 ack 10001");
  EXPECT_GT(drain(), 10u);
  EXPECT_EQ(record().cur_rto, Millis{400});
  quiet(250ms);
  in(". 1 ack 11001");
  EXPECT_EQ(record().smoothed_rtt, Millis{500});
  EXPECT_EQ(record().cur_rto, Millis{1500});
  drain();
}

class Eifel : public Flight {
 protected:
  void time_out() {
    flight("mss 1012,sackOK,ts");
    after(20ms, "P. 9001:10001 ack 1");  // tail loss probe
    after(200ms, ". 1:1001 ack 1");
    EXPECT_EQ(record().cur_cwnd, 1000u);
  }
};

TEST_F(Eifel, Rfc3522_3_2_SpuriousTimeout) {
  time_out();
  in(". 1 ack 1001 <late 220>");
  EXPECT_EQ(stats().tcp_undos_eifel, 1u);
  EXPECT_EQ(record().cur_cwnd, 10'000u);
  EXPECT_EQ(record().cur_ssthresh, kNoThreshold);
  in(". 1 ack 10001 <late 200>");
  goes_on(10001);
  EXPECT_EQ(stats().tcp_retrans_segs, 2u);
}

TEST_F(Eifel, Rfc3522_3_2_EchoOfTheRetransmission) {
  time_out();
  in(". 1 ack 1001");
  out(". 1001:2001 ack 1");
  out(". 2001:3001 ack 1");
  EXPECT_EQ(stats().tcp_undos_eifel, 0u);
}

// Only the first acceptable ACK tells.
TEST_F(Eifel, Rfc3522_3_2_FirstAcceptableAck) {
  time_out();
  in(". 1 ack 1001");
  EXPECT_EQ(drain(), 2u);
  in(". 1 ack 2001 <late 220>");
  EXPECT_EQ(stats().tcp_undos_eifel, 0u);
  EXPECT_EQ(drain(), 2u);
}

// Step 5: the ACKs of the whole flight may have been lost, and then the echo is old as well.
TEST_F(Eifel, Rfc3522_3_2_AllOutstandingTellsNothing) {
  time_out();
  in(". 1 ack 10001 <late 220>");
  EXPECT_EQ(stats().tcp_undos_eifel, 0u);
  EXPECT_EQ(record().cur_ssthresh, 7000u);
}

// ... unless the peer is known to report duplicates.
TEST_F(Eifel, Rfc3522_3_2_AllOutstandingOfAPeerThatReportsDuplicates) {
  establish("mss 1012,sackOK,ts");
  write(1000);
  out("P. 1:1001 ack 1");
  in(". 1 ack 1001");
  in(". 1 ack 1001 <sack 1-1001>");
  write(2000);
  EXPECT_EQ(drain(), 2u);
  until_sent(1s);
  EXPECT_EQ(drain(), 1u);  // tail loss probe
  until_sent(1s);
  out(". 1001:2001 ack 1");
  in(". 1 ack 3001 <late 200>");
  EXPECT_EQ(stats().tcp_undos_eifel, 1u);
}

TEST_F(Eifel, Rfc3522_3_2_DuplicateReported) {
  time_out();
  in(". 1 ack 1001 <sack 1-1001,late 220>");
  EXPECT_EQ(stats().tcp_undos_eifel, 0u);
  EXPECT_EQ(record().cur_ssthresh, 7000u);
  EXPECT_EQ(drain(), 2u);
}

TEST_F(Eifel, Rfc3522_3_2_SpuriousFastRetransmit) {
  flight("mss 1012,sackOK,ts");
  write(5000);
  in(". 1 ack 1 <sack 1001-4001,late 0>");
  out(". 1:1001 ack 1");
  EXPECT_EQ(record().cur_ssthresh, 7000u);
  quiet(2ms);
  in(". 1 ack 4001 <late 22>");
  EXPECT_EQ(stats().tcp_undos_eifel, 1u);
  EXPECT_EQ(record().cur_cwnd, 10'000u);
  EXPECT_EQ(record().cur_ssthresh, kNoThreshold);
  EXPECT_FALSE(record().in_recovery);
  EXPECT_EQ(drain(), 4u);
}

// Without SACK as well.
TEST_F(Eifel, Rfc3522_3_2_WithoutSack) {
  flight("mss 1012,ts");
  for (int i = 0; i < 3; ++i) in(". 1 ack 1");
  out(". 1:1001 ack 1");
  quiet(2ms);
  in(". 1 ack 4001 <late 22>");
  EXPECT_EQ(stats().tcp_undos_eifel, 1u);
  EXPECT_EQ(record().cur_cwnd, 10'000u);
  in(". 1 ack 10001");
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
}

// RFC 4015 section 3.2 step 6: what is acknowledged all at once is not sent all at once.
TEST_F(Eifel, Rfc4015_3_2_Step6_NoBurst) {
  flight("mss 1012,sackOK,ts");
  in(". 1 ack 10001");
  write(20'000);
  EXPECT_EQ(drain(), 20u);
  quiet(kRtt);
  in(". 1 ack 30001");
  write(100'000);
  EXPECT_EQ(drain(), 40u);
  after(40ms, ". 70001:71001 ack 1");
  after(200ms, ". 30001:31001 ack 1");
  in(". 1 ack 69001 <late 200>");
  EXPECT_EQ(stats().tcp_undos_eifel, 1u);
  EXPECT_EQ(record().cur_cwnd, 12'000u);
  EXPECT_EQ(record().cur_ssthresh, kNoThreshold);
  EXPECT_EQ(drain(), 10u);
}

using Dsack = Flight;

TEST_F(Dsack, Rfc3708_3_AllReported) {
  flight();
  in(". 1 ack 1 <sack 1001-4001>");
  out(". 1:1001 ack 1");
  in(". 1 ack 4001");
  EXPECT_EQ(record().cur_ssthresh, 7000u);
  in(". 1 ack 4001 <sack 1-1001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 1u);
  EXPECT_EQ(record().cur_cwnd, 10'000u);
  EXPECT_EQ(record().cur_ssthresh, kNoThreshold);
  EXPECT_FALSE(record().in_recovery);
  in(". 1 ack 10001");
  goes_on(10001);
}

// The report may come when the recovery is over.
TEST_F(Dsack, Rfc3708_3_AfterTheEnd) {
  flight();
  in(". 1 ack 1 <sack 1001-4001>");
  out(". 1:1001 ack 1");
  in(". 1 ack 10001");
  EXPECT_EQ(record().cur_cwnd, 7000u);
  in(". 1 ack 10001 <sack 1-1001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 1u);
  EXPECT_EQ(record().cur_cwnd, 10'000u);
  in(". 1 ack 10001 <sack 1-1001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 1u);
}

// ... but no later than a round trip.
TEST_F(Dsack, NotOfRecoveriesLongPast) {
  flight();
  in(". 1 ack 1 <sack 1001-4001>");
  out(". 1:1001 ack 1");
  in(". 1 ack 10001");
  write(2000);
  EXPECT_EQ(drain(), 2u);
  in(". 1 ack 12001");
  in(". 1 ack 12001 <sack 1-1001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 0u);
}

TEST_F(Dsack, Rfc3708_3_OneWasALoss) {
  flight();
  in(". 1 ack 1 <sack 5001-10001 1001-4001>");
  out(". 1:1001 ack 1");
  out(". 4001:5001 ack 1");
  in(". 1 ack 4001 <sack 1-1001 5001-10001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 0u);
  in(". 1 ack 10001");
  in(". 1 ack 10001 <sack 1-1001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 0u);
  EXPECT_EQ(record().cur_ssthresh, 7000u);
}

// Sent three times, and one copy too many arrived: another one was lost.
TEST_F(Dsack, Rfc3708_3_SentAgainTwice) {
  flight();
  write(1000);
  in(". 1 ack 1 <sack 1001-10001>");
  out(". 1:1001 ack 1");
  out("P. 10001:11001 ack 1");
  quiet(kRtt);
  in(". 1 ack 1 <sack 1001-11001>");
  out(". 1:1001 ack 1");
  in(". 1 ack 11001 <sack 1-1001>");
  in(". 1 ack 11001 <sack 1-1001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 0u);
}

// A tail loss probe that was for nothing does not make the recovery so that follows it.
TEST_F(Dsack, ProbeBeforeTheRecovery) {
  flight("mss 1000,sackOK", 3);
  after(20ms, "P. 2001:3001 ack 1");
  quiet(kRtt);
  in(". 1 ack 1 <sack 2001-3001>");
  out(". 1:1001 ack 1");
  in(". 1 ack 1 <sack 2001-3001 2001-3001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 0u);
}

// Lost while it was away from its place, it is found so again.
TEST_F(Dsack, LossesThatRemainAreRepaired) {
  flight();
  in(". 1 ack 1 <sack 9001-10001>");
  after(5ms, ". 1:1001 ack 1");
  in(". 1 ack 1001 <sack 1-1001 9001-10001>");
  EXPECT_EQ(stats().tcp_undos_dsack, 1u);
  until_sent(1s);
  EXPECT_GE(drain(), 1u);
  EXPECT_EQ(stats().tcp_timeouts, 0u);
  in(". 1 ack 10001");
  goes_on(10001);
}

}  // namespace
}  // namespace sluice::tcp
