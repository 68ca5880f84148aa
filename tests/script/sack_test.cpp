// The sender's use of SACK: RFC 2018, 2883, 6675.
#include "flight.h"

namespace sluice::tcp {
namespace {

using Sack = Flight;

TEST_F(Sack, Rfc6675_5_Recovery) {
  flight();
  in(". 1 ack 1 <sack 1001-2001>");
  in(". 1 ack 1 <sack 1001-3001>");
  nothing();
  in(". 1 ack 1 <sack 1001-4001>");
  out(". 1:1001 ack 1");
  quiet(kRtt);
  in(". 1 ack 10001");
  quiet(2s);
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
}

// Three segments beyond the hole in one report are enough. RFC 6937: four arrived, four may go.
TEST_F(Sack, Rfc6675_4_IsLostByOneReport) {
  flight();
  in(". 1 ack 1 <sack 6001-10001>");
  out(". 1:1001 ack 1");
  out(". 1001:2001 ack 1");
  out(". 2001:3001 ack 1");
  out(". 3001:4001 ack 1");
}

TEST_F(Sack, Rfc6675_4_SeveralHoles) {
  flight();
  in(". 1 ack 1 <sack 5001-10001 1001-4001>");
  out(". 1:1001 ack 1");
  out(". 4001:5001 ack 1");
  quiet(kRtt);
  in(". 1 ack 4001 <sack 5001-10001>");
  in(". 1 ack 10001");
  quiet(2s);
  EXPECT_EQ(stats().tcp_retrans_segs, 2u);
}

// At the recovery point it ends, whatever ranges are left, and the next loss is a loss anew.
TEST_F(Sack, Bug29_Rfc6675_5_EndsAtTheRecoveryPoint) {
  flight();
  in(". 1 ack 1 <sack 1001-10001>");
  out(". 1:1001 ack 1");
  quiet(kRtt);
  in(". 1 ack 10001");
  write(5000);
  EXPECT_EQ(drain(), 5u);
  quiet(kRtt);
  in(". 1 ack 10001 <sack 11001-15001>");
  out(". 10001:11001 ack 1");
  EXPECT_EQ(stats().tcp_fast_retransmits, 2u);
  // VPP 472cdc9: ranges left over prolonged the first recovery, and nothing was reduced again.
  quiet(kRtt);
  in(". 1 ack 15001");
  write(20'000);
  EXPECT_EQ(drain(), 3u);
}

// NextSeg() rule 2: when nothing is left to repair, new data goes as ACKs come in.
TEST_F(Sack, Rfc6675_4_NextSegRule2) {
  flight();
  write(10'000);
  nothing();
  in(". 1 ack 1 <sack 1001-4001>");
  out(". 1:1001 ack 1");
  in(". 1 ack 1 <sack 1001-5001>");
  out(". 10001:11001 ack 1");
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
}

// Rule 4: nothing else may be sent, and the tail is overdue. Once per recovery.
TEST_F(Sack, Rfc6675_4_NextSegRule4Rescue) {
  flight();
  in(". 1 ack 1 <sack 1001-2001>");
  after(5ms, ". 1:1001 ack 1");  // a quarter of the round trip later
  quiet(10ms);
  in(". 1 ack 1 <sack 1001-7001>");
  nothing();  // what has just arrived was sent at the same time
  quiet(6ms);
  in(". 1 ack 1 <sack 1001-7001>");
  out("P. 9001:10001 ack 1");
  in(". 1 ack 1 <sack 1001-8001>");
  in(". 1 ack 1 <sack 1001-9001>");
  nothing();
  in(". 1 ack 10001");
  goes_on(10001);
}

TEST_F(Sack, Rfc2018_BogusRanges) {
  flight();
  in(". 1 ack 1 <sack 20001-30001 5001-5001 4001-3001 9001-11001>");
  in(". 1 ack 5001 <sack 1-4001>");  // below the ACK: a duplicate was seen
  nothing();
  EXPECT_EQ(stats().tcp_dup_acks_in, 0u);
  EXPECT_EQ(stats().tcp_dsacks_in, 1u);
  in(". 1 ack 10001");
}

// A range that covers a segment only in part does not tell that it arrived.
TEST_F(Sack, Rfc2018_PartOfASegment) {
  flight();
  in(". 1 ack 1 <sack 1001-1999 2500-4001>");
  in(". 1 ack 1 <sack 1001-2001>");
  EXPECT_EQ(stats().tcp_dup_acks_in, 2u);
  after(5ms, ". 1:1001 ack 1");
  quiet(kRtt);
  in(". 1 ack 2001 <sack 3001-10001>");
  out(". 2001:3001 ack 1");
}

TEST_F(Sack, Bug32_NestedAndOverlappingRanges) {
  flight();
  in(". 1 ack 1 <sack 2001-3001 1001-4001 3501-9001 1001-10001>");
  out(". 1:1001 ack 1");
  in(". 1 ack 10001");
  quiet(2s);
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
}

// smoltcp: SACK was agreed on by those who were called, and not by those who called.
TEST_F(Sack, Bug31_WhenWeOpened) {
  round_trip = kRtt;
  establish_active("mss 1000,sackOK");
  in(". 1001:2001 ack 1");
  out(". 1 ack 1 <sack 1001-2001>");
  in(". 1:1001 ack 1");
  out(". 1 ack 2001 <>");
  write(5000);
  EXPECT_EQ(drain(), 5u);
  quiet(kRtt);
  in(". 2001 ack 1 <sack 2001-5001>");
  out(". 1:1001 ack 2001");
  out(". 1001:2001 ack 2001");
}

// Section 8: after a timeout the receiver may have thrown away what it reported.
TEST_F(Sack, Rfc2018_8_Reneging) {
  flight();
  in(". 1 ack 1 <sack 1001-2001>");
  after(5ms, ". 1:1001 ack 1");
  quiet(kRtt);
  in(". 1 ack 1001");
  out(". 1001:2001 ack 1");
  EXPECT_EQ(stats().tcp_sack_reneging, 1u);
  quiet(kRtt);
  in(". 1 ack 10001");
  goes_on(10001);
}

// RFC 2883: an ACK that reports a duplicate carries an old echo, and is no sample.
TEST_F(Sack, Rfc2883_DuplicateReportIsNoSample) {
  establish("mss 1012,sackOK,ts");
  write(1000);
  out("P. 1:1001 ack 1");
  after(52ms, "P. 1:1001 ack 1");   // a tail loss probe
  after(200ms, "P. 1:1001 ack 1");  // arrives, its ACK is lost
  after(400ms, "P. 1:1001 ack 1");
  after(800ms, "P. 1:1001 ack 1");
  in(". 1 ack 1001 <sack 1-1001,ts>");
  write(1000);
  out("P. 1001:2001 ack 1");
  after(200ms, "P. 1001:2001 ack 1");
}

}  // namespace
}  // namespace sluice::tcp
