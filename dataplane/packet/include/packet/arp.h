// ARP for IPv4 over Ethernet (RFC 826, RFC 5227). Other hardware and protocol types are refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>

#include "packet/drop.h"
#include "packet/ethernet.h"

namespace sluice::packet {

inline constexpr std::size_t kArpLength = 28;

enum class ArpOperation : std::uint16_t { request = 1, reply = 2 };

struct ArpPacket {
  ArpOperation operation = ArpOperation::request;
  MacAddress sender_mac;
  IpAddress sender;
  MacAddress target_mac;
  IpAddress target;
};

// `bytes` starts behind the Ethernet header; padding behind the packet is ignored.
std::expected<ArpPacket, Drop> parse_arp(ByteSpan bytes);
// `room` has kArpLength bytes.
void write_arp(MutByteSpan room, const ArpPacket& arp);

}  // namespace sluice::packet
