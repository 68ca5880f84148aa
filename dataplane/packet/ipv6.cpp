#include "packet/ipv6.h"

#include <optional>

#include "packet/ipv4.h"

namespace sluice::packet {
namespace {

IpAddress read_v6(const std::uint8_t* p) {
  return IpAddress::v6(std::span<const std::uint8_t, 16>(p, 16));
}

ExtensionFault fault(Drop drop, std::uint8_t code, std::size_t pointer) {
  return {drop, {.told = true, .code = code, .pointer = static_cast<std::uint16_t>(pointer)}};
}

// RFC 8200 section 4.2: an unknown option says by its two top bits what becomes of the packet.
// `at` is where the options stand, from the IPv6 header on.
std::optional<ExtensionFault> check_options(ByteSpan options, std::size_t begins) {
  constexpr ExtensionFault kSilent{Drop::drop_extension_header, {}};
  std::size_t at = 0;
  while (at < options.size()) {
    if (options[at] == 0) {  // Pad1
      ++at;
      continue;
    }
    if (options.size() - at < 2) return kSilent;
    const std::size_t length = std::size_t{options[at + 1]} + 2;
    if (length > options.size() - at) return kSilent;
    const std::uint8_t action = options[at] >> 6;
    if (action == 1) return kSilent;
    if (action > 1) {
      ExtensionFault f = fault(Drop::drop_extension_header, 2, begins + at);
      f.problem.even_to_multicast = action == 2;
      return f;
    }
    at += length;
  }
  return std::nullopt;
}

bool is_extension(std::uint8_t kind) {
  return kind == kHopByHop || kind == kRouting || kind == kFragment || kind == kDestinationOptions;
}

std::size_t length_of(std::uint8_t kind, ByteSpan header) {
  return kind == kFragment ? kFragmentHeader : (std::size_t{header[1]} + 1) * 8;
}

bool take_fragment(ExtensionWalk& walk, ByteSpan header) {
  const std::uint16_t field = load_be16(&header[2]);
  walk.has_fragment_header = true;
  walk.fragment_offset = static_cast<std::uint16_t>(field & 0xfff8);
  walk.more_fragments = (field & 1) != 0;
  walk.fragment_id = load_be32(&header[4]);
  walk.fragment = walk.fragment_offset != 0 || walk.more_fragments;
  return walk.fragment;
}

}  // namespace

std::expected<Ipv6Header, Drop> parse_ipv6(ByteSpan bytes) {
  if (bytes.size() < kIpv6Header || bytes[0] >> 4 != 6) {
    return std::unexpected(Drop::drop_ip_header);
  }
  Ipv6Header h;
  h.traffic_class = static_cast<std::uint8_t>((bytes[0] << 4) | (bytes[1] >> 4));
  h.payload_length = load_be16(&bytes[4]);
  h.next_header = bytes[6];
  h.hop_limit = bytes[7];
  if (h.payload_length > bytes.size() - kIpv6Header) return std::unexpected(Drop::drop_ip_length);
  if (h.payload_length == 0 && h.next_header == kHopByHop) {
    return std::unexpected(Drop::drop_ip_length);  // jumbogram
  }
  h.source = read_v6(&bytes[8]);
  h.destination = read_v6(&bytes[24]);
  if (h.source.is_v4()) return std::unexpected(Drop::drop_ip_source);
  if (h.destination.is_v4()) return std::unexpected(Drop::drop_ip_destination);
  return h;
}

std::expected<ExtensionWalk, ExtensionFault> walk_extensions(std::uint8_t next_header,
                                                             ByteSpan bytes,
                                                             bool hop_by_hop_allowed) {
  constexpr auto kBad = std::unexpected(ExtensionFault{Drop::drop_extension_header, {}});
  ExtensionWalk walk;
  walk.protocol = next_header;
  for (unsigned count = 0;; ++count) {
    const std::uint8_t kind = walk.protocol;
    if (!is_extension(kind)) return walk;
    const ByteSpan rest = bytes.subspan(walk.offset);
    if (count == kMaxExtensionHeaders || rest.size() < 8) return kBad;
    const std::size_t length = length_of(kind, rest);
    if (length > rest.size() || walk.offset + length > kMaxExtensionBytes) return kBad;
    const ByteSpan header = rest.first(length);
    const std::size_t at = kIpv6Header + walk.offset;
    if (kind == kHopByHop && (count > 0 || !hop_by_hop_allowed)) {
      return std::unexpected(fault(Drop::drop_extension_header, 1, walk.protocol_at));
    }
    // RFC 8200 section 4.4; RFC 5095 says the same of type 0.
    if (kind == kRouting && header[3] != 0) {
      return std::unexpected(fault(Drop::drop_source_route, 0, at + 2));
    }
    if (kind == kFragment && walk.has_fragment_header) return kBad;
    if (kind == kHopByHop || kind == kDestinationOptions) {
      if (const auto bad = check_options(header.subspan(2), at + 2)) return std::unexpected(*bad);
    }
    walk.protocol = header[0];
    walk.protocol_at = static_cast<std::uint16_t>(at);
    walk.offset += length;
    if (kind == kFragment && take_fragment(walk, header)) return walk;
  }
}

bool carries_icmpv6_error(std::uint8_t next_header, ByteSpan bytes) {
  while (is_extension(next_header) && bytes.size() >= 8) {
    const std::size_t length = length_of(next_header, bytes);
    next_header = bytes[0];
    if (length >= bytes.size()) return false;
    bytes = bytes.subspan(length);
  }
  return next_header == kProtocolIcmpv6 && !bytes.empty() && bytes[0] < 128;
}

void write_ipv6(MutByteSpan room, const Ipv6Build& build) {
  ByteWriter w(room);
  w.be32((std::uint32_t{6} << 28) | (std::uint32_t{build.traffic_class} << 20) |
         (build.flow_label & 0xfffff));
  w.be16(static_cast<std::uint16_t>(build.payload));
  w.u8(build.next_header);
  w.u8(build.hop_limit);
  w.bytes(build.source.mapped());
  w.bytes(build.destination.mapped());
}

IpAddress solicited_node_multicast(const IpAddress& address) {
  std::array<std::uint8_t, 16> raw{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0};
  std::memcpy(&raw[13], &address.mapped()[13], 3);
  return IpAddress::v6(raw);
}

IpAddress link_local_from_mac(const std::array<std::uint8_t, 6>& mac) {
  const std::array<std::uint8_t, 16> raw{
      0xfe,   0x80,   0,    0,    0,      0,      0,     0, static_cast<std::uint8_t>(mac[0] ^ 2),
      mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
  return IpAddress::v6(raw);
}

}  // namespace sluice::packet
