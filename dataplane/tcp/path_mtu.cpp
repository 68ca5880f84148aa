// The packetization layer's own path MTU discovery, RFC 4821: what it does with segments. The rules
// are in path_mtu.h.

#include "path_mtu.h"

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

// Of the IP packet that carries so much text.
std::uint32_t Stack::Impl::packet_size(const Pcb& p, std::uint32_t text) const {
  return text + ip_and_tcp_headers(p.key.remote) +
         (p.timestamps ? static_cast<std::uint32_t>(kTimestampOption) : 0);
}

void Stack::Impl::path_mtu_changed(Pcb& p) {
  note(p, Happened::path_mtu, p.path_mtu.value());
  if (p.synchronized()) p.congestion.set_mss(send_mss(p));
}

// Before what is lost is cut anew.
void Stack::Impl::path_mtu_timeout(Pcb& p) {
  if (p.path_mtu.probing()) p.path_mtu.probe_undecided(now);
  if (p.sent.empty()) return;
  switch (p.path_mtu.timed_out(p.timeouts + 1u, now - p.stuck_since,
                               packet_size(p, p.sent.first().length), p.key.remote.is_v4(), now)) {
    case PathMtu::Timeout::nothing:
      return;
    case PathMtu::Timeout::told:
      ++stats.tcp_path_mtu_lowered;
      break;
    case PathMtu::Timeout::black_hole:
      ++stats.tcp_black_holes;
      break;
  }
  path_mtu_changed(p);
}

// One that was sent once and as it is.
void Stack::Impl::segment_got_through(Pcb& p, const SentSegment& s) {
  const std::uint32_t size = packet_size(p, s.length);
  if (p.path_mtu.probing() && s.start == p.path_mtu.probe_seq()) {
    if (size < p.path_mtu.probe_size()) return;
    ++stats.tcp_path_mtu_raised;
    p.path_mtu.probe_arrived(now);
    path_mtu_changed(p);
    return;
  }
  p.path_mtu.got_through(size);
}

// RFC 4821 section 7.6.2: a probe that is the only loss is none of congestion.
void Stack::Impl::check_mtu_probe(Pcb& p) {
  if (!p.path_mtu.probing()) return;
  const Seq probe = p.path_mtu.probe_seq();
  if (p.snd_una > probe) {
    p.path_mtu.probe_undecided(now);
    return;
  }
  const SentSegment* lost = p.sent.next_lost();
  if (lost == nullptr || p.recovery != Recovery::none) return;
  if (lost->start != probe || lost->length != p.sent.lost() || lost->retransmitted) {
    p.path_mtu.probe_undecided(now);
    return;
  }
  ++stats.tcp_mtu_probes_lost;
  p.path_mtu.probe_lost(now);
  resend_lost(p);
}

// Section 7.4: only with so much behind it that its loss is found by what follows (RFC 8985), which
// the windows must have room for. False: the sink is full.
bool Stack::Impl::send_mtu_probe(Pcb& p) {
  const auto most = static_cast<std::uint16_t>(std::min<std::uint32_t>(
      config.mtu, std::uint32_t{p.peer_mss} + ip_and_tcp_headers(p.key.remote)));
  const std::uint16_t size = p.path_mtu.next_probe(most, now);
  if (size == 0 || !p.sack || p.recovery != Recovery::none || p.timeouts > 0 || p.probing_tail)
    return true;
  const std::uint32_t length = size - packet_size(p, 0);
  const std::uint32_t needed = length + Rack::kDupThresh * send_mss(p);
  const Seq edge = p.snd_una + p.snd_wnd;
  const std::uint32_t room = edge > p.snd_nxt ? distance(p.snd_nxt, edge) : 0;
  const std::uint32_t unsent = p.snd_nxt < p.data_end() ? distance(p.snd_nxt, p.data_end()) : 0;
  if (std::min(unsent, room) < needed || p.sent.in_flight() + needed > p.congestion.window() ||
      !room_for_record(p)) {
    return true;
  }
  const Seq start = p.snd_nxt;
  if (!send_new(p, length, false)) return false;
  ++stats.tcp_mtu_probes;
  p.path_mtu.probing(size, start);
  return true;
}

}  // namespace sluice::tcp
