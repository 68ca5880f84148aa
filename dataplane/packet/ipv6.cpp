#include "packet/ipv6.h"

namespace sluice::packet {
namespace {

IpAddress read_v6(const std::uint8_t* p) {
  return IpAddress::v6(std::span<const std::uint8_t, 16>(p, 16));
}

// RFC 8200 section 4.2: an unknown option whose two top bits are zero is skipped.
bool options_acceptable(ByteSpan options) {
  std::size_t at = 0;
  while (at < options.size()) {
    if (options[at] == 0) {  // Pad1
      ++at;
      continue;
    }
    if (options.size() - at < 2) return false;
    const std::size_t length = std::size_t{options[at + 1]} + 2;
    if (length > options.size() - at || (options[at] & 0xc0) != 0) return false;
    at += length;
  }
  return true;
}

// RFC 5095 for type 0; RFC 8200 section 4.4 for the rest.
bool routing_finished(ByteSpan header) { return header[2] != 0 && header[3] == 0; }

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

std::expected<ExtensionWalk, Drop> walk_extensions(std::uint8_t next_header, ByteSpan bytes,
                                                   bool hop_by_hop_allowed) {
  constexpr auto kBad = std::unexpected(Drop::drop_extension_header);
  ExtensionWalk walk;
  walk.protocol = next_header;
  for (unsigned count = 0;; ++count) {
    const std::uint8_t kind = walk.protocol;
    if (kind != kHopByHop && kind != kRouting && kind != kFragment && kind != kDestinationOptions) {
      return walk;
    }
    const ByteSpan rest = bytes.subspan(walk.offset);
    if (count == kMaxExtensionHeaders || rest.size() < 8) return kBad;
    const std::size_t length = kind == kFragment ? kFragmentHeader : (std::size_t{rest[1]} + 1) * 8;
    if (length > rest.size() || walk.offset + length > kMaxExtensionBytes) return kBad;
    const ByteSpan header = rest.first(length);
    if (kind == kHopByHop && (count > 0 || !hop_by_hop_allowed)) return kBad;
    if (kind == kRouting && !routing_finished(header)) {
      return std::unexpected(Drop::drop_source_route);
    }
    if (kind == kFragment && walk.has_fragment_header) return kBad;
    if ((kind == kHopByHop || kind == kDestinationOptions) &&
        !options_acceptable(header.subspan(2))) {
      return kBad;
    }
    walk.protocol = header[0];
    walk.offset += length;
    if (kind == kFragment && take_fragment(walk, header)) return walk;
  }
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
