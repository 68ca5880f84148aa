// Whether a segment may say anything: sequence number, RST and SYN. RFC 9293 section 3.10.7.4 with
// RFC 5961. Each returns false when the segment is dealt with.

#include "impl.h"

namespace sluice::tcp {
namespace {

// Hosts that have closed answer what crossed their FIN with a RST numbered like that FIN, which is
// one before RCV.NXT here. No octet of theirs can follow, so it is as exact as RFC 5961 wants it.
bool answers_for_closed(const Pcb& p, const Segment& s) {
  return s.has(kRst) && p.fin_received && s.seq + 1 == p.rcv_nxt;
}

}  // namespace

// The four cases of section 3.10.7.4, with the window that was really advertised.
bool Stack::Impl::check_sequence(Pcb& p, const Segment& s) {
  // The second half of a simultaneous open repeats the SYN (section 3.5, figure 8).
  if (p.phase == State::syn_received && s.seq == p.irs && s.has(kSyn) && s.has(kAck)) return true;
  if (answers_for_closed(p, s)) return true;
  const std::uint32_t window = distance(p.rcv_nxt, p.rcv_edge);
  const std::uint32_t length = s.length();
  const std::int32_t first = s.seq - p.rcv_nxt;
  const std::int32_t last = (s.seq + length) - p.rcv_nxt;  // one past
  bool acceptable;
  if (length == 0) {
    // A segment without text right at the edge is what a peer sends that has filled the window.
    acceptable = first >= 0 && static_cast<std::uint32_t>(first) <= window;
  } else {
    // With a closed window text at RCV.NXT cannot be taken, but its ACK, RST or FIN counts
    // ("special allowance should be made").
    acceptable = (first >= 0 && static_cast<std::uint32_t>(first) < window) || first == 0 ||
                 (first < 0 && last > 0);
  }
  if (acceptable) return true;
  // RFC 2883: what we have already, sent again.
  const bool duplicate = length > 0 && last <= 0 && !s.has(kRst) && !s.has(kSyn);
  ++(duplicate ? stats.drop_tcp_duplicate : stats.drop_tcp_unacceptable);
  if (s.has(kRst)) return false;
  if (s.has(kSyn)) {
    challenge(p);
    return false;
  }
  if (length == 0) {
    answer_unacceptable(p);
  } else {
    if (duplicate) {
      sink.on_stall(p.key.remote);
      // The peer is told which of its retransmissions was for nothing.
      p.quick_acks = kQuickAcks;
      if (!s.payload.empty()) {
        p.dsack = true;
        p.dsack_start = s.seq;
        p.dsack_end = s.seq + static_cast<std::uint32_t>(s.payload.size());
      }
    }
    ++stats.tcp_dup_acks_out;
    ++p.estats.dup_acks_out;
    if (!send_ack(p)) {
      p.ack_now = true;
      want_output(p);
    }
  }
  // The text is old, the acknowledgement may be new: two ends that probe each other's closed
  // windows would otherwise repeat their octets for ever. RFC 5961 section 5.2 still judges it.
  if (last <= 0 && p.synchronized() && distance(s.seq, p.rcv_nxt) <= p.rcv_limit) {
    check_ack(p, s);
  }
  return false;
}

// RFC 5961 section 3.2.
bool Stack::Impl::check_reset(Pcb& p, const Segment& s) {
  if (!s.has(kRst)) return true;
  if (s.seq != p.rcv_nxt && !answers_for_closed(p, s)) {
    ++stats.drop_tcp_bad_rst;
    challenge(p);
    return false;
  }
  on_reset(p);
  return false;
}

void Stack::Impl::on_reset(Pcb& p) {
  // Everything was said and heard: a RST in place of the last ACK takes nothing away.
  const bool complete = p.fin_received && p.fin_queued && p.send.empty();
  if (!complete) note(p, Happened::reset_received);
  if (p.phase == State::syn_received) {
    return finish(p, p.passive ? CloseReason::reset_by_peer : CloseReason::refused);
  }
  finish(p, complete ? CloseReason::graceful : CloseReason::reset_by_peer);
}

// RFC 5961 section 4.2: a SYN in a synchronized state, wherever it points, is answered and dropped.
bool Stack::Impl::check_syn(Pcb& p, const Segment& s) {
  if (!s.has(kSyn)) return true;
  // The second half of a simultaneous open: the peer's SYN-ACK repeats its SYN.
  if (p.phase == State::syn_received && s.seq == p.irs && s.has(kAck)) return true;
  ++stats.drop_tcp_unexpected_syn;
  challenge(p);
  return false;
}

}  // namespace sluice::tcp
