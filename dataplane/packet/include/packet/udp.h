// UDP headers (RFC 768).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>

#include "base/bytes.h"
#include "packet/drop.h"

namespace sluice::packet {

inline constexpr std::size_t kUdpHeader = 8;
inline constexpr std::size_t kUdpChecksumOffset = 6;

struct UdpHeader {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint16_t length = 0;  // header included; never more than the IP payload
  std::uint16_t checksum = 0;
};

inline std::expected<UdpHeader, Drop> parse_udp(ByteSpan datagram) {
  if (datagram.size() < kUdpHeader) return std::unexpected(Drop::drop_l4_truncated);
  const UdpHeader udp{load_be16(&datagram[0]), load_be16(&datagram[2]), load_be16(&datagram[4]),
                      load_be16(&datagram[6])};
  if (udp.length < kUdpHeader || udp.length > datagram.size()) {
    return std::unexpected(Drop::drop_udp_length);
  }
  return udp;
}

// 8 bytes, the checksum left at zero.
inline void write_udp(MutByteSpan room, std::uint16_t source_port, std::uint16_t destination_port,
                      std::size_t payload) {
  store_be16(&room[0], source_port);
  store_be16(&room[2], destination_port);
  store_be16(&room[4], static_cast<std::uint16_t>(kUdpHeader + payload));
  store_be16(&room[6], 0);
}

}  // namespace sluice::packet
