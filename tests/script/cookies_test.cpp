// SYN cookies (RFC 4987 section 3.6): handshakes of which nothing is kept.
#include "inspector.h"
#include "script.h"

namespace sluice::tcp {
namespace {

class Cookies : public Script {
 protected:
  // Without a SYN cache each SYN is answered with a cookie.
  Cookies() { config.syn_cache_entries = 0; }
  void syn(std::string_view options) {
    in("S 0 <" + std::string(options) + ">");
    out("S. 0 ack 1");
  }
};

TEST_F(Cookies, Rfc4987_3_6_OptionsAreKeptInTheTimestamp) {
  listen();
  in("S 0 <mss 1400,sackOK,ts,wscale 5>");
  out("S. 0 ack 1 win 65535 <mss 1460,sackOK,ts,wscale 7>");
  EXPECT_EQ(Inspector::syn_cache(stack()), 0u);
  EXPECT_EQ(stack().connection_count(), 0u);
  EXPECT_EQ(stack().memory_in_use(), 0u);
  in(". 1 ack 1 win 100");
  EXPECT_EQ(accepted, 1u);
  // Segments of the next smaller MSS of the table, 1360 with options, up to 100 << 5.
  write(4000);
  out(". 1:1349 ack 1");
  out(". 1349:2697 ack 1");
  nothing();
  in("P. 1001:1101 ack 1");
  out(". 2697 ack 1 <ts,sack 1001-1101>");
  EXPECT_EQ(stats().tcp_syn_cookies_accepted, 1u);
  EXPECT_EQ(stats().tcp_passive_opens, 1u);
}

TEST_F(Cookies, Rfc4987_3_6_WithoutTimestampsNothingElseIsOffered) {
  listen();
  in("S 0 <mss 1000,sackOK,wscale 5>");
  out("S. 0 ack 1 <mss 1460>");
  in(". 1 ack 1 win 1500");
  EXPECT_EQ(accepted, 1u);
  write(3000);
  out(". 1:537 ack 1");
  out(". 537:1073 ack 1");
  nothing();  // 427 octets of window left: neither a segment nor half of it
}

TEST_F(Cookies, OverIpv6) {
  local = "2001:db8::1";
  remote = "2001:db8::2";
  listen();
  in("S 0 <ts>");
  out("S. 0 ack 1 <mss 1440,ts>");
  in(". 1 ack 1");
  write(2000);
  out(". 1:1209 ack 1");  // 1220 by default (RFC 9293 section 3.7.1), less the option
  out("P. 1209:2001 ack 1");
}

// gVisor 03f17c7d, 874ffd6a: text or FIN on the ACK that completes the handshake was lost.
TEST_F(Cookies, Bug22_TextAndFinOnTheAckOfACookie) {
  listen();
  syn("mss 1460");
  in("FP. 1:101 ack 1");
  EXPECT_EQ(accepted, 1u);
  out(". 1 ack 102");
  read(100);
  end_of_stream();
  state(State::close_wait);
}

// Valid for the tick it was made in and the next. The script begins 40 s into a tick of 64.
TEST_F(Cookies, Rfc4987_3_6_ValidInTheNextTick) {
  listen();
  syn("mss 1460,ts");
  quiet(87s);
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 1u);
}

TEST_F(Cookies, Rfc4987_3_6_NotValidAfterThat) {
  listen();
  syn("mss 1460,ts");
  quiet(89s);
  in(". 1 ack 1");
  out("R 1");
  EXPECT_EQ(accepted, 0u);
  EXPECT_EQ(stats().tcp_syn_cookies_failed, 1u);
}

TEST_F(Cookies, Rfc9293_3_10_7_2_InvalidIsReset) {
  listen();
  syn("mss 1460,ts");
  for (const char* segment :
       {". 1 ack 100", ". 100 ack 1", ". 1 ack 2147483649", ". 1 ack 1 <nots>"}) {
    in(segment);
    EXPECT_EQ(drain(), 1u);
  }
  // SYN together with ACK completes nothing.
  in("S. 1 ack 1");
  out("R 1");
  // Another's cookie.
  const std::uint32_t theirs = iss();
  peer(40001);
  syn("mss 1460,ts");
  EXPECT_NE(theirs, iss());
  in(". 1 ack " + std::to_string(theirs - iss() + 1));
  EXPECT_EQ(drain(), 1u);
  EXPECT_EQ(accepted, 0u);
  EXPECT_EQ(stats().tcp_out_rsts, 6u);
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 1u);
}

// smoltcp and others: once cookies, always cookies; gVisor 874ffd6a: a counter that only grew.
TEST_F(Cookies, Bug4_CacheServesAgainWhenItHasRoom) {
  config.syn_cache_entries = 1;
  listen();
  syn("mss 1000");
  for (std::uint16_t p = 1; p <= 1000; ++p) {
    peer(p);
    in("S 0 <mss 1000>");
    EXPECT_EQ(drain(), 1u);
  }
  EXPECT_EQ(stats().tcp_syn_cookies_sent, 1000u);
  EXPECT_EQ(stack().connection_count(), 0u);
  peer(40000);
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 1u);
  peer(40001);
  syn("mss 1000");
  EXPECT_EQ(stats().tcp_syn_cookies_sent, 1000u);
  after(1s, "S. 0 ack 1");
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 2u);
}

// RFC 4987 section 3.6: a guess is possible only while there are cookies about.
TEST_F(Cookies, OnlyOfAListenerThatSentSome) {
  listen();
  syn("mss 1000");
  stack().unlisten(443);
  stack().listen(443, 443);
  in(". 1 ack 1");
  out("R 1");
  EXPECT_EQ(stats().tcp_syn_cookies_failed, 0u);
}

// For one tuple later numbers are greater, as RFC 9293 section 3.4.1 wants.
TEST_F(Cookies, Rfc9293_3_4_1_GrowWithThePeersOwnAndWithTime) {
  listen();
  syn("mss 1000");
  const std::uint32_t first = iss();
  in("S 5000 <mss 1000>");
  out("S. 0 ack 5001");
  EXPECT_EQ(iss() - first, 5000u);
  quiet(64s);
  in("S 5001 <mss 536>");
  out("S. 0 ack 5002");
  EXPECT_GT(iss() - first, 5000u);
  EXPECT_LT(iss() - first, 1u << 26);
}

// The peer of a connection in TIME-WAIT needs a number above the old ones: it gets an entry.
TEST_F(Cookies, NotForTheSuccessorOfATimeWait) {
  config.syn_cache_entries = 1;
  establish();
  shutdown();
  out("F. 1 ack 1");
  in("F. 1 ack 2");
  out(". 2 ack 2");
  const std::uint32_t old = iss();
  peer(40001);
  syn("mss 1000");
  peer(40000);
  in("S 5000 <mss 1000>");
  out("S. 0 ack 5001");
  EXPECT_GT(static_cast<std::int32_t>(iss() - old), 0);
  EXPECT_EQ(stats().tcp_syn_cookies_sent, 0u);
  EXPECT_EQ(stats().tcp_syn_cache_evicted, 1u);
}

// No room for one more connection: as if the ACK were lost, and good when there is.
TEST_F(Cookies, TableFullIsNotAReset) {
  config.max_connections = 1;
  establish();
  Connection* first = conn;
  peer(40001);
  syn("mss 1000");
  in(". 1 ack 1");
  nothing();
  first->abort();
  turn();
  peer(40000);
  out("R. 1 ack 1");
  peer(40001);
  in("P. 1:101 ack 1");
  EXPECT_EQ(accepted, 2u);
  read(100);
  after(40ms, ". 1 ack 101");
}

// Its low bits hold options: no round-trip time comes from it.
TEST_F(Cookies, TimestampOfACookieIsNoSample) {
  listen();
  syn("mss 1460,ts");
  quiet(400ms);
  in(". 1 ack 1");
  write(100);
  out("P. 1:101 ack 1");
  after(1s, "P. 1:101 ack 1");
}

}  // namespace
}  // namespace sluice::tcp
