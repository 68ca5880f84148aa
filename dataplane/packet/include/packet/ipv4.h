// IPv4 headers (RFC 791, RFC 1122 section 3.2.1, RFC 6864).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "packet/drop.h"

namespace sluice::packet {

inline constexpr std::uint8_t kProtocolIcmp = 1;
inline constexpr std::uint8_t kProtocolTcp = 6;
inline constexpr std::uint8_t kProtocolUdp = 17;
inline constexpr std::uint8_t kProtocolIcmpv6 = 58;

inline constexpr std::size_t kIpv4Header = 20;
inline constexpr std::uint16_t kDontFragment = 0x4000;
inline constexpr std::uint16_t kMoreFragments = 0x2000;

struct Ipv4Header {
  std::uint8_t header_length = 0;  // bytes, options included
  std::uint16_t total_length = 0;  // bytes, header included; what follows is padding
  std::uint16_t id = 0;
  bool dont_fragment = false;
  bool more_fragments = false;
  std::uint16_t fragment_offset = 0;  // bytes
  std::uint8_t ttl = 0;
  std::uint8_t protocol = 0;
  std::uint8_t tos = 0;  // DSCP and ECN
  IpAddress source;
  IpAddress destination;
};

// `bytes` starts at the header and runs to the end of the frame. Checks version, both lengths, the
// checksum (unless the NIC did) and the shape of the options; source routes are refused (RFC 7126).
std::expected<Ipv4Header, Drop> parse_ipv4(ByteSpan bytes, bool checksum_known_good = false);

struct Ipv4Build {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  std::size_t payload = 0;
  bool checksum = true;  // false leaves zero for the NIC to fill in
  // Of a fragment; as they are, an atomic datagram (RFC 6864 section 4.1).
  std::uint16_t id = 0;
  std::uint16_t fragment = kDontFragment;  // flags and offset as on the wire
};

// 20 bytes.
void write_ipv4(MutByteSpan room, const Ipv4Build& build);

}  // namespace sluice::packet
