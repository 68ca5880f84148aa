// What to send when, and how it looks: RFC 9293 section 3.8 (data communication), sender side.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {
namespace {

// A sequence number the peer finds in its window: the highest sent, unless the window was taken
// back.
Seq acceptable_seq(const Pcb& p) {
  if (p.persisting) return p.sent.empty() ? p.snd_nxt : p.snd_una;
  return earlier(p.snd_max, p.snd_una + p.snd_wnd);
}

// Text of one new segment. Where the peer's buffer holds one segment and part of another, the part
// would wait for a better window, and the peer's delayed ACK for the part: it gets two halves.
std::uint32_t filling(std::uint32_t largest_window, std::uint32_t mss) {
  return largest_window > mss && largest_window < 2 * mss ? (largest_window + 1) / 2 : mss;
}

}  // namespace

// RFC 9293 section 3.7.1: what we can receive, whatever options there will be.
std::uint16_t Stack::Impl::our_mss(const IpAddress& remote) const {
  return static_cast<std::uint16_t>(config.mtu - ip_and_tcp_headers(remote));
}

// Eff.snd.MSS: the peer's limit and the path's, less the options each segment carries.
std::uint32_t Stack::Impl::send_mss(const Pcb& p) const {
  const auto path =
      static_cast<std::uint16_t>(p.path_mtu.value() - ip_and_tcp_headers(p.key.remote));
  const std::uint32_t mss = std::min(std::max(p.peer_mss, kMinSendMss), path);
  return mss - (p.timestamps ? static_cast<std::uint32_t>(kTimestampOption) : 0);
}

bool Stack::Impl::output(Pcb& p) {
  if (p.reason != CloseReason::none) return true;
  if (p.syn_due && !send_syn(p)) return false;
  if (p.phase == State::syn_sent || p.phase == State::closed) return true;
  if (!output_control(p)) return false;
  const Seq before = p.snd_nxt;
  if (p.phase != State::syn_received && !output_data(p, kSegmentsPerTurn)) return false;
  if (p.ack_now && !send_ack(p)) return false;
  if (p.phase != State::syn_received) arm_after_output(p);
  if (p.snd_nxt != before && !p.probing_tail) schedule_tail_probe(p);
  return true;
}

bool Stack::Impl::output_control(Pcb& p) {
  if (p.keepalive_due) {
    Outgoing o = header_of(p, p.snd_una - 1, kAck);
    o.window = advertise(p);
    if (!send(o)) return false;
    p.keepalive_due = false;
    ++stats.tcp_keepalive_probes;
    note(p, Happened::keepalive_probe, p.keepalive_probes);
    ++p.estats.segs_out;
    sent_ack(p);
  }
  if (p.probe_due && p.persisting) {
    if (!send_probe(p)) return false;
  }
  p.probe_due = false;
  return true;
}

bool Stack::Impl::output_data(Pcb& p, std::uint32_t budget) {
  if (p.persisting) return true;
  if (p.tail_probe_due && !send_tail_probe(p)) return false;
  if (p.undo && p.undo->frto == Frto::second_ack) {
    if (!send_new_after_timeout(p)) return false;
    if (p.undo->frto == Frto::second_ack) return true;
  }
  if (!retransmit_lost(p, budget)) return false;
  if (p.sent.lost() > 0) return true;
  if (p.outstanding() == 0 && p.has_unsent()) {
    const bool too_long = now - p.last_sent > p.rtt.rto();
    if (too_long && p.undo && !p.undo->adapt) forget_undo(p);
    p.congestion.on_idle(now, too_long);
  }
  if (p.has_unsent() && !send_mtu_probe(p)) return false;
  const LargeLimit limit = p.has_unsent() ? sink.large_limit(p.key.remote) : LargeLimit{};
  while (p.has_unsent()) {
    if (budget == 0) {
      want_output(p);
      break;
    }
    const Seq end = p.data_end();
    const std::uint32_t unsent = p.snd_nxt < end ? distance(p.snd_nxt, end) : 0;
    const std::uint32_t mss = send_mss(p);
    if (limit.text > 0 && unsent >= 2 * mss) {
      const std::uint32_t went = send_large(p, limit, mss, budget);
      budget -= went;
      if (went > 0) continue;
    }
    --budget;
    std::uint32_t length = std::min(unsent, filling(p.max_snd_wnd, mss));
    const Seq edge = p.snd_una + p.snd_wnd;
    const std::uint32_t room = edge > p.snd_nxt ? distance(p.snd_nxt, edge) : 0;
    if (length > room) {
      // Sender's silly window avoidance, section 3.8.6.2.1. What a probe has sent already goes
      // again as far as there is room.
      if (room == 0) break;
      if (room < p.max_snd_wnd / 2 && !p.override_sws && p.snd_nxt == p.snd_max) break;
      length = room;
    }
    const bool fin = p.fin_queued && length == unsent && length < room;
    if (length == 0 && !fin) break;
    const std::uint32_t in_flight = p.sent.in_flight();
    // RFC 3042: the first two duplicates let one segment each go; with SACK they leave in_flight.
    const std::uint32_t limited =
        !p.sack && p.recovery == Recovery::none ? std::min<std::uint32_t>(p.dup_acks, 2) * mss : 0;
    if (in_flight > 0 && length > 0 && in_flight + length > p.congestion.window() + limited) break;
    if (!room_for_record(p)) break;
    if (!send_new(p, length, fin)) return false;
  }
  p.override_sws = false;
  return rescue(p);
}

// The next `length` octets, and the FIN. There is room for their record. False: the sink is full.
bool Stack::Impl::send_new(Pcb& p, std::uint32_t length, bool fin) {
  const auto flags = static_cast<std::uint8_t>(kAck | (fin ? kFin : 0));
  if (!send_segment(p, p.snd_nxt, length, flags)) return false;
  record_new(p, static_cast<std::uint16_t>(length + (fin ? 1u : 0u)));
  return true;
}

void Stack::Impl::record_new(Pcb& p, std::uint16_t sequence) {
  p.sent.push(p.snd_nxt, sequence, now, p.snd_nxt < p.snd_max);
  p.prr.sent(sequence);
  p.snd_nxt = p.snd_nxt + sequence;
  p.snd_max = later(p.snd_max, p.snd_nxt);
}

// Retransmission or persist: whatever is out or cannot go out must be watched by exactly one timer.
void Stack::Impl::arm_after_output(Pcb& p) {
  const bool waits_for_window =
      (p.has_unsent() && p.outstanding() == 0) ||
      (p.persisting && (p.has_unsent() || !p.sent.empty()) && p.snd_wnd == 0);
  if (waits_for_window) {
    if (!p.persisting) {
      p.persisting = true;
      disarm(p, kRetransmit);
    }
    if (!armed(p, kRetransmit)) arm(p, kRetransmit, now + std::min(p.rtt.rto(), kPersistMax));
  } else if (p.outstanding() > 0) {
    p.persisting = false;
    if (!armed(p, kRetransmit)) arm(p, kRetransmit, retransmission_due(p));
  }
}

Outgoing Stack::Impl::header_of(const Pcb& p, Seq seq, std::uint8_t flags) const {
  Outgoing o;
  o.key = p.key;
  o.seq = seq;
  o.ack = p.rcv_nxt;
  o.flags = flags;
  o.options.has_timestamps = p.timestamps;
  o.options.timestamp = timestamp_clock(p.ts_offset);
  o.options.timestamp_echo = p.ts_recent;
  return o;
}

bool Stack::Impl::send_segment(Pcb& p, Seq seq, std::uint32_t length, std::uint8_t flags) {
  Outgoing o = header_of(p, seq, flags);
  const std::size_t room = std::max(send_mss(p), length) - length;
  fill_sack(p, o.options);
  // Data comes first: SACK blocks ride along as far as the segment stays within the MSS.
  while (o.options.sack_count > 0 && 4 + 8u * o.options.sack_count > room) --o.options.sack_count;
  if (length > 0 && seq + length == p.data_end()) o.flags |= kPsh;
  const std::uint32_t fin = (flags & kFin) != 0 ? 1 : 0;
  o.repeated = seq < p.snd_max;
  o.fresh = !o.repeated || seq + length + fin > p.snd_max;
  const Seq edge_before = p.rcv_edge;
  o.window = advertise(p);
  if (!send(o, &p.send, length > 0 ? distance(p.snd_base, seq) : 0, length)) {
    p.rcv_edge = edge_before;
    return false;
  }
  stats.tcp_data_octets_out += length;
  count_sent(p, length, o.repeated);
  sent_data(p, o.options.sack_count > 0 || !p.has_overtaken());
  return true;
}

void Stack::Impl::sent_data(Pcb& p, bool gaps_told) {
  // RFC 6298 (5.1): started with the first segment outstanding, not moved by those that follow.
  if (!armed(p, kRetransmit)) arm(p, kRetransmit, retransmission_due(p));
  p.last_sent = now;
  sent_ack(p);
  if (!gaps_told) p.ack_now = true;
}

bool Stack::Impl::send_ack(Pcb& p) {
  Outgoing o = header_of(p, acceptable_seq(p), kAck);
  fill_sack(p, o.options);
  const Seq edge_before = p.rcv_edge;
  o.window = advertise(p);
  if (!send(o)) {
    p.rcv_edge = edge_before;
    return false;
  }
  ++p.estats.segs_out;
  sent_ack(p);
  return true;
}

void Stack::Impl::sent_ack(Pcb& p) {
  p.ack_now = false;
  p.unacked_in = 0;
  p.last_ack_sent = p.rcv_nxt;
  p.dsack = false;
  disarm(p, kDelayedAck);
}

bool Stack::Impl::send_syn(Pcb& p) {
  const bool answer = p.phase == State::syn_received;
  Outgoing o;
  o.key = p.key;
  o.seq = p.iss;
  o.ack = answer ? p.rcv_nxt : Seq{};
  o.flags = static_cast<std::uint8_t>(kSyn | (answer ? kAck : 0));
  o.window = static_cast<std::uint16_t>(std::min<std::uint32_t>(p.rcv_limit - kWindowPad, 65535));
  o.options.has_mss = true;
  o.options.mss = our_mss(p.key.remote);
  o.options.has_window_scale = !answer || p.scaled;
  o.options.window_scale = kWindowScale;
  o.options.sack_permitted = !answer || p.sack;
  o.options.has_timestamps = !answer || p.timestamps;
  o.options.timestamp = timestamp_clock(p.ts_offset);
  o.options.timestamp_echo = answer ? p.ts_recent : 0;
  o.repeated = p.snd_max > p.iss;
  o.fresh = !o.repeated;
  if (!send(o)) return false;
  p.syn_due = false;
  count_sent(p, 0, o.repeated);
  if (!o.repeated) {
    p.timing = true;
    p.timed_seq = p.iss;
    p.timed_at = now;
  }
  p.snd_nxt = p.snd_max = p.iss + 1;
  if (answer) sent_ack(p);
  arm(p, kRetransmit, now + p.rtt.rto());
  return true;
}

// RFC 9293 section 3.8.6.1: one octet of what the peer waits for (or the FIN). If it was not sent
// before, it counts as sent only for the purpose of being acknowledged: snd_nxt stays.
bool Stack::Impl::send_probe(Pcb& p) {
  const Seq seq = p.sent.empty() ? p.snd_nxt : p.snd_una;
  const bool text = seq < p.data_end();
  if (!text && !p.fin_queued) return true;
  ++stats.tcp_zero_window_probes;
  note(p, Happened::window_probe, p.timeouts);
  disarm(p, kRetransmit);
  if (!send_segment(p, seq, text ? 1 : 0, static_cast<std::uint8_t>(kAck | (text ? 0 : kFin)))) {
    return false;
  }
  p.snd_max = later(p.snd_max, seq + 1);
  return true;
}

void Stack::Impl::send_reset(Pcb& p, CloseReason why) {
  Outgoing o;
  o.key = p.key;
  o.seq = acceptable_seq(p);
  o.ack = p.rcv_nxt;
  o.flags = kRst | kAck;
  note(p, Happened::reset_sent, static_cast<std::uint32_t>(why));
  send_once(o);
}

// RFC 5961 section 7: limited per connection and for the stack.
void Stack::Impl::challenge(Pcb& p) {
  if (now < p.next_challenge ||
      !challenges.allow(now, kChallengesPerSecond, secret_hash(p.key, Purpose::port_step))) {
    return;
  }
  ++stats.tcp_challenge_acks;
  note(p, Happened::challenge_ack);
  answer_unacceptable(p);
}

// What is not acceptable and carries no text wants an answer (a keepalive probe is such a segment),
// but two ends must not answer each other for ever. Limited per connection only: a common budget
// would leave the probes of many idle connections unanswered.
void Stack::Impl::answer_unacceptable(Pcb& p) {
  if (now < p.next_challenge) return;
  p.next_challenge = now + kChallengeSpacing;
  if (!send_ack(p)) ++stats.drop_tcp_no_buffer;
}

bool Stack::Impl::send(const Outgoing& o, const ByteRing* ring, std::size_t offset,
                       std::size_t length) {
  const std::size_t header = o.header_length();
  const MutByteSpan room = sink.reserve(o.key.local, o.key.remote, header + length);
  if (room.size() < header + length) return false;
  write_header(o, room.first(header));
  if (length > 0) ring->copy_out(offset, room.subspan(header, length));
  sink.commit();
  if (o.fresh) ++stats.tcp_out_segs;
  if (o.repeated) ++stats.tcp_retrans_segs;
  if ((o.flags & kRst) != 0) ++stats.tcp_out_rsts;
  return true;
}

// What nobody will send again: a RST, or an answer of a connection that is only remembered.
void Stack::Impl::send_once(const Outgoing& o) {
  if (!send(o)) ++stats.drop_tcp_no_buffer;
}

}  // namespace sluice::tcp
