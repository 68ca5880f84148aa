// What comes in, what goes up, what goes out: RFC 1122 section 3, IEEE 802.1Q.

#include "fixture.h"

namespace sluice::ip::test {
namespace {

TEST_F(InterfaceTest, Bug46_TcpIsHandedUpWithoutPadding) {
  Bytes frame = ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp_segment());
  frame.resize(60, 0xaa);
  frame[15] = 0;
  const InputResult r = in(frame, at(1));
  ASSERT_EQ(r.kind, InputResult::Kind::packet);
  EXPECT_EQ(r.packet.bytes.size(), 20u);
  EXPECT_EQ(r.packet.source, ip("198.18.1.2"));
  EXPECT_EQ(r.packet.destination_port, 443);
  EXPECT_FALSE(r.packet.checksum_verified);
  EXPECT_FALSE(r.packet.reassembled);
}

TEST_F(InterfaceTest, ChecksumHintsRfc1122Section4_2_2_7) {
  const Bytes frame = ip_frame(ip("2001:db8:1::2"), ip("2001:db8:1::1"), 6, tcp_segment());
  EXPECT_TRUE(in(frame, at(1), {.l4 = packet::ChecksumHint::good}).packet.checksum_verified);
  EXPECT_EQ(in(frame, at(1), {.l4 = packet::ChecksumHint::bad}).drop, Drop::drop_l4_checksum);
}

TEST_F(InterfaceTest, EcnAndTtlAreHandedUp) {
  Bytes frame = ip_frame(ip("2001:db8:1::2"), ip("2001:db8:1::1"), 6, tcp_segment());
  frame[15] = 0x30;  // traffic class 3: congestion experienced
  const InputResult r = in(frame, at(1));
  EXPECT_EQ(r.packet.ecn, 3);
  EXPECT_EQ(r.packet.ttl, 64);
}

// RFC 1122 section 3.2.1.7: a small TTL concerns who forwards, not who receives.
TEST_F(InterfaceTest, SmallTtlIsNoReasonToDropRfc1122Section3_2_1_7) {
  for (const std::uint8_t ttl : {std::uint8_t{0}, std::uint8_t{1}}) {
    EXPECT_EQ(
        in(ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp_segment(), kOurMac, ttl), at(1))
            .kind,
        InputResult::Kind::packet);
  }
}

// RFC 9293 MUST-49; what IPv6 fixes at 255 or 1 stays as it is.
TEST_F(InterfaceTest, HopLimitIsConfigurable) {
  InterfaceConfig c = config();
  c.hop_limit = 9;
  remake(c);
  net->poll(at(0));
  arp_reply(at(0));
  send("198.18.1.2");
  arp_reply(at(0));
  bool seen = false;
  for (const auto& frame : sink.sent) {
    const packet::ParsedFrame p = check(frame.bytes);
    if (p.protocol == packet::kProtocolTcp) {
      seen = true;
      EXPECT_EQ(p.ttl, 9);
    }
  }
  EXPECT_TRUE(seen);
  sink.sent.clear();
  send("2001:db8:1::2", "2001:db8:1::1");
  EXPECT_EQ(check(next()).ttl, 255);  // a solicitation
}

TEST_F(InterfaceTest, FramesForOthersAreDropped) {
  const IpAddress peer = ip("198.18.1.2");
  const IpAddress us = ip("198.18.1.1");
  EXPECT_EQ(in(ip_frame(peer, us, 6, tcp_segment(), kOtherMac), at(1)).drop,
            Drop::drop_link_destination);
  // RFC 1122 section 3.3.6: unicast IP in a link broadcast.
  EXPECT_EQ(in(ip_frame(peer, us, 6, tcp_segment(), packet::kBroadcastMac), at(1)).drop,
            Drop::drop_link_destination);
  EXPECT_EQ(in(ip_frame(peer, ip("198.18.1.77"), 6, tcp_segment()), at(1)).drop,
            Drop::drop_ip_destination);
  EXPECT_EQ(
      in(ip_frame(peer, ip("198.18.1.255"), 17, udp_datagram(4), packet::kBroadcastMac), at(1))
          .drop,
      Drop::drop_ip_destination);
  EXPECT_EQ(
      in(ip_frame(peer, ip("255.255.255.255"), 17, udp_datagram(4), packet::kBroadcastMac), at(1))
          .drop,
      Drop::drop_ip_destination);
  EXPECT_EQ(count(Counter::drop_link_destination), 2u);
  EXPECT_EQ(count(Counter::drop_ip_destination), 3u);
}

TEST_F(InterfaceTest, Bug37_ForgedSourcesAreDropped) {
  const IpAddress us = ip("198.18.1.1");
  EXPECT_EQ(in(ip_frame(us, us, 6, tcp_segment()), at(1)).drop, Drop::drop_ip_source);
  EXPECT_EQ(in(ip_frame(ip("198.18.1.255"), us, 6, tcp_segment()), at(1)).drop,
            Drop::drop_ip_source);
  EXPECT_EQ(in(ip_frame(ip("0.0.0.0"), us, 6, tcp_segment()), at(1)).drop, Drop::drop_ip_source);
  EXPECT_EQ(in(ip_frame(ip("198.18.1.2"), us, 6, tcp_segment(), kOurMac, 64, kOurMac), at(1)).drop,
            Drop::drop_link_destination);  // our own MAC: a loop
  EXPECT_EQ(count(Counter::drop_ip_source), 3u);
}

TEST_F(InterfaceTest, VlanMustMatch) {
  InterfaceConfig c = config();
  c.vlan = 120;
  remake(c);
  Bytes tagged = ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp_segment());
  EXPECT_EQ(in(tagged, at(1)).drop, Drop::drop_vlan);
  EXPECT_EQ(in(tagged, at(1), {.vlan_stripped = true, .vlan = 120}).kind,
            InputResult::Kind::packet);
  const Bytes tag = {0x81, 0x00, 0xa0, 120};  // priority 5
  tagged.insert(tagged.begin() + 12, tag.begin(), tag.end());
  EXPECT_EQ(in(tagged, at(1)).kind, InputResult::Kind::packet);
  tagged[15] = 121;
  EXPECT_EQ(in(tagged, at(1)).drop, Drop::drop_vlan);

  // What leaves is tagged, held packets too.
  send("198.18.1.2");
  Bytes arp = arp_frame(packet::ArpOperation::reply, kPeerMac, "198.18.1.2", "198.18.1.1", kOurMac);
  arp.insert(arp.begin() + 12, tag.begin(), tag.end());
  in(arp, at(1));
  send("198.18.1.2");
  ASSERT_EQ(sink.sent.size(), 3u);
  for (const auto& sent : sink.sent) EXPECT_EQ(check(sent.bytes).vlan, 120);
}

TEST_F(InterfaceTest, PriorityTagCountsAsUntagged) {
  Bytes frame = ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp_segment());
  const Bytes tag = {0x81, 0x00, 0xe0, 0x00};
  frame.insert(frame.begin() + 12, tag.begin(), tag.end());
  EXPECT_EQ(in(frame, at(1)).kind, InputResult::Kind::packet);
  frame[15] = 7;
  EXPECT_EQ(in(frame, at(1)).drop, Drop::drop_vlan);
}

TEST_F(InterfaceTest, OffLinkGoesToTheGateway) {
  net->poll(at(1));
  ASSERT_TRUE(send("203.0.113.9"));
  EXPECT_EQ(next_arp().target, ip("198.18.1.254"));
  arp_reply(at(1), "198.18.1.254", kOtherMac);
  const packet::ParsedFrame p = check(next());
  EXPECT_EQ(p.destination_mac, kOtherMac);
  EXPECT_EQ(p.destination, ip("203.0.113.9"));
}

TEST_F(InterfaceTest, NoRouteIsCountedAndTaken) {
  InterfaceConfig c = config();
  c.gateways.clear();
  remake(c);
  EXPECT_TRUE(send("203.0.113.9"));
  EXPECT_TRUE(send("198.18.1.255"));
  EXPECT_TRUE(send("198.18.1.1"));
  EXPECT_TRUE(send("2001:db8:9::1"));
  EXPECT_EQ(count(Counter::drop_no_route), 4u);
  EXPECT_TRUE(sink.sent.empty());
}

TEST_F(InterfaceTest, MtuBoundsWhatIsSent) {
  net->poll(at(1));
  EXPECT_TRUE(send("198.18.1.2", "198.18.1.1", 1460));
  EXPECT_FALSE(send("198.18.1.2", "198.18.1.1", 1461));
  EXPECT_EQ(count(Counter::drop_packet_too_big), 1u);
  InterfaceConfig c = config();
  c.mtu = 9000;
  remake(c);
  net->poll(at(1));
  EXPECT_TRUE(send("198.18.1.2", "198.18.1.1", 8960));
  sink.sent.clear();
  arp_reply(at(1));
  EXPECT_EQ(check(next()).l4_length, 8980);
}

TEST_F(InterfaceTest, NoBufferMeansTryAgain) {
  net->poll(at(1));
  send("198.18.1.2");
  arp_reply(at(1));
  sink.sent.clear();
  sink.starved = true;
  EXPECT_FALSE(send("198.18.1.2"));
  sink.starved = false;
  EXPECT_TRUE(send("198.18.1.2"));
  check(next());
}

TEST_F(InterfaceTest, OffloadsLeaveWhatTheNicWantsToFind) {
  sink.l4 = sink.ipv4 = true;
  net->poll(at(1));
  send("198.18.1.2");
  arp_reply(at(1));
  // Held packets are finished in software: their sums were made before.
  EXPECT_FALSE(sink.sent.back().offload.l4_checksum);
  check(sink.sent.back().bytes);
  sink.sent.clear();

  send("198.18.1.2");
  const L4Offload offload = sink.sent.front().offload;
  EXPECT_EQ(offload.l2_length, 14);
  EXPECT_EQ(offload.l3_length, 20);
  EXPECT_EQ(offload.protocol, 6);
  EXPECT_TRUE(offload.l4_checksum);
  EXPECT_TRUE(offload.ipv4_checksum);
  Bytes frame = next();
  EXPECT_EQ(load_be16(&frame[24]), 0);
  EXPECT_EQ(load_be16(&frame[50]),
            packet::fold(packet::pseudo_header_sum(ip("198.18.1.1"), ip("198.18.1.2"), 6, 20)));
  // The NIC sums from the TCP header on, starting with what it finds, and stores the complement.
  store_be16(&frame[50], packet::checksum(ByteSpan{frame}.subspan(34)));
  store_be16(&frame[24], packet::checksum(ByteSpan{frame}.subspan(14, 20)));
  check(frame);
}

// One packet, its total length that of all text, for the sink to cut.
TEST_F(InterfaceTest, LargeSegmentsAreLeftToBeCut) {
  sink.cuts = true;
  net->poll(at(1));
  const auto large = [&](std::string_view to, std::size_t piece = 1460, std::size_t pieces = 5) {
    return net->begin_large(ip("198.18.1.1"), ip(to), packet::kTcpHeader, piece, pieces);
  };
  EXPECT_FALSE(large("198.18.1.2")) << "does not wait for a neighbour";
  send("198.18.1.2");
  arp_reply(at(1));
  sink.sent.clear();
  EXPECT_FALSE(large("198.18.1.2", 1461)) << "a piece larger than the MTU";
  EXPECT_FALSE(large("198.18.1.2", 1460, 45)) << "larger than an IP packet";
  EXPECT_FALSE(large("198.18.1.255")) << "no route";

  const GatherRoom room = large("198.18.1.2");
  ASSERT_TRUE(room);
  ASSERT_EQ(room.head.size(), packet::kTcpHeader);
  ASSERT_EQ(room.rest[0].size(), 5 * 1460u);
  std::ranges::copy(tcp_segment(), room.head.begin());
  net->end_l4();
  const L4Offload offload = sink.sent.front().offload;
  EXPECT_EQ(offload.piece, 1460);
  EXPECT_EQ(offload.l4_length, packet::kTcpHeader);
  EXPECT_TRUE(offload.l4_checksum && offload.ipv4_checksum);
  EXPECT_EQ(offload.l2_length + offload.l3_length, 34);
  const Bytes headers = next();
  EXPECT_EQ(headers.size(), 54u);
  EXPECT_EQ(load_be16(&headers[16]), 40 + 5 * 1460);
  sink.starved = true;
  EXPECT_FALSE(large("198.18.1.2"));
  sink.starved = false;
  EXPECT_TRUE(send("198.18.1.2")) << "afterwards as ever";
  EXPECT_EQ(sink.sent.front().offload.piece, 0);
  check(next());
}

TEST_F(InterfaceTest, UdpIsVerifiedAndTrimmed) {
  Bytes udp = udp_datagram(10);
  Bytes frame = ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 17, udp);
  InputResult r = in(frame, at(1));
  ASSERT_EQ(r.kind, InputResult::Kind::packet);
  EXPECT_EQ(r.packet.bytes.size(), 18u);
  EXPECT_TRUE(r.packet.checksum_verified);
  frame.back() ^= 1;
  EXPECT_EQ(in(frame, at(1)).drop, Drop::drop_l4_checksum);
  // RFC 768: no checksum is fine over IPv4, RFC 8200 section 8.1: not over IPv6.
  store_be16(&frame[40], 0);
  EXPECT_EQ(in(frame, at(1)).kind, InputResult::Kind::packet);
  Bytes six = ip_frame(ip("2001:db8:1::2"), ip("2001:db8:1::1"), 17, udp);
  EXPECT_EQ(in(six, at(1)).kind, InputResult::Kind::packet);
  store_be16(&six[60], 0);
  EXPECT_EQ(in(six, at(1)).drop, Drop::drop_l4_checksum);
}

TEST_F(InterfaceTest, SourceAddressChoice) {
  InterfaceConfig c = config();
  c.addresses.push_back(*IpPrefix::parse("198.18.2.1/24"));
  remake(c);
  EXPECT_EQ(net->source_for(ip("198.18.2.9")), ip("198.18.2.1"));
  EXPECT_EQ(net->source_for(ip("203.0.113.1")), ip("198.18.1.1"));
  EXPECT_EQ(net->source_for(ip("2001:db8:9::1")), ip("2001:db8:1::1"));
  EXPECT_EQ(net->source_for(ip("fe80::9")), ip("fe80::ff:fe00:1"));
  c.addresses = {*IpPrefix::parse("198.18.2.1/24")};
  remake(c);
  EXPECT_FALSE(net->source_for(ip("2001:db8:9::1")).has_value());
}

TEST_F(InterfaceTest, EveryTruncatedFrameDiesWithACount) {
  const std::vector<Bytes> frames = {
      ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 6, tcp_segment(8)),
      ip_frame(ip("2001:db8:1::2"), ip("2001:db8:1::1"), 58, echo_request(true, 8)),
      ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 17, udp_datagram(8)),
  };
  for (const Bytes& whole : frames) {
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
      const InputResult r = in(cut, at(1));
      ASSERT_EQ(r.kind, InputResult::Kind::dropped) << n;
      ASSERT_GT(count(r.drop), 0u);
    }
  }
}

}  // namespace
}  // namespace sluice::ip::test
