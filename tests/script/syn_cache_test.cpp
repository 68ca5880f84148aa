// Half-open connections: the SYN cache of RFC 4987 section 3.3, SYN-RECEIVED of RFC 9293.
#include "inspector.h"
#include "script.h"

namespace sluice::tcp {
namespace {

class SynCache : public Script {
 protected:
  std::size_t half_open() { return Inspector::syn_cache(stack()); }
};

TEST_F(SynCache, SynAckIsRepeatedAndGivenUp) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  for (const int seconds : {1, 2, 4, 8, 16}) after(Seconds{seconds}, "S. 0 ack 1");
  EXPECT_EQ(half_open(), 1u);
  quiet(33s);
  EXPECT_EQ(half_open(), 0u);
  EXPECT_EQ(stats().tcp_syn_cache_expired, 1u);
  in(". 1 ack 1");
  out("R 1");
}

// Entries that are there stay: one that is full gives no place to a flood.
TEST_F(SynCache, OverflowTakesNobodysPlace) {
  config.syn_cache_entries = 4;
  listen();
  for (std::uint16_t p = 0; p < 5; ++p) {
    peer(static_cast<std::uint16_t>(40000 + p));
    in("S 0 <mss 1000>");
    out("S. 0 ack 1");
  }
  EXPECT_EQ(half_open(), 4u);
  EXPECT_EQ(stats().tcp_syn_cache_evicted, 0u);
  for (std::uint16_t p = 0; p < 5; ++p) {
    peer(static_cast<std::uint16_t>(40000 + p));
    in(". 1 ack 1");
  }
  EXPECT_EQ(accepted, 5u);
  EXPECT_EQ(stats().tcp_syn_cookies_accepted, 1u);
}

// A listener that goes takes its half-open connections along: nobody is left to accept them.
TEST_F(SynCache, UnlistenForgetsHalfOpen) {
  for (const std::uint16_t port : {std::uint16_t{80}, std::uint16_t{443}}) {
    listen(port);
    for (std::uint16_t p = 1; p <= 3; ++p) {
      peer(static_cast<std::uint16_t>(port + p));
      in("S 0 <mss 1000>");
      out("S. 0 ack 1");
    }
  }
  stack().unlisten(443);
  EXPECT_EQ(half_open(), 3u);
  EXPECT_EQ(stats().tcp_attempt_fails, 3u);
  in(". 1 ack 1");
  out("R 1");
  EXPECT_EQ(accepted, 0u);
  stack().unlisten(80);
  EXPECT_EQ(half_open(), 0u);
  quiet(5s);
}

TEST_F(SynCache, RepeatedSynIsAnsweredAgain) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  EXPECT_EQ(half_open(), 1u);
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 1u);
}

// What is echoed is of the SYN that is answered, or the peer takes a second for the round trip.
TEST_F(SynCache, Rfc7323_4_3_RepeatedSynRenewsTheTimestamp) {
  listen();
  in("S 0 <mss 1000,ts 7000>");
  out("S. 0 ack 1 <mss 1460,ts 7000>");
  in("S 0 <mss 1000,ts 7900>");
  out("S. 0 ack 1 <mss 1460,ts 7900>");
  in("S 0 <mss 1000,ts 7100>");  // overtaken by the other
  out("S. 0 ack 1 <mss 1460,ts 7900>");
}

TEST_F(SynCache, Rfc9293_3_10_7_4_AnotherSynBeginsAnew) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("S 500 <mss 700>");
  out("S. 0 ack 501");
  EXPECT_EQ(half_open(), 1u);
  in(". 501 ack 1");
  write(1000);
  out(". 1:701 ack 501");
  out("P. 701:1001 ack 501");
}

TEST_F(SynCache, Bug19_Rfc9293_3_10_7_4_WrongAckIsReset) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 1 ack 2");
  out("R 2");
  in(". 1 ack 0");
  out("R 0");
  EXPECT_EQ(accepted, 0u);
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 1u);
}

TEST_F(SynCache, Rfc9293_3_10_7_4_UnacceptableSequence) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 100001 ack 1");
  out("S. 0 ack 1");
  in("R 100001");
  EXPECT_EQ(half_open(), 1u);
}

TEST_F(SynCache, Rfc5961_3_2_ResetMustBeExact) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("R 2");
  EXPECT_EQ(half_open(), 1u);
  in("R 1");
  EXPECT_EQ(half_open(), 0u);
}

TEST_F(SynCache, Rfc7323_3_2_AckWithoutTimestamp) {
  listen();
  in("S 0 <mss 1000,ts>");
  out("S. 0 ack 1");
  in(". 1 ack 1 <nots>");
  EXPECT_EQ(stack().connection_count(), 0u);
  EXPECT_EQ(half_open(), 1u);
  in(". 1 ack 1 <ts 1>");  // PAWS
  EXPECT_EQ(accepted, 0u);
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 1u);
}

TEST_F(SynCache, RefusedByTheApplication) {
  accept = false;
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 1 ack 1");
  out("R. 1 ack 1");
  EXPECT_EQ(stack().connection_count(), 0u);
}

// No room for one more connection: the ACK is as if lost, and not answered with RST.
TEST_F(SynCache, TableFullIsNotAReset) {
  config.max_connections = 1;
  establish();
  Connection* first = conn;
  peer(40001);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 1u);
  first->abort();
  turn();
  peer(40000);
  out("R. 1 ack 1");
  peer(40001);
  after(1000ms, "S. 0 ack 1");
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 2u);
}

// RFC 6298 (3), Karn: the answer to a repeated SYN-ACK gives no sample.
TEST_F(SynCache, Rfc6298_3_RepeatedSynAckIsNotTimed) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  quiet(900ms);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 1 ack 1");
  write(100);
  out("P. 1:101 ack 1");
  after(1000ms, "P. 1:101 ack 1");
}

// Nor does its timestamp: the peer's first ACK was lost, and what it says much later still echoes
// the SYN-ACK. RFC 6298 (5.7): three seconds.
TEST_F(SynCache, Rfc6298_3_RepeatedSynAckIsNotTimedByTimestamps) {
  listen();
  in("S 0 <mss 1000,ts>");
  out("S. 0 ack 1");
  after(1000ms, "S. 0 ack 1");
  quiet(1900ms);
  in("P. 1:101 ack 1");
  after(40ms, ". 1 ack 101");
  read(100);
  write(100);
  out("P. 1:101 ack 101");
  after(3000ms, "P. 1:101 ack 101");
  in(". 101 ack 101");
  write(100);
  out("P. 101:201 ack 101");
  quiet(2ms);
  in(". 101 ack 201");
  write(100);
  out("P. 201:301 ack 101");
  after(200ms, "P. 201:301 ack 101");
}

TEST_F(SynCache, Bug38_FloodCostsNothingButTheCache) {
  config.syn_cache_entries = 64;
  listen();
  for (std::uint16_t p = 1; p <= 2000; ++p) {
    peer(p);
    in("S 0 <mss 1000>");
    EXPECT_EQ(drain(), 1u);
  }
  EXPECT_EQ(half_open(), 64u);
  EXPECT_EQ(stack().connection_count(), 0u);
  EXPECT_EQ(stack().memory_in_use(), 0u);
  skip(64s);
  EXPECT_EQ(half_open(), 0u);
}

}  // namespace
}  // namespace sluice::tcp
