// Each reason for which a frame dies below TCP: a case for every row of counters.def that is
// neither TCP's nor the device port's, which must count that reason once and no other.

#include <algorithm>
#include <map>

#include "fixture.h"
#include "port_drops.h"

namespace sluice::ip::test {
namespace {

bool is_drop(Counter c) { return telemetry::info(c).metric == "drops"; }

std::vector<Counter> reasons_of_ip() {
  std::vector<Counter> all;
  for (std::size_t i = 0; i < telemetry::kCounterCount; ++i) {
    const auto c = static_cast<Counter>(i);
    // tests/script/drops_test.cpp; of a bad data offset this side takes care.
    const bool tcp =
        telemetry::info(c).id.starts_with("drop_tcp_") && c != Counter::drop_tcp_header_length;
    // tests/unit/port/drops_test.cpp.
    const bool port = std::ranges::find(kPortDrops, c) != std::end(kPortDrops);
    if (is_drop(c) && !tcp && !port) all.push_back(c);
  }
  return all;
}

const IpAddress kUs = ip("198.18.1.1"), kPeer = ip("198.18.1.2");
const IpAddress kUs6 = ip("2001:db8:1::1"), kPeer6 = ip("2001:db8:1::2");

class Drops : public InterfaceTest, public ::testing::WithParamInterface<Counter> {
 protected:
  void make(Counter reason);
  void make_malformed(Counter reason);
  void make_upper_layer(Counter reason);
  void make_fragment(Counter reason);
  void make_outgoing(Counter reason);
  // A TCP segment to us, with one octet of its IPv4 header set and the checksum made good again.
  Bytes changed(std::size_t at_octet, std::uint8_t value) {
    Bytes frame = ip_frame(kPeer, kUs, 6, tcp_segment());
    frame[14 + at_octet] = value;
    fix(frame);
    return frame;
  }
  static void fix(Bytes& frame) {
    const std::size_t length = (frame[14] & 15u) * 4u;
    store_be16(&frame[24], 0);
    if (14 + length <= frame.size()) {
      store_be16(&frame[24], packet::checksum(ByteSpan{frame}.subspan(14, length)));
    }
  }
  Bytes with_option(std::uint8_t kind, std::uint8_t length) {
    Bytes frame = changed(0, 0x46);
    const Bytes option = {kind, length, 4, 0};
    frame.insert(frame.begin() + 34, option.begin(), option.end());
    frame[17] = static_cast<std::uint8_t>(frame[17] + 4);
    fix(frame);
    return frame;
  }
  bool known = true;
};

void Drops::make(Counter reason) {
  switch (reason) {
    case Counter::drop_frame_truncated:
      in(Bytes(13), at(1));
      return;
    case Counter::drop_ether_type: {
      Bytes frame = ip_frame(kPeer, kUs, 6, tcp_segment());
      store_be16(&frame[12], 0x88cc);
      in(frame, at(1));
      return;
    }
    case Counter::drop_vlan:
      in(ip_frame(kPeer, kUs, 6, tcp_segment()), at(1), {.vlan_stripped = true, .vlan = 9});
      return;
    case Counter::drop_link_destination:
      in(ip_frame(kPeer, kUs, 6, tcp_segment(), kOtherMac), at(1));
      return;
    case Counter::drop_ip_source:
      in(ip_frame(ip("127.0.0.1"), kUs, 6, tcp_segment()), at(1));
      return;
    case Counter::drop_ip_destination:
      in(ip_frame(kPeer, ip("198.18.1.9"), 6, tcp_segment()), at(1));
      return;
    case Counter::drop_arp:
      in(arp_frame(packet::ArpOperation::request, MacAddress{}, "198.18.1.2", "198.18.1.1"), at(1));
      return;
    case Counter::drop_arp_ignored:
      in(arp_frame(packet::ArpOperation::request, kPeerMac, "198.18.1.2", "198.18.1.3"), at(1));
      return;
    default:
      return make_malformed(reason);
  }
}

void Drops::make_malformed(Counter reason) {
  switch (reason) {
    case Counter::drop_ip_header:
      in(changed(0, 0x55), at(1));
      return;
    case Counter::drop_ip_length:
      in(changed(2, 1), at(1));
      return;
    case Counter::drop_ip_checksum: {
      Bytes frame = ip_frame(kPeer, kUs, 6, tcp_segment());
      frame[25] ^= 1;
      in(frame, at(1));
      return;
    }
    case Counter::drop_ip_options:
      in(with_option(7, 40), at(1));
      return;
    case Counter::drop_source_route:
      in(with_option(131, 3), at(1));
      return;
    case Counter::drop_extension_header: {
      // A hop-by-hop header whose length exceeds the packet.
      Bytes header = {6, 9, 0, 0, 0, 0, 0, 0};
      in(ip_frame(kPeer6, kUs6, packet::kHopByHop, header), at(1));
      return;
    }
    default:
      return make_upper_layer(reason);
  }
}

void Drops::make_upper_layer(Counter reason) {
  Bytes tcp = tcp_segment(), udp = udp_datagram(4);
  switch (reason) {
    case Counter::drop_l4_truncated:
      tcp.resize(19);
      in(ip_frame(kPeer, kUs, 6, tcp), at(1));
      return;
    case Counter::drop_tcp_header_length:
      tcp[12] = 0x40;
      in(ip_frame(kPeer, kUs, 6, tcp), at(1));
      return;
    case Counter::drop_udp_length:
      store_be16(&udp[4], 7);
      in(ip_frame(kPeer, kUs, 17, udp), at(1));
      return;
    case Counter::drop_l4_checksum: {
      Bytes frame = ip_frame(kPeer, kUs, 17, udp);
      frame.back() ^= 1;
      in(frame, at(1));
      return;
    }
    case Counter::drop_protocol:
      in(ip_frame(kPeer, kUs, 132, Bytes(16)), at(1));
      return;
    case Counter::drop_no_listener: {
      const Bytes frame = ip_frame(kPeer, kUs, 17, udp);
      const InputResult r = in(frame, at(1));
      net->refuse_udp(r.packet, at(1));
      return;
    }
    case Counter::drop_nd:
      in(ip_frame(kPeer6, kUs6, packet::kProtocolIcmpv6, {135, 0, 0, 0, 0, 0, 0, 0}, kOurMac, 255),
         at(1));
      return;
    case Counter::drop_nd_ignored: {
      Bytes advert = {134, 0, 0, 0};  // a router's
      advert.resize(16);
      in(ip_frame(kPeer6, kUs6, packet::kProtocolIcmpv6, advert, kOurMac, 255), at(1));
      return;
    }
    case Counter::drop_icmp:
      in(ip_frame(kPeer, kUs, packet::kProtocolIcmp, {13, 0, 0, 0, 0, 0, 0, 0}), at(1));
      return;
    case Counter::drop_icmp_rate: {
      InterfaceConfig c = config();
      c.echo_per_second = 1;
      remake(c);
      const Bytes echo = ip_frame(kPeer, kUs, packet::kProtocolIcmp, echo_request(false));
      for (int i = 0; i < 2; ++i) in(echo, at(1));
      return;
    }
    default:
      return make_fragment(reason);
  }
}

void Drops::make_fragment(Counter reason) {
  const Bytes piece(16);
  switch (reason) {
    case Counter::drop_fragment:
      in(fragment_frame(kPeer, kUs, 17, ByteSpan{piece}.first(15), 0, true), at(1));
      return;
    case Counter::drop_fragment_duplicate:
      in(fragment_frame(kPeer, kUs, 17, piece, 16, true), at(1));
      in(fragment_frame(kPeer, kUs, 17, piece, 16, true), at(1));
      return;
    case Counter::drop_fragment_timeout:
      in(fragment_frame(kPeer, kUs, 17, piece, 16, true), at(1));
      net->poll(at(100));
      return;
    default:
      return make_outgoing(reason);
  }
}

void Drops::make_outgoing(Counter reason) {
  switch (reason) {
    case Counter::drop_no_route:
      send("198.18.1.255");
      return;
    case Counter::drop_own_address: {
      InterfaceConfig c = config();
      c.duplicate_probes = 1;  // not checked yet
      remake(c);
      send("198.18.1.2");
      return;
    }
    case Counter::drop_packet_too_big:
      send("198.18.1.2", "198.18.1.1", 1500);
      return;
    case Counter::drop_no_neighbour:
      send("198.18.1.2");
      for (int s = 1; s < 20; ++s) net->poll(at(s));
      return;
    case Counter::drop_neighbour_queue:
      for (int i = 0; i < 4; ++i) send("198.18.1.2");
      return;
    case Counter::drop_no_buffer:
      in(arp_frame(packet::ArpOperation::request, kPeerMac, "198.18.1.2", "198.18.1.1"), at(1));
      sink.starved = true;
      in(ip_frame(kPeer, kUs, packet::kProtocolIcmp, echo_request(false)), at(1));
      return;
    default:
      known = false;
  }
}

TEST_P(Drops, CountsItsReasonAndNoOther) {
  make(GetParam());
  ASSERT_TRUE(known) << telemetry::info(GetParam()).id << " has no case here: write one";
  std::map<std::string_view, std::uint64_t> counted;
  for (std::size_t i = 0; i < telemetry::kCounterCount; ++i) {
    const auto c = static_cast<Counter>(i);
    if (is_drop(c) && count(c) > 0) counted[telemetry::info(c).id] = count(c);
  }
  EXPECT_EQ(counted,
            (std::map<std::string_view, std::uint64_t>{{telemetry::info(GetParam()).id, 1}}));
}

INSTANTIATE_TEST_SUITE_P(Table, Drops, ::testing::ValuesIn(reasons_of_ip()), [](const auto& row) {
  return std::string(telemetry::info(row.param).id);
});

}  // namespace
}  // namespace sluice::ip::test
