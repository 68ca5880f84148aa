// One TCP connection as REST shows it: a value, copied by the worker that owns the connection.
//
// Names of counters are those of RFC 4898 (TCP Extended Statistics MIB) without their prefix; other
// names are ours. Times are durations, windows and queues are bytes.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/ip_address.h"
#include "base/time.h"
#include "telemetry/connection_event.h"

namespace sluice::telemetry {

// RFC 9293 section 3.3.2.
enum class TcpState : std::uint8_t {
  closed,
  syn_sent,
  syn_received,
  established,
  fin_wait_1,
  fin_wait_2,
  close_wait,
  closing,
  last_ack,
  time_wait,
  count_,
};
std::string_view to_string(TcpState state);

enum class TcpCloseReason : std::uint8_t {
  none,           // still open
  graceful,       // FIN both ways
  reset_by_peer,  // acceptable RST
  refused,        // RST to our SYN
  timed_out,      // R2 (RFC 9293 section 3.8.3) or connect timeout
  unreachable,    // ICMP hard error while connecting
  aborted,        // our own abort()
  count_,
};
std::string_view to_string(TcpCloseReason reason);

// What is counted of each connection while it lives.
struct TcpEstats {
  std::uint64_t data_octets_out = 0;  // retransmissions included
  std::uint64_t data_octets_in = 0;   // likewise
  std::uint64_t octets_retrans = 0;
  std::uint64_t thru_octets_acked = 0;
  std::uint64_t thru_octets_received = 0;
  std::uint32_t segs_out = 0;
  std::uint32_t segs_in = 0;
  std::uint32_t data_segs_out = 0;
  std::uint32_t data_segs_in = 0;
  std::uint32_t segs_retrans = 0;
  std::uint32_t timeouts = 0;
  std::uint32_t fast_retran = 0;
  std::uint32_t dup_acks_in = 0;
  std::uint32_t dup_acks_out = 0;
  std::uint32_t sack_blocks_rcvd = 0;
  std::uint32_t zero_rwin_sent = 0;  // times our window closed
  std::uint32_t zero_rwin_rcvd = 0;  // times the peer's did
  std::uint32_t count_rtt = 0;
  std::uint32_t min_rtt_us = 0;  // 0: no sample yet
  std::uint32_t max_rtt_us = 0;
};

struct ConnectionRecord {
  IpAddress local, remote;
  std::uint16_t local_port = 0, remote_port = 0;
  std::uint16_t port_index = 0;  // of the network port
  std::uint16_t worker = 0;
  std::uint32_t listener_id = 0;  // when passive
  TcpState state = TcpState::closed;
  bool passive = false;   // opened by the peer: an agent's
  bool detached = false;  // its application has let go
  bool timestamps = false, sack = false, window_scaling = false, in_recovery = false;
  std::uint8_t win_scale_sent = 0, win_scale_rcvd = 0;
  std::uint8_t timeouts_in_row = 0;  // CurTimeoutCount
  Micros age{0};                     // Elapsed
  Micros idle{0};                    // since the peer was heard last
  Micros smoothed_rtt{0}, rtt_var{0}, cur_rto{0};
  std::uint32_t cur_mss = 0;
  std::uint32_t mss_rcvd = 0;
  std::uint32_t path_mtu = 0;
  std::uint32_t cur_cwnd = 0, cur_ssthresh = 0;
  std::uint32_t pipe_size = 0;      // in flight: sent and neither acknowledged nor reported arrived
  std::uint32_t cur_rwin_sent = 0;  // our window
  std::uint32_t cur_rwin_rcvd = 0;  // the peer's
  std::uint32_t cur_app_w_queue = 0;  // not yet sent
  std::uint32_t cur_app_r_queue = 0;  // not yet read
  std::uint32_t memory = 0;           // of its buffers now
  TcpEstats estats;
};

// A connection's last events, kept when one of them was unusual, or taken from it alive.
struct ConnectionTrace {
  ConnectionRecord connection;  // as it was then
  ConnectionEvents events;
  Micros since_last{0};  // how long ago the newest event was
  bool live = false;     // taken from a connection that is still there
};

}  // namespace sluice::telemetry
