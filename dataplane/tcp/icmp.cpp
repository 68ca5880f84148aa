// Errors from the network, with the checks of RFC 5927: only what quotes a segment that is really
// in flight counts, and only a connection attempt can be ended by one.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

void Stack::Impl::icmp_error(const FlowKey& flow, ByteSpan quoted, bool hard,
                             std::uint16_t next_hop_mtu) {
  const std::uint64_t hash = hash_of(flow);
  const std::uint32_t entry = find(flow, hash);
  if (quoted.size() < 8 || entry == FlowTable::kNone || (entry & kKindMask) != kPcb) {
    ++stats.drop_tcp_icmp;
    return;
  }
  Pcb& p = pcbs[entry & ~kKindMask];
  // RFC 5927 section 4.1.
  const Seq seq(load_be32(&quoted[4]));
  if (seq < p.snd_una || seq >= p.snd_max) {
    ++stats.drop_tcp_icmp;
    return;
  }
  if (next_hop_mtu != 0) {
    packet_too_big(p, next_hop_mtu, seq);
    return;
  }
  note(p, Happened::icmp_error, hard ? 1 : 0);
  if (hard && p.phase == State::syn_sent) {
    finish(p, CloseReason::unreachable);
    return;
  }
  ++stats.tcp_soft_errors;
}

// Lower than now, and not below what the standards guarantee, where an attacker would like to have
// it; RFC 5927 section 7.2 asks for a timeout as well if that size has got through before.
void Stack::Impl::packet_too_big(Pcb& p, std::uint16_t mtu, Seq quoted) {
  switch (p.path_mtu.told(mtu, p.key.remote.is_v4(), quoted, now)) {
    case PathMtu::Verdict::refused:
      ++stats.drop_tcp_icmp;
      return;
    case PathMtu::Verdict::held:
      ++stats.tcp_path_mtu_held;
      return;
    case PathMtu::Verdict::lowered:
      ++stats.tcp_path_mtu_lowered;
      path_mtu_changed(p);
      break;
    case PathMtu::Verdict::probe_lost:
      ++stats.tcp_mtu_probes_lost;
      break;
  }
  // What was too large is cut anew and sent again, without taking it for congestion.
  if (p.synchronized()) p.sent.lose_larger(send_mss(p));
  if (p.sent.lost() > 0) resend_lost(p);
}

}  // namespace sluice::tcp
