// Sending again what was lost: RFC 6675 section 5 (C), RFC 5681 section 3.1.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

// What counts as lost, the congestion window and the peer's window permitting. False: the sink is
// full.
bool Stack::Impl::retransmit_lost(Pcb& p, std::uint32_t& budget) {
  const std::uint32_t mss = send_mss(p);
  while (const SentSegment* next = p.sent.next_lost()) {
    // The first one is exempt: it is what the peer waits for.
    if (!p.retransmit_first && p.sent.in_flight() > 0 &&
        p.sent.in_flight() + next->length > p.congestion.window()) {
      break;
    }
    // What the peer has no room for any more is not sent (RFC 9293 section 3.8.6).
    const Seq edge = p.snd_una + p.snd_wnd;
    const std::uint32_t room = edge > next->start ? distance(next->start, edge) : 0;
    if (room == 0) break;
    if (budget == 0) {
      want_output(p);
      break;
    }
    --budget;
    const std::uint32_t text =
        next->start < p.data_end() ? distance(next->start, earlier(next->end(), p.data_end())) : 0;
    if (std::min(mss, room) < text && room_for_record(p)) {
      p.sent.split_next_lost(static_cast<std::uint16_t>(std::min(mss, room)));
    }
    const SentSegment again = *p.sent.next_lost();
    if (!send_again(p, again.start, std::min<std::uint32_t>(again.length, room))) return false;
    if (again.retransmitted) ++stats.tcp_lost_retransmits;
    note_resent(p, again);
    p.sent.resent_next_lost(now);
    p.prr.sent(again.length);
    p.retransmit_first = false;
  }
  return true;
}

// [start, start + length) once more, with the FIN if that is in it.
bool Stack::Impl::send_again(Pcb& p, Seq start, std::uint32_t length) {
  const Seq end = p.data_end();
  const std::uint32_t text =
      start < end ? std::min(distance(start, earlier(start + length, end)), send_mss(p)) : 0;
  const bool fin = p.fin_queued && start + length > end && start + text == end;
  return send_segment(p, start, text, static_cast<std::uint8_t>(kAck | (fin ? kFin : 0)));
}

// RFC 6675 section 4, NextSeg() rule 4: when nothing else may be sent, the highest segment once per
// recovery. Rule 3 has no place here: what is below the highest SACKed segment and not lost is
// given the time RFC 8985 gives it. For the same reason the segment must be overdue.
bool Stack::Impl::rescue(Pcb& p) {
  if (p.recovery != Recovery::fast || !p.sack || p.rescued || p.sent.empty()) return true;
  const SentSegment last = p.sent.last();
  const Micros due =
      std::max(p.rtt.srtt(), p.rack.rtt()) + p.rack.reordering_window(false, 0, p.rtt.srtt());
  if (last.state != SentSegment::kInFlight || last.retransmitted || last.sent + due > now ||
      p.sent.in_flight() + last.length > p.congestion.window() ||
      last.end() > p.snd_una + p.snd_wnd) {
    return true;
  }
  if (!send_again(p, last.start, last.length)) return false;
  note_resent(p, last);
  p.sent.resent_last(now);
  p.prr.sent(last.length);
  p.rescued = true;
  return true;
}

}  // namespace sluice::tcp
