#include "packet/ethernet.h"

#include <charconv>

namespace sluice::packet {

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
  MacAddress mac;
  if (text.size() != 17) return std::nullopt;
  for (std::size_t i = 0; i < 6; ++i) {
    const char* at = text.data() + i * 3;
    if (i > 0 && at[-1] != ':') return std::nullopt;
    const auto [end, error] = std::from_chars(at, at + 2, mac.octets[i], 16);
    if (error != std::errc{} || end != at + 2) return std::nullopt;
  }
  return mac;
}

std::string MacAddress::to_string() const {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t octet : octets) {
    if (!text.empty()) text += ':';
    text += kDigits[octet >> 4];
    text += kDigits[octet & 15];
  }
  return text;
}

MacAddress multicast_mac(const IpAddress& group) {
  const ByteSpan raw = group.bytes();
  if (group.is_v4()) {
    return {{0x01, 0x00, 0x5e, static_cast<std::uint8_t>(raw[1] & 0x7f), raw[2], raw[3]}};
  }
  return {{0x33, 0x33, raw[12], raw[13], raw[14], raw[15]}};
}

std::size_t write_ethernet(MutByteSpan room, const MacAddress& destination,
                           const MacAddress& source, std::uint16_t ether_type, std::uint16_t vlan) {
  ByteWriter w(room);
  w.bytes(destination.octets);
  w.bytes(source.octets);
  if (vlan != 0) {
    w.be16(kEtherTypeVlan);
    w.be16(vlan);
  }
  w.be16(ether_type);
  return w.written();
}

}  // namespace sluice::packet
