#include "packet/ipv4.h"

#include "packet/checksum.h"

namespace sluice::packet {
namespace {

constexpr std::uint16_t kOffsetMask = 0x1fff;

// Options are skipped, but only if they have a shape; source routes are not (RFC 7126 section 4.3).
Drop check_options(ByteSpan options) {
  constexpr std::uint8_t kEnd = 0;
  constexpr std::uint8_t kNoOperation = 1;
  constexpr std::uint8_t kLooseSourceRoute = 131;
  constexpr std::uint8_t kStrictSourceRoute = 137;
  std::size_t at = 0;
  while (at < options.size() && options[at] != kEnd) {
    if (options[at] == kNoOperation) {
      ++at;
      continue;
    }
    if (options[at] == kLooseSourceRoute || options[at] == kStrictSourceRoute) {
      return Drop::drop_source_route;
    }
    if (options.size() - at < 2) return Drop::drop_ip_options;
    const std::size_t length = options[at + 1];
    if (length < 2 || length > options.size() - at) return Drop::drop_ip_options;
    at += length;
  }
  return kNoDrop;
}

}  // namespace

std::expected<Ipv4Header, Drop> parse_ipv4(ByteSpan bytes, bool checksum_known_good) {
  if (bytes.size() < kIpv4Header || bytes[0] >> 4 != 4) {
    return std::unexpected(Drop::drop_ip_header);
  }
  Ipv4Header h;
  h.header_length = static_cast<std::uint8_t>((bytes[0] & 15) * 4);
  if (h.header_length < kIpv4Header || h.header_length > bytes.size()) {
    return std::unexpected(Drop::drop_ip_header);
  }
  if (!checksum_known_good && !checksum_ok(bytes.first(h.header_length))) {
    return std::unexpected(Drop::drop_ip_checksum);
  }
  h.total_length = load_be16(&bytes[2]);
  if (h.total_length < h.header_length) return std::unexpected(Drop::drop_ip_header);
  if (h.total_length > bytes.size()) return std::unexpected(Drop::drop_ip_length);
  h.tos = bytes[1];
  h.id = load_be16(&bytes[4]);
  const std::uint16_t fragment = load_be16(&bytes[6]);
  h.dont_fragment = (fragment & kDontFragment) != 0;
  h.more_fragments = (fragment & kMoreFragments) != 0;
  h.fragment_offset = static_cast<std::uint16_t>((fragment & kOffsetMask) * 8);
  h.ttl = bytes[8];
  h.protocol = bytes[9];
  h.source = IpAddress::v4(load_be32(&bytes[12]));
  h.destination = IpAddress::v4(load_be32(&bytes[16]));
  if (h.header_length > kIpv4Header) {
    const Drop bad = check_options(bytes.subspan(kIpv4Header, h.header_length - kIpv4Header));
    if (bad != kNoDrop) return std::unexpected(bad);
  }
  return h;
}

void write_ipv4(MutByteSpan room, const Ipv4Build& build) {
  ByteWriter w(room);
  w.u8(0x45);
  w.u8(build.tos);
  w.be16(static_cast<std::uint16_t>(kIpv4Header + build.payload));
  w.be16(build.id);
  w.be16(build.fragment);
  w.u8(build.ttl);
  w.u8(build.protocol);
  w.be16(0);
  w.be32(build.source.v4_host_order());
  w.be32(build.destination.v4_host_order());
  if (build.checksum && w.ok()) store_be16(&room[10], checksum(room.first(kIpv4Header)));
}

}  // namespace sluice::packet
