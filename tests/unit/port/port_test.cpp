// The port over DPDK's net_ring, whose queue n sends to its own queue n: real driver, real buffers.
#include "port/port.h"

#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "base/ip_address.h"
#include "eal_environment.h"
#include "packet/checksum.h"

namespace sluice::port {
namespace {

using telemetry::Counter;
using telemetry::CounterBlock;

constexpr std::array<std::uint8_t, 6> kPeer = {0x02, 0, 0, 0, 0, 0x77};
constexpr std::size_t kRingSlots = 1023;  // of the driver

class PortTest : public WithPool {
 protected:
  std::unique_ptr<Port> open(PortConfig config = {}) {
    config.name = "loop";
    if (config.device.empty()) config.device = "net_ring0";
    auto port = Port::open(config, *pool);
    EXPECT_TRUE(port) << port.error();
    if (!port) return nullptr;
    for (unsigned w = 0; w < config.workers; ++w) (*port)->attach(w, counters.at(w));
    return std::move(*port);
  }
  // A frame to the port itself from a peer, with a payload that tells `mark`.
  static void fill(MutByteSpan frame, const MacBytes& to, std::uint8_t mark) {
    ASSERT_GE(frame.size(), 15u);
    std::memcpy(frame.data(), to.data(), 6);
    std::memcpy(frame.data() + 6, kPeer.data(), 6);
    store_be16(frame.data() + 12, 0x88b5);  // IEEE 802 local experimental
    std::memset(frame.data() + 14, mark, frame.size() - 14);
  }
  void send(Port& port, unsigned worker, std::size_t length, std::uint8_t mark) {
    const MutByteSpan room = port.reserve(worker, length);
    ASSERT_EQ(room.size(), length);
    fill(room, port.mac(), mark);
    port.commit(worker);
  }
  std::uint64_t count(Counter c, unsigned worker = 0) const { return counters.at(worker).get(c); }

  std::array<CounterBlock, 4> counters;
  std::array<Packet, Port::kBurst> packets;

  void TearDown() override {
    for (auto& packet : packets) packet.reset();
    WithPool::TearDown();
  }
};

TEST_F(PortTest, CarriesFramesThereAndBack) {
  const auto port = open({.mtu = 1500});
  ASSERT_NE(port, nullptr);
  for (const std::size_t length : {60u, 61u, 590u, 1513u, 1514u}) {
    send(*port, 0, length, 0xab);
    EXPECT_EQ(port->flush(0), 1u);
    ASSERT_EQ(port->rx_burst(0, packets), 1u);
    const ByteSpan data = std::as_const(packets[0]).data();
    ASSERT_EQ(data.size(), length);
    EXPECT_EQ(data[14], 0xab);
    EXPECT_EQ(data[length - 1], 0xab);
    EXPECT_EQ(packets[0].ip_checksum(), ChecksumState::unknown);
    EXPECT_EQ(packets[0].l4_checksum(), ChecksumState::unknown);
  }
  EXPECT_EQ(count(Counter::rx_packets), 5u);
  EXPECT_EQ(count(Counter::tx_packets), 5u);
  EXPECT_EQ(count(Counter::tx_bytes), 60u + 61 + 590 + 1513 + 1514);
  EXPECT_EQ(port->stats().rx_packets, 5u);
  EXPECT_EQ(port->stats().tx_bytes, count(Counter::tx_bytes));
}

TEST_F(PortTest, PadsShortFramesWithZeros) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  send(*port, 0, 42, 0xff);
  port->flush(0);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  const ByteSpan data = std::as_const(packets[0]).data();
  ASSERT_EQ(data.size(), 60u);
  EXPECT_EQ(data[41], 0xff);
  EXPECT_EQ(std::accumulate(data.begin() + 42, data.end(), 0), 0);
}

TEST_F(PortTest, RefusesFramesOfImpossibleLength) {
  const auto port = open({.mtu = 1400});
  ASSERT_NE(port, nullptr);
  EXPECT_TRUE(port->reserve(0, 1415).empty());
  EXPECT_TRUE(port->reserve(0, 13).empty());
  EXPECT_EQ(port->reserve(0, 1414).size(), 1414u);
  EXPECT_EQ(count(Counter::tx_refused), 2u);
}

TEST_F(PortTest, UncommittedReservationsAreTakenBack) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(port->reserve(0, 100).size(), 100u);
  EXPECT_EQ(pool->in_use(), 1u);
  EXPECT_EQ(port->flush(0), 0u);
  EXPECT_EQ(pool->in_use(), 0u);
  port->commit(0);  // nothing reserved: nothing happens
  EXPECT_EQ(port->backlog(0), 0u);
}

TEST_F(PortTest, AFullDeviceMakesABacklogAndAFullBacklogMakesBackpressure) {
  const auto port = open({.tx_backlog = 64});
  ASSERT_NE(port, nullptr);
  std::size_t sent = 0;
  std::uint8_t mark = 0;
  // Nobody receives: the device takes what its ring holds, then the backlog fills.
  for (;;) {
    const MutByteSpan room = port->reserve(0, 64);
    if (room.empty()) break;
    fill(room, port->mac(), ++mark);
    port->commit(0);
    sent += port->flush(0);
    ASSERT_LE(sent + port->backlog(0), kRingSlots + 64);
  }
  EXPECT_EQ(sent, kRingSlots);
  EXPECT_EQ(port->backlog(0), 60u);  // a sixteenth is kept for control packets
  EXPECT_EQ(count(Counter::tx_backlog_full), 1u);
  for (int i = 0; i < 4; ++i) {
    const MutByteSpan room = port->reserve(0, 64, Priority::control);
    ASSERT_FALSE(room.empty());
    fill(room, port->mac(), ++mark);
    port->commit(0);
  }
  EXPECT_TRUE(port->reserve(0, 64, Priority::control).empty());

  // Once the peer reads again everything arrives, once, in order.
  std::size_t received = 0;
  std::uint8_t expected = 0;
  while (received < kRingSlots + 64) {
    const std::size_t n = port->rx_burst(0, packets);
    port->flush(0);
    ASSERT_GT(n, 0u);
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(packets[i].data()[14], ++expected);
    received += n;
  }
  EXPECT_EQ(port->backlog(0), 0u);
  EXPECT_FALSE(port->reserve(0, 64).empty());
  EXPECT_EQ(port->rx_burst(0, packets), 0u);
}

TEST_F(PortTest, AnEmptyPoolIsBackpressureToo) {
  pool.reset();
  make_pool(64);
  const auto port = open();
  ASSERT_NE(port, nullptr);
  std::size_t committed = 0;
  for (; !port->reserve(0, 100).empty(); ++committed) port->commit(0);
  EXPECT_GE(committed, 40u);
  EXPECT_LE(committed, 64u);
  EXPECT_EQ(count(Counter::tx_no_buffer), 1u);
  EXPECT_EQ(port->stats().rx_no_buffer, 1u);
}

TEST_F(PortTest, ClosingFreesWhatWaits) {
  auto port = open();
  ASSERT_NE(port, nullptr);
  for (int i = 0; i < 20; ++i) send(*port, 0, 100, 1);
  EXPECT_EQ(pool->in_use(), 20u);
  EXPECT_EQ(port->reserve(0, 100).size(), 100u);
  port.reset();
  EXPECT_EQ(pool->in_use(), 0u);
}

TEST_F(PortTest, DropsWhatIsNotForThisPort) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  const auto put = [&](const MacBytes& to, const MacBytes& from) {
    const MutByteSpan room = port->reserve(0, 60);
    fill(room, to, 1);
    std::memcpy(room.data() + 6, from.data(), 6);
    port->commit(0);
  };
  put({0x02, 0, 0, 0, 0, 0x99}, kPeer);              // another host
  put(port->mac(), port->mac());                     // ourselves
  put({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, kPeer);  // everyone
  put({0x33, 0x33, 0xff, 0, 0, 1}, kPeer);           // neighbour discovery
  port->flush(0);
  EXPECT_EQ(port->rx_burst(0, packets), 2u);
  EXPECT_EQ(count(Counter::drop_link_destination), 1u);
  EXPECT_EQ(count(Counter::drop_own_frame), 1u);
  EXPECT_EQ(count(Counter::rx_packets), 4u);
  EXPECT_EQ(port->stats().rx_dropped_here, 2u);
}

TEST_F(PortTest, AnUntaggedPortDropsTaggedFramesButTakesPriorityTags) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  for (const std::uint16_t tci : {std::uint16_t{120}, std::uint16_t{0x6000}}) {
    const MutByteSpan room = port->reserve(0, 64);
    fill(room, port->mac(), 7);
    store_be16(room.data() + 12, 0x8100);
    store_be16(room.data() + 14, tci);
    store_be16(room.data() + 16, 0x88b5);
    port->commit(0);
  }
  port->flush(0);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  const ByteSpan data = std::as_const(packets[0]).data();
  EXPECT_EQ(data.size(), 60u);
  EXPECT_EQ(load_be16(data.data() + 12), 0x88b5);
  EXPECT_EQ(data[14], 7);
  EXPECT_EQ(count(Counter::drop_vlan), 1u);
}

TEST_F(PortTest, ATaggedPortAddsAndTakesItsTag) {
  const auto port = open({.vlan = 120});
  ASSERT_NE(port, nullptr);
  send(*port, 0, 100, 0x5a);
  port->flush(0);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  const ByteSpan data = std::as_const(packets[0]).data();
  ASSERT_EQ(data.size(), 100u);
  EXPECT_EQ(load_be16(data.data() + 12), 0x88b5);
  EXPECT_EQ(0, std::memcmp(data.data() + 6, kPeer.data(), 6));
  EXPECT_EQ(data[14], 0x5a);
  EXPECT_EQ(count(Counter::tx_bytes), 104u);  // the tag was on the wire
}

TEST_F(PortTest, ATaggedPortDropsWhatLacksItsTag) {
  const auto port = open({.vlan = 120});
  ASSERT_NE(port, nullptr);
  std::uint16_t id = 0;
  ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &id), 0);
  // Past the port, straight into the device: no tag, another VLAN's, a tag cut short.
  std::array<std::uint8_t, 64> frame{};
  fill(frame, port->mac(), 1);
  std::array<rte_mbuf*, 3> raw = {pool->copy_of(frame).release(), nullptr, nullptr};
  store_be16(&frame[12], 0x8100);
  store_be16(&frame[14], 121);
  raw[1] = pool->copy_of(frame).release();
  raw[2] = pool->copy_of(ByteSpan(frame).first(16)).release();
  ASSERT_EQ(rte_eth_tx_burst(id, 0, raw.data(), 3), 3);
  EXPECT_EQ(port->rx_burst(0, packets), 0u);
  EXPECT_EQ(count(Counter::drop_vlan), 3u);
}

TEST_F(PortTest, TakesFramesInPiecesAndDropsTruncatedOnes) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  std::uint16_t id = 0;
  ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &id), 0);
  std::array<std::uint8_t, 100> frame{};
  fill(frame, port->mac(), 9);
  rte_mbuf* first = pool->copy_of(ByteSpan(frame).first(40)).release();
  ASSERT_EQ(rte_pktmbuf_chain(first, pool->copy_of(ByteSpan(frame).subspan(40)).release()), 0);
  std::array<rte_mbuf*, 2> raw = {first, pool->copy_of(ByteSpan(frame).first(13)).release()};
  ASSERT_EQ(rte_eth_tx_burst(id, 0, raw.data(), 2), 2);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  const ByteSpan data = std::as_const(packets[0]).data();
  EXPECT_TRUE(std::equal(data.begin(), data.end(), frame.begin(), frame.end()));
  EXPECT_EQ(count(Counter::drop_frame_truncated), 1u);
}

// Builds an IPv4 or IPv6 packet with TCP or UDP on top and lets the port fill the checksums in.
struct ChecksumCase {
  const char* what;
  bool ipv6;
  std::uint8_t protocol;
  std::size_t payload;
};

class ChecksumTest : public PortTest, public testing::WithParamInterface<ChecksumCase> {};

TEST_P(ChecksumTest, Bug45_AreFilledInInSoftware) {
  const auto& c = GetParam();
  const auto port = open();
  ASSERT_NE(port, nullptr);
  ASSERT_FALSE(port->capabilities().tx_checksum_l4);
  const std::size_t l3 = c.ipv6 ? 40 : 20;
  const std::size_t l4 = (c.protocol == 6 ? 20 : 8) + c.payload;
  const std::size_t length = 14 + l3 + l4;
  const MutByteSpan room = port->reserve(0, length);
  ASSERT_EQ(room.size(), length);
  fill(room, port->mac(), 0x3c);
  std::uint8_t* ip = room.data() + 14;
  std::memset(ip, 0, l3 + 20);
  if (c.ipv6) {
    ip[0] = 0x60;
    store_be16(ip + 4, static_cast<std::uint16_t>(l4));
    ip[6] = c.protocol;
    ip[7] = 64;
    ip[8] = 0x20;
    ip[24] = 0x20;
    ip[23] = 1;
    ip[39] = 2;
  } else {
    ip[0] = 0x45;
    store_be16(ip + 2, static_cast<std::uint16_t>(l3 + l4));
    ip[8] = 64;
    ip[9] = c.protocol;
    store_be32(ip + 12, 0xc6120101);
    store_be32(ip + 16, 0xc6120102);
  }
  port->commit(0, {.ipv4_checksum = true,
                   .l4_checksum = true,
                   .l2_length = 14,
                   .l3_length = static_cast<std::uint8_t>(l3)});
  port->flush(0);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  const ByteSpan data = std::as_const(packets[0]).data();
  if (!c.ipv6) {
    EXPECT_TRUE(packet::checksum_ok(data.subspan(14, 20)));
  }
  const auto* got = data.data() + 14;
  const IpAddress source = c.ipv6 ? IpAddress::v6(std::span<const std::uint8_t, 16>(got + 8, 16))
                                  : IpAddress::v4(load_be32(got + 12));
  const IpAddress destination = c.ipv6
                                    ? IpAddress::v6(std::span<const std::uint8_t, 16>(got + 24, 16))
                                    : IpAddress::v4(load_be32(got + 16));
  EXPECT_TRUE(packet::l4_checksum_ok(source, destination, c.protocol, data.subspan(14 + l3, l4)));
}

INSTANTIATE_TEST_SUITE_P(Port, ChecksumTest,
                         testing::Values(ChecksumCase{"tcp4", false, 6, 1001},
                                         ChecksumCase{"udp4", false, 17, 0},
                                         ChecksumCase{"tcp6", true, 6, 1},
                                         ChecksumCase{"udp6", true, 17, 512}),
                         [](const auto& each) { return std::string(each.param.what); });

TEST_F(PortTest, AReceivedPacketCanBeSentOn) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  send(*port, 0, 200, 0x11);
  port->flush(0);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  EXPECT_TRUE(port->send(0, std::move(packets[0])));
  EXPECT_FALSE(packets[0]);
  port->flush(0);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  EXPECT_EQ(packets[0].data().size(), 200u);
  EXPECT_FALSE(port->send(0, Packet{}));
}

TEST_F(PortTest, OneQueueServesSeveralWorkersThroughItsOwner) {
  const auto port = open({.workers = 3, .max_queues = 1});
  ASSERT_NE(port, nullptr);
  EXPECT_EQ(port->rx_queues(), 1u);
  EXPECT_EQ(port->tx_queues(), 1u);
  EXPECT_EQ(port->spreading(), Spreading::redirect);
  EXPECT_TRUE(port->polls(0));
  EXPECT_FALSE(port->polls(1));
  EXPECT_EQ(port->rx_burst(2, packets), 0u);
  for (unsigned worker = 0; worker < 3; ++worker) {
    send(*port, worker, 100, static_cast<std::uint8_t>(worker));
  }
  EXPECT_EQ(port->flush(2), 1u);
  EXPECT_EQ(port->flush(1), 1u);
  EXPECT_EQ(port->rx_burst(0, packets), 0u);  // the owner has not run yet
  const auto source = port->wait_source(0);
  EXPECT_EQ(source.arm(source.context), Micros{0}) << "the owner must not sleep over its inboxes";
  EXPECT_EQ(port->flush(0), 3u);
  EXPECT_EQ(port->rx_burst(0, packets), 3u);
  EXPECT_EQ(source.arm(source.context), Micros::max());
}

TEST_F(PortTest, AnOutboxThatIsNotCollectedIsBoundedAndFreed) {
  const auto port = open({.workers = 2, .tx_backlog = 64, .max_queues = 1});
  ASSERT_NE(port, nullptr);
  std::size_t taken = 0;
  for (MutByteSpan room = port->reserve(1, 60); !room.empty(); room = port->reserve(1, 60)) {
    fill(room, port->mac(), 1);
    port->commit(1);
    port->flush(1);
    ASSERT_LT(++taken, 1000u);
  }
  EXPECT_GE(taken, 64u + 60);
  EXPECT_GT(pool->in_use(), 0u);
}

TEST_F(PortTest, QueuePerWorkerWhereTheDeviceHasThem) {
  const auto port = open({.workers = 2});
  ASSERT_NE(port, nullptr);
  EXPECT_EQ(port->rx_queues(), 2u);
  send(*port, 1, 100, 0x42);
  port->flush(1);
  EXPECT_EQ(port->rx_burst(0, packets), 0u);
  ASSERT_EQ(port->rx_burst(1, packets), 1u);
  EXPECT_EQ(packets[0].data()[14], 0x42);
  EXPECT_EQ(count(Counter::rx_packets, 1), 1u);
  EXPECT_EQ(count(Counter::rx_packets, 0), 0u);
}

TEST_F(PortTest, JumboFrames) {
  pool.reset();
  make_pool(512, 9000);
  const auto port = open({.mtu = 9000});
  ASSERT_NE(port, nullptr);
  send(*port, 0, 9014, 0x99);
  port->flush(0);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  EXPECT_EQ(packets[0].data().size(), 9014u);
  EXPECT_EQ(packets[0].data()[9013], 0x99);
}

TEST_F(PortTest, CanBeOpenedAgainAfterClosing) {
  for (int i = 0; i < 3; ++i) {
    auto port = open();
    ASSERT_NE(port, nullptr);
    send(*port, 0, 100, 1);
    port->flush(0);
    EXPECT_EQ(port->rx_burst(0, packets), 1u);
    packets[0].reset();
  }
}

TEST_F(PortTest, RefusalsSayWhatIsWrong) {
  struct Case {
    PortConfig config;
    const char* says;
  };
  const auto in_use = open();
  ASSERT_NE(in_use, nullptr);
  const Case cases[] = {
      {{.name = "p", .device = ""}, "no device is configured"},
      {{.name = "p", .device = "net_ring0"}, "'net_ring0' is used by another port already"},
      {{.name = "p", .device = "net_nosuch0"}, "device 'net_nosuch0' cannot be attached"},
      {{.name = "p", .device = "0000:ff:1f.7"}, "device '0000:ff:1f.7' cannot be attached"},
      {{.name = "p", .device = "net_af_packet0,iface=nosuch"}, "cannot be attached"},
      {{.name = "p", .device = "net_ring1", .mtu = 100}, "an MTU of 100 is not between"},
      {{.name = "p", .device = "net_ring1", .mtu = 9001}, "an MTU of 9001 is not between"},
      {{.name = "p", .device = "net_ring1", .mtu = 9000}, "do not hold frames of MTU 9000"},
      {{.name = "p", .device = "net_ring1", .vlan = 4095}, "VLAN 4095 is not between"},
      {{.name = "p", .device = "net_ring1", .workers = 0}, "0 workers are not between"},
  };
  for (const Case& c : cases) {
    const auto port = Port::open(c.config, *pool);
    ASSERT_FALSE(port) << c.says;
    EXPECT_TRUE(port.error().starts_with("port 'p': ")) << port.error();
    EXPECT_NE(port.error().find(c.says), std::string::npos) << port.error();
  }
}

TEST(DeviceArguments, AreCompletedForPacketSockets) {
  EXPECT_EQ(complete_device_arguments("net_af_packet0,iface=a", 1500, 1),
            "net_af_packet0,iface=a,qpairs=1,qdisc_bypass=1,blocksz=65536,framesz=2048,"
            "framecnt=2048");
  // 9088 bytes of room and the header. Frames fill blocks without rest: the driver counts on it.
  EXPECT_EQ(complete_device_arguments("net_af_packet0,iface=a", 9000, 2),
            "net_af_packet0,iface=a,qpairs=2,qdisc_bypass=1,blocksz=1167360,framesz=9120,"
            "framecnt=512");
  EXPECT_EQ(complete_device_arguments("net_af_packet1,iface=b,qpairs=3,framecnt=64", 1500, 1),
            "net_af_packet1,iface=b,qpairs=3,framecnt=64,qdisc_bypass=1");
  for (const char* other : {"net_tap0,iface=t", "0000:3b:02.1", "net_ring0"}) {
    EXPECT_EQ(complete_device_arguments(other, 9000, 4), other);
  }
}

TEST_F(PortTest, Bug55_PoolSaysWhatItCannotHave) {
  const auto none = PacketPool::make({.name = "none", .buffers = 0});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error(), "no packet buffers are configured");
  const auto huge = PacketPool::make({.name = "huge", .buffers = 4'000'000});
  ASSERT_FALSE(huge);
  EXPECT_NE(huge.error().find("lower 'memory.packet_buffers'"), std::string::npos);
}

}  // namespace
}  // namespace sluice::port
