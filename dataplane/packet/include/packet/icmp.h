// ICMP (RFC 792, RFC 1191) and ICMPv6 (RFC 4443, RFC 4861): types, and errors with what they quote.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "packet/drop.h"

namespace sluice::packet {

inline constexpr std::size_t kIcmpHeader = 8;

inline constexpr std::uint8_t kIcmpEchoReply = 0;
inline constexpr std::uint8_t kIcmpUnreachable = 3;
inline constexpr std::uint8_t kIcmpEcho = 8;
inline constexpr std::uint8_t kIcmpTimeExceeded = 11;
inline constexpr std::uint8_t kIcmpParameterProblem = 12;
inline constexpr std::uint8_t kIcmpProtocolUnreachable = 2;  // codes of kIcmpUnreachable
inline constexpr std::uint8_t kIcmpPortUnreachable = 3;
inline constexpr std::uint8_t kIcmpFragmentationNeeded = 4;

inline constexpr std::uint8_t kIcmpv6Unreachable = 1;
inline constexpr std::uint8_t kIcmpv6PacketTooBig = 2;
inline constexpr std::uint8_t kIcmpv6TimeExceeded = 3;
inline constexpr std::uint8_t kIcmpv6ParameterProblem = 4;
inline constexpr std::uint8_t kIcmpv6Echo = 128;
inline constexpr std::uint8_t kIcmpv6EchoReply = 129;
inline constexpr std::uint8_t kIcmpv6MldQuery = 130;
inline constexpr std::uint8_t kIcmpv6RouterSolicitation = 133;
inline constexpr std::uint8_t kIcmpv6RouterAdvertisement = 134;
inline constexpr std::uint8_t kIcmpv6NeighbourSolicitation = 135;
inline constexpr std::uint8_t kIcmpv6NeighbourAdvertisement = 136;
inline constexpr std::uint8_t kIcmpv6Redirect = 137;
inline constexpr std::uint8_t kIcmpv6MldReportV2 = 143;
inline constexpr std::uint8_t kIcmpv6PortUnreachable = 4;  // code of kIcmpv6Unreachable

// Neighbour discovery proper: what only one worker should see (RFC 4861 section 4).
inline constexpr bool is_neighbour_discovery(std::uint8_t icmpv6_type) {
  return icmpv6_type >= kIcmpv6RouterSolicitation && icmpv6_type <= kIcmpv6Redirect;
}

// Is this type an error that quotes a packet? Source quench and redirects are not among them: both
// are ignored (RFC 6633; redirects are a hijacker's tool).
bool is_icmp_error(bool ipv6, std::uint8_t type);

// An error about a packet that was sent from `source`: the quoted packet's own fields.
struct IcmpError {
  std::uint8_t protocol = 0;  // of the quoted packet: TCP or UDP
  IpAddress source;
  IpAddress destination;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  ByteSpan quoted;        // from the quoted upper-layer header, at least 8 bytes
  bool hard = false;      // RFC 1122 section 4.2.3.9: no point in trying on
  std::uint16_t mtu = 0;  // nonzero: the quoted packet was too big, this much fits
};

// `bytes` runs from the ICMP header to the end of the IP payload; checksums are the caller's
// business, also in that the quoted IP header's checksum is not looked at.
std::expected<IcmpError, Drop> parse_icmp_error(bool ipv6, ByteSpan bytes);

}  // namespace sluice::packet
