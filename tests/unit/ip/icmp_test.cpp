// ICMP: RFC 792, RFC 1122 section 3.2.2, RFC 4443, RFC 5927.

#include <algorithm>

#include "fixture.h"
#include "ip/reassembly.h"

namespace sluice::ip::test {
namespace {

class IcmpTest : public InterfaceTest {
 protected:
  // Both families have the peer's MAC, so that answers leave at once.
  void SetUp() override {
    in(arp_frame(packet::ArpOperation::request, kPeerMac, "198.18.1.2", "198.18.1.1"), at(0));
    Bytes ns(32);
    ns[0] = packet::kIcmpv6NeighbourSolicitation;
    const IpAddress us = ip("2001:db8:1::1");
    std::copy(us.mapped().begin(), us.mapped().end(), ns.begin() + 8);
    ns[24] = 1;
    ns[25] = 1;
    std::copy(kPeerMac.octets.begin(), kPeerMac.octets.end(), ns.begin() + 26);
    in(ip_frame(ip("2001:db8:1::2"), us, 58, ns, kOurMac, 255), at(0));
    sink.sent.clear();
  }
  static Bytes error_about(const Bytes& sent, std::uint8_t type, std::uint8_t code,
                           std::uint32_t field = 0) {
    Bytes icmp(8);
    icmp[0] = type;
    icmp[1] = code;
    store_be32(&icmp[4], field);
    icmp.insert(icmp.end(), sent.begin() + 14, sent.end());
    return icmp;
  }
};

TEST_F(IcmpTest, EchoIsAnsweredRfc1122Section3_2_2_6) {
  for (const bool ipv6 : {false, true}) {
    const IpAddress peer = ip(ipv6 ? "2001:db8:1::2" : "198.18.1.2");
    const IpAddress us = ip(ipv6 ? "2001:db8:1::1" : "198.18.1.1");
    const std::uint8_t protocol = ipv6 ? 58 : 1;
    const Bytes request = echo_request(ipv6);
    EXPECT_EQ(in(ip_frame(peer, us, protocol, request), at(1)).kind, InputResult::Kind::consumed);
    const Bytes frame = next();
    const packet::ParsedFrame p = check(frame);
    EXPECT_EQ(p.source, us);
    EXPECT_EQ(p.destination, peer);
    EXPECT_EQ(p.icmp_type, ipv6 ? 129 : 0);
    const ByteSpan reply = p.l4(frame);
    ASSERT_EQ(reply.size(), request.size());
    EXPECT_TRUE(std::equal(reply.begin() + 4, reply.end(), request.begin() + 4));
  }
  EXPECT_EQ(count(Counter::icmp_echo_answered), 2u);
}

// RFC 1122 section 3.2.2.6 and RFC 4443 section 4.2: all of the data comes back.
TEST_F(IcmpTest, EchoLongerThanTheMtuComesBackInFragments) {
  for (const bool ipv6 : {false, true}) {
    const IpAddress peer = ip(ipv6 ? "2001:db8:1::2" : "198.18.1.2");
    const IpAddress us = ip(ipv6 ? "2001:db8:1::1" : "198.18.1.1");
    const std::uint8_t protocol = ipv6 ? 58 : 1;
    InterfaceConfig small = config();
    small.mtu = 9000;
    remake(small);
    SetUp();
    Bytes request = echo_request(ipv6, 4000);
    for (std::size_t i = 8; i < request.size(); ++i) request[i] = static_cast<std::uint8_t>(i * 7);
    const Bytes whole = ip_frame(peer, us, protocol, request);
    in(whole, at(1));
    const Bytes unfragmented = next();
    const ByteSpan expected = check(unfragmented).l4(unfragmented);
    // The same request over a link of 1500: it arrives in fragments that the peer's stack would
    // cut.
    remake(config());
    SetUp();
    const ByteSpan sent = packet::parse_frame(whole).l4(whole);
    for (std::size_t from = 0; from < sent.size(); from += 1400) {
      const std::size_t length = std::min<std::size_t>(1400, sent.size() - from);
      in(fragment_frame(peer, us, protocol, sent.subspan(from, length), from,
                        from + length < sent.size()),
         at(2));
    }
    EXPECT_EQ(sink.sent.size(), 3u);
    Reassembler reassembler{{}};
    Reassembler::Result done;
    while (!sink.sent.empty()) {
      const Bytes frame = next();
      const packet::ParsedFrame p = packet::parse_frame(frame);
      ASSERT_TRUE(p.ok() && p.fragment);
      EXPECT_LE(frame.size(), 1514u);
      done = reassembler.add(p, p.l4(frame), at(3));
    }
    ASSERT_EQ(done.verdict, Reassembler::Verdict::complete);
    EXPECT_EQ(done.protocol, protocol);
    EXPECT_TRUE(std::ranges::equal(done.payload, expected));
  }
}

TEST_F(IcmpTest, EchoToGroupsIsNotAnswered) {
  in(ip_frame(ip("198.18.1.2"), ip("198.18.1.255"), 1, echo_request(false), packet::kBroadcastMac),
     at(1));
  in(ip_frame(ip("2001:db8:1::2"), ip("ff02::1"), 58, echo_request(true),
              {{0x33, 0x33, 0, 0, 0, 1}}),
     at(1));
  EXPECT_TRUE(sink.sent.empty());
}

TEST_F(IcmpTest, WrongChecksumIsDropped) {
  Bytes frame = ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 1, echo_request(false));
  frame.back() ^= 1;
  EXPECT_EQ(in(frame, at(1)).drop, Drop::drop_l4_checksum);
}

TEST_F(IcmpTest, EchoIsRateLimited) {
  const Bytes frame = ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 1, echo_request(false));
  for (int i = 0; i < 300; ++i) in(frame, at(1));
  EXPECT_EQ(sink.sent.size(), 100u);
  EXPECT_EQ(count(Counter::drop_icmp_rate), 200u);
  for (int i = 0; i < 300; ++i) in(frame, at(1.01));
  EXPECT_EQ(sink.sent.size(), 110u);  // 1000 a second
}

TEST_F(IcmpTest, ErrorsAboutOurFlowsAreHandedUp) {
  const IpAddress us = ip("198.18.1.1");
  const Bytes ours = ip_frame(us, ip("203.0.113.9"), 6, tcp_segment());
  InputResult r = in(ip_frame(ip("198.18.1.254"), us, 1, error_about(ours, 3, 4, 1400)), at(1));
  ASSERT_EQ(r.kind, InputResult::Kind::icmp_error);
  EXPECT_EQ(r.error.source, us);
  EXPECT_EQ(r.error.destination, ip("203.0.113.9"));
  EXPECT_EQ(r.error.source_port, 40000);
  EXPECT_EQ(r.error.mtu, 1400);
  EXPECT_GE(r.error.quoted.size(), 8u);
  r = in(ip_frame(ip("198.18.1.254"), us, 1, error_about(ours, 3, 3)), at(1));
  EXPECT_TRUE(r.error.hard);

  const IpAddress us6 = ip("2001:db8:1::1");
  const Bytes ours6 = ip_frame(us6, ip("2001:db8:9::9"), 6, tcp_segment());
  r = in(ip_frame(ip("2001:db8:1::fe"), us6, 58, error_about(ours6, 2, 0, 1300)), at(1));
  ASSERT_EQ(r.kind, InputResult::Kind::icmp_error);
  EXPECT_EQ(r.error.mtu, 1300);
  EXPECT_EQ(count(Counter::icmp_errors_received), 3u);
}

TEST_F(IcmpTest, ErrorsAboutOthersAreDropped) {
  const IpAddress us = ip("198.18.1.1");
  const Bytes theirs = ip_frame(ip("198.18.1.7"), ip("203.0.113.9"), 6, tcp_segment());
  EXPECT_EQ(in(ip_frame(ip("198.18.1.254"), us, 1, error_about(theirs, 3, 1)), at(1)).drop,
            Drop::drop_icmp);
  const Bytes ours = ip_frame(us, ip("203.0.113.9"), 6, tcp_segment());
  // "Too big" for less than a packet of ours can be.
  EXPECT_EQ(in(ip_frame(ip("198.18.1.254"), us, 1, error_about(ours, 3, 4, 1500)), at(1)).drop,
            Drop::drop_icmp);
  EXPECT_EQ(in(ip_frame(ip("198.18.1.254"), us, 1, error_about(ours, 5, 1)), at(1)).drop,
            Drop::drop_icmp);  // redirect
}

TEST_F(IcmpTest, RefusedUdpIsToldRfc1122Section4_1_3_1) {
  for (const bool ipv6 : {false, true}) {
    const IpAddress peer = ip(ipv6 ? "2001:db8:1::2" : "198.18.1.2");
    const IpAddress us = ip(ipv6 ? "2001:db8:1::1" : "198.18.1.1");
    const Bytes frame = ip_frame(peer, us, 17, udp_datagram(1300));
    const InputResult r = in(frame, at(1));
    ASSERT_EQ(r.kind, InputResult::Kind::packet);
    net->refuse_udp(r.packet, at(1));
    const Bytes error = next();
    const packet::ParsedFrame p = check(error);
    EXPECT_LE(p.l3_length, ipv6 ? 1280 : 576);
    const auto parsed = packet::parse_icmp_error(ipv6, p.l4(error));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->source, peer);
    EXPECT_EQ(parsed->destination, us);
    EXPECT_EQ(parsed->destination_port, 53);
    EXPECT_TRUE(parsed->hard);
  }
  EXPECT_EQ(count(Counter::drop_no_listener), 2u);
}

TEST_F(IcmpTest, UnknownProtocolIsToldRfc1122Section3_2_2_1) {
  EXPECT_EQ(in(ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 132, Bytes(16)), at(1)).drop,
            Drop::drop_protocol);
  Bytes error = next();
  packet::ParsedFrame p = check(error);
  EXPECT_EQ(p.l4(error)[0], 3);
  EXPECT_EQ(p.l4(error)[1], 2);
  // RFC 4443 section 3.4: code 1, pointing at the next-header field.
  in(ip_frame(ip("2001:db8:1::2"), ip("2001:db8:1::1"), 132, Bytes(16)), at(1));
  error = next();
  p = check(error);
  EXPECT_EQ(p.l4(error)[0], 4);
  EXPECT_EQ(p.l4(error)[1], 1);
  EXPECT_EQ(load_be32(&p.l4(error)[4]), 6u);
}

TEST_F(IcmpTest, UnknownProtocolBehindOptionsIsPointedAtRfc8200Section4) {
  Bytes bytes = {132, 0, 1, 4, 0, 0, 0, 0};  // destination options
  bytes.resize(24);
  in(ip_frame(ip("2001:db8:1::2"), ip("2001:db8:1::1"), packet::kDestinationOptions, bytes), at(1));
  const Bytes error = next();
  const packet::ParsedFrame p = check(error);
  EXPECT_EQ(p.l4(error)[0], 4);
  EXPECT_EQ(p.l4(error)[1], 1);
  EXPECT_EQ(load_be32(&p.l4(error)[4]), 40u);
}

// RFC 8200 section 4.2 and RFC 4443 section 2.4 (e.3): an unknown option may be told of even when
// the packet went to a group, an unknown routing header may not.
TEST_F(IcmpTest, HeaderProblemsAreToldRfc4443Section3_4) {
  const Bytes option = {6, 0, 0x9e, 4, 0, 0, 0, 0};
  const Bytes routing = {6, 0, 0, 1, 0, 0, 0, 0};
  const auto frame = [](const char* to, std::uint8_t first, const Bytes& header,
                        const MacAddress& mac = kOurMac, const char* from = "2001:db8:1::2") {
    Bytes bytes = header;
    const Bytes tcp = tcp_segment();
    bytes.insert(bytes.end(), tcp.begin(), tcp.end());
    return ip_frame(ip(from), ip(to), first, bytes, mac);
  };
  const Bytes invoking = frame("2001:db8:1::1", 60, option);
  EXPECT_EQ(in(invoking, at(1)).drop, Drop::drop_extension_header);
  Bytes error = next();
  packet::ParsedFrame p = check(error);
  EXPECT_EQ(p.source, ip("2001:db8:1::1"));
  EXPECT_EQ(p.destination, ip("2001:db8:1::2"));
  EXPECT_EQ(p.l4(error)[0], 4);
  EXPECT_EQ(p.l4(error)[1], 2);
  EXPECT_EQ(load_be32(&p.l4(error)[4]), 42u);
  EXPECT_TRUE(std::equal(invoking.begin() + 14, invoking.end(), p.l4(error).begin() + 8));

  EXPECT_EQ(in(frame("2001:db8:1::1", 43, routing), at(1)).drop, Drop::drop_source_route);
  error = next();
  p = check(error);
  EXPECT_EQ(p.l4(error)[1], 0);
  EXPECT_EQ(load_be32(&p.l4(error)[4]), 42u);

  const MacAddress all_nodes = packet::multicast_mac(ip("ff02::1"));
  in(frame("ff02::1", 60, option, all_nodes), at(1));
  error = next();
  EXPECT_EQ(check(error).source, ip("2001:db8:1::1"));

  in(frame("ff02::1", 43, routing, all_nodes), at(1));           // a group
  in(frame("2001:db8:1::1", 60, option, kOurMac, "::"), at(1));  // a source that is nobody
  in(frame("2001:db8:1::1", 60, option, kOurMac, "2001:db8:1::1"), at(1));  // or ourselves
  in(frame("2001:db8:1::77", 60, option), at(1));                           // not ours to answer
  in(frame("2001:db8:1::1", 60, option, kOtherMac), at(1));                 // another's frame
  EXPECT_TRUE(sink.sent.empty());
}

// RFC 1122 section 3.2.2: never about an error, a broadcast or multicast (of the link too), or a
// source that is not one host. RFC 4443 section 2.4 (e) says the same.
TEST_F(IcmpTest, WhatNoErrorIsSentAbout) {
  const Bytes unknown(16);
  const MacAddress all_nodes = packet::multicast_mac(ip("ff02::1"));
  const IpAddress us = ip("198.18.1.1");
  in(ip_frame(ip("198.18.1.2"), ip("198.18.1.255"), 132, unknown, packet::kBroadcastMac), at(1));
  in(ip_frame(ip("198.18.1.2"), ip("255.255.255.255"), 132, unknown, packet::kBroadcastMac), at(1));
  in(ip_frame(ip("198.18.1.2"), ip("224.0.0.1"), 132, unknown, packet::kBroadcastMac), at(1));
  in(ip_frame(ip("198.18.1.2"), us, 132, unknown, packet::kBroadcastMac), at(1));
  for (const char* from :
       {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "198.18.1.255"}) {
    in(ip_frame(ip(from), us, 132, unknown), at(1));
  }
  in(ip_frame(ip("2001:db8:1::2"), ip("ff02::1"), 132, unknown, all_nodes), at(1));
  in(ip_frame(ip("::"), ip("2001:db8:1::1"), 132, unknown), at(1));
  // Errors of any kind, also those that quote nothing of ours, and types nobody knows.
  for (const int type : {3, 4, 5, 11, 12, 13, 15, 17, 40, 200}) {
    Bytes icmp(36);
    icmp[0] = static_cast<std::uint8_t>(type);
    in(ip_frame(ip("198.18.1.2"), us, packet::kProtocolIcmp, icmp), at(1));
  }
  for (const int type : {1, 2, 3, 4, 100, 127, 139, 200}) {
    Bytes icmp(56);
    icmp[0] = static_cast<std::uint8_t>(type);
    in(ip_frame(ip("2001:db8:1::2"), ip("2001:db8:1::1"), packet::kProtocolIcmpv6, icmp), at(1));
  }
  EXPECT_TRUE(sink.sent.empty());
  EXPECT_EQ(count(Counter::icmp_errors_sent), 0u);
}

TEST_F(IcmpTest, ErrorsWeSendAreRateLimited) {
  const Bytes frame = ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 132, Bytes(16));
  for (int i = 0; i < 100; ++i) in(frame, at(1));
  EXPECT_EQ(sink.sent.size(), 10u);
  EXPECT_EQ(count(Counter::drop_icmp_rate), 90u);
}

}  // namespace
}  // namespace sluice::ip::test
