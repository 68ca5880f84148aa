#include "ip/interface.h"

#include <algorithm>
#include <utility>

#include "interface_impl.h"
#include "packet/checksum.h"
#include "packet/tcp.h"
#include "packet/udp.h"

namespace sluice::ip {

using packet::ChecksumHint;
using packet::kNoDrop;
using packet::MacAddress;
using packet::Network;
using packet::ParsedFrame;
using packet::RxFlags;

namespace {

const IpAddress kAllNodes = *IpAddress::parse("ff02::1");

}  // namespace

Interface::Impl::Impl(const InterfaceConfig& c, FrameSink& s, telemetry::CounterBlock& b)
    : config(c),
      sink(s),
      counters(b),
      neighbours(std::max<std::size_t>(c.neighbours, 4), c.secret, *this),
      held(c.held_packets, packet::kEthernetHeader + packet::kVlanTag + c.mtu),
      reassembler(c.reassembly),
      echo_limit(c.echo_per_second, std::max(1u, c.echo_per_second / 10)),
      error_limit(c.icmp_errors_per_second, std::max(1u, c.icmp_errors_per_second / 10)),
      solicit_limit(200, 100),
      report_limit(1, 1),
      scratch(packet::kEthernetHeader + packet::kVlanTag + c.mtu) {
  for (const IpPrefix& p : config.addresses) addresses.push_back({p});
  const bool ipv6 = std::any_of(addresses.begin(), addresses.end(),
                                [](const IpPrefix& p) { return p.address.is_v6(); });
  const bool link_local = std::any_of(addresses.begin(), addresses.end(), [](const IpPrefix& p) {
    return p.address.is_v6() && p.address.is_link_local();
  });
  if (ipv6 && !link_local) {
    addresses.push_back({{packet::link_local_from_mac(config.mac.octets), 64}});
    made_link_local = true;
  }
  for (OwnAddress& a : addresses) {
    if (config.duplicate_probes > 0) a.state = AddressState::tentative;
  }
  note_states();
  for (const IpAddress& gateway : config.gateways) {
    auto& of_family = gateway.is_v4() ? gateway4 : gateway6;
    if (of_family) continue;
    of_family = gateway;
    if (Neighbour* n = neighbours.obtain(gateway, now)) n->pinned = true;
  }
  if (ipv6) groups.push_back(kAllNodes);
  for (const IpPrefix& p : addresses) {
    if (p.address.is_v4()) continue;
    const IpAddress group = packet::solicited_node_multicast(p.address);
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  for (const IpAddress& group : groups) group_macs.push_back(packet::multicast_mac(group));
}

InputResult Interface::Impl::dropped(Drop drop) {
  InputResult result;
  result.kind = InputResult::Kind::dropped;
  result.drop = drop;
  return result;
}

Interface::Impl::Drop Interface::Impl::check_link(const ParsedFrame& parsed) const {
  if (parsed.vlan != config.vlan) return Drop::drop_vlan;
  // A frame from our own MAC is a loop, or somebody who should not.
  if (parsed.source_mac.is_multicast() || parsed.source_mac == config.mac) {
    return Drop::drop_link_destination;
  }
  const MacAddress& to = parsed.destination_mac;
  if (to == config.mac) return kNoDrop;
  const bool listened = to == packet::kBroadcastMac ||
                        std::find(group_macs.begin(), group_macs.end(), to) != group_macs.end();
  if (!listened) return Drop::drop_link_destination;
  // RFC 1122 section 3.3.6: unicast IP in a link broadcast is nobody's honest packet.
  const bool ip = parsed.network == Network::ipv4 || parsed.network == Network::ipv6;
  if (ip && is_local(parsed.destination)) return Drop::drop_link_destination;
  return kNoDrop;
}

Interface::Impl::Drop Interface::Impl::check_addresses(const ParsedFrame& parsed) const {
  const bool ours = is_local(parsed.destination);
  if (!ours) {
    // Multicast is for ICMPv6 alone: nothing above us listens to groups.
    const bool group = parsed.ipv6() && parsed.protocol == packet::kProtocolIcmpv6 &&
                       std::find(groups.begin(), groups.end(), parsed.destination) != groups.end();
    if (!group) return Drop::drop_ip_destination;
  }
  if (parsed.source.is_v4() && is_subnet_broadcast(parsed.source)) return Drop::drop_ip_source;
  // Advertisements from an address of ours are how a duplicate shows; the rest is forged.
  const bool advertisement = parsed.protocol == packet::kProtocolIcmpv6 &&
                             parsed.icmp_type == packet::kIcmpv6NeighbourAdvertisement;
  if (is_local(parsed.source) && !advertisement) return Drop::drop_ip_source;
  return kNoDrop;
}

InputResult Interface::Impl::input(ByteSpan frame, const ParsedFrame& parsed,
                                   const RxFlags& flags) {
  if (!parsed.ok()) {
    if (parsed.problem.told) report_problem(parsed, parsed.l3(frame), parsed.problem);
    return dropped(parsed.drop);
  }
  if (const Drop drop = check_link(parsed); drop != kNoDrop) return dropped(drop);
  if (parsed.network == Network::arp) return arp_input(parsed.l3(frame), parsed);
  if (const Drop drop = check_addresses(parsed); drop != kNoDrop) return dropped(drop);
  if (parsed.fragment) return reassemble(frame, parsed);
  return deliver(parsed, parsed.l3(frame), parsed.l4(frame), flags.l4, false);
}

InputResult Interface::Impl::reassemble(ByteSpan frame, const ParsedFrame& parsed) {
  const Reassembler::Result done = reassembler.add(parsed, parsed.l4(frame), now);
  counters.add(Counter::drop_fragment_timeout, reassembler.take_evicted());
  if (done.verdict == Reassembler::Verdict::dropped) {
    report_fragment(parsed, parsed.l3(frame));
    return dropped(Drop::drop_fragment);
  }
  if (done.verdict == Reassembler::Verdict::duplicate) {
    return dropped(Drop::drop_fragment_duplicate);
  }
  if (done.verdict == Reassembler::Verdict::incomplete) return {};
  ParsedFrame whole = parsed;
  whole.protocol = done.protocol;
  whole.tos = static_cast<std::uint8_t>((parsed.tos & 0xfc) | done.ecn);
  whole.has_fragment_header = true;
  packet::parse_upper_layer(whole, done.payload);
  if (!whole.ok()) return dropped(whole.drop);
  counters.add(Counter::datagrams_reassembled);
  return deliver(whole, {}, done.payload.subspan(whole.l4_offset), ChecksumHint::unknown, true);
}

InputResult Interface::Impl::deliver(const ParsedFrame& parsed, ByteSpan l3, ByteSpan l4,
                                     ChecksumHint hint, bool reassembled) {
  const bool multicast = parsed.destination.is_multicast();
  InputResult result;
  if (parsed.protocol == packet::kProtocolTcp && !multicast) {
    result = deliver_tcp(parsed, l4, hint);
  } else if (parsed.protocol == packet::kProtocolUdp && !multicast) {
    result = deliver_udp(parsed, l4, hint);
  } else if (parsed.protocol == (parsed.ipv6() ? packet::kProtocolIcmpv6 : packet::kProtocolIcmp)) {
    return icmp_input(parsed, l4);
  } else {
    if (!multicast && !reassembled) refuse_protocol(parsed, l3);
    return dropped(Drop::drop_protocol);
  }
  result.packet.reassembled = reassembled;
  return result;
}

InputResult Interface::Impl::local_packet(const ParsedFrame& parsed, ByteSpan l4, bool verified) {
  InputResult result;
  result.kind = InputResult::Kind::packet;
  LocalPacket& p = result.packet;
  p.protocol = parsed.protocol;
  p.ecn = parsed.ecn();
  p.ttl = parsed.ttl;
  p.checksum_verified = verified;
  p.source = parsed.source;
  p.destination = parsed.destination;
  p.source_port = parsed.source_port;
  p.destination_port = parsed.destination_port;
  p.bytes = l4;
  return result;
}

InputResult Interface::Impl::deliver_tcp(const ParsedFrame& parsed, ByteSpan l4,
                                         ChecksumHint hint) const {
  if (hint == ChecksumHint::bad) return dropped(Drop::drop_l4_checksum);
  return local_packet(parsed, l4, hint == ChecksumHint::good);
}

InputResult Interface::Impl::deliver_udp(const ParsedFrame& parsed, ByteSpan l4,
                                         ChecksumHint hint) const {
  const auto udp = packet::parse_udp(l4);
  if (!udp) return dropped(udp.error());
  const ByteSpan bytes = l4.first(udp->length);
  // RFC 768: zero means "none"; RFC 8200 section 8.1 forbids that over IPv6. NICs may call an
  // absent checksum good or bad, so it is settled before they are asked.
  const bool absent = udp->checksum == 0;
  if (absent && parsed.ipv6()) return dropped(Drop::drop_l4_checksum);
  if (!absent && hint != ChecksumHint::good &&
      (hint == ChecksumHint::bad ||
       !packet::l4_checksum_ok(parsed.source, parsed.destination, parsed.protocol, bytes))) {
    return dropped(Drop::drop_l4_checksum);
  }
  return local_packet(parsed, bytes, true);
}

void Interface::Impl::publish(const Neighbour& neighbour, bool reachable) {
  if (!config.owner || !config.shared) return;
  if (updates_count == kUpdates) {
    updates_head = (updates_head + 1) % kUpdates;
    --updates_count;
    counters.add(Counter::neighbour_updates_lost);
  }
  updates[(updates_head + updates_count) % kUpdates] = {neighbour.address, neighbour.mac,
                                                        neighbour.router, reachable};
  ++updates_count;
}

// -- The public face.

Interface::Interface(const InterfaceConfig& config, FrameSink& sink,
                     telemetry::CounterBlock& counters)
    : impl_(std::make_unique<Impl>(config, sink, counters)) {}

Interface::~Interface() = default;

void Interface::start(Time now) {
  impl_->now = now;
  if (!impl_->config.owner) return;
  if (!impl_->all_usable) return impl_->begin_check();
  impl_->announce_round = 0;
  impl_->announce();
}

InputResult Interface::input(ByteSpan frame, const RxFlags& flags, Time now) {
  return input(frame, packet::parse_frame(frame, flags), flags, now);
}

InputResult Interface::input(ByteSpan frame, const ParsedFrame& parsed, const RxFlags& flags,
                             Time now) {
  impl_->now = now;
  InputResult result = impl_->input(frame, parsed, flags);
  if (result.kind == InputResult::Kind::dropped) impl_->counters.add(result.drop);
  return result;
}

void Interface::refuse_udp(const LocalPacket& packet, Time now) {
  impl_->now = now;
  impl_->counters.add(telemetry::Counter::drop_no_listener);
  impl_->refuse_udp(packet);
}

MutByteSpan Interface::begin_l4(const IpAddress& source, const IpAddress& destination,
                                std::uint8_t protocol, std::size_t length, std::uint8_t ecn) {
  return impl_->begin(source, destination, {.protocol = protocol, .ecn = ecn}, length);
}

GatherRoom Interface::begin_large(const IpAddress& source, const IpAddress& destination,
                                  std::size_t header, std::size_t piece, std::size_t pieces) {
  return impl_->begin_large(source, destination, header, piece, pieces);
}

void Interface::end_l4() { impl_->end(); }

void Interface::confirm(const IpAddress& remote, Time now) {
  Impl::Confirmed& last = impl_->confirmed[remote.mapped()[15] % impl_->confirmed.size()];
  if (last.remote == remote && now - last.at < Impl::kConfirmInterval) return;
  last = {remote, now};
  const auto hop = impl_->next_hop(remote);
  if (!hop) return;
  if (Neighbour* n = impl_->neighbours.find(*hop)) impl_->neighbours.confirm(*n, now);
}

void Interface::doubt(const IpAddress& remote, Time now) {
  impl_->now = now;
  const auto hop = impl_->next_hop(remote);
  if (!hop) return;
  if (Neighbour* n = impl_->neighbours.find(*hop)) impl_->neighbours.doubt(*n, now);
}

void Interface::poll(Time now) {
  impl_->now = now;
  impl_->neighbours.expire(now);
  impl_->poll_addresses();
  if (impl_->reassembler.pending() > 0) {
    impl_->expire_fragments();
  }
}

Time Interface::next_deadline() const {
  return std::min({impl_->neighbours.next_deadline(), impl_->check_at, impl_->recheck_at,
                   impl_->announce_at, impl_->reassembler.next_deadline()});
}

std::optional<NeighbourUpdate> Interface::pop_update() {
  if (impl_->updates_count == 0) return std::nullopt;
  const NeighbourUpdate update = impl_->updates[impl_->updates_head];
  impl_->updates_head = (impl_->updates_head + 1) % Impl::kUpdates;
  --impl_->updates_count;
  return update;
}

void Interface::apply(const NeighbourUpdate& update, Time now) {
  impl_->now = now;
  Neighbour* n = impl_->neighbours.obtain(update.address, now);
  if (n == nullptr) return;
  impl_->neighbours.advertised(*n,
                               {.mac = update.mac,
                                .solicited = update.reachable,
                                .override_mac = true,
                                .router = update.router},
                               now);
}

std::size_t Interface::address_count() const { return impl_->addresses.size(); }

const IpPrefix& Interface::address(std::size_t index) const { return impl_->addresses[index]; }

AddressMask Interface::address_mask() const { return impl_->mask(); }

void Interface::follow(const AddressMask& owner) {
  for (std::size_t i = 0; i < impl_->addresses.size(); ++i) {
    const std::uint64_t bit = std::uint64_t{1} << i;
    impl_->addresses[i].state = (owner.usable & bit) != 0      ? AddressState::usable
                                : (owner.duplicate & bit) != 0 ? AddressState::duplicate
                                                               : AddressState::tentative;
  }
  impl_->note_states();
}

bool Interface::is_local(const IpAddress& address) const { return impl_->is_local(address); }

std::optional<IpAddress> Interface::source_for(const IpAddress& destination) const {
  return impl_->source_for(destination);
}

const std::vector<MacAddress>& Interface::multicast_macs() const { return impl_->group_macs; }

const InterfaceConfig& Interface::config() const { return impl_->config; }

std::optional<NeighbourState> Interface::neighbour_state(const IpAddress& address) const {
  const Neighbour* n = std::as_const(impl_->neighbours).find(address);
  if (n == nullptr) return std::nullopt;
  return n->state;
}

std::size_t Interface::neighbour_count() const { return impl_->neighbours.size(); }

std::size_t Interface::held_count() const { return impl_->held.used(); }

}  // namespace sluice::ip
