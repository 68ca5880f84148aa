// Step 5, ESTABLISHED: acknowledgements, the send window, SACK (RFC 2018, 2883), loss recovery with
// SACK (RFC 6675) and without (RFC 6582), round-trip times (RFC 6298, RFC 7323).

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

namespace {
constexpr std::uint8_t kDupThresh = 3;  // RFC 5681 section 3.2, RFC 6675 section 2
}

void Stack::Impl::process_ack(Pcb& p, const Segment& s) {
  const std::uint32_t in_flight =
      distance(p.snd_una, later(p.snd_una, p.snd_nxt)) - p.sacked(p.snd_una, p.snd_nxt);
  const bool sack_news = p.sack && s.options.sack_count > 0 && take_sack(p, s);
  const bool advanced = s.ack > p.snd_una;
  const bool window_changed = s.ack >= p.snd_una && update_window(p, s);
  if (p.persisting) {
    // The peer lives: a closed window is no reason to give up (RFC 9293 section 3.8.6.1), as long
    // as somebody waits for the data to leave.
    if (!p.detached) p.stuck_since = kNever;
    if (p.snd_wnd > 0 && window_changed) {
      p.persisting = false;
      p.timeouts = 0;
      p.rtt.forget_back_off();
      disarm(p, kRetransmit);
      rewind(p);
    }
  }
  if (advanced) {
    acknowledge(p, s, in_flight);
  } else {
    // RFC 5681 section 2: a duplicate ACK has all five properties; with SACK (RFC 6675 section 2)
    // it is one that reports something new.
    const bool duplicate =
        p.sack ? sack_news
               : s.ack == p.snd_una && s.length() == 0 && p.outstanding() > 0 && !window_changed;
    if (duplicate) {
      ++stats.tcp_dup_acks_in;
      ++p.estats.dup_acks_in;
      if (p.dup_acks < 255) ++p.dup_acks;
      if (p.recovering && !p.sack) p.congestion.inflate(send_mss(p));
    }
  }
  if (!p.recovering && !p.persisting && p.outstanding() > 0 &&
      (!p.recover_valid || p.snd_una > p.recover) &&
      (p.dup_acks >= kDupThresh || first_is_lost(p))) {
    enter_recovery(p);
  }
  if (p.has_unsent() || p.recovering) want_output(p);
}

void Stack::Impl::acknowledge(Pcb& p, const Segment& s, std::uint32_t in_flight) {
  const std::uint32_t acked = distance(p.snd_una, s.ack);
  sample_rtt(p, s);
  const Seq data_end = p.data_end();
  const std::uint32_t data =
      s.ack > p.snd_base ? distance(p.snd_base, earlier(s.ack, data_end)) : 0;
  p.send.drop(data);
  p.snd_base = p.snd_base + data;
  p.estats.thru_octets_acked += data;
  p.snd_una = s.ack;
  p.snd_nxt = later(p.snd_nxt, p.snd_una);
  p.high_rxt = later(p.high_rxt, p.snd_una);
  if (p.scoreboard) p.scoreboard->shift(acked);
  p.timeouts = 0;
  p.stuck_since = kNever;
  sink.on_progress(p.key.remote);
  if (p.recovering) {
    if (p.snd_una >= p.recover) {
      // At the recovery point recovery ends, whatever SACK ranges are left.
      p.recovering = false;
      // RFC 6582 section 3.2 step 2: without SACK, duplicates of what is acknowledged now may be
      // echoes of needless retransmissions.
      p.recover_valid = !p.sack;
      p.dup_acks = 0;
      if (!p.sack) p.congestion.end_recovery(distance(p.snd_una, p.snd_nxt));
      note(p, Happened::recovered, p.congestion.window());
    } else if (!p.sack) {
      // RFC 6582 section 3.2 step 3: a partial acknowledgement names the next hole.
      p.retransmit_first = true;
      p.congestion.deflate(acked);
    }
  } else {
    p.dup_acks = 0;
    // RFC 3465 section 2.3: what a timeout made us send again may have arrived long ago.
    const bool repeated = p.recover_valid && p.snd_una <= p.recover;
    if (p.recover_valid && p.snd_una > p.recover) p.recover_valid = false;
    p.congestion.on_ack({.now = now,
                         .bytes = repeated ? std::min(acked, send_mss(p)) : acked,
                         .in_flight = in_flight,
                         .una = p.snd_una,
                         .nxt = p.snd_nxt,
                         .rtt = echoed_rtt(p, s),
                         .srtt = p.rtt.srtt()});
  }
  // RFC 6298 (5.2), (5.3).
  if (p.snd_una == p.snd_max) {
    disarm(p, kRetransmit);
    p.timing = false;
    if (p.scoreboard) p.scoreboard->clear();
  } else if (!p.persisting) {
    arm(p, kRetransmit, now + p.rtt.rto());
  }
  notify_writer(p);
}

void Stack::Impl::sample_rtt(Pcb& p, const Segment& s) {
  if (p.timing && s.ack > p.timed_seq) {
    p.timing = false;
    take_rtt(p, now - p.timed_at);
    return;
  }
  // The echoed timestamp tells which transmission was answered (RFC 7323 section 4.1), so it serves
  // after a retransmission, where Karn's rule forbids the other way. Its grain is a millisecond.
  if (p.timing || !p.timestamps || !s.options.has_timestamps || s.options.timestamp_echo == 0)
    return;
  if (p.timeouts == 0 && p.rtt.known()) return;
  if (s.options.sack_count > 0 && s.options.sack[0].start < s.ack) {
    // A duplicate made the peer answer (RFC 2883): its first answer was lost, and the echo is of a
    // time long past. The peer lives, that is all it tells.
    p.rtt.forget_back_off();
    return;
  }
  if (const Micros rtt = echoed_rtt(p, s); rtt > Micros{0}) take_rtt(p, rtt);
}

// What the echoed timestamp tells, to the millisecond; zero if nothing.
Micros Stack::Impl::echoed_rtt(const Pcb& p, const Segment& s) const {
  if (!p.timestamps || !s.options.has_timestamps || s.options.timestamp_echo == 0) return Micros{0};
  const auto ms =
      static_cast<std::int32_t>(timestamp_clock(p.ts_offset) - s.options.timestamp_echo);
  return ms >= 0 && ms < 120'000 ? Micros{std::int64_t{ms} * 1000 + 500} : Micros{0};
}

// RFC 9293 section 3.10.7.4: only from a segment that is not older than the one used last. True if
// the window has changed.
bool Stack::Impl::update_window(Pcb& p, const Segment& s) {
  const bool newer = p.snd_wl1 < s.seq || (p.snd_wl1 == s.seq && p.snd_wl2 <= s.ack);
  if (!newer) return false;
  const std::uint32_t before = p.snd_wnd;
  const bool was_open = before > 0 || p.max_snd_wnd == 0;
  const Seq edge_before = p.snd_wl2 + before;
  p.snd_wnd = std::uint32_t{s.window} << (s.has(kSyn) ? 0 : p.snd_scale);
  p.max_snd_wnd = std::max(p.max_snd_wnd, p.snd_wnd);
  p.snd_wl1 = s.seq;
  p.snd_wl2 = s.ack;
  if (was_open != (p.snd_wnd > 0)) peer_window_turned(p);
  if (s.ack + p.snd_wnd > edge_before) want_output(p);
  return p.snd_wnd != before;
}

// True if the segment reports something that was not known.
bool Stack::Impl::take_sack(Pcb& p, const Segment& s) {
  bool news = false;
  for (std::uint8_t i = 0; i < s.options.sack_count; ++i) {
    ++stats.tcp_sack_blocks_in;
    ++p.estats.sack_blocks_rcvd;
    const SackBlock& b = s.options.sack[i];
    // Below the cumulative ACK it reports a duplicate (RFC 2883); beyond what was sent it is bogus.
    if (b.start < later(p.snd_una, s.ack) || b.end > p.snd_max || b.start >= b.end) continue;
    if (!p.scoreboard) p.scoreboard = std::make_unique<IntervalSet>();
    news |= p.scoreboard->add(distance(p.snd_una, b.start), distance(p.snd_una, b.end)) ==
            IntervalSet::Added::fresh;
  }
  return news;
}

// RFC 6675 section 4, IsLost(snd_una): three ranges, or more than two segments, beyond it.
bool Stack::Impl::first_is_lost(const Pcb& p) const {
  if (!p.scoreboard || p.scoreboard->empty()) return false;
  return p.scoreboard->count() >= kDupThresh ||
         p.scoreboard->total() > (kDupThresh - 1u) * send_mss(p);
}

void Stack::Impl::enter_recovery(Pcb& p) {
  ++stats.tcp_fast_retransmits;
  ++p.estats.fast_retran;
  const std::uint32_t in_flight = distance(p.snd_una, p.snd_nxt);
  p.recovering = p.recover_valid = true;
  p.recover = p.snd_max;
  p.high_rxt = p.snd_una;
  p.retransmit_first = true;
  p.timing = false;  // Karn
  p.congestion.on_loss(in_flight);
  note(p, Happened::recovery, p.congestion.window());
  if (!p.sack) p.congestion.inflate(kDupThresh * send_mss(p));
  arm(p, kRetransmit, now + p.rtt.rto());
  want_output(p);
}

// What was sent counts as lost, or as never sent. What the peer said it has is forgotten too: it
// may have thrown it away (RFC 2018 section 8).
void Stack::Impl::rewind(Pcb& p) {
  p.snd_nxt = p.high_rxt = p.snd_una;
  p.recovering = false;
  p.retransmit_first = false;
  p.dup_acks = 0;
  p.timing = false;
  if (p.scoreboard) p.scoreboard->clear();
  want_output(p);
}

}  // namespace sluice::tcp
