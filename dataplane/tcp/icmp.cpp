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
    // RFC 1191, RFC 8201: lower than now, and not below what the standards guarantee, where an
    // attacker would like to have it.
    const std::uint16_t least = p.key.remote.is_v4() ? 552 : 1280;
    if (next_hop_mtu >= p.path_mtu || next_hop_mtu < least) {
      ++stats.drop_tcp_icmp;
      return;
    }
    ++stats.tcp_path_mtu_lowered;
    note(p, Happened::path_mtu, next_hop_mtu);
    p.path_mtu = next_hop_mtu;
    if (!p.synchronized()) return;
    p.congestion.set_mss(send_mss(p));
    // What was too large is cut anew and sent again, without taking it for congestion.
    p.sent.lose_larger(send_mss(p));
    if (p.sent.lost() > 0) resend_lost(p);
    return;
  }
  note(p, Happened::icmp_error, hard ? 1 : 0);
  if (hard && p.phase == State::syn_sent) {
    finish(p, CloseReason::unreachable);
    return;
  }
  ++stats.tcp_soft_errors;
}

}  // namespace sluice::tcp
