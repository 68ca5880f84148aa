// What an impairment needs to see of an IP packet: its TCP segment, and its checksums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace sluice::impair {

inline constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16, kUrg = 32;

struct SegmentView {
  std::uint64_t flow = 0;  // a hash of addresses and ports, directed
  std::uint32_t seq = 0, ack = 0;
  std::uint8_t flags = 0;
  std::size_t payload = 0;  // bytes
};

// Version of the IP packet, or 0.
inline unsigned ip_version(ByteSpan packet) {
  if (packet.size() >= 20 && packet[0] >> 4 == 4) return 4;
  if (packet.size() >= 40 && packet[0] >> 4 == 6) return 6;
  return 0;
}

// Nothing for what is not TCP, or a later fragment, or has IPv6 extension headers.
std::optional<SegmentView> view_segment(ByteSpan packet);

// RFC 1071, over bytes whose checksum field is zero.
std::uint16_t internet_checksum(ByteSpan bytes, std::uint32_t start = 0);

}  // namespace sluice::impair
