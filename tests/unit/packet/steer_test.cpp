#include "packet/steer.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "helpers.h"
#include "packet/checksum.h"
#include "packet/flow_owner.h"
#include "packet/ipv6.h"

namespace sluice::packet {
namespace {

using test::hex;
using test::ip;

const std::vector<std::uint8_t> kMicrosoftKey = hex(
    "6d 5a 56 da 25 5b 0e c2 41 67 25 3d 43 a3 8f b0 d0 ca 2b cb ae 7b 30 b4 77 cb 2d a3 80 30 f2"
    "0c 6a 42 b7 3b be ac 01 fa");

struct Vector {
  const char* destination;
  std::uint16_t destination_port;
  const char* source;
  std::uint16_t source_port;
  std::uint32_t addresses;
  std::uint32_t with_ports;
};

// "Verifying the RSS hash calculation" of the RSS specification.
constexpr Vector kVectors[] = {
    {"161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
    {"65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
    {"12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
    {"209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
    {"202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
    {"3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
    {"ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
    {"fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985,
     0x02d1feef},
};

TEST(Toeplitz, VectorsOfTheRssSpecification) {
  const Toeplitz toeplitz(kMicrosoftKey);
  for (const Vector& v : kVectors) {
    EXPECT_EQ(toeplitz.addresses(ip(v.source), ip(v.destination)), v.addresses) << v.source;
    EXPECT_EQ(toeplitz(ip(v.source), ip(v.destination), v.source_port, v.destination_port),
              v.with_ports)
        << v.source;
  }
}

TEST(Toeplitz, LocalPortSplitsOff) {
  std::mt19937 random(3);
  std::vector<std::uint8_t> key(52);
  for (auto& b : key) b = static_cast<std::uint8_t>(random());
  const Toeplitz toeplitz(key);
  for (int i = 0; i < 2000; ++i) {
    const bool v4 = i % 2 == 0;
    std::array<std::uint8_t, 16> a{}, b{};
    for (auto& x : a) x = static_cast<std::uint8_t>(random());
    for (auto& x : b) x = static_cast<std::uint8_t>(random());
    const IpAddress remote = v4 ? IpAddress::v4(load_be32(a.data())) : IpAddress::v6(a);
    const IpAddress local = v4 ? IpAddress::v4(load_be32(b.data())) : IpAddress::v6(b);
    const auto remote_port = static_cast<std::uint16_t>(random());
    const auto local_port = static_cast<std::uint16_t>(random());
    ASSERT_EQ(toeplitz(remote, local, remote_port, local_port),
              toeplitz.without_local_port(remote, local, remote_port) ^
                  toeplitz.local_port(v4, local_port));
  }
}

TEST(FlowHash, DependsOnTheKeyAndOnDirection) {
  const std::uint64_t one[2] = {1, 2};
  const std::uint64_t two[2] = {1, 3};
  const IpAddress a = ip("198.18.1.2");
  const IpAddress b = ip("198.18.1.1");
  EXPECT_EQ(FlowHash(one)(a, b, 1, 2), FlowHash(one)(a, b, 1, 2));
  EXPECT_NE(FlowHash(one)(a, b, 1, 2), FlowHash(two)(a, b, 1, 2));
  EXPECT_NE(FlowHash(one)(a, b, 1, 2), FlowHash(one)(b, a, 2, 1));
}

TEST(FlowHash, SpreadsNeighbouringPortsEvenly) {
  const std::uint64_t key[2] = {0x1234, 0x5678};
  const FlowHash hash(key);
  for (const std::uint32_t workers : {2u, 3u, 7u, 16u}) {
    std::vector<int> counts(workers);
    for (std::uint16_t port = 32768; port < 32768 + 16000; ++port) {
      ++counts[hash(ip("198.18.1.2"), ip("198.18.1.1"), port, 443) % workers];
    }
    const int expected = 16000 / static_cast<int>(workers);
    for (const int count : counts) EXPECT_NEAR(count, expected, expected / 5) << workers;
  }
}

std::vector<std::uint8_t> frame_v4(std::uint8_t protocol, const std::vector<std::uint8_t>& l4,
                                   const char* source, const char* destination) {
  std::vector<std::uint8_t> frame(34);
  write_ethernet(frame, {{2, 0, 0, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}, kEtherTypeIpv4);
  write_ipv4(MutByteSpan{frame}.subspan(14), {.source = ip(source),
                                              .destination = ip(destination),
                                              .protocol = protocol,
                                              .payload = l4.size()});
  frame.insert(frame.end(), l4.begin(), l4.end());
  return frame;
}

// RFC 792 quotes what we sent; its owner is the worker that gets the flow's own packets.
TEST(Steer, IcmpErrorFollowsTheQuotedFlow) {
  const std::uint64_t key[2] = {5, 6};
  const FlowOwner owner(key, 64);
  std::vector<std::uint8_t> ours(20);
  store_be16(&ours[0], 50000);
  store_be16(&ours[2], 443);
  ours[12] = 0x50;
  const auto sent = frame_v4(kProtocolTcp, ours, "198.18.1.1", "198.18.9.9");
  std::vector<std::uint8_t> icmp(8);
  icmp[0] = kIcmpUnreachable;
  icmp[1] = 1;
  icmp.insert(icmp.end(), sent.begin() + 14, sent.end());
  const auto error = frame_v4(kProtocolIcmp, icmp, "198.18.1.254", "198.18.1.1");

  auto theirs = ours;
  store_be16(&theirs[0], 443);
  store_be16(&theirs[2], 50000);
  const auto received = frame_v4(kProtocolTcp, theirs, "198.18.9.9", "198.18.1.1");

  const Steering by_error = steer(error, parse_frame(error), owner);
  const Steering by_flow = steer(received, parse_frame(received), owner);
  EXPECT_EQ(by_error.to, SteerTo::worker);
  EXPECT_EQ(by_error.worker, by_flow.worker);
}

// Replies to ARP reach whichever queue the NIC likes; they belong to the owner of the table.
TEST(Steer, ArpAndNeighbourDiscoveryGoToTheirOwner) {
  const std::uint64_t key[2] = {5, 6};
  const FlowOwner owner(key, 64);
  std::vector<std::uint8_t> arp(14 + 28);
  write_ethernet(arp, kBroadcastMac, {{2, 0, 0, 0, 0, 2}}, kEtherTypeArp);
  EXPECT_EQ(steer(arp, parse_frame(arp), owner).to, SteerTo::neighbour_owner);

  std::vector<std::uint8_t> ns(14 + 40 + 24);
  write_ethernet(ns, {{0x33, 0x33, 0xff, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}, kEtherTypeIpv6);
  write_ipv6(MutByteSpan{ns}.subspan(14), {.source = ip("2001:db8::2"),
                                           .destination = ip("ff02::1:ff00:1"),
                                           .next_header = kProtocolIcmpv6,
                                           .hop_limit = 255,
                                           .payload = 24});
  ns[54] = kIcmpv6NeighbourSolicitation;
  EXPECT_EQ(steer(ns, parse_frame(ns), owner).to, SteerTo::neighbour_owner);
  ns[54] = kIcmpv6Echo;
  EXPECT_EQ(steer(ns, parse_frame(ns), owner).to, SteerTo::anyone);
}

TEST(Steer, FragmentsOfOneDatagramMeet) {
  const std::uint64_t key[2] = {5, 6};
  const FlowOwner owner(key, 64);
  const auto fragment = [](std::uint16_t id, std::uint16_t field) {
    auto frame = frame_v4(kProtocolUdp, hex("0035 0400 0018 0000 0000000000000000"), "198.18.1.2",
                          "198.18.1.1");
    store_be16(&frame[18], id);
    store_be16(&frame[20], field);
    store_be16(&frame[24], 0);
    store_be16(&frame[24], checksum(ByteSpan{frame}.subspan(14, 20)));
    return frame;
  };
  const auto first = fragment(9, 0x2000);
  const auto second = fragment(9, 0x0002);
  const auto other = fragment(10, 0x0002);
  const auto of = [&](const auto& f) { return steer(f, parse_frame(f), owner).worker; };
  EXPECT_EQ(of(first), of(second));
  EXPECT_NE(of(first), of(other));
}

}  // namespace
}  // namespace sluice::packet
