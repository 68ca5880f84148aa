// Tail loss probes: RFC 8985 section 7.
#include "flight.h"

namespace sluice::tcp {
namespace {

using Tlp = Flight;

// Section 7.2: two round trips after the last new data; section 7.3: the last segment once more.
TEST_F(Tlp, Rfc8985_7_3_LastSegmentAgain) {
  flight("mss 1000,sackOK", 3);
  after(20ms, "P. 2001:3001 ack 1");
  EXPECT_EQ(stats().tcp_tail_probes, 1u);
  quiet(kRtt);
  in(". 1 ack 1 <sack 2001-3001>");
  // RACK: what was sent so long before the probe is lost.
  out(". 1:1001 ack 1");
  EXPECT_EQ(stats().tcp_timeouts, 0u);
}

// New data goes rather than old.
TEST_F(Tlp, Rfc8985_7_3_NewDataFirst) {
  flight();
  write(1000);
  nothing();  // the congestion window is full; the probe may go beyond
  after(20ms, "P. 10001:11001 ack 1");
  EXPECT_EQ(stats().tcp_tail_probes, 1u);
  EXPECT_EQ(stats().tcp_retrans_segs, 0u);
}

// ... unless the peer has no room for it.
TEST_F(Tlp, Rfc8985_7_3_RespectsThePeersWindow) {
  flight("mss 1000,sackOK", 3, 3000);
  write(1000);
  nothing();
  after(20ms, ". 2001:3001 ack 1");
}

// Section 7.2: a lone segment may wait for a delayed ACK.
TEST_F(Tlp, Rfc8985_7_2_LoneSegment) {
  flight("mss 1000,sackOK", 1);
  after(70ms, "P. 1:1001 ack 1");
}

// Section 7.2: without a round-trip time the retransmission timer comes first.
TEST_F(Tlp, Rfc8985_7_2_NeverAfterTheRetransmissionTimer) {
  round_trip = 150ms;
  establish("mss 1000,sackOK");
  write(3000);
  EXPECT_EQ(drain(), 3u);
  after(300ms, "P. 2001:3001 ack 1");
  // Section 7.3: the retransmission timer begins anew: SRTT + 4 RTTVAR.
  after(450ms, ". 1:1001 ack 1");
  EXPECT_EQ(stats().tcp_tail_probes, 1u);
  EXPECT_EQ(stats().tcp_timeouts, 1u);
}

// Section 7.3: one probe, then the retransmission timer.
TEST_F(Tlp, Rfc8985_7_3_OneProbe) {
  flight("mss 1000,sackOK", 2);
  after(20ms, "P. 1001:2001 ack 1");
  after(200ms, ". 1:1001 ack 1");
  EXPECT_EQ(stats().tcp_tail_probes, 1u);
  quiet(kRtt);
  in(". 1 ack 2001");
  goes_on(2001);
}

// Section 7.3: another one only after a new round-trip time was taken.
TEST_F(Tlp, Rfc8985_7_3_NotWithoutANewRoundTripTime) {
  flight("mss 1000,sackOK", 1);
  after(70ms, "P. 1:1001 ack 1");
  quiet(kRtt);
  in(". 1 ack 1001");  // of which transmission?
  write(1000);
  out("P. 1001:2001 ack 1");
  after(200ms, "P. 1001:2001 ack 1");
  EXPECT_EQ(stats().tcp_tail_probes, 1u);
  EXPECT_EQ(stats().tcp_timeouts, 1u);
}

// Section 7.4.2: acknowledged beyond the probe and no duplicate reported: it repaired a loss, and
// that is a sign of congestion.
TEST_F(Tlp, Rfc8985_7_4_RepairedLossReducesTheWindow) {
  flight();
  in(". 1 ack 9001");
  after(90ms, "P. 9001:10001 ack 1");
  quiet(kRtt);
  in(". 1 ack 10001");
  EXPECT_EQ(stats().tcp_tail_losses, 0u);
  write(1000);
  out("P. 10001:11001 ack 1");
  quiet(kRtt);
  in(". 1 ack 11001");
  EXPECT_EQ(stats().tcp_tail_losses, 1u);
  write(30'000);
  EXPECT_LE(drain(), 3u);
}

// ... but a duplicate reported means that both arrived.
TEST_F(Tlp, Rfc8985_7_4_DuplicateReportedIsNoLoss) {
  flight();
  in(". 1 ack 9001");
  after(90ms, "P. 9001:10001 ack 1");
  in(". 1 ack 10001");
  in(". 1 ack 10001 <sack 9001-10001>");
  write(1000);
  out("P. 10001:11001 ack 1");
  quiet(kRtt);
  in(". 1 ack 11001");
  EXPECT_EQ(stats().tcp_tail_losses, 0u);
  write(30'000);
  EXPECT_GE(drain(), 10u);
}

// Section 7.2: not while something is SACKed, where RACK is at work already.
TEST_F(Tlp, Rfc8985_7_2_NotWhenSomethingIsSacked) {
  flight("mss 1000,sackOK", 3);
  in(". 1 ack 1 <sack 1001-2001>");
  after(5ms, ". 1:1001 ack 1");
  EXPECT_EQ(stats().tcp_tail_probes, 0u);
}

// The FIN is a tail, too.
TEST_F(Tlp, Rfc8985_7_3_Fin) {
  flight("mss 1000,sackOK", 1);
  in(". 1 ack 1001");
  shutdown();
  out("F. 1001 ack 1");
  after(90ms, "F. 1001 ack 1");
  EXPECT_EQ(stats().tcp_tail_probes, 1u);
  in(". 1 ack 1002");
  state(State::fin_wait_2);
}

// A probe that finds the sink full goes later, and the retransmission timer watches meanwhile.
TEST_F(Tlp, SinkWithoutRoom) {
  flight("mss 1000,sackOK", 2);
  sink_full(true);
  quiet(25ms);
  sink_full(false);
  turn();
  out("P. 1001:2001 ack 1");
  EXPECT_EQ(stats().tcp_tail_probes, 1u);
}

}  // namespace
}  // namespace sluice::tcp
