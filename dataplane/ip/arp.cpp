// ARP: RFC 826, RFC 1122 section 2.3.2, RFC 5227.

#include "packet/arp.h"

#include "interface_impl.h"

namespace sluice::ip {

using packet::ArpOperation;
using packet::ArpPacket;
using packet::MacAddress;

InputResult Interface::Impl::arp_input(ByteSpan bytes, const packet::ParsedFrame& parsed) {
  const auto arp = packet::parse_arp(bytes);
  if (!arp) return dropped(arp.error());
  if (arp->sender_mac.is_zero() || arp->sender_mac.is_multicast() ||
      arp->sender_mac == config.mac) {
    return dropped(Drop::drop_arp);
  }
  counters.add(Counter::arp_received);
  const bool probe = arp->sender.is_unspecified();  // RFC 5227 section 2.1.1
  // RFC 5227 section 2.1.1: its sender has the address, or asks for it as we do.
  OwnAddress* claim = own(probe ? arp->target : arp->sender);
  const bool contested = claim != nullptr && (probe ? claim->state == AddressState::tentative
                                                    : claim->state != AddressState::duplicate);
  if (contested) {
    claimed(*claim);
    return {};
  }
  const bool for_us = is_local(arp->target);
  const bool unicast = parsed.destination_mac == config.mac;
  const bool sane = !arp->sender.is_multicast() && !is_subnet_broadcast(arp->sender) &&
                    !arp->sender.is_broadcast() && on_link(arp->sender);
  if (!probe && !sane) return dropped(Drop::drop_arp);
  const bool known = !probe && arp_learn(*arp, for_us, unicast);
  if (!for_us) {
    if (known) return {};
    return dropped(Drop::drop_arp_ignored);
  }
  if (arp->operation == ArpOperation::request) {
    send_arp(arp->sender_mac,
             {ArpOperation::reply, config.mac, arp->target, arp->sender_mac, arp->sender});
  } else if (!known) {
    return dropped(Drop::drop_arp_ignored);
  }
  return {};
}

// RFC 826 "merge", but strangers are only learned from when they ask for us. True: it is, or now
// became, somebody we know.
bool Interface::Impl::arp_learn(const ArpPacket& arp, bool for_us, bool unicast) {
  Neighbour* n = neighbours.find(arp.sender);
  const bool reply = arp.operation == ArpOperation::reply;
  if (n == nullptr) {
    // With several workers the reply may answer another one's request.
    const bool welcome = for_us && (!reply || (config.shared && unicast));
    if (!welcome) return false;
    n = neighbours.obtain(arp.sender, now);
    if (n == nullptr) return false;
  }
  const bool was_resolved = n->resolved();
  const bool solicited = reply && for_us && unicast;
  const bool news = solicited ? neighbours.advertised(*n,
                                                      {.mac = arp.sender_mac,
                                                       .solicited = true,
                                                       .override_mac = true,
                                                       .router = std::nullopt},
                                                      now)
                              : neighbours.heard_from(*n, arp.sender_mac, now);
  if (!was_resolved && n->resolved()) counters.add(Counter::neighbours_resolved);
  if (news) publish(*n, solicited);
  return true;
}

void Interface::Impl::send_arp(const MacAddress& to, const ArpPacket& arp) {
  const std::size_t length = l2_length() + packet::kArpLength;
  const MutByteSpan frame = sink.reserve(length);
  if (frame.size() < length) {
    counters.add(Counter::drop_no_buffer);
    return;
  }
  const std::size_t l2 =
      packet::write_ethernet(frame, to, config.mac, packet::kEtherTypeArp, config.vlan);
  packet::write_arp(frame.subspan(l2), arp);
  sink.commit(length, L4Offload{});
  counters.add(Counter::arp_sent);
}

void Interface::Impl::solicit_arp(const Neighbour& neighbour, bool unicast) {
  const auto source = source_for(neighbour.address);
  if (!source) return;
  send_arp(unicast ? neighbour.mac : packet::kBroadcastMac,
           {ArpOperation::request, config.mac, *source, MacAddress{}, neighbour.address});
}

}  // namespace sluice::ip
