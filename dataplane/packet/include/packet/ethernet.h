// Ethernet II frames and one IEEE 802.1Q tag.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/ip_address.h"

namespace sluice::packet {

struct MacAddress {
  std::array<std::uint8_t, 6> octets{};

  static MacAddress from(const std::uint8_t* six) {
    MacAddress mac;
    std::memcpy(mac.octets.data(), six, mac.octets.size());
    return mac;
  }
  // "02:00:5e:10:00:01"
  static std::optional<MacAddress> parse(std::string_view text);
  std::string to_string() const;

  bool is_multicast() const { return (octets[0] & 1) != 0; }  // broadcast included
  bool is_zero() const { return *this == MacAddress{}; }
  friend constexpr auto operator<=>(const MacAddress&, const MacAddress&) = default;
};

inline constexpr MacAddress kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

// RFC 1112 section 6.4 and RFC 2464 section 7.
MacAddress multicast_mac(const IpAddress& group);

inline constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherTypeArp = 0x0806;
inline constexpr std::uint16_t kEtherTypeVlan = 0x8100;
inline constexpr std::uint16_t kEtherTypeIpv6 = 0x86dd;

inline constexpr std::size_t kEthernetHeader = 14;
inline constexpr std::size_t kVlanTag = 4;
inline constexpr std::uint16_t kVlanIdMask = 0x0fff;

// Writes the header, tagged when vlan is not 0. `room` has kEthernetHeader (+ kVlanTag) bytes.
// Returns the header's length.
std::size_t write_ethernet(MutByteSpan room, const MacAddress& destination,
                           const MacAddress& source, std::uint16_t ether_type,
                           std::uint16_t vlan = 0);

}  // namespace sluice::packet
