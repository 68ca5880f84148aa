// What the path takes: ICMP messages that are not believed at once (RFC 5927 section 7.2), black
// holes and probes for more (RFC 4821).
#include "flight.h"

namespace sluice::tcp {
namespace {

using IcmpPathMtu = Flight;

// What has got through is not too big, until it does not get through any more.
TEST_F(IcmpPathMtu, Rfc5927_7_2_NotBelowWhatGotThrough) {
  flight("mss 1460", 1);
  in(". 1 ack 1001");
  write(2920);
  EXPECT_EQ(drain(), 2u);
  icmp(1001, false, 1000);
  nothing();
  EXPECT_EQ(stats().tcp_path_mtu_held, 1u);
  in(". 1 ack 3921");
  write(1460);
  out("P. 3921:5381 ack 1");
  until_sent(1s);
  out("P. 3921:5381 ack 1");
  EXPECT_EQ(stats().tcp_path_mtu_lowered, 0u);
}

TEST_F(IcmpPathMtu, Rfc5927_7_2_TimeoutConfirms) {
  flight("mss 1460", 1);
  in(". 1 ack 1001");
  write(2920);
  EXPECT_EQ(drain(), 2u);
  icmp(1001, false, 1000);
  until_sent(1s);
  out(". 1001:1961 ack 1");
  EXPECT_EQ(stats().tcp_path_mtu_lowered, 1u);
  EXPECT_EQ(record().path_mtu, 1000u);
}

// Larger than what got through so far: believed at once (initial path MTU discovery).
TEST_F(IcmpPathMtu, Rfc5927_7_2_InitialDiscovery) {
  flight("mss 1460", 1);
  in(". 1 ack 1001");
  write(1460);
  out("P. 1001:2461 ack 1");
  icmp(1001, false, 1100);
  out(". 1001:2061 ack 1");
  out("P. 2061:2461 ack 1");
  EXPECT_EQ(stats().tcp_path_mtu_held, 0u);
}

TEST_F(IcmpPathMtu, Rfc5927_7_2_QuotesWhatIsAcknowledged) {
  flight("mss 1460", 2);
  in(". 1 ack 1001");
  icmp(1, false, 700);
  nothing();
  EXPECT_EQ(stats().drop_tcp_icmp, 1u);
  EXPECT_EQ(record().path_mtu, 1500u);
}

class BlackHole : public Flight {
 protected:
  // Segments of 1460 get lost without a word, until shorter ones are tried.
  void fall_back(std::string_view options) {
    round_trip = kRtt;
    establish(options);
    write(14'600);
    EXPECT_EQ(drain(), 10u);
    for (int i = 0; i < 9 && stats().tcp_black_holes == 0; ++i) {
      until_sent(2s);
      drain();
    }
    EXPECT_EQ(stats().tcp_timeouts, 3u);
    EXPECT_EQ(record().path_mtu, 1280u);
    acknowledge(14'601);
  }
  void acknowledge(std::uint32_t to) {
    next_ = to;
    quiet(kRtt);
    in(". 1 ack " + std::to_string(to));
  }
  // The window has grown, and ten seconds are over.
  void later() {
    write(40'000);
    while (record().pipe_size > 0) {
      drain();
      acknowledge(next_ + record().pipe_size);
    }
    quiet(11s);
  }
  std::string text(std::uint32_t from, std::uint32_t to) {
    return std::to_string(next_ + from) + "-" + std::to_string(next_ + to);
  }
  std::string segment(std::uint32_t from, std::uint32_t to) {
    return ". " + std::to_string(next_ + from) + ":" + std::to_string(next_ + to) + " ack 1";
  }
  std::uint32_t next_ = 1;
};

TEST_F(BlackHole, Rfc4821_7_7_SmallerSegmentsAreTried) {
  round_trip = kRtt;
  establish("mss 1460");
  write(2920);
  EXPECT_EQ(drain(), 2u);
  for (int i = 0; i < 2; ++i) {
    until_sent(2s);
    out(". 1:1461 ack 1");
  }
  EXPECT_EQ(stats().tcp_black_holes, 0u);
  until_sent(2s);
  out(". 1:1241 ack 1");
  EXPECT_EQ(stats().tcp_black_holes, 1u);
  acknowledge(1241);
  EXPECT_EQ(drain(), 3u);
  acknowledge(2921);
  write(2000);
  out(segment(0, 1240));
  out("P" + segment(1240, 2000));
}

TEST_F(BlackHole, Rfc8201_4_NotBelowTheLeastOfIpv6) {
  local = "2001:db8::1", remote = "2001:db8::2";
  establish("mss 1440");
  write(1440);
  EXPECT_EQ(drain(), 1u);
  for (int i = 0; i < 2; ++i) {
    until_sent(2s);
    out("P. 1:1441 ack 1");
  }
  for (int i = 0; i < 4; ++i) {
    until_sent(20s);
    out(". 1:1221 ack 1");
    EXPECT_EQ(drain(), 0u);
  }
  EXPECT_EQ(record().path_mtu, 1280u);
}

TEST_F(BlackHole, Rfc4821_7_7_FloorOfIpv4) {
  establish("mss 1460");
  write(1460);
  EXPECT_EQ(drain(), 1u);
  skip(60s);
  EXPECT_EQ(record().path_mtu, 552u);
  EXPECT_EQ(stats().tcp_black_holes, 2u);
}

TEST_F(BlackHole, SmallSegmentsSayNothing) {
  establish("mss 1460");
  write(500);
  EXPECT_EQ(drain(), 1u);
  skip(60s);
  EXPECT_EQ(record().path_mtu, 1500u);
}

TEST_F(BlackHole, Rfc4821_7_3_ProbeThatArrives) {
  fall_back("mss 1460,sackOK");
  later();
  write(9000);
  out(segment(0, 1460));
  out(segment(1460, 2700));
  EXPECT_GE(drain(), 5u);
  EXPECT_EQ(stats().tcp_mtu_probes, 1u);
  acknowledge(next_ + 9000);
  EXPECT_EQ(stats().tcp_path_mtu_raised, 1u);
  EXPECT_EQ(record().path_mtu, 1500u);
  write(2920);
  out(segment(0, 1460));
  out("P" + segment(1460, 2920));
}

// Section 7.6.2: the loss of a probe alone is none of congestion.
TEST_F(BlackHole, Rfc4821_7_6_2_ProbeThatIsLost) {
  fall_back("mss 1460,sackOK");
  later();
  const std::uint32_t recoveries = static_cast<std::uint32_t>(stats().tcp_fast_retransmits);
  write(9000);
  out(segment(0, 1460));
  drain();
  const std::uint32_t window = record().cur_cwnd;
  quiet(kRtt);
  in(". 1 ack " + std::to_string(next_) + " <sack " + text(1460, 9000) + ">");
  out(segment(0, 1240));
  out(segment(1240, 1460));
  EXPECT_EQ(stats().tcp_mtu_probes_lost, 1u);
  EXPECT_EQ(stats().tcp_fast_retransmits, recoveries);
  EXPECT_GE(record().cur_cwnd, window);
  EXPECT_EQ(record().path_mtu, 1280u);
  acknowledge(next_ + 9000);
  // The next one is between the two.
  later();
  write(9000);
  out(segment(0, 1350));
  drain();
}

// With another loss it tells nothing, and the usual is done.
TEST_F(BlackHole, Rfc4821_7_6_2_NotTheOnlyLoss) {
  fall_back("mss 1460,sackOK");
  later();
  write(9000);
  out(segment(0, 1460));
  drain();
  quiet(kRtt);
  in(". 1 ack " + std::to_string(next_) + " <sack " + text(2700, 9000) + ">");
  out(segment(0, 1240));
  drain();
  EXPECT_EQ(stats().tcp_mtu_probes_lost, 0u);
  EXPECT_EQ(stats().tcp_fast_retransmits, 1u);
}

// A probe may be answered by ICMP: that is its end, and not more.
TEST_F(BlackHole, Rfc4821_7_6_ProbeAnsweredByIcmp) {
  fall_back("mss 1460,sackOK");
  later();
  write(9000);
  out(segment(0, 1460));
  drain();
  icmp(next_, false, 1400);
  EXPECT_EQ(stats().tcp_mtu_probes_lost, 1u);
  EXPECT_EQ(record().path_mtu, 1280u);
  drain();
}

TEST_F(BlackHole, Rfc4821_7_4_OnlyWithEnoughBehindIt) {
  fall_back("mss 1460,sackOK");
  later();
  write(5000);
  out(segment(0, 1240));
  drain();
  EXPECT_EQ(stats().tcp_mtu_probes, 0u);
}

// RFC 1191 section 6.3, RFC 8201 section 4: what ICMP has told holds for ten minutes.
TEST_F(BlackHole, Rfc1191_6_3_RaisedAfterTenMinutes) {
  round_trip = kRtt;
  establish("mss 1460,sackOK");
  write(9000);
  EXPECT_EQ(drain(), 7u);
  icmp(1, false, 1400);
  drain();
  acknowledge(9001);
  quiet(590s);
  write(9000);
  out(segment(0, 1360));
  drain();
  acknowledge(18'001);
  quiet(11s);
  write(9000);
  out(segment(0, 1460));
  drain();
}

}  // namespace
}  // namespace sluice::tcp
