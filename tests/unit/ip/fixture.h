// A port with one peer on the wire: builds the peer's frames, keeps what the interface sends.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <string_view>
#include <vector>

#include "ip/interface.h"
#include "packet/arp.h"
#include "packet/checksum.h"
#include "packet/frame.h"
#include "packet/icmp.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"
#include "packet/tcp.h"
#include "packet/udp.h"

namespace sluice::ip::test {

using Bytes = std::vector<std::uint8_t>;
using packet::Drop;
using packet::MacAddress;
using telemetry::Counter;

inline const MacAddress kOurMac{{2, 0, 0, 0, 0, 1}};
inline const MacAddress kPeerMac{{2, 0, 0, 0, 0, 2}};
inline const MacAddress kOtherMac{{2, 0, 0, 0, 0, 3}};

inline IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }
inline Time at(double seconds) { return Time{Micros{static_cast<std::int64_t>(seconds * 1e6)}}; }

// Keeps every frame; can refuse buffers and can claim offloads.
class RecordingSink final : public FrameSink {
 public:
  struct Sent {
    Bytes bytes;
    L4Offload offload;
  };
  MutByteSpan reserve(std::size_t length) override {
    EXPECT_FALSE(open_) << "reserve() twice without commit()";
    if (starved) return {};
    open_ = true;
    // Old contents must not shine through.
    room_.assign(length, 0xee);
    return room_;
  }
  void commit(std::size_t length, const L4Offload& offload) override {
    EXPECT_TRUE(open_);
    EXPECT_LE(length, room_.size());
    open_ = false;
    room_.resize(length);
    sent.push_back({room_, offload});
  }
  bool offloads_l4(bool, std::uint8_t) const override { return l4; }
  bool offloads_ipv4() const override { return ipv4; }
  GatherRoom reserve_large(std::size_t headers, std::size_t text) override {
    EXPECT_FALSE(open_) << "reserve_large() without commit()";
    if (starved || !cuts) return {};
    open_ = true;
    room_.assign(headers, 0xee);
    text_.assign(text, 0xee);
    parts_ = {MutByteSpan{text_}};
    return {room_, parts_};
  }

  bool starved = false;
  bool cuts = false;
  bool l4 = false;
  bool ipv4 = false;
  std::deque<Sent> sent;

 private:
  Bytes room_, text_;
  std::array<MutByteSpan, 1> parts_;
  bool open_ = false;
};

inline Bytes arp_frame(packet::ArpOperation operation, const MacAddress& mac,
                       std::string_view sender, std::string_view target,
                       const MacAddress& to = packet::kBroadcastMac,
                       const MacAddress& target_mac = {}) {
  Bytes frame(packet::kEthernetHeader + packet::kArpLength);
  packet::write_ethernet(frame, to, mac, packet::kEtherTypeArp);
  packet::write_arp(MutByteSpan{frame}.subspan(packet::kEthernetHeader),
                    {operation, mac, ip(sender), target_mac, ip(target)});
  frame.resize(60);  // as Ethernet pads it
  return frame;
}

// An IP packet of either family around `l4`, whose checksum is filled in if it is TCP, UDP or ICMP
// and can hold one.
inline Bytes ip_frame(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                      Bytes l4, const MacAddress& to = kOurMac, std::uint8_t hop_limit = 64,
                      const MacAddress& from = kPeerMac) {
  const bool ipv6 = source.is_v6();
  const std::size_t header = ipv6 ? packet::kIpv6Header : packet::kIpv4Header;
  std::size_t field = 2;
  if (protocol == packet::kProtocolTcp) field = packet::kTcpChecksumOffset;
  if (protocol == packet::kProtocolUdp) field = packet::kUdpChecksumOffset;
  const bool summed = protocol == packet::kProtocolTcp || protocol == packet::kProtocolUdp ||
                      protocol == packet::kProtocolIcmp || protocol == packet::kProtocolIcmpv6;
  if (summed && l4.size() >= field + 2) {
    store_be16(&l4[field], 0);
    store_be16(&l4[field], protocol == packet::kProtocolIcmp
                               ? packet::checksum(l4)
                               : packet::l4_checksum(source, destination, protocol, l4));
  }
  Bytes frame(packet::kEthernetHeader + header);
  packet::write_ethernet(frame, to, from, ipv6 ? packet::kEtherTypeIpv6 : packet::kEtherTypeIpv4);
  const MutByteSpan room = MutByteSpan{frame}.subspan(packet::kEthernetHeader);
  if (ipv6) {
    packet::write_ipv6(room, {.source = source,
                              .destination = destination,
                              .next_header = protocol,
                              .hop_limit = hop_limit,
                              .payload = l4.size()});
  } else {
    packet::write_ipv4(room, {.source = source,
                              .destination = destination,
                              .protocol = protocol,
                              .ttl = hop_limit,
                              .payload = l4.size()});
  }
  frame.insert(frame.end(), l4.begin(), l4.end());
  return frame;
}

// One piece of a datagram, its offset in bytes.
inline Bytes fragment_frame(const IpAddress& source, const IpAddress& destination,
                            std::uint8_t protocol, ByteSpan piece, std::size_t offset, bool more) {
  const bool ipv6 = source.is_v6();
  const std::size_t header =
      ipv6 ? packet::kIpv6Header + packet::kFragmentHeader : packet::kIpv4Header;
  Bytes frame(packet::kEthernetHeader + header);
  packet::write_ethernet(frame, kOurMac, kPeerMac,
                         ipv6 ? packet::kEtherTypeIpv6 : packet::kEtherTypeIpv4);
  const MutByteSpan room = MutByteSpan{frame}.subspan(packet::kEthernetHeader);
  if (ipv6) {
    packet::write_ipv6(room, {.source = source,
                              .destination = destination,
                              .next_header = packet::kFragment,
                              .payload = packet::kFragmentHeader + piece.size()});
    room[packet::kIpv6Header] = protocol;
    store_be16(&room[packet::kIpv6Header + 2], static_cast<std::uint16_t>(offset | (more ? 1 : 0)));
    store_be32(&room[packet::kIpv6Header + 4], 77);
  } else {
    packet::write_ipv4(room, {.source = source,
                              .destination = destination,
                              .protocol = protocol,
                              .payload = piece.size(),
                              .id = 77,
                              .fragment = static_cast<std::uint16_t>(
                                  (more ? packet::kMoreFragments : 0) | (offset / 8))});
  }
  frame.insert(frame.end(), piece.begin(), piece.end());
  return frame;
}

inline Bytes tcp_segment(std::size_t payload = 0) {
  Bytes tcp(packet::kTcpHeader + payload, 0x5a);
  store_be16(&tcp[0], 40000);
  store_be16(&tcp[2], 443);
  tcp[12] = 0x50;
  tcp[13] = packet::kTcpAck;
  return tcp;
}

inline Bytes udp_datagram(std::size_t payload) {
  Bytes udp(packet::kUdpHeader + payload, 0x5a);
  packet::write_udp(udp, 40000, 53, payload);
  return udp;
}

inline Bytes echo_request(bool ipv6, std::size_t payload = 56) {
  Bytes icmp(packet::kIcmpHeader + payload, 0x11);
  icmp[0] = ipv6 ? packet::kIcmpv6Echo : packet::kIcmpEcho;
  icmp[1] = 0;
  return icmp;
}

class InterfaceTest : public ::testing::Test {
 protected:
  static InterfaceConfig config() {
    InterfaceConfig c;
    c.mac = kOurMac;
    c.addresses = {*IpPrefix::parse("198.18.1.1/24"), *IpPrefix::parse("2001:db8:1::1/64")};
    c.gateways = {ip("198.18.1.254"), ip("2001:db8:1::fe")};
    c.secret[0] = 11;
    c.secret[1] = 22;
    c.duplicate_probes = 0;
    return c;
  }

  InputResult in(const Bytes& frame, Time now, const packet::RxFlags& flags = {}) {
    return net->input(frame, flags, now);
  }
  // Sends one segment of 20 bytes; true if begin_l4 gave room.
  bool send(std::string_view to, std::string_view from = "198.18.1.1", std::size_t payload = 0) {
    const Bytes tcp = tcp_segment(payload);
    const MutByteSpan room = net->begin_l4(ip(from), ip(to), packet::kProtocolTcp, tcp.size());
    if (room.empty()) return false;
    EXPECT_EQ(room.size(), tcp.size());
    std::copy(tcp.begin(), tcp.end(), room.begin());
    store_be16(&room[packet::kTcpChecksumOffset], 0);
    net->end_l4();
    return true;
  }
  void arp_reply(Time now, std::string_view from = "198.18.1.2", const MacAddress& mac = kPeerMac) {
    in(arp_frame(packet::ArpOperation::reply, mac, from, "198.18.1.1", kOurMac, kOurMac), now);
  }
  void remake(const InterfaceConfig& c) { net.emplace(c, sink, counters); }
  std::uint64_t count(Counter c) const { return counters.get(c); }

  // The oldest frame sent and not yet looked at.
  Bytes next() {
    if (sink.sent.empty()) {
      ADD_FAILURE() << "nothing was sent";
      return {};
    }
    Bytes frame = std::move(sink.sent.front().bytes);
    sink.sent.pop_front();
    return frame;
  }
  packet::ArpPacket next_arp() {
    const Bytes frame = next();
    EXPECT_EQ(packet::parse_frame(frame).network, packet::Network::arp);
    const auto arp = packet::parse_arp(ByteSpan{frame}.subspan(packet::kEthernetHeader));
    EXPECT_TRUE(arp.has_value());
    return arp.value_or(packet::ArpPacket{});
  }

  RecordingSink sink;
  telemetry::CounterBlock counters;
  std::optional<Interface> net{std::in_place, config(), sink, counters};
};

// A frame of ours is right: parses, and its checksums are good.
inline packet::ParsedFrame check(const Bytes& frame) {
  const packet::ParsedFrame p = packet::parse_frame(frame);
  EXPECT_TRUE(p.ok());
  if (!p.ok() || p.network == packet::Network::arp) return p;
  EXPECT_EQ(p.l3_offset + p.l3_length, frame.size());
  if (p.protocol == packet::kProtocolIcmp) {
    EXPECT_TRUE(packet::checksum_ok(p.l4(frame)));
  } else {
    EXPECT_TRUE(packet::l4_checksum_ok(p.source, p.destination, p.protocol, p.l4(frame)));
  }
  return p;
}

}  // namespace sluice::ip::test
