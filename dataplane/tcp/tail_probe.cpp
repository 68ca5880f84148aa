// Tail loss probe, RFC 8985 section 7: the last segments of a flight have nothing behind them whose
// arrival would tell of their loss, so one is sent after two round trips, well before the
// retransmission timer.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {
namespace {

// TLP.max_ack_delay: what the peer may wait before it acknowledges a lone segment.
constexpr Micros kMaxAckDelay{50'000};
constexpr Micros kWithoutRtt{1'000'000};
// Two round trips of a few microseconds are within what a poll loop may be late.
constexpr Micros kLeastProbeTime{2'000};

}  // namespace

// Section 7.2, after new data was sent or acknowledged.
void Stack::Impl::schedule_tail_probe(Pcb& p) {
  // Section 7.3: one probe at a time, and a new round-trip time between two.
  if (!p.sack || p.recovery != Recovery::none || p.persisting || p.probing_tail ||
      !p.sampled_since_probe || p.sent.empty() || p.sent.sacked() > 0) {
    if (p.loss_timer == LossTimer::probe) disarm(p, kLossDetection);
    return;
  }
  Micros wait = kWithoutRtt;
  if (p.rtt.known()) {
    wait = std::max(2 * p.rtt.srtt(), kLeastProbeTime);
    if (p.sent.size() == 1) wait += kMaxAckDelay;
  }
  p.loss_timer = LossTimer::probe;
  arm(p, kLossDetection, std::min(now + wait, p.deadline[kRetransmit]));
}

void Stack::Impl::tail_probe_timeout(Pcb& p) {
  if (p.recovery != Recovery::none || p.persisting || p.sent.empty() || p.sent.sacked() > 0) return;
  p.tail_probe_due = true;
  note(p, Happened::tail_loss_probe, micros32(now - p.last_sent));
  // Section 7.3: whether the probe goes out or not, the retransmission timer comes next.
  arm(p, kRetransmit, retransmission_due(p));
  want_output(p);
}

// Section 7.3: new data if there is some and the peer has room, else the last segment once more.
// One segment beyond the congestion window is allowed. False: the sink is full.
bool Stack::Impl::send_tail_probe(Pcb& p) {
  p.tail_probe_due = false;
  if (p.sent.empty()) return true;
  const Seq edge = p.snd_una + p.snd_wnd;
  const std::uint32_t room = edge > p.snd_nxt ? distance(p.snd_nxt, edge) : 0;
  const std::uint32_t unsent = p.snd_nxt < p.data_end() ? distance(p.snd_nxt, p.data_end()) : 0;
  const std::uint32_t length = std::min({unsent, room, send_mss(p)});
  const SentSegment last = p.sent.last();
  bool sent = true;
  if (length > 0) {
    if (!room_for_record(p)) return true;
    sent = send_new(p, length, p.fin_queued && length == unsent && length < room);
    p.probe_was_retransmission = false;
  } else if (last.end() <= edge) {
    sent = send_again(p, last.start, last.length);
    if (sent) p.sent.resent_last(now);
    p.probe_was_retransmission = true;
  } else {
    return true;
  }
  if (!sent) {
    p.tail_probe_due = true;
    return false;
  }
  ++stats.tcp_tail_probes;
  p.probing_tail = true;
  p.probe_end = p.snd_nxt;
  p.sampled_since_probe = false;
  return true;
}

// Section 7.4: did the probe replace a loss that nobody else will notice?
void Stack::Impl::tail_probe_answered(Pcb& p, const AckNews& news) {
  if (news.acked > 0) p.tail_probe_due = false;
  if (news.dsack) {
    // That the probe was for nothing says nothing about reordering.
    if (p.probing_tail && p.probe_was_retransmission && news.dsack_end == p.probe_end) {
      p.probing_tail = false;
      return;
    }
    p.rack.duplicate_reported(p.snd_una, p.snd_nxt);
  }
  if (!p.probing_tail || p.snd_una < p.probe_end) return;
  const bool repaired = p.probe_was_retransmission && p.snd_una > p.probe_end;
  // At its very end a duplicate ACK may still come and tell.
  if (p.probe_was_retransmission && !repaired && !news.plain_duplicate) return;
  p.probing_tail = false;
  if (!repaired) return;
  // Acknowledged as the segment was, and no duplicate reported: the probe repaired a loss.
  ++stats.tcp_tail_losses;
  if (p.recovery != Recovery::none) return;
  forget_undo(p);
  p.congestion.on_loss(news.in_flight);
}

void Stack::Impl::end_tail_probe(Pcb& p) {
  p.probing_tail = p.tail_probe_due = false;
  disarm(p, kLossDetection);
}

}  // namespace sluice::tcp
