// Step 7, the segment text: taking it in order, keeping what overtook, the window, and when to
// acknowledge.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

void Stack::Impl::process_text(Pcb& p, const Segment& s) {
  if (p.phase != State::established && p.phase != State::fin_wait_1 &&
      p.phase != State::fin_wait_2 && p.phase != State::syn_received) {
    // After the peer's FIN there is no more text; section 3.10.7.4.
    if (!s.payload.empty()) ++stats.drop_tcp_after_fin;
    return;
  }
  ByteSpan payload = s.payload;
  bool fin = s.has(kFin);
  std::int32_t offset = (s.has(kSyn) ? s.seq + 1 : s.seq) - p.rcv_nxt;
  if (offset < 0) {
    // The part we have: check_sequence() let it pass because something new follows.
    const auto old = std::min<std::size_t>(static_cast<std::uint32_t>(-offset), payload.size());
    if (old > 0) {
      ++stats.drop_tcp_duplicate;
      p.dsack = true;
      p.dsack_start = s.seq;
      p.dsack_end = s.seq + static_cast<std::uint32_t>(old);
      p.ack_now = true;
      want_output(p);
    }
    payload = payload.subspan(old);
    if (payload.empty() && !fin) return;
    offset = 0;
  }
  const auto at = static_cast<std::uint32_t>(offset);
  const std::uint32_t window = distance(p.rcv_nxt, p.rcv_edge);
  if (at + payload.size() > window) {
    // What does not fit the window we advertised is not ours to keep; the ACK tells how far we are.
    ++stats.drop_tcp_beyond_window;
    payload = payload.first(at < window ? window - at : 0);
    fin = false;
    p.ack_now = true;
    want_output(p);
  }
  if (p.fin_seen) {
    // Nothing follows the FIN.
    const std::uint32_t end = distance(p.rcv_nxt, p.fin_seq);
    if (at + payload.size() > end) {
      ++stats.drop_tcp_after_fin;
      payload = payload.first(at < end ? end - at : 0);
    }
    fin = false;
  }
  if (payload.empty() && !fin) return;
  if (p.detached && !payload.empty()) {
    // Nobody is left to read it (RFC 9293 section 3.10.4: CLOSE is "I have no more to receive" too
    // when the application has let go).
    ++stats.drop_tcp_after_close;
    reset_peer(p, CloseReason::aborted);
    return;
  }
  const std::uint32_t end = at + static_cast<std::uint32_t>(payload.size());
  if (at == 0) {
    if (!payload.empty()) {
      const std::uint32_t before = p.unread();
      const Seq nxt = p.rcv_nxt;
      take_in_order(p, payload);
      if (p.rcv_nxt == nxt) {
        // No memory: as if it had been lost, but the peer is told to wait and probe. Taking back a
        // window is the lesser evil here: a peer that hears nothing gives the connection up.
        if (!p.starved) {
          note(p, Happened::memory_refused, static_cast<std::uint32_t>(payload.size()));
        }
        p.starved = true;
        // Nothing beyond rcv_nxt was ever sent, as far as we are concerned: the peer will go back.
        p.snd_wl1 = earlier(p.snd_wl1, p.rcv_nxt);
        arm(p, kHousekeeping, now + kStarvedRetryTime);
        answer_unacceptable(p);
        return;
      }
      p.starved = false;
      if (p.unread() > before) mark_ready(p);
      if (fin && p.rcv_nxt < nxt + end) fin = false;
      schedule_ack(p, payload.size());
    }
    if (fin && !p.fin_seen) {
      p.fin_seen = true;
      p.fin_seq = s.seq + s.length() - 1;
    }
  } else {
    ++stats.tcp_dup_acks_out;
    ++p.estats.dup_acks_out;
    p.quick_acks = kQuickAcks;
    const bool kept = payload.empty() || take_out_of_order(p, at, payload);
    if (kept && fin) {
      p.fin_seen = true;
      p.fin_seq = p.rcv_nxt + end;
    }
    // RFC 5681 section 4.2: at once, and one for each, so that the sender can count them.
    if (!send_ack(p)) {
      p.ack_now = true;
      want_output(p);
    }
  }
  if (p.fin_seen && !p.fin_received && p.rcv_nxt >= p.fin_seq) process_fin(p);
}

void Stack::Impl::take_in_order(Pcb& p, ByteSpan payload) {
  auto n = static_cast<std::uint32_t>(payload.size());
  const bool gap = p.has_overtaken();
  const std::size_t needed = p.unread() + payload.size();
  if (p.receive.empty() && p.direct.empty() && !gap) {
    // Not copied unless it is still there at the end of the turn. The memory it would then need is
    // asked for now, while it can still be refused.
    if (!may_grow(p.receive, needed)) {
      ++stats.drop_tcp_memory;
      return;
    }
    p.direct = payload;
    direct_list.push_back(p);
  } else {
    if (!settle_direct(p, false) || !reserve(p.receive, needed)) {
      ++stats.drop_tcp_memory;
      return;
    }
    if (gap) {
      IntervalSet& ranges = p.overtaken->ranges;
      p.receive.write_beyond(0, payload);
      for (std::size_t i = 0; i < ranges.count() && ranges[i].start <= n; ++i) {
        n = std::max(n, ranges[i].end);
      }
      ranges.shift(n);
      p.receive.extend(n);
      p.ack_now = true;  // RFC 5681 section 4.2: fills all or part of a gap
      p.quick_acks = kQuickAcks;
      if (ranges.empty()) {
        note(p, Happened::gap_closed, n);
        if (spare_overtaken.size() < 64) spare_overtaken.push_back(std::move(p.overtaken));
        p.overtaken.reset();
      } else {
        OutOfOrder& o = *p.overtaken;
        std::uint8_t kept = 0;
        for (std::uint8_t i = 0; i < o.recent_count; ++i) {
          if (o.recent[i] >= n) o.recent[kept++] = o.recent[i] - n;
        }
        o.recent_count = kept;
      }
    } else {
      p.receive.append(payload);
    }
  }
  p.rcv_nxt = p.rcv_nxt + n;
  stats.tcp_data_octets_in += n;
  p.estats.thru_octets_received += n;
  if (!armed(p, kHousekeeping)) arm(p, kHousekeeping, now + kIdleBufferTime);
}

bool Stack::Impl::take_out_of_order(Pcb& p, std::uint32_t offset, ByteSpan payload) {
  const auto n = static_cast<std::uint32_t>(payload.size());
  // Under pressure only what can be handed on at once is worth memory.
  if (under_pressure() || !settle_direct(p, false) ||
      !reserve(p.receive, p.receive.size() + offset + n)) {
    ++stats.drop_tcp_memory;
    return false;
  }
  if (!p.overtaken) {
    note(p, Happened::gap_opened, offset);
    if (spare_overtaken.empty()) {
      p.overtaken = std::make_unique<OutOfOrder>();
    } else {
      p.overtaken = std::move(spare_overtaken.back());
      spare_overtaken.pop_back();
      *p.overtaken = OutOfOrder{};
    }
  }
  OutOfOrder& o = *p.overtaken;
  switch (o.ranges.add(offset, offset + n)) {
    case IntervalSet::Added::full:
      ++stats.drop_tcp_reassembly_full;
      return false;
    case IntervalSet::Added::nothing_new:
      ++stats.drop_tcp_duplicate;
      p.dsack = true;
      p.dsack_start = p.rcv_nxt + offset;
      p.dsack_end = p.rcv_nxt + offset + n;
      return true;
    case IntervalSet::Added::fresh:
      break;
  }
  ++stats.tcp_out_of_order;
  p.receive.write_beyond(offset, payload);
  if (!armed(p, kHousekeeping)) arm(p, kHousekeeping, now + kIdleBufferTime);
  // Newest first, each range once.
  const Interval* home = o.ranges.holding(offset);
  std::array<std::uint32_t, 4> recent{offset};
  std::uint8_t count = 1;
  for (std::uint8_t i = 0; i < o.recent_count && count < recent.size(); ++i) {
    if (o.ranges.holding(o.recent[i]) != home) recent[count++] = o.recent[i];
  }
  o.recent = recent;
  o.recent_count = count;
  return true;
}

// Unread payload leaves its packet.
bool Stack::Impl::settle_direct(Pcb& p, bool beyond_limit) {
  if (p.direct.empty()) {
    direct_list.remove(p);
    return true;
  }
  if (!reserve(p.receive, p.direct.size(), beyond_limit)) {
    if (!beyond_limit) return false;
    // The machine is out of memory and the bytes are acknowledged: the stream cannot go on.
    ++stats.drop_tcp_memory;
    direct_list.remove(p);
    p.direct = {};
    if (p.reason == CloseReason::graceful) {
      // The peer has said all and gone; the application must not take what it got for all.
      p.reason = CloseReason::aborted;
      mark_ready(p);
    } else {
      reset_peer(p, CloseReason::aborted);
    }
    return false;
  }
  p.receive.append(p.direct);
  p.direct = {};
  direct_list.remove(p);
  return true;
}

// RFC 9293 section 3.8.6.3, RFC 5681 section 4.2: every second full-size segment, where full-size
// is what this peer sends, not what we would.
void Stack::Impl::schedule_ack(Pcb& p, std::size_t received) {
  const auto n = static_cast<std::uint32_t>(received);
  const auto length = static_cast<std::uint16_t>(std::min<std::uint32_t>(n, 65535));
  // Twice the same length is full-size too: the path may have become narrower.
  if (length > p.rcv_mss || (length >= 536 && length == p.rcv_length)) p.rcv_mss = length;
  p.rcv_length = length;
  p.unacked_in += n;
  if (p.quick_acks > 0) {
    --p.quick_acks;
    p.ack_now = true;
  }
  if (p.unacked_in >= 2u * p.rcv_mss) p.ack_now = true;
  if (p.ack_now) {
    want_output(p);
  } else if (!armed(p, kDelayedAck)) {
    arm(p, kDelayedAck, now + kDelayedAckTime);
  }
}

std::uint32_t Stack::Impl::free_window(const Pcb& p) const {
  std::uint32_t room = p.rcv_limit - kWindowPad;
  // Near the memory limit a window is a promise that could not be kept.
  if (under_pressure()) room = std::min(room, 4u * kWindowPad);
  const std::uint32_t unread = p.unread();
  // Not more than the field can tell: what cannot be promised is no news either.
  return unread < room ? std::min(room - unread, 65535u << p.rcv_scale) : 0;
}

// RFC 9293 section 3.8.6.2.2: the right edge never moves left, and moves right by steps that are
// worth a segment. The field is what is left of the promise, rounded up to the scale's unit as long
// as the pad covers it (RFC 7323 section 2.3).
std::uint16_t Stack::Impl::advertise(Pcb& p) {
  if (p.starved) {
    window_turned(p, 0);
    return 0;
  }
  const std::uint32_t room = free_window(p);
  const std::uint32_t current = distance(p.rcv_nxt, p.rcv_edge);
  const std::uint32_t unit = 1u << p.rcv_scale;
  std::uint32_t window = current;
  if (room > current &&
      room - current >= std::min<std::uint32_t>(p.rcv_limit / 2, our_mss(p.key.remote))) {
    window = room;
  }
  std::uint32_t field = window >> p.rcv_scale;
  if ((window & (unit - 1)) != 0 && field < 65535 && window == current &&
      p.unread() + window + unit <= p.rcv_limit) {
    ++field;
  }
  p.rcv_edge = later(p.rcv_edge, p.rcv_nxt + (field << p.rcv_scale));
  window_turned(p, field);
  return static_cast<std::uint16_t>(field);
}

// The application has taken n bytes: the buffer may grow, and the window may be worth an update now
// (otherwise a peer that waits for it would wait for its probe).
void Stack::Impl::after_read(Pcb& p, std::size_t n) {
  if (p.fin_received || p.reason != CloseReason::none) {
    if (p.reason == CloseReason::graceful && p.unread() == 0) mark_ready(p);
    return;
  }
  // Receive buffer growth: a reader that empties a whole window within a round trip is held back by
  // the window, not by itself.
  p.starved = false;  // there is room again
  p.read_in_round += static_cast<std::uint32_t>(n);
  const Micros round = p.rtt.known() ? std::max(p.rtt.srtt(), Micros{1000}) : Micros{100'000};
  if (now - p.round_began > round) {
    p.read_in_round = static_cast<std::uint32_t>(n);
    p.round_began = now;
  } else if (p.scaled && p.read_in_round >= p.rcv_limit && p.rcv_limit < kMaxReceive &&
             !under_pressure()) {
    p.rcv_limit = std::min(p.rcv_limit * 2, kMaxReceive);
    p.read_in_round = 0;
    p.round_began = now;
  }
  if (!p.synchronized()) return;
  const std::uint32_t room = free_window(p);
  const std::uint32_t current = distance(p.rcv_nxt, p.rcv_edge);
  if (room <= current) return;
  const std::uint32_t gain = room - current;
  const std::uint32_t mss = our_mss(p.key.remote);
  const bool worth_it = gain >= std::max(2 * mss, p.rcv_limit / 4);
  const bool was_closed = current < mss && gain >= std::min(mss, p.rcv_limit / 2);
  if (worth_it || was_closed) {
    p.ack_now = true;
    want_output(p);
  }
}

// RFC 2018 section 4 and RFC 2883: a duplicate first, then the newest range, then those before it.
void Stack::Impl::fill_sack(Pcb& p, Options& options) {
  if (!p.sack) return;
  const std::uint8_t room = options.has_timestamps ? 3 : 4;
  if (p.dsack) options.sack[options.sack_count++] = {p.dsack_start, p.dsack_end};
  if (!p.has_overtaken()) return;
  const OutOfOrder& o = *p.overtaken;
  const auto add = [&](const Interval& r) {
    SackBlock block{p.rcv_nxt + r.start, p.rcv_nxt + r.end};
    // A FIN counts: without it the segment that carries it would have arrived in part only.
    if (p.fin_seen && block.end == p.fin_seq) block.end = block.end + 1;
    for (std::uint8_t i = p.dsack ? 1 : 0; i < options.sack_count; ++i) {
      if (options.sack[i] == block) return;
    }
    if (options.sack_count < room) options.sack[options.sack_count++] = block;
  };
  for (std::uint8_t i = 0; i < o.recent_count; ++i) {
    if (const Interval* r = o.ranges.holding(o.recent[i])) add(*r);
  }
  for (std::size_t i = 0; i < o.ranges.count() && options.sack_count < room; ++i) add(o.ranges[i]);
}

}  // namespace sluice::tcp
