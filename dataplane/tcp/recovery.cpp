// Loss recovery: when a segment counts as lost (RFC 8985 with SACK, RFC 6582 without), what the
// congestion window does meanwhile (RFC 6937, RFC 5681), and when it is over.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

// What an acknowledgement means for losses and for the congestion window.
void Stack::Impl::after_ack(Pcb& p, const AckNews& news) {
  if (!p.sent.empty() && p.sent.first().state == SentSegment::kSacked) {
    // RFC 2018 section 8: the cumulative ACK stops at what was reported as arrived, so the peer has
    // thrown it away.
    ++stats.tcp_sack_reneging;
    p.sent.forget_sacked();
  }
  const bool undone = detect_spurious(p, news);
  const bool over = p.recovery != Recovery::none && p.snd_una >= p.recover;
  if (over) end_recovery(p);
  tail_probe_answered(p, news);
  const std::uint32_t lost_before = p.sent.lost();
  const bool waiting = detect_losses(p);
  check_mtu_probe(p);
  if (p.recovery != Recovery::none) {
    during_recovery(p, news, p.sent.lost() > lost_before);
  } else {
    if (news.acked > 0) {
      p.dup_acks = 0;
      if (p.recover_valid && p.snd_una > p.recover) p.recover_valid = false;
      if (!over && !undone) grow_window(p, news, news.acked);
    }
    if (!p.sack && p.dup_acks >= Rack::kDupThresh && !p.persisting &&
        (!p.recover_valid || p.snd_una > p.recover)) {
      p.sent.lose_first();
    }
    if (p.sent.lost() > 0 && !p.persisting) enter_recovery(p, news);
  }
  if (waiting) {
    p.loss_timer = LossTimer::reordering;
    arm(p, kLossDetection, std::max(now, p.rack.sent() + p.rack.rtt() + reordering_window(p)));
    return;
  }
  if (p.loss_timer == LossTimer::reordering || news.delivered > 0) disarm(p, kLossDetection);
  if (news.acked > 0) schedule_tail_probe(p);
}

Micros Stack::Impl::reordering_window(const Pcb& p) const {
  return p.rack.reordering_window(p.recovery != Recovery::none, p.sent.sacked_segments(),
                                  p.rtt.srtt());
}

// RFC 8985 section 6.2 step 5. True if a segment was overtaken and is still given time.
bool Stack::Impl::detect_losses(Pcb& p) {
  if (!p.sack || !p.rack.valid() || p.sent.empty()) return false;
  return p.sent.detect_lost(p.rack.sent(), p.rack.end(), now - p.rack.rtt() - reordering_window(p));
}

void Stack::Impl::loss_detection_timeout(Pcb& p) {
  if (p.loss_timer == LossTimer::probe) {
    tail_probe_timeout(p);
    return;
  }
  AckNews news;
  news.in_flight = p.sent.in_flight();
  if (detect_losses(p)) {
    arm(p, kLossDetection, std::max(now, p.rack.sent() + p.rack.rtt() + reordering_window(p)));
  }
  check_mtu_probe(p);
  if (p.sent.lost() == 0) return;
  ++stats.tcp_reordering_timeouts;
  if (p.recovery == Recovery::none && !p.persisting) enter_recovery(p, news);
  want_output(p);
}

void Stack::Impl::enter_recovery(Pcb& p, const AckNews& news) {
  ++stats.tcp_fast_retransmits;
  ++p.estats.fast_retran;
  remember_for_undo(p);
  p.undo->fast = true;
  p.recovery = Recovery::fast;
  p.recover = p.snd_max;
  p.recover_valid = true;
  p.retransmit_first = true;
  p.rescued = false;
  end_tail_probe(p);
  const std::uint32_t mss = send_mss(p);
  p.congestion.on_loss(p.outstanding());
  note(p, Happened::recovery, p.congestion.window());
  if (p.sack) {
    p.prr.start(news.in_flight);
    p.congestion.set_recovery_window(
        p.prr.window(news.delivered, p.sent.in_flight(), p.congestion.threshold(), mss, false));
  } else {
    p.congestion.inflate(Rack::kDupThresh * mss);
  }
  arm(p, kRetransmit, retransmission_due(p));
  want_output(p);
}

void Stack::Impl::grow_window(Pcb& p, const AckNews& news, std::uint32_t acked) {
  p.congestion.on_ack({.now = now,
                       .bytes = acked,
                       .in_flight = news.in_flight,
                       .una = p.snd_una,
                       .nxt = p.snd_nxt,
                       .rtt = news.rtt,
                       .srtt = p.rtt.srtt()});
}

void Stack::Impl::during_recovery(Pcb& p, const AckNews& news, bool more_lost) {
  if (p.recovery == Recovery::timeout) {
    // RFC 3465 section 2.3: what a timeout made us send again may have arrived long ago.
    if (news.acked > 0) {
      grow_window(p, news, std::min(news.acked, send_mss(p)));
    }
    return;
  }
  if (p.sack) {
    if (news.delivered == 0) return;
    p.congestion.set_recovery_window(p.prr.window(news.delivered, p.sent.in_flight(),
                                                  p.congestion.threshold(), send_mss(p),
                                                  news.acked > 0 && !more_lost));
  } else if (news.acked > 0) {
    // RFC 6582 section 3.2 step 3: a partial acknowledgement names the next hole.
    p.sent.lose_first();
    p.retransmit_first = true;
    p.congestion.deflate(news.acked);
  } else if (news.duplicate) {
    p.congestion.inflate(send_mss(p));
  }
}

// At the recovery point it ends, whatever else has been reported: a loss beyond is another one.
void Stack::Impl::end_recovery(Pcb& p) {
  if (p.recovery == Recovery::fast) {
    if (p.sack) {
      p.congestion.set_recovery_window(p.congestion.threshold());
    } else {
      p.congestion.end_recovery(p.outstanding());
    }
    note(p, Happened::recovered, p.congestion.window());
  }
  leave_recovery(p);
  if (p.undo) {
    p.undo->over = true;
    p.undo->frto = Frto::none;
    p.undo->end = p.snd_max;
  }
}

void Stack::Impl::leave_recovery(Pcb& p) {
  p.rack.recovery_ended();
  p.recovery = Recovery::none;
  p.retransmit_first = false;
  p.dup_acks = 0;
  // RFC 6582 section 3.2 step 2: without SACK, duplicates of what is acknowledged now may be echoes
  // of needless retransmissions.
  p.recover_valid = !p.sack;
}

// What counts as lost now is sent again, as the congestion window allows.
void Stack::Impl::resend_lost(Pcb& p) {
  const std::size_t before = p.sent.memory();
  p.sent.repack(send_mss(p));
  memory += p.sent.memory() - before;
  if (p.recovery == Recovery::none) {
    p.recovery = Recovery::timeout;
    forget_undo(p);  // not of this one
  }
  p.recover = p.snd_max;
  p.recover_valid = true;
  p.dup_acks = 0;
  end_tail_probe(p);
  want_output(p);
}

// After a retransmission timeout: RFC 8985 section 6.3.
void Stack::Impl::lose_after_timeout(Pcb& p) {
  if (!p.sent.empty() && p.sent.first().state == SentSegment::kSacked) p.sent.forget_sacked();
  const bool timed = p.sack && p.rack.valid();
  p.sent.timed_out(timed ? now - p.rack.rtt() - reordering_window(p) : Time::max());
  p.recovery = Recovery::timeout;
  p.retransmit_first = true;
  resend_lost(p);
}

// A record for one more segment. The first few may go beyond the memory limit: without them nothing
// could be sent at all; for more there is an acknowledgement to wait for.
bool Stack::Impl::room_for_record(Pcb& p, std::size_t records) {
  if (p.sent.spare() >= records) return true;
  const std::size_t growth = p.sent.growth();
  const bool over = memory + growth > config.memory_limit / 8 * 7;
  if (growth == 0 || (p.sent.memory() > 0 && over) || !p.sent.grow()) return false;
  memory += growth;
  if (!armed(p, kHousekeeping)) arm(p, kHousekeeping, now + kIdleBufferTime);
  return p.sent.spare() >= records;
}

}  // namespace sluice::tcp
