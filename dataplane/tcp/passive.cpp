// Listeners and the SYN cache (RFC 4987 section 3.3): a SYN costs one small entry of a fixed
// number; a connection is made only when the handshake is complete.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {
namespace {

constexpr Seconds stage_time(std::uint8_t stage) { return Seconds{1 << stage}; }

}  // namespace

std::uint32_t Stack::Impl::index_of(const SynEntry& entry) const {
  return flows.find(entry.hash, [&](std::uint32_t e) {
    return (e & kKindMask) == kSynEntry && &syn_entries[e & ~kKindMask] == &entry;
  });
}

void Stack::Impl::forget(SynEntry& entry) {
  const std::uint32_t e = index_of(entry);
  flows.erase(entry.hash, e);
  syn_stages[entry.stage].remove(entry);
  syn_entries.give_back(e & ~kKindMask);
}

// LISTEN state, RFC 9293 section 3.10.7.2. The segment belongs to no connection.
void Stack::Impl::syn_arrives(const Segment& s, std::uint64_t hash, std::uint32_t listener_index,
                              Seq iss_floor, bool has_floor) {
  // First, RST: nothing can have been sent from here that it would answer.
  if (s.has(kRst)) {
    ++stats.drop_tcp_bad_rst;
    return;
  }
  // Second, ACK: any acknowledgement is bad here.
  if (s.has(kAck)) {
    ++stats.drop_tcp_closed_port;
    refuse(s);
    return;
  }
  // Third, SYN. Data or FIN on it is not taken: the peer sends it again after the handshake.
  if (!s.has(kSyn)) {
    ++stats.drop_tcp_no_ack;
    return;
  }
  if (syn_entries.used() >= config.syn_cache_entries) {
    // The oldest of those that stayed silent longest makes room.
    for (auto stage = syn_stages.rbegin(); stage != syn_stages.rend(); ++stage) {
      if (stage->empty()) continue;
      ++stats.tcp_syn_cache_evicted;
      ++stats.tcp_attempt_fails;
      forget(stage->front());
      break;
    }
    if (syn_entries.used() >= config.syn_cache_entries) {
      ++stats.drop_tcp_syn_cache_full;
      return;
    }
  }
  const std::uint32_t i = syn_entries.take();
  if (i == FlowTable::kNone) {
    ++stats.drop_tcp_memory;
    return;
  }
  if (!flows.insert(hash, kSynEntry | i)) {
    syn_entries.give_back(i);
    ++stats.drop_tcp_table_full;
    return;
  }
  SynEntry& e = syn_entries[i];
  e.key = s.key;
  e.hash = hash;
  e.listener_id = listeners[listener_index].id;
  e.irs = s.seq;
  e.iss = initial_sequence(s.key);
  // A connection that follows one in TIME-WAIT begins above it (RFC 9293 section 3.6.1).
  if (has_floor && e.iss <= iss_floor) e.iss = iss_floor + 65536;
  const Options& o = s.options;
  // RFC 9293 section 3.7.1: without the option 536, or 1220 for IPv6.
  e.peer_mss = o.has_mss && o.mss != 0 ? o.mss : (s.key.remote.is_v4() ? 536 : 1220);
  e.scaled = o.has_window_scale;
  e.peer_scale = o.window_scale;
  e.sack = o.sack_permitted;
  e.timestamps = o.has_timestamps;
  e.ts_recent = o.timestamp;
  e.stage = 0;
  e.repeated = false;
  e.sent = now;
  e.due = now + stage_time(0);
  syn_stages[0].push_back(e);
  ++stats.tcp_syn_cache_added;
  ++stats.tcp_passive_opens;
  if (!s.payload.empty()) ++stats.drop_tcp_syn_text;
  send_syn_ack(e);
}

bool Stack::Impl::send_syn_ack(SynEntry& e) {
  Outgoing o;
  o.key = e.key;
  o.seq = e.iss;
  o.ack = e.irs + 1;
  o.flags = kSyn | kAck;
  // RFC 7323 section 2.2: the window of a segment with SYN is never scaled.
  o.window =
      static_cast<std::uint16_t>(std::min<std::size_t>(config.receive_buffer - kWindowPad, 65535));
  o.options.has_mss = true;
  o.options.mss = our_mss(e.key.remote);
  o.options.has_window_scale = e.scaled;
  o.options.window_scale = kWindowScale;
  o.options.sack_permitted = e.sack;
  o.options.has_timestamps = e.timestamps;
  o.options.timestamp = timestamp_clock(timestamp_offset(e.key));
  o.options.timestamp_echo = e.ts_recent;
  o.repeated = e.repeated || e.stage > 0;
  o.fresh = !o.repeated;
  return send(o);
}

// SYN-RECEIVED, RFC 9293 section 3.10.7.4, for a connection that exists as a cache entry only.
void Stack::Impl::half_open_arrives(SynEntry& e, const Segment& s) {
  const Seq rcv_nxt = e.irs + 1;
  const auto window =
      static_cast<std::uint32_t>(std::min<std::size_t>(config.receive_buffer - kWindowPad, 65535));
  // A repeated SYN: our answer was lost. A different one: the peer has begun anew, and an entry
  // that came from a listener goes back to LISTEN.
  if (s.has(kSyn) && !s.has(kAck) && !s.has(kRst)) {
    if (s.seq == e.irs) {
      // RFC 7323 section 4.3: the answer echoes what it answers.
      if (e.timestamps && s.options.has_timestamps &&
          static_cast<std::int32_t>(s.options.timestamp - e.ts_recent) > 0) {
        e.ts_recent = s.options.timestamp;
      }
      e.repeated = true;
      ++stats.tcp_syn_ack_retransmits;
      send_syn_ack(e);
      return;
    }
    const std::uint32_t l = listener(s.key.local_port);
    const std::uint64_t hash = e.hash;
    ++stats.tcp_attempt_fails;
    forget(e);
    if (l != FlowTable::kNone) syn_arrives(s, hash, l, Seq{}, false);
    return;
  }
  // First, the sequence number.
  const std::int32_t offset = s.seq - rcv_nxt;
  const bool acceptable = offset >= 0 && static_cast<std::uint32_t>(offset) < window;
  if (!acceptable) {
    ++stats.drop_tcp_unacceptable;
    if (!s.has(kRst)) {
      e.repeated = true;
      ++stats.tcp_syn_ack_retransmits;
      send_syn_ack(e);
    }
    return;
  }
  // Second, RST: back to LISTEN (RFC 5961 section 3.2 wants it exact).
  if (s.has(kRst)) {
    if (offset != 0) {
      ++stats.drop_tcp_bad_rst;
      return;
    }
    ++stats.tcp_attempt_fails;
    forget(e);
    return;
  }
  if (s.has(kSyn) || !s.has(kAck)) {
    ++(s.has(kSyn) ? stats.drop_tcp_unexpected_syn : stats.drop_tcp_no_ack);
    return;
  }
  // Fifth, ACK: of our SYN and nothing else.
  if (s.ack != e.iss + 1) {
    ++stats.drop_tcp_bad_ack;
    refuse(s);
    return;
  }
  if (e.timestamps) {
    if (!s.options.has_timestamps) {
      ++stats.drop_tcp_no_timestamp;  // RFC 7323 section 3.2
      return;
    }
    if (static_cast<std::int32_t>(s.options.timestamp - e.ts_recent) < 0) {
      ++stats.drop_tcp_paws;
      return;
    }
  }
  // A full connection from here on. Without room for one the ACK is as if lost: the peer tries on,
  // our SYN-ACK is repeated, and data it sends meanwhile serves as the ACK.
  Pcb* p = promote(e, s);
  if (p != nullptr) segment_arrives(*p, s);
}

Pcb* Stack::Impl::promote(SynEntry& e, const Segment&) {
  if (pcbs.used() >= config.max_connections) {
    ++stats.drop_tcp_table_full;
    return nullptr;
  }
  const SynEntry from = e;
  forget(e);
  Pcb* p = new_pcb(from.key, from.hash);
  if (p == nullptr) return nullptr;
  enter(*p, State::syn_received);
  p->passive = p->accepting = true;
  p->listener_id = from.listener_id;
  p->iss = from.iss;
  p->snd_una = p->recover = p->high_rxt = from.iss;
  p->snd_nxt = p->snd_max = p->snd_base = from.iss + 1;
  p->irs = from.irs;
  p->rcv_nxt = p->last_ack_sent = from.irs + 1;
  p->rcv_edge = p->rcv_nxt + static_cast<std::uint32_t>(
                                 std::min<std::size_t>(config.receive_buffer - kWindowPad, 65535));
  p->peer_mss = from.peer_mss;
  p->scaled = from.scaled;
  p->snd_scale = from.scaled ? from.peer_scale : std::uint8_t{0};
  p->rcv_scale = from.scaled ? kWindowScale : std::uint8_t{0};
  p->sack = from.sack;
  p->timestamps = from.timestamps;
  p->ts_recent = from.ts_recent;
  p->ts_recent_at = now;
  p->ts_offset = timestamp_offset(from.key);
  p->estats.segs_in = 1;
  p->estats.segs_out = 1u + from.stage;
  p->estats.segs_retrans = from.stage;
  if (from.stage == 0) {
    p->timing = !from.repeated;  // Karn
    p->timed_seq = from.iss;
    p->timed_at = from.sent;
  } else {
    p->rtt.syn_was_lost();
    p->timeouts = 1;
  }
  return p;
}

void Stack::Impl::poll_syn_cache(std::size_t& budget) {
  for (std::uint8_t stage = 0; stage < kSynStages; ++stage) {
    auto& list = syn_stages[stage];
    while (budget > 0 && !list.empty() && list.front().due <= now) {
      --budget;
      SynEntry& e = list.front();
      if (stage + 1u == kSynStages) {
        ++stats.tcp_syn_cache_expired;
        ++stats.tcp_attempt_fails;
        forget(e);
        continue;
      }
      list.remove(e);
      e.stage = static_cast<std::uint8_t>(stage + 1);
      e.due = now + stage_time(e.stage);
      syn_stages[e.stage].push_back(e);
      ++stats.tcp_syn_ack_retransmits;
      send_syn_ack(e);
    }
  }
}

}  // namespace sluice::tcp
