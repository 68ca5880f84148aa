// What is counted: RFC 4022 (TCP-MIB) for the stack, RFC 4898 for each connection.
#include <vector>

#include "script.h"

namespace sluice::tcp {
namespace {

class Mib : public Script, private Stack::Visitor {
 protected:
  // Everything a walk shows, `places` places of the table at a time.
  std::vector<telemetry::ConnectionRecord> all(std::size_t places = 1000) {
    seen_.clear();
    for (std::uint32_t at = 0; at != Stack::kWalkEnd;) at = stack().walk(at, places, *this, now);
    return seen_;
  }
  telemetry::ConnectionRecord only() {
    const auto records = all();
    EXPECT_EQ(records.size(), 1u);
    return records.empty() ? telemetry::ConnectionRecord{} : records[0];
  }
  void all_from(std::uint32_t at) {
    seen_.clear();
    stopped_at = stack().walk(at, 1000, *this, now);
  }
  const std::vector<telemetry::ConnectionRecord>& seen() const { return seen_; }
  std::size_t most = SIZE_MAX;  // the visitor takes no more
  std::uint32_t stopped_at = 0;

 private:
  bool visit(const telemetry::ConnectionRecord& record) override {
    if (seen_.size() == most) return false;
    seen_.push_back(record);
    return true;
  }
  std::vector<telemetry::ConnectionRecord> seen_;
};

// "direct transition to the SYN-SENT state from the CLOSED state"
TEST_F(Mib, Rfc4022_ActiveOpens) {
  connect();
  out("S 0");
  EXPECT_EQ(stats().tcp_active_opens, 1u);
  after(1000ms, "S 0");
  EXPECT_EQ(stats().tcp_active_opens, 1u);
  EXPECT_EQ(stats().tcp_passive_opens, 0u);
}

// "direct transition to the SYN-RCVD state from the LISTEN state"
TEST_F(Mib, Rfc4022_PassiveOpens) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  EXPECT_EQ(stats().tcp_passive_opens, 1u);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 1 ack 1");
  EXPECT_EQ(stats().tcp_passive_opens, 1u);
  EXPECT_EQ(stats().tcp_active_opens, 0u);
}

// "to the CLOSED state from either the SYN-SENT state or the SYN-RCVD state, plus … to the LISTEN
// state from the SYN-RCVD state"
TEST_F(Mib, Rfc4022_AttemptFails) {
  connect();
  out("S 0");
  in("R. 0 ack 1");
  EXPECT_EQ(stats().tcp_attempt_fails, 1u);
  connect();
  out("S 0");
  close();
  EXPECT_EQ(stats().tcp_attempt_fails, 2u);
  connect(500ms);
  out("S 0");
  quiet(1s);
  ended(CloseReason::timed_out);
  EXPECT_EQ(stats().tcp_attempt_fails, 3u);
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("R 1");
  EXPECT_EQ(stats().tcp_attempt_fails, 4u);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  skip(100s);
  EXPECT_EQ(stats().tcp_syn_cache_expired, 1u);
  EXPECT_EQ(stats().tcp_attempt_fails, 5u);
  EXPECT_EQ(stats().tcp_estab_resets, 0u);
}

TEST_F(Mib, Rfc4022_AttemptFailsOfTheSynCache) {
  config.syn_cache_entries = 1;
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  peer(40001);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");  // a cookie: no connection that could fail
  EXPECT_EQ(stats().tcp_attempt_fails, 0u);
  peer(40000);
  in("S 500 <mss 1000>");  // the peer has begun anew
  out("S. 0 ack 501");
  EXPECT_EQ(stats().tcp_attempt_fails, 1u);
  stack().unlisten(443);
  EXPECT_EQ(stats().tcp_attempt_fails, 2u);
}

// "direct transition to the CLOSED state from either the ESTABLISHED state or the CLOSE-WAIT state"
TEST_F(Mib, Rfc4022_EstabResets) {
  establish();
  in("R 1");
  EXPECT_EQ(stats().tcp_estab_resets, 1u);
  establish();
  in("F. 1 ack 1");
  out(". 1 ack 2");
  state(State::close_wait);
  abort();
  out("R. 1 ack 2");
  EXPECT_EQ(stats().tcp_estab_resets, 2u);
  establish();
  shutdown();
  out("F. 1 ack 1");
  in("R. 1 ack 2");  // FIN-WAIT-1
  ended(CloseReason::reset_by_peer);
  EXPECT_EQ(stats().tcp_estab_resets, 2u);
  EXPECT_EQ(stats().tcp_attempt_fails, 0u);
}

// "the current state is either ESTABLISHED or CLOSE-WAIT". (Inspector::check() compares the gauge
// with the connections after every segment of every script.)
TEST_F(Mib, Rfc4022_CurrEstab) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  EXPECT_EQ(stats().tcp_curr_estab, 0u);
  in(". 1 ack 1");
  EXPECT_EQ(stats().tcp_curr_estab, 1u);
  peer(40001);
  establish();
  EXPECT_EQ(stats().tcp_curr_estab, 2u);
  in("F. 1 ack 1");
  out(". 1 ack 2");
  state(State::close_wait);
  EXPECT_EQ(stats().tcp_curr_estab, 2u);
  shutdown();
  out("F. 1 ack 2");
  EXPECT_EQ(stats().tcp_curr_estab, 1u);
  peer(40000);
  in("R 1");
  EXPECT_EQ(stats().tcp_curr_estab, 0u);
}

// "including those received in error"
TEST_F(Mib, Rfc4022_InSegsAndInErrs) {
  establish();
  EXPECT_EQ(stats().tcp_in_segs, 2u);
  std::vector<std::uint8_t> bytes = bytes_of("P. 1:11 ack 1");
  stack().input({*IpAddress::parse(remote), *IpAddress::parse(local), bytes}, now);
  stack().input({*IpAddress::parse(remote), *IpAddress::parse(local), ByteSpan{bytes}.first(19)},
                now);
  EXPECT_EQ(stats().tcp_in_segs, 4u);
  EXPECT_EQ(stats().tcp_in_errs, 2u);
}

// "excluding those containing only retransmitted octets"
TEST_F(Mib, Rfc4022_OutSegsAndRetransSegs) {
  establish("mss 1000");
  EXPECT_EQ(stats().tcp_out_segs, 1u);
  write(600);
  out("P. 1:601 ack 1");
  EXPECT_EQ(stats().tcp_out_segs, 2u);
  after(200ms, "P. 1:601 ack 1");
  EXPECT_EQ(stats().tcp_out_segs, 2u);
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
  in(". 1 ack 601");
  in("P. 1:11 ack 601");
  after(40ms, ". 601 ack 11");
  EXPECT_EQ(stats().tcp_out_segs, 3u);
}

TEST_F(Mib, Rfc4022_RetransmittedSynAndSynAck) {
  connect();
  out("S 0");
  after(1000ms, "S 0");
  EXPECT_EQ(stats().tcp_out_segs, 1u);
  EXPECT_EQ(stats().tcp_retrans_segs, 1u);
  abort();
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  EXPECT_EQ(stats().tcp_out_segs, 2u);
  EXPECT_EQ(stats().tcp_retrans_segs, 2u);
}

// Sent, not wished for.
TEST_F(Mib, Rfc4022_OutRsts) {
  stack();
  in(". 1 ack 1");
  out("R 1");
  EXPECT_EQ(stats().tcp_out_rsts, 1u);
  sink_full(true);
  in(". 1 ack 1");
  EXPECT_EQ(stats().tcp_out_rsts, 1u);
  EXPECT_EQ(stats().drop_tcp_no_buffer, 1u);
}

TEST_F(Mib, Rfc4898_SegmentsAndOctets) {
  establish("mss 1000");
  write(1500);
  EXPECT_EQ(drain(), 2u);
  in(". 1 ack 1001");
  after(200ms, "P. 1001:1501 ack 1");
  in(". 1 ack 1501");
  in("P. 1:101 ack 1501");
  in("P. 1:101 ack 1501");  // again
  out(". 1501 ack 101");
  in("P. 201:301 ack 1501");
  out(". 1501 ack 101");
  const auto r = only();
  EXPECT_EQ(r.estats.segs_in, 2u + 5);  // SYN and ACK among them
  EXPECT_EQ(r.estats.data_segs_in, 3u);
  EXPECT_EQ(r.estats.data_octets_in, 300u);
  EXPECT_EQ(r.estats.thru_octets_received, 100u);
  EXPECT_EQ(r.estats.segs_out, 1u + 3 + 2);
  EXPECT_EQ(r.estats.data_segs_out, 3u);
  EXPECT_EQ(r.estats.data_octets_out, 2000u);
  EXPECT_EQ(r.estats.segs_retrans, 1u);
  EXPECT_EQ(r.estats.octets_retrans, 500u);
  EXPECT_EQ(r.estats.thru_octets_acked, 1500u);
  EXPECT_EQ(r.estats.timeouts, 1u);
  EXPECT_EQ(r.estats.dup_acks_out, 2u);
  EXPECT_EQ(r.cur_app_r_queue, 100u);
  EXPECT_EQ(r.cur_app_w_queue, 0u);
}

TEST_F(Mib, Rfc4898_WindowsAndTimes) {
  listen();
  in("S 0 win 5000 <mss 900,wscale 3,sackOK>");
  out("S. 0 ack 1");
  now += 30ms;
  in(". 1 ack 1 win 250");
  write(3000);
  EXPECT_EQ(drain(), 2u);
  now += 70ms;
  const auto r = only();
  EXPECT_EQ(r.state, State::established);
  EXPECT_TRUE(r.passive);
  EXPECT_EQ(r.listener_id, 443u);
  EXPECT_EQ(r.local.to_string(), local);
  EXPECT_EQ(r.remote_port, 40000u);
  EXPECT_EQ(r.smoothed_rtt, 30ms);
  EXPECT_EQ(r.estats.min_rtt_us, 30'000u);
  EXPECT_EQ(r.estats.max_rtt_us, 30'000u);
  EXPECT_EQ(r.estats.count_rtt, 1u);
  EXPECT_EQ(r.cur_mss, 900u);
  EXPECT_EQ(r.mss_rcvd, 900u);
  EXPECT_EQ(r.win_scale_rcvd, 3u);
  EXPECT_EQ(r.cur_rwin_rcvd, 2000u);
  EXPECT_EQ(r.pipe_size, 1800u);
  EXPECT_EQ(r.cur_app_w_queue, 1200u);
  EXPECT_EQ(r.cur_cwnd, 9000u);
  EXPECT_TRUE(r.sack);
  EXPECT_FALSE(r.timestamps);
  EXPECT_EQ(r.age, 70ms);
  EXPECT_EQ(r.idle, 70ms);
}

TEST_F(Mib, Rfc4898_RttIsMeasuredFromLeastToMost) {
  establish();
  for (const auto rtt : {80ms, 20ms, 50ms}) {
    write(10);
    drain();
    now += rtt;
    in(". 1 ack " + std::to_string(1 + only().estats.data_octets_out));
  }
  const auto r = only();
  EXPECT_EQ(r.estats.count_rtt, 4u);
  EXPECT_EQ(r.estats.max_rtt_us, 80'000u);
  EXPECT_EQ(r.estats.min_rtt_us, 1u);  // of the handshake, which takes no time here
}

TEST_F(Mib, WalkShowsEveryKindOnceWhateverTheStep) {
  establish();  // 40000 stays
  peer(40001);
  establish();
  shutdown();
  out("F. 1 ack 1");
  in("F. 1 ack 2");
  out(". 2 ack 2");  // TIME-WAIT
  peer(40002);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");  // half open
  for (const std::size_t places : {1u, 2u, 1000u}) {
    std::vector<std::pair<std::uint16_t, State>> got;
    for (const auto& r : all(places)) got.emplace_back(r.remote_port, r.state);
    EXPECT_EQ(got, (std::vector<std::pair<std::uint16_t, State>>{{40000, State::established},
                                                                 {40002, State::syn_received},
                                                                 {40001, State::time_wait}}));
  }
}

// What the visitor does not take comes first the next time.
TEST_F(Mib, WalkGoesOnWhereItWasStopped) {
  for (std::uint16_t i = 0; i < 3; ++i) {
    peer(static_cast<std::uint16_t>(40000 + i));
    establish();
  }
  most = 2;
  all_from(0);
  EXPECT_EQ(seen().size(), 2u);
  all_from(stopped_at);
  ASSERT_EQ(seen().size(), 1u);
  EXPECT_EQ(seen()[0].remote_port, 40002u);
  EXPECT_EQ(stopped_at, Stack::kWalkEnd);
}

}  // namespace
}  // namespace sluice::tcp
