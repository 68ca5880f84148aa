// Counters of one stack. Names follow RFC 4022 (TCP-MIB) and RFC 4898 where these have one; what a
// counter means is told by its row in telemetry/counters.def, which has the same name.
#pragma once

#include <cstdint>

#include "telemetry/counters.h"

namespace sluice::tcp {

#define SLUICE_TCP_COUNTERS(X) \
  X(tcp_active_opens)          \
  X(tcp_passive_opens)         \
  X(tcp_attempt_fails)         \
  X(tcp_estab_resets)          \
  X(tcp_curr_estab)            \
  X(tcp_in_segs)               \
  X(tcp_out_segs)              \
  X(tcp_retrans_segs)          \
  X(tcp_in_errs)               \
  X(tcp_out_rsts)              \
  X(tcp_data_octets_in)        \
  X(tcp_data_octets_out)       \
  X(tcp_dup_acks_in)           \
  X(tcp_dup_acks_out)          \
  X(tcp_sack_blocks_in)        \
  X(tcp_fast_retransmits)      \
  X(tcp_reordering_timeouts)   \
  X(tcp_lost_retransmits)      \
  X(tcp_tail_probes)           \
  X(tcp_tail_losses)           \
  X(tcp_sack_reneging)         \
  X(tcp_dsacks_in)             \
  X(tcp_timeouts)              \
  X(tcp_undos_frto)            \
  X(tcp_undos_eifel)           \
  X(tcp_undos_dsack)           \
  X(tcp_give_ups)              \
  X(tcp_zero_window_probes)    \
  X(tcp_challenge_acks)        \
  X(tcp_out_of_order)          \
  X(tcp_syn_cache_added)       \
  X(tcp_syn_cache_expired)     \
  X(tcp_syn_cache_evicted)     \
  X(tcp_syn_ack_retransmits)   \
  X(tcp_syn_cookies_sent)      \
  X(tcp_syn_cookies_accepted)  \
  X(tcp_syn_cookies_failed)    \
  X(tcp_time_wait_entered)     \
  X(tcp_time_wait_reused)      \
  X(tcp_time_wait_evicted)     \
  X(tcp_keepalive_probes)      \
  X(tcp_port_exhausted)        \
  X(tcp_path_mtu_lowered)      \
  X(tcp_path_mtu_held)         \
  X(tcp_path_mtu_raised)       \
  X(tcp_mtu_probes)            \
  X(tcp_mtu_probes_lost)       \
  X(tcp_black_holes)           \
  X(tcp_soft_errors)           \
  X(drop_tcp_header)           \
  X(drop_tcp_checksum)         \
  X(drop_tcp_address)          \
  X(drop_tcp_closed_port)      \
  X(drop_tcp_unacceptable)     \
  X(drop_tcp_beyond_window)    \
  X(drop_tcp_paws)             \
  X(drop_tcp_no_timestamp)     \
  X(drop_tcp_no_ack)           \
  X(drop_tcp_bad_ack)          \
  X(drop_tcp_bad_rst)          \
  X(drop_tcp_unexpected_syn)   \
  X(drop_tcp_duplicate)        \
  X(drop_tcp_reassembly_full)  \
  X(drop_tcp_memory)           \
  X(drop_tcp_pressure)         \
  X(drop_tcp_table_full)       \
  X(drop_tcp_refused)          \
  X(drop_tcp_after_close)      \
  X(drop_tcp_after_fin)        \
  X(drop_tcp_syn_text)         \
  X(drop_tcp_syn_cache_full)   \
  X(drop_tcp_no_buffer)        \
  X(drop_tcp_time_wait)        \
  X(drop_tcp_rst_limit)        \
  X(drop_tcp_icmp)

struct Stats {
#define X(id) std::uint64_t id = 0;
  SLUICE_TCP_COUNTERS(X)
#undef X

  // each(telemetry::Counter, value), for the owner to mirror.
  template <typename Each>
  void for_each(Each&& each) const {
#define X(id) each(telemetry::Counter::id, id);
    SLUICE_TCP_COUNTERS(X)
#undef X
  }
};

}  // namespace sluice::tcp
