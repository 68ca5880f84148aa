// Loss detection by time: RFC 8985 section 6.
#include "flight.h"

namespace sluice::tcp {
namespace {

using Rack = Flight;

// Section 6.2 step 5: one segment that was overtaken gets a quarter of the round-trip time.
TEST_F(Rack, Rfc8985_6_2_ReorderingTimer) {
  flight("mss 1000,sackOK", 3);
  in(". 1 ack 1 <sack 1001-2001>");
  after(5ms, ". 1:1001 ack 1");
  EXPECT_EQ(stats().tcp_reordering_timeouts, 1u);
  EXPECT_EQ(stats().tcp_fast_retransmits, 1u);
  quiet(kRtt);
  in(". 1 ack 3001");
  goes_on(3001);
}

// A segment that comes late within that time is not sent again.
TEST_F(Rack, Rfc8985_6_2_ReorderedSegmentIsNotLost) {
  flight("mss 1000,sackOK", 3);
  in(". 1 ack 1 <sack 1001-2001>");
  quiet(4ms);
  in(". 1 ack 2001");
  quiet(4ms);
  in(". 1 ack 3001");
  goes_on(3001);
  EXPECT_EQ(stats().tcp_retrans_segs, 0u);
}

// Step 4: once reordering was seen, three duplicates are no proof any more.
TEST_F(Rack, Rfc8985_6_2_ReorderingSeen) {
  flight();
  in(". 1 ack 1 <sack 1001-3001>");
  quiet(2ms);
  in(". 1 ack 3001");  // the first one had been overtaken
  in(". 1 ack 3001 <sack 4001-8001>");
  nothing();
  quiet(4ms);
  in(". 1 ack 8001");
  in(". 1 ack 10001");
  goes_on(10001);
  EXPECT_EQ(stats().tcp_retrans_segs, 0u);
}

// Step 4: each round with a duplicate reported widens the window by a quarter.
TEST_F(Rack, Rfc8985_6_2_DsackWidensTheWindow) {
  flight();
  in(". 1 ack 1 <sack 1001-2001>");
  after(5ms, ". 1:1001 ack 1");
  in(". 1 ack 2001");                // the original was only late
  in(". 1 ack 2001 <sack 1-1001>");  // and here is the copy
  quiet(10ms);
  in(". 1 ack 10001");
  write(3000);
  EXPECT_EQ(drain(), 3u);
  quiet(kRtt);
  in(". 1 ack 10001 <sack 11001-12001>");
  after(10ms, ". 10001:11001 ack 1");
}

// What was sent again and did not arrive is found lost by what was sent after it and did.
TEST_F(Rack, Rfc8985_3_LostRetransmission) {
  flight();
  write(1000);
  in(". 1 ack 1 <sack 1001-10001>");
  out(". 1:1001 ack 1");
  out("P. 10001:11001 ack 1");
  quiet(kRtt);
  in(". 1 ack 1 <sack 1001-11001>");
  out(". 1:1001 ack 1");
  EXPECT_EQ(stats().tcp_lost_retransmits, 1u);
  EXPECT_EQ(stats().tcp_fast_retransmits, 1u);
  EXPECT_EQ(stats().tcp_timeouts, 0u);
}

// Section 6.3: after a timeout what was sent less than a round trip ago is not lost yet.
TEST_F(Rack, Rfc8985_6_3_TimeoutMarksWhatIsOverdue) {
  round_trip = kRtt;
  establish("mss 1000,sackOK");
  write(1000);
  out("P. 1:1001 ack 1");
  quiet(kRtt);
  in(". 1 ack 1001");
  write(2000);
  EXPECT_EQ(drain(), 2u);
  after(40ms, "P. 2001:3001 ack 1");  // tail loss probe
  quiet(190ms);
  write(1000);
  out("P. 3001:4001 ack 1");
  after(10ms, ". 1001:2001 ack 1");
  quiet(kRtt);
  in(". 1 ack 2001 <sack 3001-4001>");
  out(". 2001:3001 ack 1");
  quiet(kRtt);
  in(". 1 ack 4001");
  goes_on(4001);
  EXPECT_EQ(stats().tcp_retrans_segs, 3u);
}

// Section 6.2 step 2: an answer faster than any before is one to the first transmission.
TEST_F(Rack, Rfc8985_6_2_TooFastAnAnswerToARetransmission) {
  flight();
  in(". 1 ack 1 <sack 1001-2001>");
  after(5ms, ". 1:1001 ack 1");
  quiet(1ms);
  in(". 1 ack 2001");
  // Had it been the answer to the copy, all sent before the copy would be lost now.
  nothing();
  in(". 1 ack 10001");
  quiet(2s);
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
}

// gVisor: what was lost went out twice; smoltcp and others: beyond the peer's window.
TEST_F(Rack, Bug28_LostSegmentsGoOnceAndWithinTheWindow) {
  flight();
  in(". 1 ack 1 win 2000 <sack 6001-10001>");
  out(". 1:1001 ack 1");
  out(". 1001:2001 ack 1");
  in(". 1 ack 1 win 2000 <sack 6001-10001>");
  quiet(kRtt);
  in(". 1 ack 2001 win 8000 <sack 6001-10001>");
  out(". 2001:3001 ack 1");
  out(". 3001:4001 ack 1");
  out(". 4001:5001 ack 1");
  out(". 5001:6001 ack 1");
  in(". 1 ack 2001 win 8000 <sack 6001-10001>");
  quiet(kRtt);
  in(". 1 ack 10001");
  goes_on(10001);
  EXPECT_EQ(stats().tcp_retrans_segs, 6u);
}

// Without SACK three duplicates count (RFC 6582), and no timer of RFC 8985 runs.
TEST_F(Rack, NotWithoutSack) {
  flight("mss 1000", 3);
  in(". 1 ack 1");
  quiet(160ms);
  after(kRtt, ". 1:1001 ack 1");
  EXPECT_EQ(stats().tcp_timeouts, 1u);
}

}  // namespace
}  // namespace sluice::tcp
