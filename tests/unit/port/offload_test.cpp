// Offloads: what a device's claims come to, and net_tap, whose driver does what the flags say, with
// the kernel as the judge.
#include "offload.h"

#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "eal_environment.h"
#include "own_network.h"
#include "packet/checksum.h"
#include "packet/ethernet.h"
#include "packet/frame.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"
#include "packet/tcp.h"
#include "packet/udp.h"
#include "port/port.h"

namespace sluice::port {
namespace {

constexpr MacBytes kKernel = {0x02, 0, 0, 0, 0, 0x77};

rte_eth_dev_info claims_everything(const char* driver) {
  rte_eth_dev_info info{};
  info.driver_name = driver;
  info.rx_offload_capa = info.tx_offload_capa = ~std::uint64_t{0};
  return info;
}

TEST(Offload, OfADriverNobodyHasTestedNothingIsBelieved) {
  const Capabilities c = usable_capabilities(claims_everything("net_new"), Offloads::proven);
  EXPECT_FALSE(c.rx_checksum_ipv4 || c.rx_checksum_l4 || c.tx_checksum_ipv4 || c.tx_checksum_l4);
  EXPECT_FALSE(c.tso_ipv4 || c.tso_ipv6 || c.multi_segment);
  EXPECT_EQ(rx_checksum_offloads(c) | tx_packet_offloads(c), 0u);
  EXPECT_EQ(trusted_rx_flags(c) & (RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK), 0u);
  EXPECT_EQ(c.driver, "net_new");
}

TEST(Offload, AllMeansWhatIsClaimedAndNoneNothing) {
  const rte_eth_dev_info info = claims_everything("net_new");
  const Capabilities all = usable_capabilities(info, Offloads::all);
  EXPECT_TRUE(all.rx_checksum_ipv4 && all.rx_checksum_l4 && all.tx_checksum_ipv4);
  EXPECT_TRUE(all.tx_checksum_l4 && all.tso_ipv4 && all.tso_ipv6 && all.multi_segment);
  EXPECT_EQ(trusted_rx_flags(all), ~std::uint64_t{0});
  const Capabilities none = usable_capabilities(claims_everything("net_tap"), Offloads::none);
  EXPECT_FALSE(none.rx_checksum_l4 || none.tx_checksum_l4 || none.tso_ipv4 || none.multi_segment);
}

TEST(Offload, NoTsoWithoutWhatItNeeds) {
  rte_eth_dev_info info = claims_everything("net_tap");
  EXPECT_TRUE(usable_capabilities(info, Offloads::proven).tso_ipv4);
  for (const std::uint64_t missing : {RTE_ETH_TX_OFFLOAD_MULTI_SEGS, RTE_ETH_TX_OFFLOAD_TCP_CKSUM,
                                      RTE_ETH_TX_OFFLOAD_IPV4_CKSUM, RTE_ETH_TX_OFFLOAD_TCP_TSO}) {
    info.tx_offload_capa = ~missing;
    const Capabilities c = usable_capabilities(info, Offloads::proven);
    EXPECT_FALSE(c.tso_ipv4 || c.tso_ipv6) << missing;
    EXPECT_EQ(tx_packet_offloads(c) & RTE_ETH_TX_OFFLOAD_TCP_TSO, 0u);
  }
}

TEST(Offload, Bug43_LargeSegmentsAsTheDeviceTakesThem) {
  rte_eth_dev_info info = claims_everything("net_new");
  Capabilities c = usable_capabilities(info, Offloads::all, 9000);
  EXPECT_EQ(c.tso_frame, 9014);
  EXPECT_EQ(c.tso_buffers, kMostBuffers);
  info.tx_desc_lim.nb_seg_max = 8;
  c = usable_capabilities(info, Offloads::all);
  EXPECT_EQ(c.tso_frame, 1514);
  EXPECT_EQ(c.tso_buffers, 8);
  // What this driver cuts must be smaller, and its library cuts no IPv6.
  info.driver_name = "net_tap";
  c = usable_capabilities(info, Offloads::proven);
  EXPECT_FALSE(c.tso_ipv6);
  EXPECT_EQ(c.tso_frame, 1500);
  EXPECT_EQ(usable_capabilities(info, Offloads::proven, 1500, true).tso_frame, 1496);
}

class NetTapTest : public WithPool {
 protected:
  void SetUp() override {
    WithPool::SetUp();
    network = std::make_unique<OwnNetwork>();
    if (!network->made()) GTEST_SKIP() << "needs root and /dev/net/tun";
  }
  void TearDown() override {
    packet.reset();
    socket.reset();
    port.reset();
    network.reset();
    WithPool::TearDown();
  }
  void open(Offloads offloads, std::uint16_t vlan = 0) {
    socket.reset();
    port.reset();
    auto made = Port::open(
        {.name = "tap", .device = "net_tap_off,iface=sl-off", .vlan = vlan, .offloads = offloads},
        *pool);
    ASSERT_TRUE(made) << made.error();
    port = std::move(*made);
    port->attach(0, counters);
    socket = std::make_unique<PacketSocket>("sl-off");
  }

  // A TCP or UDP packet of 0xa5 from 198.18.1.1 to .2 (2001:db8::1 to ::2), checksums zero.
  static std::vector<std::uint8_t> frame(bool ipv6, std::uint8_t protocol, const MacBytes& to,
                                         const MacBytes& from, std::size_t payload = 301) {
    const bool tcp = protocol == packet::kProtocolTcp;
    const std::size_t l3 = ipv6 ? packet::kIpv6Header : packet::kIpv4Header;
    const std::size_t l4 = tcp ? packet::kTcpHeader : packet::kUdpHeader;
    std::vector<std::uint8_t> bytes(packet::kEthernetHeader + l3 + l4 + payload, 0xa5);
    MutByteSpan room{bytes};
    packet::write_ethernet(room, packet::MacAddress{to}, packet::MacAddress{from},
                           ipv6 ? packet::kEtherTypeIpv6 : packet::kEtherTypeIpv4);
    room = room.subspan(packet::kEthernetHeader);
    if (ipv6) {
      packet::write_ipv6(room, {.source = source(true),
                                .destination = destination(true),
                                .next_header = protocol,
                                .payload = l4 + payload});
    } else {
      packet::write_ipv4(room, {.source = source(false),
                                .destination = destination(false),
                                .protocol = protocol,
                                .payload = l4 + payload,
                                .checksum = false});
    }
    const MutByteSpan header = room.subspan(l3, l4);
    std::fill(header.begin(), header.end(), std::uint8_t{0});
    store_be16(&header[0], 1000);
    store_be16(&header[2], 2000);
    if (tcp) {
      header[12] = 0x50;
      header[13] = packet::kTcpAck;
    } else {
      store_be16(&header[4], static_cast<std::uint16_t>(l4 + payload));
    }
    return bytes;
  }
  static IpAddress source(bool ipv6) {
    return *IpAddress::parse(ipv6 ? "2001:db8::1" : "198.18.1.1");
  }
  static IpAddress destination(bool ipv6) {
    return *IpAddress::parse(ipv6 ? "2001:db8::2" : "198.18.1.2");
  }
  static TxOffload offload(bool ipv6) {
    return {
        .ipv4_checksum = !ipv6,
        .l4_checksum = true,
        .l3_length = static_cast<std::uint8_t>(ipv6 ? packet::kIpv6Header : packet::kIpv4Header)};
  }
  void send(const std::vector<std::uint8_t>& bytes, const TxOffload& what) {
    const MutByteSpan room = port->reserve(0, bytes.size());
    ASSERT_EQ(room.size(), bytes.size());
    std::ranges::copy(bytes, room.begin());
    port->commit(0, what);
    ASSERT_EQ(port->flush(0), 1u);
  }
  // What the kernel sends, as the port receives it.
  void receive(const std::vector<std::uint8_t>& bytes) {
    ASSERT_TRUE(socket->send(bytes));
    for (int i = 0; i < 10'000'000; ++i) {
      if (port->rx_burst(0, {&packet, 1}) == 0) continue;
      if (std::ranges::equal(packet.data().subspan(6, 6), kKernel)) return;
    }
    FAIL() << "the frame did not come";
  }

  std::unique_ptr<OwnNetwork> network;
  std::unique_ptr<Port> port;
  std::unique_ptr<PacketSocket> socket;
  telemetry::CounterBlock counters;
  Packet packet;
};

TEST_F(NetTapTest, TheDriverFillsInWhatWeWould) {
  for (const std::uint16_t vlan : std::array<std::uint16_t, 2>{0, 5}) {
    for (const bool ipv6 : {false, true}) {
      for (const std::uint8_t protocol : {packet::kProtocolTcp, packet::kProtocolUdp}) {
        SCOPED_TRACE(std::to_string(vlan) + (ipv6 ? " IPv6 " : " IPv4 ") +
                     std::to_string(protocol));
        std::vector<std::uint8_t> seen[2];
        for (const bool hardware : {false, true}) {
          ASSERT_NO_FATAL_FAILURE(open(hardware ? Offloads::proven : Offloads::none, vlan));
          ASSERT_EQ(port->capabilities().tx_checksum_l4, hardware);
          ASSERT_EQ(port->capabilities().tx_checksum_ipv4, hardware);
          const MacBytes mac = port->mac();
          send(frame(ipv6, protocol, kKernel, mac), offload(ipv6));
          std::vector<std::uint8_t> came = socket->next_from(mac);
          ASSERT_FALSE(came.empty());
          // A random MAC each time.
          std::fill_n(came.begin() + 6, 6, std::uint8_t{0});
          const packet::ParsedFrame parsed = packet::parse_frame(came);
          EXPECT_TRUE(parsed.ok());
          seen[hardware ? 1 : 0] = std::move(came);
        }
        EXPECT_EQ(seen[0], seen[1]);
      }
    }
  }
}

// Text that does not fit one piece, nor one buffer; the last piece is short.
TEST_F(NetTapTest, Bug43_TheDriverCutsLargeSegments) {
  constexpr std::uint16_t kPiece = 1400;
  constexpr std::size_t kText = 6 * kPiece + 77;
  for (const std::uint16_t vlan : std::array<std::uint16_t, 2>{0, 5}) {
    SCOPED_TRACE(vlan);
    ASSERT_NO_FATAL_FAILURE(open(Offloads::proven, vlan));
    EXPECT_EQ(port->largest_text(0, true), 0u);
    ASSERT_GE(port->largest_text(0, false), kText);
    std::vector<std::uint8_t> whole =
        frame(false, packet::kProtocolTcp, kKernel, port->mac(), kText);
    constexpr std::size_t kHeaders =
        packet::kEthernetHeader + packet::kIpv4Header + packet::kTcpHeader;
    store_be32(&whole[kHeaders - packet::kTcpHeader + 4], 0xfffffff0);  // wraps
    for (std::size_t i = kHeaders; i < whole.size(); ++i)
      whole[i] = static_cast<std::uint8_t>(i * 7 / 3);

    const GatherRoom room = port->reserve_large(0, kHeaders, kText);
    ASSERT_TRUE(room);
    std::ranges::copy(ByteSpan{whole}.first(kHeaders), room.head.begin());
    std::size_t at = kHeaders;
    for (const MutByteSpan part : room.rest) {
      std::ranges::copy(ByteSpan{whole}.subspan(at, part.size()), part.begin());
      at += part.size();
    }
    ASSERT_EQ(at, whole.size());
    ASSERT_GT(room.rest.size(), 1u);
    TxOffload what = offload(false);
    what.piece = kPiece;
    what.l4_length = packet::kTcpHeader;
    port->commit(0, what);
    ASSERT_EQ(port->flush(0), 1u);

    for (at = 0; at < kText; at += kPiece) {
      SCOPED_TRACE(at);
      const std::size_t length = std::min<std::size_t>(kPiece, kText - at);
      const std::vector<std::uint8_t> came = socket->next_from(port->mac());
      ASSERT_FALSE(came.empty());
      const packet::ParsedFrame parsed = packet::parse_frame(came);
      ASSERT_TRUE(parsed.ok());
      const std::size_t l4 = came.size() - length - packet::kTcpHeader;
      const ByteSpan tcp = ByteSpan{came}.subspan(l4);
      EXPECT_EQ(load_be32(&tcp[4]), static_cast<std::uint32_t>(0xfffffff0 + at));
      EXPECT_TRUE(
          packet::l4_checksum_ok(source(false), destination(false), packet::kProtocolTcp, tcp));
      EXPECT_TRUE(packet::checksum_ok(
          ByteSpan{came}.subspan(l4 - packet::kIpv4Header, packet::kIpv4Header)));
      EXPECT_TRUE(std::ranges::equal(tcp.subspan(packet::kTcpHeader),
                                     ByteSpan{whole}.subspan(kHeaders + at, length)));
    }
  }
  EXPECT_EQ(counters.get(telemetry::Counter::tx_refused), 0u);
}

// Nothing is kept of a reservation that was not committed, nor counted twice.
TEST_F(NetTapTest, AReservationIsTakenBack) {
  ASSERT_NO_FATAL_FAILURE(open(Offloads::proven));
  const unsigned before = pool->in_use();
  ASSERT_TRUE(port->reserve_large(0, 54, 10'000));
  ASSERT_TRUE(port->reserve_large(0, 54, 20'000));
  EXPECT_EQ(port->reserve(0, 100).size(), 100u);
  EXPECT_EQ(pool->in_use(), before + 1);
  EXPECT_EQ(port->flush(0), 0u);
  EXPECT_EQ(pool->in_use(), before);
  EXPECT_FALSE(port->reserve_large(0, 54, port->largest_text(0, false) + 1));
  EXPECT_EQ(counters.get(telemetry::Counter::tx_refused), 1u);
}

TEST_F(NetTapTest, WhatTheDriverSaysOfReceivedChecksums) {
  for (const bool ipv6 : {false, true}) {
    SCOPED_TRACE(ipv6);
    ASSERT_NO_FATAL_FAILURE(open(Offloads::proven));
    std::vector<std::uint8_t> bytes = frame(ipv6, packet::kProtocolTcp, port->mac(), kKernel);
    const std::size_t l3 = packet::kEthernetHeader;
    const std::size_t l4 = l3 + (ipv6 ? packet::kIpv6Header : packet::kIpv4Header);
    const MutByteSpan tcp = MutByteSpan{bytes}.subspan(l4);
    store_be16(&tcp[packet::kTcpChecksumOffset],
               packet::l4_checksum(source(ipv6), destination(ipv6), packet::kProtocolTcp, tcp));
    if (!ipv6) {
      store_be16(&bytes[l3 + 10],
                 packet::checksum(ByteSpan{bytes}.subspan(l3, packet::kIpv4Header)));
    }
    ASSERT_NO_FATAL_FAILURE(receive(bytes));
    EXPECT_EQ(packet.l4_checksum(), ChecksumState::good);
    EXPECT_EQ(packet.ip_checksum(), ipv6 ? ChecksumState::unknown : ChecksumState::good);
    bytes.back() ^= 1;
    ASSERT_NO_FATAL_FAILURE(receive(bytes));
    EXPECT_EQ(packet.l4_checksum(), ChecksumState::bad);
    ASSERT_NO_FATAL_FAILURE(open(Offloads::none));
    std::ranges::copy(port->mac(), bytes.begin());
    ASSERT_NO_FATAL_FAILURE(receive(bytes));
    EXPECT_EQ(packet.l4_checksum(), ChecksumState::unknown);
    EXPECT_EQ(packet.ip_checksum(), ChecksumState::unknown);
  }
}

}  // namespace
}  // namespace sluice::port
