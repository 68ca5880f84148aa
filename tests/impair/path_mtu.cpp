#include "path_mtu.h"

#include <algorithm>

#include "packet_view.h"

namespace sluice::impair {
namespace {

constexpr std::uint16_t kDontFragment = 0x4000, kMoreFragments = 0x2000, kOffset = 0x1fff;
constexpr std::uint8_t kIcmp = 1, kIcmpv6 = 58;

void finish_ipv4(Bytes& packet) {
  const std::size_t header = (packet[0] & 15u) * 4u;
  store_be16(&packet[2], static_cast<std::uint16_t>(packet.size()));
  store_be16(&packet[10], 0);
  store_be16(&packet[10], internet_checksum(ByteSpan{packet}.first(header)));
}

Bytes too_big_ipv4(ByteSpan packet, std::uint16_t mtu) {
  if (packet[9] == kIcmp || (load_be16(&packet[6]) & kOffset) != 0) return {};
  // RFC 1812 section 4.3.2.3: as much as fits 576 bytes.
  const std::size_t quoted = std::min<std::size_t>(packet.size(), 576 - 28);
  Bytes error(28 + quoted, 0);
  error[0] = 0x45;
  error[8] = 64;
  error[9] = kIcmp;
  std::copy_n(&packet[16], 4, &error[12]);
  std::copy_n(&packet[12], 4, &error[16]);
  error[20] = 3;
  error[21] = 4;
  store_be16(&error[26], mtu);
  std::copy_n(packet.begin(), quoted, error.begin() + 28);
  store_be16(&error[22], internet_checksum(ByteSpan{error}.subspan(20)));
  finish_ipv4(error);
  return error;
}

Bytes too_big_ipv6(ByteSpan packet, std::uint16_t mtu) {
  if (packet[6] == kIcmpv6) return {};
  const std::size_t quoted = std::min<std::size_t>(packet.size(), 1280 - 48);
  Bytes error(48 + quoted, 0);
  error[0] = 0x60;
  store_be16(&error[4], static_cast<std::uint16_t>(8 + quoted));
  error[6] = kIcmpv6;
  error[7] = 64;
  std::copy_n(&packet[24], 16, &error[8]);
  std::copy_n(&packet[8], 16, &error[24]);
  error[40] = 2;
  store_be32(&error[44], mtu);
  std::copy_n(packet.begin(), quoted, error.begin() + 48);
  // Pseudo header: addresses, length, next header.
  std::uint32_t sum = static_cast<std::uint32_t>(8 + quoted) + kIcmpv6;
  for (std::size_t i = 8; i < 40; i += 2) sum += load_be16(&error[i]);
  store_be16(&error[42], internet_checksum(ByteSpan{error}.subspan(40), sum));
  return error;
}

}  // namespace

bool dont_fragment(ByteSpan packet) {
  const unsigned version = ip_version(packet);
  return version == 6 || (version == 4 && (load_be16(&packet[6]) & kDontFragment) != 0);
}

Bytes packet_too_big(ByteSpan packet, std::uint16_t mtu) {
  switch (ip_version(packet)) {
    case 4:
      return too_big_ipv4(packet, mtu);
    case 6:
      return too_big_ipv6(packet, mtu);
    default:
      return {};
  }
}

std::vector<Bytes> fragment(ByteSpan packet, std::uint16_t mtu) {
  std::vector<Bytes> pieces;
  const std::size_t header = (packet[0] & 15u) * 4u;
  if (ip_version(packet) != 4 || header < 20 || mtu < header + 8) return pieces;
  const std::size_t end = std::min<std::size_t>(load_be16(&packet[2]), packet.size());
  const std::size_t room = (mtu - header) / 8 * 8;
  const std::uint16_t field = load_be16(&packet[6]);
  for (std::size_t at = header; at < end; at += room) {
    const std::size_t length = std::min(room, end - at);
    const auto offset = static_cast<std::uint16_t>((field & kOffset) + (at - header) / 8);
    const bool more = at + length < end || (field & kMoreFragments) != 0;
    Bytes piece(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(header));
    piece.insert(piece.end(), &packet[at], &packet[at] + length);
    store_be16(&piece[6], static_cast<std::uint16_t>((more ? kMoreFragments : 0) | offset));
    finish_ipv4(piece);
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

}  // namespace sluice::impair
