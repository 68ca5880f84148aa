#include "packet/arp.h"

namespace sluice::packet {
namespace {

constexpr std::uint16_t kHardwareEthernet = 1;

IpAddress read_v4(ByteReader& r) { return IpAddress::v4(r.be32()); }

MacAddress read_mac(ByteReader& r) {
  const ByteSpan raw = r.bytes(6);
  return raw.empty() ? MacAddress{} : MacAddress::from(raw.data());
}

}  // namespace

std::expected<ArpPacket, Drop> parse_arp(ByteSpan bytes) {
  ByteReader r(bytes);
  const bool ethernet = r.be16() == kHardwareEthernet;
  const bool ipv4 = r.be16() == kEtherTypeIpv4;
  const bool lengths = r.be16() == 0x0604;
  const std::uint16_t operation = r.be16();
  ArpPacket arp;
  arp.sender_mac = read_mac(r);
  arp.sender = read_v4(r);
  arp.target_mac = read_mac(r);
  arp.target = read_v4(r);
  if (!r.ok() || !ethernet || !ipv4 || !lengths || operation < 1 || operation > 2) {
    return std::unexpected(Drop::drop_arp);
  }
  arp.operation = static_cast<ArpOperation>(operation);
  return arp;
}

void write_arp(MutByteSpan room, const ArpPacket& arp) {
  ByteWriter w(room);
  w.be16(kHardwareEthernet);
  w.be16(kEtherTypeIpv4);
  w.be16(0x0604);
  w.be16(static_cast<std::uint16_t>(arp.operation));
  w.bytes(arp.sender_mac.octets);
  w.be32(arp.sender.v4_host_order());
  w.bytes(arp.target_mac.octets);
  w.be32(arp.target.v4_host_order());
}

}  // namespace sluice::packet
