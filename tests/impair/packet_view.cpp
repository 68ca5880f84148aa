#include "packet_view.h"

namespace sluice::impair {

std::optional<SegmentView> view_segment(ByteSpan packet) {
  const unsigned version = ip_version(packet);
  std::size_t header = 0, end = 0;
  ByteSpan addresses;
  if (version == 4) {
    header = (packet[0] & 15u) * 4u;
    end = load_be16(&packet[2]);
    const bool later_fragment = (load_be16(&packet[6]) & 0x1fff) != 0;
    if (packet[9] != 6 || header < 20 || later_fragment) return std::nullopt;
    addresses = packet.subspan(12, 8);
  } else if (version == 6) {
    header = 40;
    end = std::size_t{40} + load_be16(&packet[4]);
    if (packet[6] != 6) return std::nullopt;
    addresses = packet.subspan(8, 32);
  } else {
    return std::nullopt;
  }
  if (end > packet.size() || header + 20 > end) return std::nullopt;
  const std::uint8_t* tcp = &packet[header];
  const std::size_t tcp_header = (tcp[12] >> 4) * std::size_t{4};
  if (tcp_header < 20 || header + tcp_header > end) return std::nullopt;
  SegmentView view;
  view.flow = 0xcbf29ce484222325ULL;  // FNV-1a
  for (const std::uint8_t byte : addresses) view.flow = (view.flow ^ byte) * 0x100000001b3ULL;
  for (std::size_t i = 0; i < 4; ++i) view.flow = (view.flow ^ tcp[i]) * 0x100000001b3ULL;
  view.seq = load_be32(tcp + 4);
  view.ack = load_be32(tcp + 8);
  view.flags = tcp[13];
  view.payload = end - header - tcp_header;
  return view;
}

std::uint16_t internet_checksum(ByteSpan bytes, std::uint32_t start) {
  std::uint64_t sum = start;
  std::size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) sum += load_be16(&bytes[i]);
  if (i < bytes.size()) sum += std::uint64_t{bytes[i]} << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

}  // namespace sluice::impair
