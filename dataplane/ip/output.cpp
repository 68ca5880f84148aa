// Next hops, headers, and frames that wait for a MAC address.

#include <algorithm>
#include <cassert>
#include <cstring>

#include "interface_impl.h"
#include "packet/checksum.h"
#include "packet/tcp.h"
#include "packet/udp.h"

namespace sluice::ip {

using packet::MacAddress;

bool Interface::Impl::is_local(const IpAddress& address) const {
  return std::any_of(addresses.begin(), addresses.end(), [&](const OwnAddress& a) {
    return a.address == address && a.state == AddressState::usable;
  });
}

bool Interface::Impl::on_link(const IpAddress& address) const {
  if (address == gateway4 || address == gateway6) return true;
  return std::any_of(addresses.begin(), addresses.end(),
                     [&](const IpPrefix& p) { return p.contains(address); });
}

// The prefix's last address; its first too, which old hosts broadcast to (RFC 1122 3.3.6).
bool Interface::Impl::is_subnet_broadcast(const IpAddress& address) const {
  if (!address.is_v4()) return false;
  const std::uint32_t host = address.v4_host_order();
  for (const IpPrefix& p : addresses) {
    if (p.bits > 30 || !p.contains(address)) continue;  // RFC 3021: a /31 has no broadcast
    const std::uint32_t host_part = host & (0xffffffffu >> p.bits);
    if (host_part == 0 || host_part == 0xffffffffu >> p.bits) return true;
  }
  return false;
}

std::optional<IpAddress> Interface::Impl::source_for(const IpAddress& destination) const {
  const IpPrefix* best = nullptr;
  int best_score = -1;
  for (const OwnAddress& p : addresses) {
    if (p.address.is_v4() != destination.is_v4() || p.state != AddressState::usable) continue;
    int score = p.contains(destination) ? 1 + p.bits : 0;
    // A link-local address is of no use to a host beyond the link (RFC 6724 rule 2).
    if (p.address.is_v6() && p.address.is_link_local() && score == 0) {
      score = destination.is_multicast() ? 1 : -1;
    }
    if (score > best_score) {
      best = &p;
      best_score = score;
    }
  }
  if (best == nullptr) return std::nullopt;
  return best->address;
}

std::optional<IpAddress> Interface::Impl::next_hop(const IpAddress& destination) const {
  if (destination.is_v4()) {
    if (destination.is_multicast() || destination.is_broadcast() || destination.is_unspecified() ||
        is_subnet_broadcast(destination)) {
      return std::nullopt;
    }
  }
  if (is_local(destination)) return std::nullopt;
  if (on_link(destination)) return destination;
  if (destination.is_v6() && destination.is_link_local()) return std::nullopt;
  return destination.is_v4() ? gateway4 : gateway6;
}

// Writes the headers, of a packet with `length` octets after them, into pending.frame and gives
// what is behind them there.
MutByteSpan Interface::Impl::open(const MacAddress& mac, const IpAddress& source,
                                  const IpAddress& destination, const Fields& fields,
                                  std::size_t length) {
  const bool ipv6 = destination.is_v6();
  const std::uint8_t hop_limit = fields.hop_limit != 0 ? fields.hop_limit : config.hop_limit;
  pending.protocol = fields.protocol;
  pending.ipv6 = ipv6;
  pending.fragment = fields.is_fragment;
  pending.source = source;
  pending.destination = destination;
  pending.l3 = static_cast<std::uint8_t>(ipv6 ? packet::kIpv6Header : packet::kIpv4Header);
  const std::size_t l2 =
      packet::write_ethernet(pending.frame, mac, config.mac,
                             ipv6 ? packet::kEtherTypeIpv6 : packet::kEtherTypeIpv4, config.vlan);
  pending.l2 = static_cast<std::uint8_t>(l2);
  const MutByteSpan header = pending.frame.subspan(l2, pending.l3);
  if (ipv6) {
    packet::write_ipv6(header, {.source = source,
                                .destination = destination,
                                .next_header = fields.protocol,
                                .hop_limit = hop_limit,
                                .traffic_class = fields.ecn,
                                .payload = length});
  } else {
    packet::write_ipv4(header,
                       {.source = source,
                        .destination = destination,
                        .protocol = fields.protocol,
                        .ttl = hop_limit,
                        .tos = fields.ecn,
                        .payload = length,
                        .checksum = pending.where != Pending::Where::sink || !sink.offloads_ipv4(),
                        .id = fields.id,
                        .fragment = fields.fragment});
  }
  return pending.frame.subspan(l2 + pending.l3);
}

MutByteSpan Interface::Impl::discard(std::size_t length, Drop why) {
  counters.add(why);
  pending.where = Pending::Where::discard;
  return MutByteSpan{scratch}.first(length);
}

MutByteSpan Interface::Impl::begin_to(const MacAddress& mac, const IpAddress& source,
                                      const IpAddress& destination, const Fields& fields,
                                      std::size_t length) {
  const std::size_t l3 = destination.is_v6() ? packet::kIpv6Header : packet::kIpv4Header;
  const MutByteSpan frame = sink.reserve(l2_length() + l3 + length);
  if (frame.size() < l2_length() + l3 + length) return {};
  pending.where = Pending::Where::sink;
  pending.frame = frame.first(l2_length() + l3 + length);
  return open(mac, source, destination, fields, length);
}

MutByteSpan Interface::Impl::begin_held(Neighbour& neighbour, const IpAddress& source,
                                        const IpAddress& destination, const Fields& fields,
                                        std::size_t length) {
  // RFC 4861 section 7.2.2: the newcomer replaces the oldest.
  if (neighbour.held.count >= kHeldPerNeighbour) {
    held.give_back(held.pop(neighbour.held));
    counters.add(Counter::drop_neighbour_queue);
  }
  const std::int32_t slot = held.take();
  if (slot < 0) return discard(length, Drop::drop_neighbour_queue);
  const std::size_t l3 = destination.is_v6() ? packet::kIpv6Header : packet::kIpv4Header;
  pending.where = Pending::Where::hold;
  pending.slot = slot;
  pending.next_hop = neighbour.address;
  pending.frame = held.room(slot).first(l2_length() + l3 + length);
  return open(MacAddress{}, source, destination, fields, length);
}

MutByteSpan Interface::Impl::begin(const IpAddress& source, const IpAddress& destination,
                                   const Fields& fields, std::size_t length) {
  assert(pending.where == Pending::Where::none && "begin_l4() without end_l4()");
  const std::size_t l3 = destination.is_v6() ? packet::kIpv6Header : packet::kIpv4Header;
  if (l3 + length > config.mtu) {
    counters.add(Counter::drop_packet_too_big);
    return {};
  }
  if (!all_usable && !is_local(source)) return discard(length, Drop::drop_own_address);
  if (destination.is_v6() && destination.is_multicast()) {
    return begin_to(packet::multicast_mac(destination), source, destination, fields, length);
  }
  const auto hop = next_hop(destination);
  if (!hop || source.is_v4() != destination.is_v4()) return discard(length, Drop::drop_no_route);
  Neighbour* n = neighbours.use(*hop, now);
  if (n == nullptr || n->state == NeighbourState::failed) {
    return discard(length, Drop::drop_no_neighbour);
  }
  if (!n->resolved()) return begin_held(*n, source, destination, fields, length);
  if (n->held.count > 0) {
    on_resolved(*n);  // what waited for a buffer goes first
    if (n->held.count > 0) return {};
  }
  return begin_to(n->mac, source, destination, fields, length);
}

MutByteSpan Interface::Impl::begin_counted(const IpAddress& source, const IpAddress& destination,
                                           const Fields& fields, std::size_t length) {
  const std::size_t l3 = destination.is_v6() ? packet::kIpv6Header : packet::kIpv4Header;
  const MutByteSpan room = begin(source, destination, fields, length);
  if (room.empty() && l3 + length <= config.mtu) counters.add(Counter::drop_no_buffer);
  return room;
}

// Only what can leave at once: nothing of this size waits for a neighbour.
GatherRoom Interface::Impl::begin_large(const IpAddress& source, const IpAddress& destination,
                                        std::size_t header, std::size_t piece, std::size_t pieces) {
  assert(pending.where == Pending::Where::none && "begin_large() without end_l4()");
  const std::size_t l3 = destination.is_v6() ? packet::kIpv6Header : packet::kIpv4Header;
  const std::size_t length = header + piece * pieces;
  if (l3 + header + piece > config.mtu || l3 + length > kLargestPacket) return {};
  if (destination.is_multicast() || (!all_usable && !is_local(source))) return {};
  const auto hop = next_hop(destination);
  if (!hop || source.is_v4() != destination.is_v4()) return {};
  const Neighbour* n = neighbours.use(*hop, now);
  if (n == nullptr || !n->resolved() || n->held.count > 0) return {};
  GatherRoom room = sink.reserve_large(l2_length() + l3 + header, piece * pieces);
  if (!room) return {};
  pending.where = Pending::Where::sink;
  pending.frame = room.head;
  pending.piece = static_cast<std::uint16_t>(piece);
  room.head = open(n->mac, source, destination, {.protocol = packet::kProtocolTcp}, length);
  return room;
}

void Interface::Impl::end_large() {
  const std::size_t headers = std::size_t{pending.l2} + pending.l3;
  sink.commit(pending.frame.size(),
              {.l2_length = pending.l2,
               .l3_length = pending.l3,
               .protocol = pending.protocol,
               .ipv6 = pending.ipv6,
               .l4_checksum = true,
               .ipv4_checksum = !pending.ipv6,
               .piece = pending.piece,
               .l4_length = static_cast<std::uint16_t>(pending.frame.size() - headers)});
  pending.where = Pending::Where::none;
  pending.piece = 0;
}

void Interface::Impl::end() {
  if (pending.piece > 0) return end_large();
  const Pending p = pending;
  pending.where = Pending::Where::none;
  if (p.where == Pending::Where::none || p.where == Pending::Where::discard) return;
  const MutByteSpan l4 = p.frame.subspan(std::size_t{p.l2} + p.l3);
  const bool tcp = p.protocol == packet::kProtocolTcp;
  const bool udp = p.protocol == packet::kProtocolUdp;
  const bool icmp = p.protocol == packet::kProtocolIcmp;
  const std::size_t field = tcp   ? packet::kTcpChecksumOffset
                            : udp ? packet::kUdpChecksumOffset
                                  : std::size_t{2};
  L4Offload offload{.l2_length = p.l2, .l3_length = p.l3, .protocol = p.protocol, .ipv6 = p.ipv6};
  const bool to_sink = p.where == Pending::Where::sink;
  offload.ipv4_checksum = to_sink && !p.ipv6 && sink.offloads_ipv4();
  const bool summed = !p.fragment && (tcp || udp || icmp || p.protocol == packet::kProtocolIcmpv6);
  if (summed && l4.size() >= field + 2) {
    offload.l4_checksum = to_sink && (tcp || udp) && sink.offloads_l4(p.ipv6, p.protocol);
    if (offload.l4_checksum) {
      store_be16(&l4[field], packet::fold(packet::pseudo_header_sum(p.source, p.destination,
                                                                    p.protocol, l4.size())));
    } else if (icmp) {
      store_be16(&l4[field], packet::checksum(l4));
    } else {
      store_be16(&l4[field], packet::l4_checksum(p.source, p.destination, p.protocol, l4));
    }
  }
  if (to_sink) {
    sink.commit(p.frame.size(), offload);
    return;
  }
  Neighbour* n = neighbours.find(p.next_hop);
  if (n == nullptr) {
    held.give_back(p.slot);
    counters.add(Counter::drop_no_neighbour);
    return;
  }
  held.push(n->held, p.slot, p.frame.size());
}

void Interface::Impl::drop_held(Neighbour& neighbour, Drop why) {
  while (neighbour.held.count > 0) {
    held.give_back(held.pop(neighbour.held));
    counters.add(why);
  }
}

void Interface::Impl::on_solicit(Neighbour& neighbour, bool unicast) {
  // The table's own clock tries again; a scan of our prefix must not become a storm.
  if (!unicast && !solicit_limit.allow(now)) return;
  if (neighbour.address.is_v4()) {
    solicit_arp(neighbour, unicast);
  } else {
    solicit_nd(neighbour, unicast);
  }
}

void Interface::Impl::on_resolved(Neighbour& neighbour) {
  while (neighbour.held.count > 0) {
    const std::size_t length = held.frame(neighbour.held.head).size();
    const MutByteSpan room = sink.reserve(length);
    if (room.size() < length) {
      neighbours.schedule(neighbour, now + kHeldRetry);
      return;
    }
    const std::int32_t slot = held.pop(neighbour.held);
    std::memcpy(room.data(), held.frame(slot).data(), length);
    std::memcpy(room.data(), neighbour.mac.octets.data(), neighbour.mac.octets.size());
    held.give_back(slot);
    sink.commit(length, L4Offload{});
  }
}

void Interface::Impl::on_lost(Neighbour& neighbour, bool evicted) {
  drop_held(neighbour, Drop::drop_no_neighbour);
  counters.add(evicted ? Counter::neighbours_evicted : Counter::neighbours_failed);
}

}  // namespace sluice::ip
