// One frame through the parser and the steering, nothing behind it.
#include <cstdlib>
#include <vector>

#include "packet/arp.h"
#include "packet/flow_owner.h"
#include "packet/frame.h"
#include "packet/steer.h"
#include "packet/tcp.h"

namespace {

using namespace sluice;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::vector<std::uint8_t> frame(data + 1, data + size);
  packet::RxFlags flags;
  flags.ip = (data[0] & 1) != 0 ? packet::ChecksumHint::good : packet::ChecksumHint::unknown;
  flags.vlan_stripped = (data[0] & 2) != 0;
  const packet::ParsedFrame p = packet::parse_frame(frame, flags);
  const std::uint64_t secret[2] = {1, 2};
  const packet::Steering to = packet::steer(frame, p, packet::FlowOwner(secret, 3));
  require(to.worker < 3);
  const packet::Steering predicted =
      packet::steer(frame, p, packet::FlowOwner(frame, {0, 1, 2, 1}));
  require(predicted.to == to.to && predicted.worker < 3);
  if (!p.ok()) return 0;
  require(p.l3_offset + std::size_t{p.l3_length} <= frame.size());
  if (p.network == packet::Network::arp) {
    (void)packet::parse_arp(p.l3(frame));
    return 0;
  }
  require(p.l4_offset >= p.l3_offset && p.l4_offset + p.l4_length == p.l3_offset + p.l3_length);
  require(p.source.is_v6() == p.ipv6() && p.destination.is_v6() == p.ipv6());
  if (!p.fragment && p.protocol == packet::kProtocolTcp) {
    const auto tcp = packet::TcpView::parse(p.l4(frame));
    require(tcp.has_value() && tcp->source_port() == p.source_port);
    require(tcp->payload().size() + tcp->header_length() == p.l4_length);
  }
  return 0;
}
