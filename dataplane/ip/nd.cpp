// Neighbour discovery: RFC 4861, RFC 6980; the multicast reports it leans on: RFC 3810.

#include "interface_impl.h"
#include "packet/checksum.h"

namespace sluice::ip {

using packet::MacAddress;

namespace {

constexpr std::size_t kMessage = 24;  // header, flags, target
constexpr std::size_t kLinkOption = 8;
constexpr std::uint8_t kSourceLinkAddress = 1;
constexpr std::uint8_t kTargetLinkAddress = 2;
constexpr std::uint8_t kRouterFlag = 0x80;
constexpr std::uint8_t kSolicitedFlag = 0x40;
constexpr std::uint8_t kOverrideFlag = 0x20;
constexpr std::uint8_t kHopLimit = 255;

const IpAddress kAllMldRouters = *IpAddress::parse("ff02::16");

IpAddress target_of(ByteSpan icmp) { return IpAddress::v6(icmp.subspan<8, 16>()); }

struct Options {
  bool ok = true;
  std::optional<MacAddress> mac;
};

// RFC 4861 section 4.6: an option of length zero voids the message.
Options parse_options(ByteSpan bytes, std::uint8_t wanted) {
  Options options;
  while (!bytes.empty()) {
    if (bytes.size() < 8) return {false, std::nullopt};
    const std::size_t length = std::size_t{bytes[1]} * 8;
    if (length == 0 || length > bytes.size()) return {false, std::nullopt};
    if (bytes[0] == wanted && length == kLinkOption) options.mac = MacAddress::from(&bytes[2]);
    bytes = bytes.subspan(length);
  }
  if (options.mac && (options.mac->is_multicast() || options.mac->is_zero())) options.ok = false;
  return options;
}

void write_message(MutByteSpan room, std::uint8_t type, std::uint8_t flags, const IpAddress& target,
                   std::uint8_t option, const MacAddress& mac) {
  ByteWriter w(room);
  w.u8(type);
  w.u8(0);
  w.be16(0);
  w.u8(flags);
  w.zeros(3);
  w.bytes(target.mapped());
  if (option == 0) return;
  w.u8(option);
  w.u8(1);
  w.bytes(mac.octets);
}

}  // namespace

// The checks of RFC 4861 sections 7.1.1 and 7.1.2 that both messages share.
InputResult Interface::Impl::nd_input(const packet::ParsedFrame& parsed, ByteSpan icmp) {
  if (parsed.icmp_type != packet::kIcmpv6NeighbourSolicitation &&
      parsed.icmp_type != packet::kIcmpv6NeighbourAdvertisement) {
    // Routes are configured here; nobody on the link gets to change them.
    return dropped(Drop::drop_nd_ignored);
  }
  if (parsed.has_fragment_header || parsed.ttl != kHopLimit || icmp.size() < kMessage ||
      icmp[1] != 0 || target_of(icmp).is_multicast() || target_of(icmp).is_v4()) {
    return dropped(Drop::drop_nd);
  }
  counters.add(Counter::nd_received);
  return parsed.icmp_type == packet::kIcmpv6NeighbourSolicitation ? solicitation(parsed, icmp)
                                                                  : advertisement(parsed, icmp);
}

InputResult Interface::Impl::solicitation(const packet::ParsedFrame& parsed, ByteSpan icmp) {
  const Options options = parse_options(icmp.subspan(kMessage), kSourceLinkAddress);
  if (!options.ok) return dropped(Drop::drop_nd);
  const IpAddress target = target_of(icmp);
  const bool probe = parsed.source.is_unspecified();
  if (probe && (options.mac || parsed.destination != packet::solicited_node_multicast(target))) {
    return dropped(Drop::drop_nd);
  }
  OwnAddress* ours = own(target);
  if (ours == nullptr || ours->state == AddressState::duplicate) {
    return dropped(Drop::drop_nd_ignored);
  }
  if (ours->state == AddressState::tentative) {
    // RFC 4862 section 5.4.3: a question is none of our business yet; a probe is our rival's.
    if (!probe) return dropped(Drop::drop_nd_ignored);
    claimed(*ours);
    return {};
  }
  if (probe) {
    // RFC 4862 section 5.4.3: somebody wants this address; tell everybody that it is taken.
    send_advertisement(packet::multicast_mac(groups.front()), groups.front(), target, false);
    return {};
  }
  if (options.mac && on_link(parsed.source)) {
    if (Neighbour* n = neighbours.obtain(parsed.source, now)) {
      const bool was_resolved = n->resolved();
      if (neighbours.heard_from(*n, *options.mac, now)) publish(*n, false);
      if (!was_resolved) counters.add(Counter::neighbours_resolved);
    }
  }
  send_advertisement(options.mac.value_or(parsed.source_mac), parsed.source, target, true);
  return {};
}

InputResult Interface::Impl::advertisement(const packet::ParsedFrame& parsed, ByteSpan icmp) {
  const Options options = parse_options(icmp.subspan(kMessage), kTargetLinkAddress);
  const std::uint8_t flags = icmp[4];
  const bool solicited = (flags & kSolicitedFlag) != 0;
  if (!options.ok || (solicited && parsed.destination.is_multicast())) {
    return dropped(Drop::drop_nd);
  }
  const IpAddress target = target_of(icmp);
  OwnAddress* ours = own(target);
  if (ours != nullptr && ours->state != AddressState::duplicate) {
    claimed(*ours);
    return {};
  }
  if (is_local(parsed.source)) return dropped(Drop::drop_ip_source);
  Neighbour* n = neighbours.find(target);
  if (n == nullptr && config.shared && solicited && options.mac && on_link(target)) {
    n = neighbours.obtain(target, now);  // it may answer another worker's question
  }
  if (n == nullptr) return dropped(Drop::drop_nd_ignored);
  const bool was_resolved = n->resolved();
  const bool news = neighbours.advertised(*n,
                                          {.mac = options.mac,
                                           .solicited = solicited,
                                           .override_mac = (flags & kOverrideFlag) != 0,
                                           .router = (flags & kRouterFlag) != 0},
                                          now);
  if (!was_resolved && n->resolved()) counters.add(Counter::neighbours_resolved);
  if (news) publish(*n, solicited);
  return {};
}

void Interface::Impl::solicit_nd(const Neighbour& neighbour, bool unicast) {
  const auto source = source_for(neighbour.address);
  if (!source) return;
  const IpAddress to =
      unicast ? neighbour.address : packet::solicited_node_multicast(neighbour.address);
  const MutByteSpan room = begin_to(
      unicast ? neighbour.mac : packet::multicast_mac(to), *source, to,
      {.protocol = packet::kProtocolIcmpv6, .hop_limit = kHopLimit}, kMessage + kLinkOption);
  if (room.empty()) {
    counters.add(Counter::drop_no_buffer);
    return;
  }
  write_message(room, packet::kIcmpv6NeighbourSolicitation, 0, neighbour.address,
                kSourceLinkAddress, config.mac);
  end();
  counters.add(Counter::nd_sent);
}

void Interface::Impl::send_advertisement(const MacAddress& mac, const IpAddress& destination,
                                         const IpAddress& target, bool solicited) {
  const MutByteSpan room = begin_to(mac, target, destination,
                                    {.protocol = packet::kProtocolIcmpv6, .hop_limit = kHopLimit},
                                    kMessage + kLinkOption);
  if (room.empty()) {
    counters.add(Counter::drop_no_buffer);
    return;
  }
  std::uint8_t flags = kOverrideFlag;
  if (solicited) flags |= kSolicitedFlag;
  if (config.router) flags |= kRouterFlag;
  write_message(room, packet::kIcmpv6NeighbourAdvertisement, flags, target, kTargetLinkAddress,
                config.mac);
  end();
  counters.add(Counter::nd_sent);
}

// RFC 4862 section 5.4.2.
void Interface::Impl::send_duplicate_probe(const IpAddress& target) {
  const IpAddress to = packet::solicited_node_multicast(target);
  const MutByteSpan room =
      begin_to(packet::multicast_mac(to), IpAddress{}, to,
               {.protocol = packet::kProtocolIcmpv6, .hop_limit = kHopLimit}, kMessage);
  if (room.empty()) {
    counters.add(Counter::drop_no_buffer);
    return;
  }
  write_message(room, packet::kIcmpv6NeighbourSolicitation, 0, target, 0, MacAddress{});
  end();
  counters.add(Counter::nd_sent);
}

// MLDv2 (RFC 3810 section 5.2): switches that snoop would otherwise keep solicitations from us.
void Interface::Impl::send_group_report() {
  constexpr std::size_t kHopByHopBytes = 8;
  constexpr std::size_t kRecord = 20;
  constexpr std::uint8_t kToExclude = 4;
  if (groups.size() < 2) return;  // all-nodes is never reported
  const std::size_t count = groups.size() - 1;
  const std::size_t length = kHopByHopBytes + packet::kIcmpHeader + count * kRecord;
  if (length + packet::kIpv6Header > config.mtu) return;
  // RFC 3810 section 5.2.13: without a usable address, from the unspecified one.
  const IpAddress source = source_for(kAllMldRouters).value_or(IpAddress{});
  const MutByteSpan room = begin_to(packet::multicast_mac(kAllMldRouters), source, kAllMldRouters,
                                    {.protocol = packet::kHopByHop, .hop_limit = 1}, length);
  if (room.empty()) {
    counters.add(Counter::drop_no_buffer);
    return;
  }
  ByteWriter w(room);
  w.u8(packet::kProtocolIcmpv6);
  w.u8(0);
  w.be32(0x05020000);  // router alert: MLD
  w.be16(0x0100);      // PadN
  w.u8(packet::kIcmpv6MldReportV2);
  w.zeros(5);
  w.be16(static_cast<std::uint16_t>(count));
  for (std::size_t i = 1; i < groups.size(); ++i) {
    w.u8(kToExclude);
    w.zeros(3);
    w.bytes(groups[i].mapped());
  }
  const MutByteSpan icmp = room.subspan(kHopByHopBytes);
  store_be16(&icmp[2], packet::l4_checksum(source, kAllMldRouters, packet::kProtocolIcmpv6, icmp));
  end();
  counters.add(Counter::nd_sent);
}

}  // namespace sluice::ip
