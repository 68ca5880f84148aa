#include "packet/frame.h"

#include <gtest/gtest.h>

#include "helpers.h"
#include "packet/arp.h"
#include "packet/checksum.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"

namespace sluice::packet {
namespace {

using test::hex;
using test::ip;

const MacAddress kGateway{{2, 0, 0, 0, 0, 1}};
const MacAddress kPeer{{2, 0, 0, 0, 0, 2}};

std::vector<std::uint8_t> tcp_header(std::uint16_t source_port = 40000) {
  std::vector<std::uint8_t> tcp(20);
  store_be16(&tcp[0], source_port);
  store_be16(&tcp[2], 443);
  tcp[12] = 0x50;
  tcp[13] = 0x02;
  return tcp;
}

std::vector<std::uint8_t> v4_frame(std::vector<std::uint8_t> l4, std::uint8_t protocol = 6,
                                   const char* source = "198.18.1.2",
                                   const char* destination = "198.18.1.1", std::uint16_t vlan = 0) {
  std::vector<std::uint8_t> frame(kEthernetHeader + (vlan != 0 ? kVlanTag : 0) + kIpv4Header);
  const std::size_t l2 = write_ethernet(frame, kGateway, kPeer, kEtherTypeIpv4, vlan);
  write_ipv4(MutByteSpan{frame}.subspan(l2), {.source = ip(source),
                                              .destination = ip(destination),
                                              .protocol = protocol,
                                              .payload = l4.size()});
  frame.insert(frame.end(), l4.begin(), l4.end());
  return frame;
}

// Changes IPv4 header bytes and repairs the header checksum.
void patch_v4(std::vector<std::uint8_t>& frame, std::size_t offset, std::uint16_t value) {
  const std::size_t header = (frame[14] & 15u) * std::size_t{4};
  store_be16(&frame[14 + offset], value);
  store_be16(&frame[24], 0);
  store_be16(&frame[24], checksum(ByteSpan{frame}.subspan(14, header)));
}

std::vector<std::uint8_t> v6_frame(std::uint8_t next_header, std::vector<std::uint8_t> payload,
                                   const char* source = "2001:db8::2",
                                   const char* destination = "2001:db8::1") {
  std::vector<std::uint8_t> frame(kEthernetHeader + kIpv6Header);
  write_ethernet(frame, kGateway, kPeer, kEtherTypeIpv6);
  write_ipv6(MutByteSpan{frame}.subspan(kEthernetHeader), {.source = ip(source),
                                                           .destination = ip(destination),
                                                           .next_header = next_header,
                                                           .payload = payload.size()});
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

std::vector<std::uint8_t> operator+(std::vector<std::uint8_t> a,
                                    const std::vector<std::uint8_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A SYN as tcpdump showed it: the whole walk against bytes nobody here produced.
TEST(ParseFrame, CapturedSyn) {
  const auto frame =
      hex("02 00 00 00 00 01 02 00 00 00 00 02 08 00"
          "45 00 00 3c 1c 46 40 00 40 06 b1 e6 ac 10 0a 63 ac 10 0a 0c"
          "b9 2c 01 bb 4a 6e 51 9c 00 00 00 00 a0 02 fa f0 00 00 00 00"
          "02 04 05 b4 04 02 08 0a 5c 1d 7a 8e 00 00 00 00 01 03 03 07");
  const ParsedFrame p = parse_frame(frame);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p.network, Network::ipv4);
  EXPECT_EQ(p.protocol, kProtocolTcp);
  EXPECT_EQ(p.source, ip("172.16.10.99"));
  EXPECT_EQ(p.destination, ip("172.16.10.12"));
  EXPECT_EQ(p.source_port, 0xb92c);
  EXPECT_EQ(p.destination_port, 443);
  EXPECT_EQ(p.ttl, 64);
  EXPECT_EQ(p.l4_offset, 34);
  EXPECT_EQ(p.l4_length, 40);
  EXPECT_FALSE(p.fragment);
}

// RFC 894: a 40-byte packet fills a 46-byte frame; the 6 bytes behind it are not payload.
TEST(ParseFrame, Bug46_EthernetPaddingIsNotPayload) {
  auto frame = v4_frame(tcp_header());
  frame.resize(60, 0xaa);
  const ParsedFrame p = parse_frame(frame);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p.l4_length, 20);
  EXPECT_EQ(p.l3_length, 40);

  auto frame6 = v6_frame(kProtocolTcp, tcp_header());
  frame6.resize(frame6.size() + 9, 0xaa);
  EXPECT_EQ(parse_frame(frame6).l4_length, 20);
}

TEST(ParseFrame, VlanTag) {
  const auto frame = v4_frame(tcp_header(), 6, "198.18.1.2", "198.18.1.1", 120);
  const ParsedFrame p = parse_frame(frame);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p.vlan, 120);
  EXPECT_EQ(p.l3_offset, 18);
  EXPECT_EQ(p.source_port, 40000);
}

TEST(ParseFrame, VlanStrippedByTheNic) {
  const ParsedFrame p =
      parse_frame(v4_frame(tcp_header()), {.vlan_stripped = true, .vlan = 0xe000 | 120});
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p.vlan, 120);
}

TEST(ParseFrame, SecondTagIsRefused) {
  auto frame = v4_frame(tcp_header(), 6, "198.18.1.2", "198.18.1.1", 120);
  store_be16(&frame[16], kEtherTypeVlan);
  EXPECT_EQ(parse_frame(frame).drop, Drop::drop_ether_type);
}

TEST(ParseFrame, EveryTruncationIsNamed) {
  const std::vector<std::vector<std::uint8_t>> frames = {
      v4_frame(tcp_header()),
      v4_frame(tcp_header(), 6, "198.18.1.2", "198.18.1.1", 120),
      v6_frame(kProtocolTcp, tcp_header()),
      v6_frame(kDestinationOptions, hex("06 00 01 04 00 00 00 00") + tcp_header()),
  };
  for (const auto& whole : frames) {
    ASSERT_TRUE(parse_frame(whole).ok());
    for (std::size_t n = 0; n < whole.size(); ++n) {
      // A copy of exactly n bytes, so that a sanitizer sees one byte too many.
      const std::vector<std::uint8_t> cut(whole.begin(),
                                          whole.begin() + static_cast<std::ptrdiff_t>(n));
      EXPECT_NE(parse_frame(cut).drop, kNoDrop) << n;
    }
  }
}

TEST(ParseIpv4, WrongVersionLengthAndChecksum) {
  auto frame = v4_frame(tcp_header());
  auto bad = frame;
  bad[14] = 0x55;
  EXPECT_EQ(parse_frame(bad).drop, Drop::drop_ip_header);
  bad = frame;
  bad[14] = 0x44;  // RFC 791: the smallest IHL is 5
  EXPECT_EQ(parse_frame(bad).drop, Drop::drop_ip_header);
  bad = frame;
  bad[22] ^= 1;
  EXPECT_EQ(parse_frame(bad).drop, Drop::drop_ip_checksum);
  EXPECT_TRUE(parse_frame(bad, {.ip = ChecksumHint::good}).ok());
  EXPECT_EQ(parse_frame(frame, {.ip = ChecksumHint::bad}).drop, Drop::drop_ip_checksum);
  bad = frame;
  patch_v4(bad, 2, 41);  // longer than the frame
  EXPECT_EQ(parse_frame(bad).drop, Drop::drop_ip_length);
  patch_v4(bad, 2, 19);
  EXPECT_EQ(parse_frame(bad).drop, Drop::drop_ip_header);
  patch_v4(bad, 2, 39);
  EXPECT_EQ(parse_frame(bad).drop, Drop::drop_l4_truncated);
}

// RFC 1122 section 3.2.1.3; a packet from 0.0.0.0 once took a router down.
TEST(ParseIpv4, Bug37_ImpossibleAddresses) {
  for (const char* source : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1",
                             "240.0.0.1", "255.255.255.255"}) {
    EXPECT_EQ(parse_frame(v4_frame(tcp_header(), 6, source)).drop, Drop::drop_ip_source) << source;
  }
  for (const char* destination : {"0.0.0.0", "127.0.0.1"}) {
    EXPECT_EQ(parse_frame(v4_frame(tcp_header(), 6, "198.18.1.2", destination)).drop,
              Drop::drop_ip_destination);
  }
}

std::vector<std::uint8_t> with_options(const std::vector<std::uint8_t>& options) {
  auto frame = v4_frame(tcp_header());
  frame.insert(frame.begin() + 34, options.begin(), options.end());
  frame[14] = static_cast<std::uint8_t>(0x45 + options.size() / 4);
  patch_v4(frame, 2, static_cast<std::uint16_t>(40 + options.size()));
  return frame;
}

TEST(ParseIpv4, OptionsAreSkipped) {
  const ParsedFrame p = parse_frame(with_options(hex("94 04 00 00")));  // router alert
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p.l4_offset, 38);
  EXPECT_EQ(p.source_port, 40000);
  EXPECT_TRUE(parse_frame(with_options(hex("01 01 01 00"))).ok());
  EXPECT_TRUE(parse_frame(with_options(hex("00 ff ff ff"))).ok());  // nothing counts behind the end
}

TEST(ParseIpv4, SourceRoutesAreRefusedRfc7126) {
  EXPECT_EQ(parse_frame(with_options(hex("83 07 04 c6 12 01 05 00"))).drop,
            Drop::drop_source_route);
  EXPECT_EQ(parse_frame(with_options(hex("01 89 03 04"))).drop, Drop::drop_source_route);
}

TEST(ParseIpv4, MalformedOptions) {
  for (const char* text : {"94 00 00 00", "94 01 00 00", "94 05 00 00", "01 01 01 94"}) {
    EXPECT_EQ(parse_frame(with_options(hex(text))).drop, Drop::drop_ip_options) << text;
  }
}

TEST(ParseIpv4, Fragments) {
  auto first = v4_frame(tcp_header() + std::vector<std::uint8_t>(4));
  patch_v4(first, 6, 0x2000);
  ParsedFrame p = parse_frame(first);
  ASSERT_TRUE(p.ok());
  EXPECT_TRUE(p.fragment);
  EXPECT_TRUE(p.more_fragments);
  EXPECT_EQ(p.destination_port, 443);

  auto later = v4_frame(std::vector<std::uint8_t>(16, 7));
  patch_v4(later, 4, 0xbeef);
  patch_v4(later, 6, 3);
  p = parse_frame(later);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p.fragment_offset, 24);
  EXPECT_EQ(p.fragment_id, 0xbeefu);
  EXPECT_EQ(p.destination_port, 0);

  // RFC 1858: a first fragment without the whole TCP header hides its flags.
  auto tiny = v4_frame(std::vector<std::uint8_t>(8, 7));
  patch_v4(tiny, 6, 0x2000);
  EXPECT_EQ(parse_frame(tiny).drop, Drop::drop_l4_truncated);
}

TEST(ParseTcp, Bug36_DataOffset) {
  auto tcp = tcp_header();
  tcp[12] = 0x40;
  EXPECT_EQ(parse_frame(v4_frame(tcp)).drop, Drop::drop_tcp_header_length);
  tcp[12] = 0x60;
  EXPECT_EQ(parse_frame(v4_frame(tcp)).drop, Drop::drop_tcp_header_length);
}

TEST(ParseUdp, Length) {
  auto udp = hex("0035 0400 000c 0000 61 62 63 64");
  EXPECT_TRUE(parse_frame(v4_frame(udp, 17)).ok());
  udp[5] = 0x0d;
  EXPECT_EQ(parse_frame(v4_frame(udp, 17)).drop, Drop::drop_udp_length);
  udp[5] = 0x07;
  EXPECT_EQ(parse_frame(v4_frame(udp, 17)).drop, Drop::drop_udp_length);
}

TEST(ParseIpv6, TcpAndAddresses) {
  const ParsedFrame p = parse_frame(v6_frame(kProtocolTcp, tcp_header()));
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p.source, ip("2001:db8::2"));
  EXPECT_EQ(p.l4_offset, 54);
  EXPECT_EQ(p.destination_port, 443);
  for (const char* source : {"ff02::1", "::1", "::", "::ffff:198.18.1.2"}) {
    auto frame = v6_frame(kProtocolTcp, tcp_header());
    const IpAddress a = ip(source);
    std::copy(a.mapped().begin(), a.mapped().end(), frame.begin() + 22);
    EXPECT_EQ(parse_frame(frame).drop, Drop::drop_ip_source) << source;
  }
  for (const char* destination : {"::1", "::", "::ffff:198.18.1.1", "ff01::1"}) {
    auto frame = v6_frame(kProtocolTcp, tcp_header());
    const IpAddress a = ip(destination);
    std::copy(a.mapped().begin(), a.mapped().end(), frame.begin() + 38);
    EXPECT_EQ(parse_frame(frame).drop, Drop::drop_ip_destination) << destination;
  }
}

TEST(ParseIpv6, ExtensionHeadersAreWalked) {
  const auto chain = hex("3c 00 05 02 00 00 01 00") + hex("06 00 01 04 00 00 00 00");
  const ParsedFrame p = parse_frame(v6_frame(kHopByHop, chain + tcp_header()));
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p.protocol, kProtocolTcp);
  EXPECT_EQ(p.l4_offset, 54 + 16);
  EXPECT_EQ(p.source_port, 40000);
}

TEST(ParseIpv6, HopByHopOnlyFirstRfc8200Section4_1) {
  const auto chain = hex("00 00 01 04 00 00 00 00") + hex("06 00 01 04 00 00 00 00");
  EXPECT_EQ(parse_frame(v6_frame(kDestinationOptions, chain + tcp_header())).drop,
            Drop::drop_extension_header);
}

TEST(ParseIpv6, UnknownOptionsByTheirTopBitsRfc8200Section4_2) {
  EXPECT_TRUE(
      parse_frame(v6_frame(kDestinationOptions, hex("06 00 1e 04 00 00 00 00") + tcp_header()))
          .ok());
  for (const char* header : {"06 00 5e 04 00 00 00 00", "06 00 9e 04 00 00 00 00",
                             "06 00 de 04 00 00 00 00", "06 00 1e 05 00 00 00 00"}) {
    EXPECT_EQ(parse_frame(v6_frame(kDestinationOptions, hex(header) + tcp_header())).drop,
              Drop::drop_extension_header)
        << header;
  }
}

TEST(ParseIpv6, ChainLengthIsCapped) {
  std::vector<std::uint8_t> chain;
  for (unsigned i = 1; i < kMaxExtensionHeaders; ++i) {
    chain = chain + hex("3c 00 01 04 00 00 00 00");
  }
  EXPECT_TRUE(parse_frame(v6_frame(kDestinationOptions,
                                   chain + hex("06 00 01 04 00 00 00 00") + tcp_header()))
                  .ok());
  EXPECT_EQ(
      parse_frame(v6_frame(kDestinationOptions, hex("3c 00 01 04 00 00 00 00") + chain +
                                                    hex("06 00 01 04 00 00 00 00") + tcp_header()))
          .drop,
      Drop::drop_extension_header);
}

// RFC 5095 section 3: type 0 is an unknown type. RFC 8200 section 4.4: with segments left the
// packet dies, without the header is passed over.
TEST(ParseIpv6, RoutingHeaderRfc5095) {
  for (const char* header : {"06 00 00 01 00 00 00 00", "06 00 04 01 00 00 00 00"}) {
    const ParsedFrame p = parse_frame(v6_frame(kRouting, hex(header) + tcp_header()));
    EXPECT_EQ(p.drop, Drop::drop_source_route);
    EXPECT_TRUE(p.problem.told);
    EXPECT_EQ(p.problem.code, 0);
    EXPECT_EQ(p.problem.pointer, 42);  // the type
  }
  for (const char* header : {"06 00 00 00 00 00 00 00", "06 00 04 00 00 00 00 00"}) {
    EXPECT_TRUE(parse_frame(v6_frame(kRouting, hex(header) + tcp_header())).ok()) << header;
  }
}

// What the sender is told: RFC 8200 sections 4, 4.1 and 4.2 by way of RFC 4443 section 3.4.
TEST(ParseIpv6, ProblemsPointAtTheirCauseRfc4443Section3_4) {
  const auto problem = [](std::uint8_t first, const std::vector<std::uint8_t>& bytes) {
    return parse_frame(v6_frame(first, bytes)).problem;
  };
  // An option whose type begins with 10 or 11, behind a header of eight octets.
  HeaderProblem p =
      problem(kDestinationOptions, hex("3c 00 01 04 00 00 00 00") + hex("06 00 00 9e 02 00 00 00"));
  EXPECT_TRUE(p.told);
  EXPECT_TRUE(p.even_to_multicast);
  EXPECT_EQ(p.code, 2);
  EXPECT_EQ(p.pointer, 40 + 8 + 3);
  p = problem(kDestinationOptions, hex("06 00 de 04 00 00 00 00") + tcp_header());
  EXPECT_TRUE(p.told);
  EXPECT_FALSE(p.even_to_multicast);
  EXPECT_EQ(p.pointer, 42);
  // 01 asks for silence.
  EXPECT_FALSE(problem(kDestinationOptions, hex("06 00 5e 04 00 00 00 00") + tcp_header()).told);
  // Hop-by-hop anywhere but first: code 1, at the field that names it.
  p = problem(kDestinationOptions, hex("00 00 01 04 00 00 00 00") + hex("06 00 01 04 00 00 00 00"));
  EXPECT_TRUE(p.told);
  EXPECT_EQ(p.code, 1);
  EXPECT_EQ(p.pointer, 40);
  // No error about an error (RFC 4443 section 2.4 (e.1)), but about other ICMPv6.
  const auto to_icmp = hex("3a 00 9e 04 00 00 00 00");
  EXPECT_FALSE(problem(kDestinationOptions, to_icmp + hex("01 04 0000 00000000")).told);
  EXPECT_TRUE(problem(kDestinationOptions, to_icmp + hex("80 00 0000 00000000")).told);
  // Where the upper layer stands.
  EXPECT_EQ(parse_frame(v6_frame(kProtocolTcp, tcp_header())).protocol_at, 6);
  EXPECT_EQ(
      parse_frame(v6_frame(kDestinationOptions, hex("06 00 01 04 00 00 00 00") + tcp_header()))
          .protocol_at,
      40);
}

TEST(ParseIpv6, AtomicFragmentIsNoFragmentRfc6946) {
  const ParsedFrame p =
      parse_frame(v6_frame(kFragment, hex("06 00 00 00 12 34 56 78") + tcp_header()));
  ASSERT_TRUE(p.ok());
  EXPECT_FALSE(p.fragment);
  EXPECT_TRUE(p.has_fragment_header);
  EXPECT_EQ(p.destination_port, 443);
}

TEST(ParseIpv6, Fragment) {
  const ParsedFrame p =
      parse_frame(v6_frame(kFragment, hex("06 00 00 11 12 34 56 78") + tcp_header()));
  ASSERT_TRUE(p.ok());
  EXPECT_TRUE(p.fragment);
  EXPECT_TRUE(p.more_fragments);
  EXPECT_EQ(p.fragment_offset, 16);
  EXPECT_EQ(p.fragment_id, 0x12345678u);
  EXPECT_EQ(p.l4_length, 20);
}

TEST(ParseArp, RoundTripAndRefusals) {
  std::vector<std::uint8_t> bytes(kArpLength);
  const ArpPacket arp{ArpOperation::reply, kPeer, ip("198.18.1.2"), kGateway, ip("198.18.1.1")};
  write_arp(bytes, arp);
  EXPECT_EQ(bytes, hex("0001 0800 06 04 0002 020000000002 c6120102 020000000001 c6120101"));
  bytes.resize(46, 0xaa);  // padding
  const auto parsed = parse_arp(bytes);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->operation, ArpOperation::reply);
  EXPECT_EQ(parsed->sender_mac, kPeer);
  EXPECT_EQ(parsed->target, ip("198.18.1.1"));
  for (const std::size_t field : {0u, 2u, 4u, 5u, 6u}) {
    auto bad = bytes;
    bad[field] ^= 0x40;
    EXPECT_FALSE(parse_arp(bad).has_value()) << field;
  }
  for (std::size_t n = 0; n < kArpLength; ++n) {
    EXPECT_FALSE(parse_arp(ByteSpan{bytes}.first(n)).has_value()) << n;
  }
}

TEST(Ethernet, MacText) {
  EXPECT_EQ(MacAddress::parse("02:00:5e:10:00:0f")->to_string(), "02:00:5e:10:00:0f");
  for (const char* bad : {"", "02:00:5e:10:00", "02-00-5e-10-00-0f", "02:00:5e:10:00:0g",
                          "02:00:5e:10:00:0f:", "+2:00:5e:10:00:0f"}) {
    EXPECT_FALSE(MacAddress::parse(bad).has_value()) << bad;
  }
}

// RFC 1112 section 6.4, RFC 2464 section 7.
TEST(Ethernet, MulticastMac) {
  EXPECT_EQ(multicast_mac(ip("224.128.0.1")).to_string(), "01:00:5e:00:00:01");
  EXPECT_EQ(multicast_mac(ip("ff02::1:ff12:3456")).to_string(), "33:33:ff:12:34:56");
}

// RFC 4291 section 2.7.1 and appendix A, their own examples.
TEST(Ipv6, DerivedAddresses) {
  EXPECT_EQ(solicited_node_multicast(ip("4037::01:800:200e:8c6c")), ip("ff02::1:ff0e:8c6c"));
  EXPECT_EQ(link_local_from_mac({0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}),
            ip("fe80::3656:78ff:fe9a:bcde"));
}

}  // namespace
}  // namespace sluice::packet
