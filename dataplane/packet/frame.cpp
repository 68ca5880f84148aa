#include "packet/frame.h"

#include "packet/icmp.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"
#include "packet/tcp.h"
#include "packet/udp.h"

namespace sluice::packet {
namespace {

// RFC 1122 section 3.2.1.3, RFC 6890: addresses no packet on a wire comes from.
bool source_possible_v4(const IpAddress& a) {
  const std::uint32_t host = a.v4_host_order();
  return host >> 24 != 0 && host >> 24 != 127 && host < 0xe0000000;
}

bool destination_possible_v4(const IpAddress& a) {
  const std::uint32_t host = a.v4_host_order();
  return host >> 24 != 0 && host >> 24 != 127;
}

// RFC 4291 sections 2.5.2, 2.5.3 and 2.7. The unspecified source has its uses in ICMPv6 only.
bool source_possible_v6(const IpAddress& a, std::uint8_t protocol) {
  if (a.is_multicast() || a.is_loopback()) return false;
  return !a.is_unspecified() || protocol == kProtocolIcmpv6;
}

bool destination_possible_v6(const IpAddress& a) {
  if (a.is_unspecified() || a.is_loopback()) return false;
  return !a.is_multicast() || (a.mapped()[1] & 0x0f) > 1;  // not interface-local scope
}

void parse_ipv4_layer(ParsedFrame& p, ByteSpan bytes, const RxFlags& flags) {
  const auto header = parse_ipv4(bytes, flags.ip == ChecksumHint::good);
  if (!header) {
    p.drop = header.error();
    return;
  }
  p.network = Network::ipv4;
  p.protocol = header->protocol;
  p.ttl = header->ttl;
  p.tos = header->tos;
  p.source = header->source;
  p.destination = header->destination;
  p.l3_length = header->total_length;
  p.l4_offset = static_cast<std::uint16_t>(p.l3_offset + header->header_length);
  p.l4_length = static_cast<std::uint16_t>(header->total_length - header->header_length);
  p.fragment = header->more_fragments || header->fragment_offset != 0;
  p.more_fragments = header->more_fragments;
  p.fragment_offset = header->fragment_offset;
  p.fragment_id = header->id;
  if (!source_possible_v4(p.source)) p.drop = Drop::drop_ip_source;
  if (p.ok() && !destination_possible_v4(p.destination)) p.drop = Drop::drop_ip_destination;
}

void parse_ipv6_layer(ParsedFrame& p, ByteSpan bytes) {
  const auto header = parse_ipv6(bytes);
  if (!header) {
    p.drop = header.error();
    return;
  }
  p.network = Network::ipv6;
  p.ttl = header->hop_limit;
  p.tos = header->traffic_class;
  p.source = header->source;
  p.destination = header->destination;
  p.l3_length = static_cast<std::uint16_t>(kIpv6Header + header->payload_length);
  const ByteSpan payload = bytes.subspan(kIpv6Header, header->payload_length);
  const auto walk = walk_extensions(header->next_header, payload);
  if (!walk) {
    p.drop = walk.error().drop;
    p.problem = walk.error().problem;
    if (p.problem.told && carries_icmpv6_error(header->next_header, payload)) p.problem = {};
    return;
  }
  p.protocol = walk->protocol;
  p.protocol_at = walk->protocol_at;
  p.l4_offset = static_cast<std::uint16_t>(p.l3_offset + kIpv6Header + walk->offset);
  p.l4_length = static_cast<std::uint16_t>(header->payload_length - walk->offset);
  p.fragment = walk->fragment;
  p.more_fragments = walk->more_fragments;
  p.has_fragment_header = walk->has_fragment_header;
  p.fragment_offset = walk->fragment_offset;
  p.fragment_id = walk->fragment_id;
  if (!source_possible_v6(p.source, p.protocol)) p.drop = Drop::drop_ip_source;
  if (p.ok() && !destination_possible_v6(p.destination)) p.drop = Drop::drop_ip_destination;
}

// Upper-layer header of an unfragmented packet or a first fragment. A first fragment must hold the
// whole header (RFC 1858, RFC 7112), though not all that the header speaks of.
void parse_ports(ParsedFrame& p, ByteSpan l4) {
  if (p.protocol == kProtocolTcp) {
    const auto tcp = TcpView::parse(l4);
    if (!tcp) {
      p.drop = tcp.error();
      return;
    }
    p.source_port = tcp->source_port();
    p.destination_port = tcp->destination_port();
  } else if (p.protocol == kProtocolUdp) {
    const auto udp = parse_udp(l4);
    if (!udp && !(p.fragment && l4.size() >= kUdpHeader)) {
      p.drop = udp.error();
      return;
    }
    p.source_port = load_be16(&l4[0]);
    p.destination_port = load_be16(&l4[2]);
  } else if (p.protocol == (p.ipv6() ? kProtocolIcmpv6 : kProtocolIcmp)) {
    if (l4.size() < kIcmpHeader) {
      p.drop = Drop::drop_l4_truncated;
      return;
    }
    p.icmp_type = l4[0];
  }
}

// The tag, if any. Returns the offset of the EtherType that counts, 0 when the frame is too short.
std::size_t parse_link(ParsedFrame& p, ByteSpan frame, const RxFlags& flags) {
  if (frame.size() < kEthernetHeader) return 0;
  p.destination_mac = MacAddress::from(&frame[0]);
  p.source_mac = MacAddress::from(&frame[6]);
  if (flags.vlan_stripped) p.vlan = flags.vlan & kVlanIdMask;
  if (flags.vlan_stripped || load_be16(&frame[12]) != kEtherTypeVlan) return 12;
  if (frame.size() < kEthernetHeader + kVlanTag) return 0;
  p.vlan = load_be16(&frame[14]) & kVlanIdMask;
  return 16;
}

}  // namespace

void parse_upper_layer(ParsedFrame& parsed, ByteSpan payload) {
  if (parsed.ipv6()) {
    const auto walk = walk_extensions(parsed.protocol, payload, false);
    if (!walk || walk->has_fragment_header) {
      parsed.drop = walk ? Drop::drop_extension_header : walk.error().drop;
      return;
    }
    parsed.protocol = walk->protocol;
    parsed.l4_offset = static_cast<std::uint16_t>(walk->offset);
  } else {
    parsed.l4_offset = 0;
  }
  parsed.l4_length = static_cast<std::uint16_t>(payload.size() - parsed.l4_offset);
  parsed.fragment = false;
  parse_ports(parsed, payload.subspan(parsed.l4_offset));
}

ParsedFrame parse_frame(ByteSpan frame, const RxFlags& flags) {
  ParsedFrame p;
  const std::size_t type_at = parse_link(p, frame, flags);
  if (type_at == 0) {
    p.drop = Drop::drop_frame_truncated;
    return p;
  }
  p.l3_offset = static_cast<std::uint16_t>(type_at + 2);
  const ByteSpan bytes = frame.subspan(p.l3_offset);
  switch (load_be16(&frame[type_at])) {
    case kEtherTypeArp:
      p.network = Network::arp;
      p.l3_length = static_cast<std::uint16_t>(bytes.size());
      return p;
    case kEtherTypeIpv4:
      if (flags.ip == ChecksumHint::bad) {
        p.drop = Drop::drop_ip_checksum;
        return p;
      }
      parse_ipv4_layer(p, bytes, flags);
      break;
    case kEtherTypeIpv6:
      parse_ipv6_layer(p, bytes);
      break;
    default:
      p.drop = Drop::drop_ether_type;
      return p;
  }
  if (p.ok() && (!p.fragment || p.fragment_offset == 0)) {
    const ByteSpan l4 = p.l4(frame);
    if (p.fragment && p.ipv6()) {
      // What stands behind a fragment header may be more extension headers; ports wait.
      return p;
    }
    parse_ports(p, l4);
  }
  return p;
}

}  // namespace sluice::packet
