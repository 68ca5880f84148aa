// Step 5, ESTABLISHED: acknowledgements, the send window, SACK (RFC 2018, 2883), round-trip times
// (RFC 6298, RFC 7323). What follows from losses is in recovery.cpp.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

void Stack::Impl::process_ack(Pcb& p, const Segment& s) {
  AckNews news;
  news.in_flight = p.sent.in_flight();
  news.highest = p.rack.highest(p.snd_una);
  news.has_echo = s.options.has_timestamps;
  news.echo = s.options.timestamp_echo;
  news.acked = s.ack > p.snd_una ? distance(p.snd_una, s.ack) : 0;
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
      want_output(p);
    }
  }
  if (news.acked > 0) acknowledge(p, s, news);
  if (p.sack && s.options.sack_count > 0) take_sack(p, s, news);
  if (news.acked == 0) {
    // RFC 5681 section 2: a duplicate ACK has all five properties; with SACK (RFC 6675 section 2)
    // it is one that reports something new.
    news.duplicate =
        p.sack ? news.delivered > 0
               : s.ack == p.snd_una && s.length() == 0 && p.outstanding() > 0 && !window_changed;
    news.plain_duplicate = s.ack == p.snd_una && s.length() == 0 && s.options.sack_count == 0;
    if (news.duplicate) {
      ++stats.tcp_dup_acks_in;
      ++p.estats.dup_acks_in;
      if (p.dup_acks < 255) ++p.dup_acks;
    }
  }
  after_ack(p, news);
  if (p.has_unsent() || p.sent.lost() > 0 || p.recovery == Recovery::fast) want_output(p);
}

void Stack::Impl::acknowledge(Pcb& p, const Segment& s, AckNews& news) {
  const Seq data_end = p.data_end();
  const std::uint32_t data =
      s.ack > p.snd_base ? distance(p.snd_base, earlier(s.ack, data_end)) : 0;
  p.send.drop(data);
  p.snd_base = p.snd_base + data;
  p.estats.thru_octets_acked += data;
  p.snd_una = s.ack;
  p.snd_nxt = later(p.snd_nxt, p.snd_una);
  news.delivered +=
      p.sent.acknowledge(s.ack, [&](const SentSegment& x) { delivered(p, s, x, news); });
  sample_rtt(p, s, news);
  p.path_mtu.acknowledged(p.snd_una);
  p.timeouts = 0;
  p.stuck_since = kNever;
  sink.on_progress(p.key.remote);
  // RFC 6298 (5.2), (5.3).
  if (p.snd_una == p.snd_max) {
    disarm(p, kRetransmit);
    p.timing = false;
  } else if (!p.persisting) {
    arm(p, kRetransmit, retransmission_due(p));
  }
  notify_writer(p);
}

// One more segment has arrived at the peer.
void Stack::Impl::delivered(Pcb& p, const Segment& s, const SentSegment& x, AckNews& news) {
  const bool earlier_one =
      x.retransmitted && p.timestamps && s.options.has_timestamps &&
      static_cast<std::int32_t>(s.options.timestamp_echo - timestamp_at(p.ts_offset, x.sent)) < 0;
  p.rack.delivered(x, now, news.highest, earlier_one);
  if (!x.retransmitted && x.state == SentSegment::kInFlight) segment_got_through(p, x);
  if (!x.retransmitted && x.end() <= p.recover) news.original = true;
  if (x.retransmitted) {
    news.resent = true;
  } else {
    news.original_sent = std::max(news.original_sent, x.sent);
  }
}

// `news` is of the cumulative acknowledgement alone so far.
void Stack::Impl::sample_rtt(Pcb& p, const Segment& s, AckNews& news) {
  if (p.timing && s.ack > p.timed_seq) {
    p.timing = false;
    take_rtt(p, now - p.timed_at);
    return;
  }
  // Karn: not if one of them was sent twice. Without SACK what follows a hole may have arrived long
  // before the hole was filled.
  if (news.original_sent > Time::min() && !news.resent &&
      (p.sack || p.recovery == Recovery::none)) {
    news.rtt = std::max(now - news.original_sent, Micros{1});
    p.sampled_since_probe = true;
    if (s.ack <= p.timed_seq) return;
    p.timed_seq = p.snd_max;
    take_rtt(p, news.rtt);
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
  const auto ms =
      static_cast<std::int32_t>(timestamp_clock(p.ts_offset) - s.options.timestamp_echo);
  if (ms >= 0 && ms < 120'000) take_rtt(p, Micros{std::int64_t{ms} * 1000 + 500});
}

// Of a SYN that was sent once. The timestamp is no help for others: the peer's first ACK may have
// been lost, and what comes much later echoes the SYN all the same.
void Stack::Impl::sample_handshake(Pcb& p, const Segment& s) {
  if (!p.timing || s.ack <= p.timed_seq) return;
  p.timing = false;
  take_rtt(p, now - p.timed_at);
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

void Stack::Impl::take_sack(Pcb& p, const Segment& s, AckNews& news) {
  const Options& o = s.options;
  stats.tcp_sack_blocks_in += o.sack_count;
  p.estats.sack_blocks_rcvd += o.sack_count;
  // RFC 2883 section 4: a duplicate is reported first, and lies below the cumulative ACK or within
  // the second block.
  const SackBlock& first = o.sack[0];
  if (first.start < first.end &&
      (first.end <= s.ack ||
       (o.sack_count > 1 && o.sack[1].start <= first.start && first.end <= o.sack[1].end))) {
    ++stats.tcp_dsacks_in;
    news.dsack = true;
    news.dsack_start = first.start;
    news.dsack_end = first.end;
  }
  for (std::uint8_t i = 0; i < o.sack_count; ++i) {
    const SackBlock& b = o.sack[i];
    // Below the cumulative ACK it is old; beyond what was sent it is bogus.
    if (b.start < p.snd_una || b.end > p.snd_max || b.start >= b.end) continue;
    news.delivered +=
        p.sent.sack(b.start, b.end, [&](const SentSegment& x) { delivered(p, s, x, news); });
  }
}

}  // namespace sluice::tcp
