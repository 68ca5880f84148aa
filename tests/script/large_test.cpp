// Large segments, which the port cuts (TCP segmentation offload). What arrives is what would arrive
// without; the harness cuts as a NIC does.
#include "flight.h"

namespace sluice::tcp {
namespace {

class Large : public Flight {
 protected:
  Large() { large = {.text = 60'000, .segment = 1480}; }
};

TEST_F(Large, FullSegmentsInOneAndTheRestAlone) {
  establish("mss 1460,sackOK");
  write(10'000);
  for (std::uint32_t at = 1; at < 8761; at += 1460) {
    out(". " + std::to_string(at) + ":" + std::to_string(at + 1460) + " ack 1");
  }
  out("P. 8761:10001 ack 1");
  EXPECT_EQ(cut, 1u);
  EXPECT_EQ(stats().tcp_out_segs, 8u) << "with the SYN-ACK";
  EXPECT_EQ(record().estats.data_segs_out, 7u);
  in(". 1 ack 10001");
}

TEST_F(Large, PushIsOnTheLastPieceWhenNothingFollows) {
  establish("mss 1460");
  write(2920);
  out(". 1:1461 ack 1");
  out("P. 1461:2921 ack 1");
  EXPECT_EQ(cut, 1u);
  in(". 1 ack 2921");
}

TEST_F(Large, TheFinGoesAlone) {
  establish("mss 1460");
  sink_full(true);
  write(2920);
  shutdown();
  sink_full(false);
  turn();
  out(". 1:1461 ack 1");
  out("FP. 1461:2921 ack 1");
  EXPECT_EQ(cut, 0u);
  in(". 1 ack 2922");
}

TEST_F(Large, OptionsTakeTheirPlaceInEachPiece) {
  establish("mss 1460,ts");
  write(2896);
  out(". 1:1449 ack 1");
  out("P. 1449:2897 ack 1");
  EXPECT_EQ(cut, 1u);
  in(". 1 ack 2897");
}

// A port that cuts smaller than the MTU allows.
TEST_F(Large, PiecesThatThePortTakes) {
  large.segment = 1466;
  establish("mss 1460");
  write(5000);
  out(". 1:1447 ack 1");
  out(". 1447:2893 ack 1");
  out(". 2893:4339 ack 1");
  out("P. 4339:5001 ack 1");
  EXPECT_EQ(cut, 1u);
  in(". 1 ack 5001");
}

// RFC 8985: each piece is a segment; the one that is lost goes again, alone.
TEST_F(Large, ALostPieceGoesAgainAlone) {
  large.segment = 1020;
  flight("mss 1000,sackOK");
  EXPECT_EQ(cut, 1u);
  in(". 1 ack 3001 <sack 4001-10001>");
  out(". 3001:4001 ack 1");
  quiet(kRtt);
  in(". 1 ack 10001");
  goes_on(10'001);
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
  EXPECT_EQ(stats().tcp_timeouts, 0u);
}

// RFC 6298: after a timeout one segment goes, though a large one was sent.
TEST_F(Large, ATimeoutSendsOneSegment) {
  large.segment = 1020;
  establish("mss 1000");
  write(4000);
  EXPECT_EQ(drain(), 4u);
  EXPECT_EQ(cut, 1u);
  until_sent(3s);
  out(". 1:1001 ack 1");
  EXPECT_EQ(cut, 1u);
  in(". 1 ack 4001");
}

// The congestion window (RFC 5681) and the peer's bound what goes at once.
TEST_F(Large, WithinTheWindows) {
  large.segment = 1020;
  establish("mss 1000", 5500);
  write(30'000);
  for (std::uint32_t at = 1; at < 5001; at += 1000) {
    out(". " + std::to_string(at) + ":" + std::to_string(at + 1000) + " ack 1");
  }
  nothing();
  EXPECT_EQ(cut, 1u);
  in(". 1 ack 5001 win 65535");
  EXPECT_EQ(drain(), 15u) << "the initial window and what was acknowledged";
  EXPECT_EQ(cut, 2u);
  in(". 1 ack 20001");
  EXPECT_EQ(drain(), 10u);
  in(". 1 ack 30001");
}

// Each piece needs a record; what there are none for goes later.
TEST_F(Large, AsManyAsThereAreRecordsFor) {
  large.segment = 520;
  establish("mss 500");
  for (std::uint32_t sent = 0, flight = 10; flight <= 40; flight *= 2) {
    write(flight * 500);
    EXPECT_EQ(drain(), flight);
    sent += flight * 500;
    quiet(1ms);
    in(". 1 ack " + std::to_string(1 + sent));
  }
  EXPECT_EQ(stats().tcp_retrans_segs, 0u);
}

// RFC 9293 section 3.8.6.2.1: of a window with room for less than two segments it takes halves.
TEST_F(Large, NotIntoAWindowOfLessThanTwo) {
  large.segment = 1020;
  establish("mss 1000", 1800);
  write(4000);
  out(". 1:901 ack 1");
  out(". 901:1801 ack 1");
  EXPECT_EQ(cut, 0u);
  in(". 1 ack 1801 win 0");
}

// The header is copied: what it reports would be, too.
TEST_F(Large, NotWhileThereAreGapsToReport) {
  large.segment = 1020;
  establish("mss 1000,sackOK");
  in(". 1001:2001 ack 1");
  out(". 1 ack 1 <sack 1001-2001>");
  write(3000);
  EXPECT_EQ(drain(), 4u) << "full segments have no room for the report: it goes alone";
  EXPECT_EQ(cut, 0u);
  in(". 1:1001 ack 3001");
  out(". 3001 ack 2001");
  write(3000);
  EXPECT_EQ(drain(), 3u);
  EXPECT_EQ(cut, 1u);
  read(2000);
}

TEST_F(Large, AFullPortIsTriedAgain) {
  large.segment = 1020;
  establish("mss 1000");
  sink_full(true);
  write(4000);
  nothing();
  sink_full(false);
  turn();
  EXPECT_EQ(drain(), 4u);
  EXPECT_EQ(cut, 1u);
  in(". 1 ack 4001");
}

}  // namespace
}  // namespace sluice::tcp
