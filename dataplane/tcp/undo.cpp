// Recoveries that were for nothing: found out by F-RTO (RFC 5682), by the echoed timestamp (Eifel,
// RFC 3522) or by duplicates reported (RFC 3708), and taken back (RFC 4015, RFC 9438 section 4.9).

#include "undo.h"

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

// A recovery begins: before anything of it is done.
void Stack::Impl::remember_for_undo(Pcb& p) {
  if (!p.undo && !spare_undos.empty()) {
    p.undo = std::move(spare_undos.back());
    spare_undos.pop_back();
  }
  if (p.undo) {
    *p.undo = Undo{};
  } else {
    p.undo = std::make_unique<Undo>();
  }
  Undo& u = *p.undo;
  u.before = p.congestion;
  u.rack = p.rack;
  u.srtt = p.rtt.srtt();
  u.variance = p.rtt.variance();
  u.flight = p.outstanding();
  if (p.probing_tail && p.probe_was_retransmission && !p.sent.empty()) {
    const SentSegment& probe = p.sent.last();
    u.resent.add(probe.start, probe.end(), false);
  }
}

void Stack::Impl::forget_undo(Pcb& p) {
  if (p.undo && spare_undos.size() < 64) spare_undos.push_back(std::move(p.undo));
  p.undo.reset();
}

// `s` as it was before it was sent again.
void Stack::Impl::note_resent(Pcb& p, const SentSegment& s) {
  if (!p.undo || p.undo->over) return;
  Undo& u = *p.undo;
  if (!u.resent_any) {
    u.resent_any = u.eifel = true;
    u.resent_ts = timestamp_clock(p.ts_offset);
    u.first_end = s.end();
  }
  u.resent.add(s.start, s.end(), s.retransmitted);
}

// RFC 5682 section 2.1 step 1: not on top of another recovery.
void Stack::Impl::begin_frto(Pcb& p) {
  const bool first = p.recovery == Recovery::none;
  if (first) remember_for_undo(p);
  if (!p.undo || p.undo->over) return;
  p.undo->timeout = true;
  p.undo->frto = first || p.undo->frto == Frto::first_ack ? Frto::first_ack : Frto::none;
}

// RFC 3522 section 3.2 steps 2 to 5.
bool Stack::Impl::eifel_detects(Pcb& p, const AckNews& news) {
  Undo& u = *p.undo;
  if (!u.eifel || news.acked == 0 || p.snd_una < u.first_end) return false;
  u.eifel = false;
  if (!p.timestamps || !news.has_echo || u.over) return false;
  const bool original = static_cast<std::int32_t>(news.echo - u.resent_ts) < 0;
  // Where all ACKs of a flight were lost the echo is as old, and a duplicate would be reported.
  return original && !news.dsack && (p.dsack_seen || p.snd_una < p.snd_max);
}

// RFC 5682 section 2.1 steps 2 and 3, section 3.1 with SACK.
bool Stack::Impl::frto_detects(Pcb& p, const AckNews& news) {
  Undo& u = *p.undo;
  if (u.frto == Frto::first_ack) {
    if (news.acked > 0) {
      const std::uint32_t next = next_new_segment(p);
      u.frto = p.snd_una < p.recover && next > 0 ? Frto::second_ack : Frto::none;
      u.new_segments = 2;
    } else if (news.duplicate && !p.sack) {
      u.frto = Frto::none;
    }
    return false;
  }
  if (u.frto != Frto::second_ack || (news.acked == 0 && !news.duplicate)) return false;
  if (news.original) return true;
  // What is new arrived, what is old did not.
  u.frto = Frto::none;
  p.retransmit_first = true;
  p.congestion.set_recovery_window(3 * send_mss(p));
  return false;
}

// True: the recovery was taken back.
bool Stack::Impl::detect_spurious(Pcb& p, const AckNews& news) {
  bool undone = false;
  if (p.undo && !p.persisting) {
    Undo& u = *p.undo;
    if (news.dsack) u.resent.reported(news.dsack_start, news.dsack_end);
    if (eifel_detects(p, news)) {
      ++stats.tcp_undos_eifel;
      undone = true;
    } else if (!u.over && frto_detects(p, news)) {
      ++stats.tcp_undos_frto;
      undone = true;
    } else if (news.dsack && u.resent_any && u.resent.all_reported()) {
      ++stats.tcp_undos_dsack;
      undone = true;
    }
    if (undone) {
      undo_recovery(p, news);
    } else if (u.over && p.snd_una > u.end && !u.adapt) {
      forget_undo(p);
    }
  }
  if (news.dsack) p.dsack_seen = true;
  return undone;
}

void Stack::Impl::undo_recovery(Pcb& p, const AckNews& news) {
  Undo& u = *p.undo;
  const std::uint32_t window = p.congestion.window();
  p.congestion.undo(u.before);
  if (u.fast && p.sack) p.rack.reordering_found();
  if (p.recovery != Recovery::none) {
    p.sent.unlose();
    p.rack.forget_delivered(u.rack);
    leave_recovery(p);
  }
  if (u.timeout) {
    // RFC 4015 section 3.2 steps 6 and 8: what was held up may arrive all at once.
    const std::uint32_t burst = std::min(news.acked, u.before.initial_window());
    p.congestion.ease_in(u.flight, std::max(window, p.sent.in_flight() + burst));
    p.timed_seq = later(p.timed_seq, p.recover);
    const Undo before = u;
    u = Undo{};
    u.srtt = before.srtt;
    u.variance = before.variance;
    u.adapt = u.over = true;
    u.end = p.recover;
  } else {
    forget_undo(p);
  }
  note(p, Happened::spurious, p.congestion.window());
  want_output(p);
}

// RFC 5682 section 2.1 step 2b. False: the sink is full.
bool Stack::Impl::send_new_after_timeout(Pcb& p) {
  Undo& u = *p.undo;
  for (; u.new_segments > 0; --u.new_segments) {
    const std::uint32_t length = next_new_segment(p);
    if (length == 0 || !room_for_record(p)) break;
    const bool last = p.snd_nxt + length == p.data_end();
    if (!send_new(p, length, p.fin_queued && last && p.snd_nxt + length < p.snd_una + p.snd_wnd))
      return false;
  }
  if (u.new_segments == 2) u.frto = Frto::none;
  u.new_segments = 0;
  return true;
}

// The text of a full segment, or all there is; zero if the peer has no room for that.
std::uint32_t Stack::Impl::next_new_segment(const Pcb& p) const {
  const Seq edge = p.snd_una + p.snd_wnd;
  const std::uint32_t room = edge > p.snd_nxt ? distance(p.snd_nxt, edge) : 0;
  const std::uint32_t unsent = p.snd_nxt < p.data_end() ? distance(p.snd_nxt, p.data_end()) : 0;
  const std::uint32_t length = std::min(unsent, send_mss(p));
  return length <= room ? length : 0;
}

}  // namespace sluice::tcp
