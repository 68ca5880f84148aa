// IPv4 and IPv6 addresses, prefixes and (address, port) pairs as values.
//
// Stored as 16 bytes in network order; IPv4 as an IPv4-mapped IPv6 address (RFC 4291 section
// 2.5.5.2), so that comparing and hashing need no branch on the family.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace sluice {

class IpAddress {
 public:
  // "::", the IPv6 unspecified address; also the wildcard of a listener.
  constexpr IpAddress() = default;

  static IpAddress v4(std::uint32_t host_order);
  static IpAddress v4(std::span<const std::uint8_t, 4> network_order);
  static IpAddress v6(std::span<const std::uint8_t, 16> network_order);
  // Dotted quad or RFC 4291 text, no zone, no port.
  static std::optional<IpAddress> parse(std::string_view text);

  bool is_v4() const;
  bool is_v6() const { return !is_v4(); }
  bool is_unspecified() const;  // 0.0.0.0 or ::
  bool is_multicast() const;
  bool is_broadcast() const;  // 255.255.255.255 only; a subnet's is the interface's business
  bool is_loopback() const;
  bool is_link_local() const;

  std::uint32_t v4_host_order() const { return load_be32(&bytes_[12]); }
  // 4 bytes for IPv4, 16 for IPv6, network order.
  ByteSpan bytes() const;
  // Always 16 bytes, IPv4 in mapped form.
  const std::array<std::uint8_t, 16>& mapped() const { return bytes_; }

  // RFC 5952 text.
  std::string to_string() const;

  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

struct IpPrefix {
  IpAddress address;      // host bits kept as given
  std::uint8_t bits = 0;  // 0..32 for IPv4, 0..128 for IPv6

  // "198.18.1.0/24"; a bare address is a /32 or /128.
  static std::optional<IpPrefix> parse(std::string_view text);
  bool contains(const IpAddress& a) const;
  std::string to_string() const;
  friend constexpr auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
};

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;  // host order

  std::string to_string() const;  // "198.18.1.1:443", "[2001:db8::1]:443"
  friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

}  // namespace sluice
