// Receiving: acknowledging (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2), the window (section
// 3.8.6.2.2), reassembly, SACK generation (RFC 2018, RFC 2883).
#include "inspector.h"
#include "script.h"

namespace sluice::tcp {
namespace {

class Receive : public Script {
 protected:
  static std::string text(unsigned from, unsigned to) {
    return ". " + std::to_string(from) + ":" + std::to_string(to) + " ack 1";
  }
  // Fills the window of 8976 bytes (a buffer of 10000).
  void fill() {
    config.receive_buffer = 10'000;
    establish("mss 1460");
    for (unsigned at = 1; at < 8977; at += 1122) {
      in(text(at, at + 1122));
      drain();
    }
    skip(1s);
    readable(8976);
  }
};

TEST_F(Receive, Rfc9293_3_8_6_3_DelayedAck) {
  establish();
  in("P. 1:1001 ack 1");
  after(40ms, ". 1 ack 1001");
  quiet(1s);
}

TEST_F(Receive, Rfc9293_3_8_6_3_EverySecondFullSizedSegment) {
  establish();
  in(". 1:1461 ack 1");
  in(". 1461:2921 ack 1");
  out(". 1 ack 2921");
  in(". 2921:4381 ack 1");
  in(". 4381:5841 ack 1");
  out(". 1 ack 5841");
}

// Full-size is what this peer sends, also after its path has become narrower.
TEST_F(Receive, Rfc9293_3_8_6_3_FullSizedAsObserved) {
  establish();
  in(". 1:1001 ack 1");
  in(". 1001:2001 ack 1");
  out(". 1 ack 2001");
  in(". 2001:2701 ack 1");
  in(". 2701:3401 ack 1");
  out(". 1 ack 3401");
}

TEST_F(Receive, AckRidesOnData) {
  establish();
  in("P. 1:101 ack 1");
  write(50);
  out("P. 1:51 ack 101");
  in(". 101 ack 51");
  quiet(1s);
}

TEST_F(Receive, Rfc5681_4_2_OutOfOrderIsAcknowledgedAtOnce) {
  establish();
  for (int i = 0; i < 3; ++i) {
    in(text(1001 + 100 * static_cast<unsigned>(i), 1101 + 100 * static_cast<unsigned>(i)));
    out(". 1 ack 1 <>");
  }
  in(". 1:1001 ack 1");
  out(". 1 ack 1301");
  readable(1300);
  read(1300);
}

TEST_F(Receive, Rfc5681_4_2_PartOfAGap) {
  establish();
  in(". 1001:2001 ack 1");
  out(". 1 ack 1");
  in(". 1:501 ack 1");
  out(". 1 ack 501");
  in(". 501:1001 ack 1");
  out(". 1 ack 2001");
  read(2000);
}

TEST_F(Receive, OverlapsAreTrimmed) {
  establish();
  in(". 501:1501 ack 1");
  out(". 1 ack 1");
  in(". 1001:2001 ack 1");
  out(". 1 ack 1");
  in(". 1:801 ack 1");
  out(". 1 ack 2001");
  in(". 1501:2501 ack 1");
  out(". 1 ack 2501");
  read(2500);
}

TEST_F(Receive, Rfc2018_4_NewestRangeFirst) {
  establish("mss 1460,sackOK");
  in(". 2001:3001 ack 1");
  out(". 1 ack 1 <sack 2001-3001>");
  in(". 4001:5001 ack 1");
  out(". 1 ack 1 <sack 4001-5001 2001-3001>");
  in(". 6001:7001 ack 1");
  out(". 1 ack 1 <sack 6001-7001 4001-5001 2001-3001>");
  in(". 8001:9001 ack 1");
  out(". 1 ack 1 <sack 8001-9001 6001-7001 4001-5001 2001-3001>");
  in(". 10001:11001 ack 1");
  out(". 1 ack 1 <sack 10001-11001 8001-9001 6001-7001 4001-5001>");
  in(". 3001:4001 ack 1");  // joins two
  out(". 1 ack 1 <sack 2001-5001 10001-11001 8001-9001 6001-7001>");
  in(". 1:2001 ack 1");
  out(". 1 ack 5001 <sack 10001-11001 8001-9001 6001-7001>");
}

TEST_F(Receive, Rfc2018_3_ThreeRangesBesideTimestamps) {
  establish("mss 1460,sackOK,ts");
  for (unsigned at = 1001; at < 9001; at += 2000) {
    in(text(at, at + 1000));
    EXPECT_EQ(drain(), 1u);
  }
  in(". 9001:10001 ack 1");
  out(". 1 ack 1 <ts 5000,sack 9001-10001 7001-8001 5001-6001>");
}

// A FIN has a sequence number: its sender would else take its segment for one that came in part.
TEST_F(Receive, Rfc2018_3_TheFinIsReported) {
  establish("mss 1000,sackOK");
  in("F. 2001:2501 ack 1");
  out(". 1 ack 1 <sack 2001-2502>");
  in(". 1001:2001 ack 1");
  out(". 1 ack 1 <sack 1001-2502>");
  in("F. 2001:2501 ack 1");
  out(". 1 ack 1 <sack 2001-2501 1001-2502>");
  in(". 1:1001 ack 1");
  out(". 1 ack 2502");
  read(2500);
  end_of_stream();
}

TEST_F(Receive, Rfc2018_2_NotNegotiatedNotSent) {
  establish("mss 1460");
  in(". 2001:3001 ack 1");
  out(". 1 ack 1 <>");
}

TEST_F(Receive, Rfc2883_4_1_DuplicateSegment) {
  establish("mss 1460,sackOK");
  in(". 1:1001 ack 1");
  after(40ms, ". 1 ack 1001");
  in(". 1:1001 ack 1");
  out(". 1 ack 1001 <sack 1-1001>");
  in(". 501:1501 ack 1");  // in part
  out(". 1 ack 1501 <sack 501-1001>");
  in(". 1501:1601 ack 1");
  out(". 1 ack 1601 <>");  // told once
}

TEST_F(Receive, Rfc2883_4_1_DuplicateOutOfOrderSegment) {
  establish("mss 1460,sackOK");
  in(". 2001:3001 ack 1");
  out(". 1 ack 1 <sack 2001-3001>");
  in(". 2001:3001 ack 1");
  out(". 1 ack 1 <sack 2001-3001 2001-3001>");
}

// Ranges fit the MSS together with data, or go on an ACK of their own.
TEST_F(Receive, SackBesideData) {
  establish("mss 1460,sackOK");
  in(". 2001:3001 ack 1");
  out(". 1 ack 1 <sack 2001-3001>");
  write(1460);
  out(". 1:1461 ack 1 <>");
  out(". 1461 ack 1 <sack 2001-3001>");
  write(100);
  out(". 1461:1561 ack 1 <sack 2001-3001>");
}

TEST_F(Receive, Bug18_BeyondTheWindowIsTrimmed) {
  config.receive_buffer = 4096;
  establish();
  in("P. 1:3501 ack 1");
  out(". 1 ack 3073 win 0");
  EXPECT_EQ(stats().drop_tcp_beyond_window, 1u);
  read(3072);
  out(". 1 ack 3073 win 3072");
}

TEST_F(Receive, Bug18_OutOfOrderBeyondTheWindowIsTrimmed) {
  config.receive_buffer = 4096;
  establish("mss 1460,sackOK");
  in(". 3001:4001 ack 1");
  out(". 1 ack 1 <sack 3001-3073>");
}

TEST_F(Receive, Rfc9293_3_8_6_2_2_SillyWindow) {
  fill();
  // Less than a segment is not worth telling.
  read(1000);
  read(459);
  quiet(1s);
  read(1);
  out(". 1 ack 8977 win 1460");
  read(1000);
  quiet(1s);
  read(2000);
  out(". 1 ack 8977 win 4460");
}

TEST_F(Receive, Bug12_Rfc9293_3_8_6_1_ProbeOfAClosedWindow) {
  fill();
  in(". 8977:8978 ack 1");
  out(". 1 ack 8977 win 0");
  in(". 8976:8977 ack 1");  // the older kind
  out(". 1 ack 8977 win 0");
  readable(8976);
  // A reader that took a little: still nothing, but once it is worth a segment the probe enters.
  read(1459);
  in(". 8977:8978 ack 1");
  out(". 1 ack 8977 win 0");
  read(1);
  out(". 1 ack 8977 win 1460");
  in(". 8977:8978 ack 1");
  out(". 1 ack 8978 win 1459");
}

// The right edge stays where it was promised.
TEST_F(Receive, Rfc9293_3_8_6_WindowIsNotTakenBack) {
  config.receive_buffer = 10'000;
  establish();
  in(". 1:1001 ack 1");
  in(". 1001:2001 ack 1");
  out(". 1 ack 2001 win 6976");
  read(1000);
  in(". 2001:3001 ack 1");
  in(". 3001:4001 ack 1");
  out(". 1 ack 4001 win 4976");
}

TEST_F(Receive, ReadInTheSameTurnKeepsTheWindowOpen) {
  config.receive_buffer = 10'000;
  establish();
  greedy = true;
  for (unsigned at = 1; at < 40'000; at += 2000) {
    in(text(at, at + 1000));
    in(text(at + 1000, at + 2000));
    const std::string expected = ". 1 ack " + std::to_string(at + 2000) + " win 8976";
    out(expected);
  }
  EXPECT_EQ(stack().memory_in_use(), 0u);
}

TEST_F(Receive, Bug17_RangesAreBounded) {
  establish("mss 1460,sackOK");
  for (unsigned at = 3; at < 403; at += 2) {
    in(text(at, at + 1));
    EXPECT_EQ(drain(), 1u);
  }
  EXPECT_EQ(Inspector::out_of_order_ranges(stack()), 64u);
  EXPECT_GT(stats().drop_tcp_reassembly_full, 0u);
  // What is in order is taken whatever has overtaken it.
  in(". 1:3 ack 1");
  out(". 1 ack 4");
  read(3);
}

TEST_F(Receive, UrgentDataIsInLine) {
  establish();
  std::vector<std::uint8_t> bytes = bytes_of("P. 1:11 ack 1");
  bytes[13] |= 0x20;
  bytes[19] = 5;
  in_bytes(bytes);
  turn();
  read(10);
  after(40ms, ". 1 ack 11");
}

}  // namespace
}  // namespace sluice::tcp
