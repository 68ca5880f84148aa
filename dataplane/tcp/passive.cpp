// Listeners and the SYN cache (RFC 4987 section 3.3): a SYN costs one small entry of a fixed
// number; a connection is made only when the handshake is complete. Without a free entry the answer
// is a cookie (section 3.6), as long as that lasts.

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
  Listener& from = listeners[listener_index];
  // Second, ACK: any acknowledgement is bad here but that of a cookie.
  if (s.has(kAck)) {
    if (!s.has(kSyn) && cookie_returns(s, hash, from)) return;
    ++stats.drop_tcp_closed_port;
    refuse(s);
    return;
  }
  // Third, SYN. Data or FIN on it is not taken: the peer sends it again after the handshake.
  if (!s.has(kSyn)) {
    ++stats.drop_tcp_no_ack;
    return;
  }
  if (refuses_new()) {
    ++stats.drop_tcp_pressure;
    return;
  }
  if (!s.payload.empty()) ++stats.drop_tcp_syn_text;
  Handshake syn;
  syn.key = s.key;
  syn.hash = hash;
  syn.listener_id = from.id;
  syn.irs = s.seq;
  const Options& o = s.options;
  // RFC 9293 section 3.7.1: without the option 536, or 1220 for IPv6.
  syn.peer_mss = o.has_mss && o.mss != 0 ? o.mss : (s.key.remote.is_v4() ? 536 : 1220);
  syn.scaled = o.has_window_scale;
  syn.peer_scale = o.window_scale;
  syn.sack = o.sack_permitted;
  syn.timestamps = o.has_timestamps;
  syn.ts_recent = o.timestamp;
  if (syn_entries.used() >= config.syn_cache_entries) {
    // Who follows a connection in TIME-WAIT has shown that it is there, and needs a number above
    // the old ones, which a cookie cannot promise.
    if (!has_floor) return answer_with_cookie(syn, from);
    if (!shed_half_open(0)) {
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
  syn.iss = initial_sequence(s.key);
  // A connection that follows one in TIME-WAIT begins above it (RFC 9293 section 3.6.1).
  if (has_floor && syn.iss <= iss_floor) syn.iss = iss_floor + 65536;
  SynEntry& e = syn_entries[i];
  static_cast<Handshake&>(e) = syn;
  e.stage = 0;
  e.repeated = false;
  e.sent = now;
  e.due = now + stage_time(0);
  syn_stages[0].push_back(e);
  ++stats.tcp_syn_cache_added;
  ++stats.tcp_passive_opens;
  send_syn_ack(e, timestamp_clock(timestamp_offset(e.key)), false);
}

void Stack::Impl::answer_with_cookie(Handshake& syn, Listener& listener) {
  CookieOptions o;
  o.timestamps = syn.timestamps;
  // Without timestamps there is nowhere to keep them.
  o.scaled = syn.scaled = syn.scaled && syn.timestamps;
  o.sack = syn.sack = syn.sack && syn.timestamps;
  o.scale = syn.scaled ? syn.peer_scale : std::uint8_t{0};
  syn.iss = cookies.make(syn.key, syn.irs, SynCookies::mss_index(syn.peer_mss), o, now);
  listener.cookies_until = now + SynCookies::kTicks * SynCookies::kTick;
  ++stats.tcp_syn_cookies_sent;
  send_syn_ack(syn, SynCookies::timestamp(timestamp_clock(timestamp_offset(syn.key)), o), false);
}

// The ACK of a connection of which nothing is known but what it brings along. True if it is dealt
// with.
bool Stack::Impl::cookie_returns(const Segment& s, std::uint64_t hash, const Listener& listener) {
  // RFC 4987 section 3.6: only while there were some, or each stray ACK were a guess for free.
  if (now >= listener.cookies_until) return false;
  const Options& o = s.options;
  const auto asked =
      cookies.read(s.key, s.seq - 1, s.ack - 1, o.has_timestamps, o.timestamp_echo, now);
  if (!asked) {
    ++stats.tcp_syn_cookies_failed;
    return false;
  }
  Handshake from;
  from.key = s.key;
  from.hash = hash;
  from.listener_id = listener.id;
  from.iss = s.ack - 1;
  from.irs = s.seq - 1;
  from.peer_mss = asked->mss;
  from.scaled = asked->scaled;
  from.peer_scale = asked->scale;
  from.sack = asked->sack;
  from.timestamps = asked->timestamps;
  from.ts_recent = o.timestamp;
  Pcb* p = begin_passive(from);
  if (p == nullptr) return true;  // as if the ACK were lost
  ++stats.tcp_syn_cookies_accepted;
  ++stats.tcp_passive_opens;
  Segment first = s;
  first.options.timestamp_echo = 0;  // its low bits are no time
  segment_arrives(*p, first);
  return true;
}

bool Stack::Impl::send_syn_ack(const Handshake& from, std::uint32_t timestamp, bool repeated) {
  Outgoing o;
  o.key = from.key;
  o.seq = from.iss;
  o.ack = from.irs + 1;
  o.flags = kSyn | kAck;
  // RFC 7323 section 2.2: the window of a segment with SYN is never scaled.
  o.window =
      static_cast<std::uint16_t>(std::min<std::size_t>(config.receive_buffer - kWindowPad, 65535));
  o.options.has_mss = true;
  o.options.mss = our_mss(from.key.remote);
  o.options.has_window_scale = from.scaled;
  o.options.window_scale = kWindowScale;
  o.options.sack_permitted = from.sack;
  o.options.has_timestamps = from.timestamps;
  o.options.timestamp = timestamp;
  o.options.timestamp_echo = from.ts_recent;
  o.repeated = repeated;
  o.fresh = !repeated;
  return send(o);
}

bool Stack::Impl::repeat_syn_ack(SynEntry& e) {
  ++stats.tcp_syn_ack_retransmits;
  return send_syn_ack(e, timestamp_clock(timestamp_offset(e.key)), true);
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
      repeat_syn_ack(e);
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
      repeat_syn_ack(e);
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
  Pcb* p = promote(e);
  if (p != nullptr) segment_arrives(*p, s);
}

Pcb* Stack::Impl::promote(SynEntry& e) {
  if (pcbs.used() >= config.max_connections) {
    ++stats.drop_tcp_table_full;
    return nullptr;
  }
  const SynEntry from = e;
  forget(e);
  Pcb* p = begin_passive(from);
  if (p == nullptr) return nullptr;
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

Pcb* Stack::Impl::begin_passive(const Handshake& from) {
  Pcb* p = new_pcb(from.key, from.hash);
  if (p == nullptr) return nullptr;
  enter(*p, State::syn_received);
  p->passive = p->accepting = true;
  p->listener_id = from.listener_id;
  p->iss = from.iss;
  p->snd_una = p->recover = from.iss;
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
  p->estats.segs_in = p->estats.segs_out = 1;
  return p;
}

// The oldest of those that stayed silent longest makes room. False if there is none.
bool Stack::Impl::shed_half_open(std::uint8_t least_stage) {
  for (auto stage = syn_stages.rbegin(); stage != syn_stages.rend() - least_stage; ++stage) {
    if (stage->empty()) continue;
    ++stats.tcp_syn_cache_evicted;
    ++stats.tcp_attempt_fails;
    forget(stage->front());
    return true;
  }
  return false;
}

// The listener is gone, and whom it would have handed them to.
void Stack::Impl::forget_half_open(std::uint16_t port) {
  for (auto& stage : syn_stages) {
    for (std::size_t left = stage.size(); left > 0; --left) {
      SynEntry& e = stage.front();
      if (e.key.local_port == port) {
        ++stats.tcp_attempt_fails;
        forget(e);
      } else {
        stage.push_back(stage.pop_front());
      }
    }
  }
}

void Stack::Impl::poll_syn_cache(std::size_t& budget) {
  // Not those that began just now: an honest peer answers within a second.
  while (budget > 0 && sheds_half_open() && shed_half_open(1)) --budget;
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
      repeat_syn_ack(e);
    }
  }
}

}  // namespace sluice::tcp
