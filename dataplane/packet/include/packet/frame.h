// One walk over a received frame: where its layers begin and what they say.
//
// Used by the worker to steer, by the IP layer as its first step, and by transit. All lengths come
// from the IP header, never from the frame: what Ethernet padded a short packet with is not
// payload. Nothing here knows which addresses are ours.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "packet/drop.h"
#include "packet/ethernet.h"
#include "packet/ipv6.h"

namespace sluice::packet {

// What the NIC says about a checksum. `unknown` means: verify in software.
enum class ChecksumHint : std::uint8_t { unknown, good, bad };

// What came with the frame out of band.
struct RxFlags {
  ChecksumHint ip = ChecksumHint::unknown;
  ChecksumHint l4 = ChecksumHint::unknown;
  bool vlan_stripped = false;  // the NIC took the tag off; `vlan` holds its TCI
  std::uint16_t vlan = 0;
};

enum class Network : std::uint8_t { none, arp, ipv4, ipv6 };

struct ParsedFrame {
  Drop drop = kNoDrop;  // the fields up to where parsing stopped are valid

  Network network = Network::none;
  std::uint8_t protocol = 0;  // upper layer, behind extension headers
  std::uint8_t ttl = 0;       // or hop limit
  std::uint8_t tos = 0;       // or traffic class
  std::uint16_t vlan = 0;     // VLAN id, 0 when untagged or only priority-tagged
  std::uint16_t l3_offset = 0;
  std::uint16_t l3_length = 0;  // from l3_offset to the end of the IP packet, padding excluded
  std::uint16_t l4_offset = 0;
  std::uint16_t l4_length = 0;  // from l4_offset to the end of the IP packet

  // TCP and UDP, when this is no fragment or the first one; else 0. Host order.
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint8_t icmp_type = 0;  // ICMP and ICMPv6, likewise

  bool fragment = false;  // a real one; l4_offset is then where its data begins
  bool more_fragments = false;
  std::uint16_t protocol_at = 0;      // IPv6: where `protocol` stands, from the IPv6 header on
  bool has_fragment_header = false;   // IPv6, atomic fragments included (RFC 6980 cares)
  std::uint16_t fragment_offset = 0;  // bytes
  std::uint32_t fragment_id = 0;
  HeaderProblem problem;  // IPv6, with `drop`: what its sender is to be told

  MacAddress destination_mac;
  MacAddress source_mac;
  IpAddress source;
  IpAddress destination;

  bool ok() const { return drop == kNoDrop; }
  bool ipv6() const { return network == Network::ipv6; }
  std::uint8_t ecn() const { return tos & 3; }
  ByteSpan l4(ByteSpan frame) const { return frame.subspan(l4_offset, l4_length); }
  ByteSpan l3(ByteSpan frame) const { return frame.subspan(l3_offset, l3_length); }
};

ParsedFrame parse_frame(ByteSpan frame, const RxFlags& flags = {});

// Second half of the same for a reassembled datagram: upper-layer header checks and ports, given
// where the payload stands and which header it begins with. Sets drop, protocol, ports, icmp_type
// and l4_offset/l4_length relative to `payload`.
void parse_upper_layer(ParsedFrame& parsed, ByteSpan payload);

}  // namespace sluice::packet
