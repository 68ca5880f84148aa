#include "base/ip_address.h"

#include <arpa/inet.h>

#include <charconv>

namespace sluice {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

IpAddress IpAddress::v4(std::uint32_t host_order) {
  IpAddress a;
  std::memcpy(a.bytes_.data(), kMappedPrefix.data(), kMappedPrefix.size());
  store_be32(&a.bytes_[12], host_order);
  return a;
}

IpAddress IpAddress::v4(std::span<const std::uint8_t, 4> network_order) {
  return v4(load_be32(network_order.data()));
}

IpAddress IpAddress::v6(std::span<const std::uint8_t, 16> network_order) {
  IpAddress a;
  std::memcpy(a.bytes_.data(), network_order.data(), a.bytes_.size());
  return a;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN + 1> z{};
  if (text.empty() || text.size() >= z.size()) return std::nullopt;
  // inet_pton() would stop at a NUL and never see what hides behind it.
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  std::memcpy(z.data(), text.data(), text.size());
  std::array<std::uint8_t, 16> raw{};
  if (inet_pton(AF_INET, z.data(), raw.data()) == 1) return v4(load_be32(raw.data()));
  if (inet_pton(AF_INET6, z.data(), raw.data()) == 1) return v6(raw);
  return std::nullopt;
}

bool IpAddress::is_v4() const {
  return std::memcmp(bytes_.data(), kMappedPrefix.data(), kMappedPrefix.size()) == 0;
}

bool IpAddress::is_unspecified() const {
  return is_v4() ? v4_host_order() == 0 : *this == IpAddress{};
}

bool IpAddress::is_multicast() const {
  return is_v4() ? (v4_host_order() >> 28) == 0xe : bytes_[0] == 0xff;
}

bool IpAddress::is_broadcast() const { return is_v4() && v4_host_order() == 0xffffffff; }

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  IpAddress one;
  one.bytes_[15] = 1;
  return *this == one;
}

bool IpAddress::is_link_local() const {
  if (is_v4()) return bytes_[12] == 169 && bytes_[13] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

ByteSpan IpAddress::bytes() const {
  return is_v4() ? ByteSpan{bytes_}.subspan(12) : ByteSpan{bytes_};
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> z{};
  inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes().data(), z.data(), z.size());
  return z.data();
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  const unsigned longest = address->is_v4() ? 32 : 128;
  unsigned bits = longest;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc{} || end != digits.data() + digits.size() || bits > longest ||
        digits.empty()) {
      return std::nullopt;
    }
  }
  return IpPrefix{*address, static_cast<std::uint8_t>(bits)};
}

bool IpPrefix::contains(const IpAddress& a) const {
  if (a.is_v4() != address.is_v4()) return false;
  const ByteSpan ours = address.bytes();
  const ByteSpan theirs = a.bytes();
  const std::size_t whole = bits / 8u;
  if (std::memcmp(ours.data(), theirs.data(), whole) != 0) return false;
  const unsigned rest = bits % 8u;
  return rest == 0 || ((ours[whole] ^ theirs[whole]) >> (8 - rest)) == 0;
}

std::string IpPrefix::to_string() const { return address.to_string() + "/" + std::to_string(bits); }

std::string Endpoint::to_string() const {
  return (address.is_v4() ? address.to_string() : "[" + address.to_string() + "]") + ":" +
         std::to_string(port);
}

}  // namespace sluice
