// Segment arrives: RFC 9293 section 3.10.7, in its order, with RFC 5961 and RFC 7323 where they
// change a step. One function per step; each returns false when the segment is dealt with.

#include "impl.h"
#include "packet/checksum.h"

namespace sluice::tcp {
namespace {

constexpr std::uint8_t kProtocolTcp = 6;

bool impossible_address(const InputSegment& in, const FlowKey& key) {
  return in.source.is_unspecified() || in.source.is_multicast() || in.source.is_broadcast() ||
         in.destination.is_multicast() || in.destination.is_broadcast() || key.local_port == 0 ||
         key.remote_port == 0 || (key.local_port == key.remote_port && in.source == in.destination);
}

}  // namespace

void Stack::Impl::input(const InputSegment& in) {
  ++stats.tcp_in_segs;
  const auto view = packet::TcpView::parse(in.bytes);
  if (!view) {
    ++stats.tcp_in_errs;
    ++stats.drop_tcp_header;
    return;
  }
#ifndef SLUICE_FUZZING
  if (!in.checksum_verified &&
      !packet::l4_checksum_ok(in.source, in.destination, kProtocolTcp, in.bytes)) {
    ++stats.tcp_in_errs;
    ++stats.drop_tcp_checksum;
    return;
  }
#else
  (void)kProtocolTcp;
#endif
  Segment s;
  if (!read_segment(*view, in.source, in.destination, s)) ++stats.tcp_in_errs;
  if (impossible_address(in, s.key)) {
    ++stats.drop_tcp_address;
    return;
  }
  const std::uint64_t hash = hash_of(s.key);
  const std::uint32_t entry = find(s.key, hash);
  if (entry == FlowTable::kNone) {
    const std::uint32_t l = listener(s.key.local_port);
    if (l != FlowTable::kNone) {
      syn_arrives(s, hash, l, Seq{}, false);
    } else {
      // CLOSED state, section 3.10.7.1.
      ++stats.drop_tcp_closed_port;
      refuse(s);
    }
    return;
  }
  const std::uint32_t i = entry & ~kKindMask;
  switch (entry & kKindMask) {
    case kSynEntry:
      return half_open_arrives(syn_entries[i], s);
    case kTimeWait:
      return time_wait_arrives(time_waits[i], s);
    default:
      return segment_arrives(pcbs[i], s);
  }
}

void Stack::Impl::segment_arrives(Pcb& p, const Segment& s) {
  ++p.estats.segs_in;
  if (!s.payload.empty()) {
    ++p.estats.data_segs_in;
    p.estats.data_octets_in += s.payload.size();
  }
  if (p.phase == State::syn_sent) return in_syn_sent(p, s);
  const std::uint32_t generation = p.generation;
  // First, the sequence number (with PAWS in front, RFC 7323 section 5.3 R1).
  if (!check_timestamp(p, s)) return;
  if (!check_sequence(p, s)) return;
  // Second, the RST bit.
  if (!check_reset(p, s)) return;
  // Third, security: not used.
  // Fourth, the SYN bit.
  if (!check_syn(p, s)) return;
  p.last_heard = now;
  p.keepalive_probes = 0;
  // RFC 7323 section 4.3: only from the segment that the last ACK sent asked for.
  if (p.timestamps && s.options.has_timestamps && s.seq <= p.last_ack_sent &&
      static_cast<std::int32_t>(s.options.timestamp - p.ts_recent) >= 0) {
    p.ts_recent = s.options.timestamp;
    p.ts_recent_at = now;
  }
  // Fifth, the ACK field.
  if (!check_ack(p, s)) return;
  // The application may have refused the connection, or our last FIN has been acknowledged.
  if (p.generation != generation || p.reason != CloseReason::none) return;
  // Sixth, the URG bit: urgent data is read in line (RFC 6093).
  // Seventh, the segment text; eighth, the FIN bit.
  process_text(p, s);
}

// SYN-SENT, section 3.10.7.3.
void Stack::Impl::in_syn_sent(Pcb& p, const Segment& s) {
  // First, the ACK bit.
  const bool acked = s.has(kAck);
  if (acked && (s.ack <= p.iss || s.ack > p.snd_max)) {
    ++stats.drop_tcp_bad_ack;
    refuse(s);
    return;
  }
  // Second, the RST bit: only one that acknowledges our SYN counts (RFC 5961 section 3.2 keeps
  // this).
  if (s.has(kRst)) {
    if (acked) {
      note(p, Happened::reset_received);
      finish(p, CloseReason::refused);
    } else {
      ++stats.drop_tcp_bad_rst;
    }
    return;
  }
  // Fourth, the SYN bit. (Third, security: not used.)
  if (!s.has(kSyn)) {
    ++stats.drop_tcp_no_ack;
    return;
  }
  p.irs = s.seq;
  p.rcv_nxt = p.last_ack_sent = p.rcv_edge = s.seq + 1;
  learn_options(p, s.options);
  // What our SYN advertised, not scaled.
  p.rcv_edge = p.rcv_nxt + std::min<std::uint32_t>(p.rcv_limit - kWindowPad, 65535);
  p.snd_wnd = s.window;  // never scaled on a SYN (RFC 7323 section 2.2)
  p.max_snd_wnd = std::max(p.max_snd_wnd, p.snd_wnd);
  p.snd_wl1 = s.seq;
  p.snd_wl2 = s.ack;
  p.last_heard = now;
  if (!acked) {
    // Simultaneous open: SYN-RECEIVED, and our SYN again with an ACK.
    enter(p, State::syn_received);
    p.syn_due = true;
    p.timing = false;
    want_output(p);
    return;
  }
  // Karn: which SYN it answers cannot be told, not even from the echo.
  if (p.timeouts == 0) sample_handshake(p, s);
  p.snd_una = s.ack;
  p.snd_nxt = later(p.snd_nxt, p.snd_una);
  disarm(p, kRetransmit);
  p.syn_due = false;
  p.ack_now = true;
  want_output(p);
  establish(p);
  // Data or FIN that came along (section 3.10.7.3, "continue processing at the sixth step").
  if (!s.payload.empty() || s.has(kFin)) {
    Segment rest = s;
    rest.seq = s.seq + 1;
    rest.flags = static_cast<std::uint8_t>(rest.flags & ~kSyn);
    process_text(p, rest);
  }
}

void Stack::Impl::learn_options(Pcb& p, const Options& o) {
  p.peer_mss = o.has_mss && o.mss != 0 ? o.mss : (p.key.remote.is_v4() ? 536 : 1220);
  p.scaled = o.has_window_scale;
  p.snd_scale = o.has_window_scale ? o.window_scale : std::uint8_t{0};
  p.rcv_scale = o.has_window_scale ? kWindowScale : std::uint8_t{0};
  p.sack = o.sack_permitted;
  p.timestamps = o.has_timestamps;
  p.ts_recent = o.timestamp;
  p.ts_recent_at = now;
}

// Both ends agree: from SYN-SENT or SYN-RECEIVED to ESTABLISHED.
void Stack::Impl::establish(Pcb& p) {
  enter(p, p.fin_queued ? State::fin_wait_1 : State::established);
  if (p.timeouts > 0) p.rtt.syn_was_lost();
  p.congestion.start(send_mss(p), p.timeouts > 0);
  p.timeouts = 0;
  p.stuck_since = kNever;
  p.recover = p.snd_una;
  disarm(p, kLifetime);
  if (p.keepalive) arm(p, kKeepalive, now + config.keepalive_idle);
  if (!p.accepting) {
    mark_ready(p);
    return;
  }
  const std::uint32_t generation = p.generation;
  Observer* observer = acceptor.on_accept(p, p.listener_id, now);
  if (p.generation != generation) return;  // aborted in there
  p.accepting = false;
  if (p.detached) return;  // closed in there
  if (observer == nullptr) {
    ++stats.drop_tcp_refused;
    p.detached = true;
    reset_peer(p, CloseReason::aborted);
    return;
  }
  p.observer = observer;
  mark_ready(p);
}

// PAWS. A RST is exempt: it is judged by its sequence number alone.
bool Stack::Impl::check_timestamp(Pcb& p, const Segment& s) {
  if (!p.timestamps || s.has(kRst)) return true;
  if (!s.options.has_timestamps) {
    ++stats.drop_tcp_no_timestamp;  // RFC 7323 section 3.2
    return false;
  }
  if (static_cast<std::int32_t>(s.options.timestamp - p.ts_recent) >= 0) return true;
  constexpr auto kOutdated = std::chrono::days{24};  // section 5.5
  if (now - p.ts_recent_at > kOutdated) return true;
  ++stats.drop_tcp_paws;
  if (s.length() > 0) {
    send_ack(p);
  } else {
    answer_unacceptable(p);
  }
  return false;
}

bool Stack::Impl::check_ack(Pcb& p, const Segment& s) {
  if (!s.has(kAck)) {
    ++stats.drop_tcp_no_ack;
    return false;
  }
  if (p.phase == State::syn_received) {
    if (s.ack <= p.snd_una || s.ack > p.snd_max) {
      ++stats.drop_tcp_bad_ack;
      refuse(s);
      return false;
    }
    sample_handshake(p, s);
    p.snd_una = p.iss + 1;
    p.snd_nxt = later(p.snd_nxt, p.snd_una);
    disarm(p, kRetransmit);
    p.syn_due = false;
    p.snd_wl1 = s.seq - 1;
    p.snd_wl2 = s.ack - 1;
    update_window(p, s);
    const std::uint32_t generation = p.generation;
    establish(p);
    if (p.generation != generation || p.reason != CloseReason::none) return false;
    want_output(p);
  }
  // RFC 5961 section 5.2.
  if (s.ack > p.snd_max || s.ack < p.snd_una - p.max_snd_wnd) {
    ++stats.drop_tcp_bad_ack;
    challenge(p);
    return false;
  }
  process_ack(p, s);
  // In addition, by state.
  if (!p.fin_acked()) return true;
  switch (p.phase) {
    case State::fin_wait_1:
      enter(p, State::fin_wait_2);
      if (p.detached) arm(p, kLifetime, now + kFinWait2Time);
      break;
    case State::closing:
      enter_time_wait(p);
      return false;
    case State::last_ack:
      finish(p, CloseReason::graceful);
      return false;
    default:
      break;
  }
  return true;
}

// Eighth, the FIN bit, once everything before it is in: called by process_text().
void Stack::Impl::process_fin(Pcb& p) {
  p.fin_received = true;
  p.rcv_nxt = p.rcv_nxt + 1;
  p.rcv_edge = later(p.rcv_edge, p.rcv_nxt);
  p.ack_now = true;
  want_output(p);
  mark_ready(p);
  switch (p.phase) {
    case State::syn_received:
    case State::established:
      enter(p, State::close_wait);
      break;
    case State::fin_wait_1:
      // Our FIN is not acknowledged yet, or check_ack() had moved on.
      enter(p, State::closing);
      break;
    case State::fin_wait_2:
      enter_time_wait(p);
      break;
    default:
      break;
  }
}

// Sections 3.5.2 and 3.10.7.1: what a connection that does not exist has to say.
void Stack::Impl::refuse(const Segment& s) {
  if (s.has(kRst)) return;
  if (!resets.allow(now, kResetsPerSecond, secret_hash(s.key, Purpose::port_step))) {
    ++stats.drop_tcp_rst_limit;
    return;
  }
  Outgoing o;
  o.key = s.key;
  if (s.has(kAck)) {
    o.seq = s.ack;
    o.flags = kRst;
  } else {
    o.ack = s.seq + s.length();
    o.flags = kRst | kAck;
  }
  send_once(o);
}

}  // namespace sluice::tcp
