// ICMP and ICMPv6: echo, errors about our flows, and the few errors we send.

#include "packet/icmp.h"

#include <algorithm>
#include <cstring>

#include "interface_impl.h"
#include "packet/checksum.h"
#include "packet/udp.h"

namespace sluice::ip {

InputResult Interface::Impl::icmp_input(const packet::ParsedFrame& parsed, ByteSpan icmp) {
  const bool ipv6 = parsed.ipv6();
  // NICs rarely sum ICMP; what they say of it is not trusted.
  const bool sums = ipv6 ? packet::l4_checksum_ok(parsed.source, parsed.destination,
                                                  packet::kProtocolIcmpv6, icmp)
                         : packet::checksum_ok(icmp);
  if (!sums) return dropped(Drop::drop_l4_checksum);
  const std::uint8_t type = parsed.icmp_type;
  if (ipv6 && packet::is_neighbour_discovery(type)) return nd_input(parsed, icmp);
  if (ipv6 && type == packet::kIcmpv6MldQuery) {
    // RFC 3810 section 6.2: only from this link.
    if (parsed.ttl != 1 || !parsed.source.is_link_local()) return dropped(Drop::drop_nd);
    if (report_limit.allow(now)) send_group_report();
    return {};
  }
  if (type == (ipv6 ? packet::kIcmpv6Echo : packet::kIcmpEcho)) return echo(parsed, icmp);
  if (packet::is_icmp_error(ipv6, type)) return icmp_error(parsed, icmp);
  return dropped(Drop::drop_icmp);
}

// RFC 1122 section 3.2.2.6, RFC 4443 section 4.2. Never for multicast: one packet in, many out.
InputResult Interface::Impl::echo(const packet::ParsedFrame& parsed, ByteSpan icmp) {
  if (!is_local(parsed.destination) || parsed.source.is_unspecified()) {
    return dropped(Drop::drop_icmp);
  }
  if (!echo_limit.allow(now)) return dropped(Drop::drop_icmp_rate);
  const bool ipv6 = parsed.ipv6();
  const std::uint8_t protocol = ipv6 ? packet::kProtocolIcmpv6 : packet::kProtocolIcmp;
  if ((ipv6 ? packet::kIpv6Header : packet::kIpv4Header) + icmp.size() > config.mtu) {
    echo_large(parsed, protocol, icmp);
    return {};
  }
  const MutByteSpan room =
      begin_counted(parsed.destination, parsed.source, {.protocol = protocol}, icmp.size());
  if (room.empty()) return {};
  std::memcpy(room.data(), icmp.data(), icmp.size());
  room[0] = ipv6 ? packet::kIcmpv6EchoReply : packet::kIcmpEchoReply;
  store_be16(&room[2], 0);
  end();
  counters.add(Counter::icmp_echo_answered);
  return {};
}

// All of a reassembled request comes back, in fragments as it came.
void Interface::Impl::echo_large(const packet::ParsedFrame& parsed, std::uint8_t protocol,
                                 ByteSpan icmp) {
  std::array<std::uint8_t, 4> head{
      parsed.ipv6() ? packet::kIcmpv6EchoReply : packet::kIcmpEchoReply, 0, 0, 0};
  const ByteSpan rest = icmp.subspan(head.size());
  packet::ChecksumSum sum = packet::sum_bytes(rest, packet::sum_bytes(head));
  if (parsed.ipv6()) {
    sum += packet::pseudo_header_sum(parsed.destination, parsed.source, protocol, icmp.size());
  }
  store_be16(&head[2], packet::finish(sum));
  send_fragmented(parsed.destination, parsed.source, protocol, head, rest);
  counters.add(Counter::icmp_echo_answered);
}

// RFC 5927 section 4: the rest of the checks, on the sequence number, are TCP's.
InputResult Interface::Impl::icmp_error(const packet::ParsedFrame& parsed, ByteSpan icmp) {
  const auto error = packet::parse_icmp_error(parsed.ipv6(), icmp);
  if (!error) return dropped(error.error());
  if (error->source != parsed.destination || !is_local(error->source)) {
    return dropped(Drop::drop_icmp);
  }
  // What we sent was never larger than our own MTU.
  if (error->mtu >= config.mtu) return dropped(Drop::drop_icmp);
  counters.add(Counter::icmp_errors_received);
  InputResult result;
  result.kind = InputResult::Kind::icmp_error;
  result.error = *error;
  return result;
}

void Interface::Impl::send_error(const IpAddress& local, const IpAddress& remote, ErrorKind kind,
                                 ByteSpan quoted_header, ByteSpan quoted_payload) {
  if (remote.is_unspecified() || !error_limit.allow(now)) {
    counters.add(Counter::drop_icmp_rate);
    return;
  }
  const bool ipv6 = remote.is_v6();
  // RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 (c): as much as fits these sizes.
  const std::size_t room_for_quote =
      ipv6 ? packet::kIpv6MinimumMtu - packet::kIpv6Header - packet::kIcmpHeader
           : 576 - packet::kIpv4Header - packet::kIcmpHeader;
  quoted_payload =
      quoted_payload.first(std::min(quoted_payload.size(), room_for_quote - quoted_header.size()));
  const MutByteSpan room = begin_counted(
      local, remote, {.protocol = ipv6 ? packet::kProtocolIcmpv6 : packet::kProtocolIcmp},
      packet::kIcmpHeader + quoted_header.size() + quoted_payload.size());
  if (room.empty()) return;
  ByteWriter w(room);
  w.u8(kind.type);
  w.u8(kind.code);
  w.be16(0);
  w.be32(kind.field);
  w.bytes(quoted_header);
  w.bytes(quoted_payload);
  end();
  counters.add(Counter::icmp_errors_sent);
}

// RFC 1122 section 4.1.3.1. The datagram may have been reassembled, so its header is made anew.
void Interface::Impl::refuse_udp(const LocalPacket& packet) {
  std::array<std::uint8_t, packet::kIpv6Header> raw{};
  const bool ipv6 = packet.source.is_v6();
  const MutByteSpan header =
      MutByteSpan{raw}.first(ipv6 ? packet::kIpv6Header : packet::kIpv4Header);
  if (ipv6) {
    packet::write_ipv6(header, {.source = packet.source,
                                .destination = packet.destination,
                                .next_header = packet.protocol,
                                .hop_limit = packet.ttl,
                                .payload = packet.bytes.size()});
  } else {
    packet::write_ipv4(header, {.source = packet.source,
                                .destination = packet.destination,
                                .protocol = packet.protocol,
                                .ttl = packet.ttl,
                                .payload = packet.bytes.size()});
  }
  const ErrorKind kind =
      ipv6 ? ErrorKind{packet::kIcmpv6Unreachable, packet::kIcmpv6PortUnreachable, 0}
           : ErrorKind{packet::kIcmpUnreachable, packet::kIcmpPortUnreachable, 0};
  send_error(packet.destination, packet.source, kind, header, packet.bytes);
}

// RFC 1122 section 3.2.2.1; RFC 8200 section 4.
void Interface::Impl::refuse_protocol(const packet::ParsedFrame& parsed, ByteSpan l3) {
  if (parsed.protocol == packet::kNoNextHeader && parsed.ipv6()) return;
  const ErrorKind kind =
      parsed.ipv6() ? ErrorKind{packet::kIcmpv6ParameterProblem, 1, parsed.protocol_at}
                    : ErrorKind{packet::kIcmpUnreachable, packet::kIcmpProtocolUnreachable, 0};
  send_error(parsed.destination, parsed.source, kind, {}, l3);
}

// RFC 4443 sections 2.4 (e) and 3.4. The frame has not been through the checks yet.
void Interface::Impl::report_problem(const packet::ParsedFrame& parsed, ByteSpan l3,
                                     const packet::HeaderProblem& problem) {
  if (check_link(parsed) != packet::kNoDrop || parsed.source.is_unspecified() ||
      parsed.source.is_multicast() || parsed.source.is_loopback() || is_local(parsed.source)) {
    return;
  }
  const bool unicast = parsed.destination_mac == config.mac && is_local(parsed.destination);
  if (!unicast && !problem.even_to_multicast) return;
  const bool group = std::find(groups.begin(), groups.end(), parsed.destination) != groups.end();
  if (!unicast && !group) return;
  const auto local = unicast ? std::optional{parsed.destination} : source_for(parsed.source);
  if (!local) return;
  send_error(*local, parsed.source,
             {packet::kIcmpv6ParameterProblem, problem.code, problem.pointer}, {}, l3);
}

// RFC 8200 section 4.5: pieces of impossible length, and those that end beyond the largest packet.
void Interface::Impl::report_fragment(const packet::ParsedFrame& parsed, ByteSpan l3) {
  constexpr std::uint16_t kPayloadLength = 4;
  constexpr std::size_t kLargest = 65535;
  if (!parsed.ipv6()) return;
  packet::HeaderProblem problem{.told = true};
  if (parsed.more_fragments && parsed.l4_length % 8 != 0) {
    problem.pointer = kPayloadLength;
  } else if (std::size_t{parsed.fragment_offset} + parsed.l4_length > kLargest) {
    problem.pointer = static_cast<std::uint16_t>(parsed.l4_offset - parsed.l3_offset -
                                                 packet::kFragmentHeader + 2);
  } else {
    return;
  }
  report_problem(parsed, l3, problem);
}

void Interface::Impl::expire_fragments() {
  counters.add(Counter::drop_fragment_timeout,
               reassembler.expire(
                   now,
                   [](void* self, const Reassembler::Lost& lost) {
                     static_cast<Interface::Impl*>(self)->report_lost(lost);
                   },
                   this));
}

// RFC 1122 section 3.3.2, RFC 8200 section 4.5: its sender hears of it if the first piece was here.
// The header is made anew, as it was cut off on arrival.
void Interface::Impl::report_lost(const Reassembler::Lost& lost) {
  constexpr std::uint8_t kReassembly = 1;
  if (lost.first.empty()) return;
  std::array<std::uint8_t, packet::kIpv6Header + packet::kFragmentHeader> raw{};
  const bool ipv6 = lost.source.is_v6();
  const MutByteSpan header = MutByteSpan{raw}.first(ipv6 ? raw.size() : packet::kIpv4Header);
  if (ipv6) {
    packet::write_ipv6(header, {.source = lost.source,
                                .destination = lost.destination,
                                .next_header = packet::kFragment,
                                .hop_limit = lost.ttl,
                                .payload = packet::kFragmentHeader + lost.first.size()});
    header[packet::kIpv6Header] = lost.protocol;
    store_be16(&header[packet::kIpv6Header + 2], 1);  // offset zero, more to come
    store_be32(&header[packet::kIpv6Header + 4], lost.id);
  } else {
    packet::write_ipv4(header, {.source = lost.source,
                                .destination = lost.destination,
                                .protocol = lost.protocol,
                                .ttl = lost.ttl,
                                .payload = lost.first.size(),
                                .id = static_cast<std::uint16_t>(lost.id),
                                .fragment = packet::kMoreFragments});
  }
  send_error(lost.destination, lost.source,
             {ipv6 ? packet::kIcmpv6TimeExceeded : packet::kIcmpTimeExceeded, kReassembly, 0},
             header, lost.first);
}

}  // namespace sluice::ip
