// IPv6 headers and the walk over extension headers (RFC 8200, RFC 5095, RFC 7112, RFC 6946).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "packet/drop.h"

namespace sluice::packet {

inline constexpr std::size_t kIpv6Header = 40;
inline constexpr std::size_t kIpv6MinimumMtu = 1280;
inline constexpr std::size_t kFragmentHeader = 8;

inline constexpr std::uint8_t kHopByHop = 0;
inline constexpr std::uint8_t kRouting = 43;
inline constexpr std::uint8_t kFragment = 44;
inline constexpr std::uint8_t kNoNextHeader = 59;
inline constexpr std::uint8_t kDestinationOptions = 60;

// An endpoint has no use for long chains, and walking them is the sender's cheapest attack.
inline constexpr unsigned kMaxExtensionHeaders = 8;
inline constexpr std::size_t kMaxExtensionBytes = 512;

struct Ipv6Header {
  std::uint16_t payload_length = 0;  // bytes behind the fixed header
  std::uint8_t next_header = 0;
  std::uint8_t hop_limit = 0;
  std::uint8_t traffic_class = 0;
  IpAddress source;
  IpAddress destination;
};

// The fixed header. Refuses jumbograms, payloads longer than the frame, and IPv4-mapped addresses,
// which must not appear on a wire and would be taken for IPv4 from here on.
std::expected<Ipv6Header, Drop> parse_ipv6(ByteSpan bytes);

// What is to be told to the sender of a packet that was dropped for its headers (RFC 4443 section
// 3.4); nothing unless `told`.
struct HeaderProblem {
  bool told = false;
  bool even_to_multicast = false;  // the packet's destination may have been a group
  std::uint8_t code = 0;           // 0 field, 1 next header, 2 option
  std::uint16_t pointer = 0;       // from the IPv6 header on
};

struct ExtensionFault {
  Drop drop;
  HeaderProblem problem{};
};

struct ExtensionWalk {
  std::uint8_t protocol = 0;         // first header that is not an extension
  std::uint16_t protocol_at = 6;     // where that stands, from the IPv6 header on
  std::size_t offset = 0;            // where it begins, in the bytes given
  bool has_fragment_header = false;  // also for an atomic fragment
  bool fragment = false;             // a real one: offset points behind the fragment header
  bool more_fragments = false;
  std::uint16_t fragment_offset = 0;  // bytes
  std::uint32_t fragment_id = 0;
};

// Walks from `next_header`, whose bytes begin `bytes`. Stops behind a fragment header unless the
// fragment is atomic. `hop_by_hop_allowed` is true for the walk from the fixed header; pointers are
// right for that one only.
std::expected<ExtensionWalk, ExtensionFault> walk_extensions(std::uint8_t next_header,
                                                             ByteSpan bytes,
                                                             bool hop_by_hop_allowed = true);

// Whether an ICMPv6 error is at the end of a chain, faults on the way passed over: such packets are
// never answered by another error (RFC 4443 section 2.4 (e.1)).
bool carries_icmpv6_error(std::uint8_t next_header, ByteSpan bytes);

struct Ipv6Build {
  IpAddress source;
  IpAddress destination;
  std::uint8_t next_header = 0;
  std::uint8_t hop_limit = 64;
  std::uint8_t traffic_class = 0;
  std::uint32_t flow_label = 0;
  std::size_t payload = 0;
};

// 40 bytes.
void write_ipv6(MutByteSpan room, const Ipv6Build& build);

// ff02::1:ffXX:XXXX (RFC 4291 section 2.7.1).
IpAddress solicited_node_multicast(const IpAddress& address);
// fe80:: plus the EUI-64 of a MAC (RFC 4291 appendix A).
IpAddress link_local_from_mac(const std::array<std::uint8_t, 6>& mac);

}  // namespace sluice::packet
