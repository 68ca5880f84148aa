// What a tap sees of a port's frames, over DPDK's net_ring.
#include "port/tap.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "eal_environment.h"
#include "port/port.h"

namespace sluice::port {
namespace {

struct Seen {
  std::vector<std::uint8_t> bytes;
  std::size_t wire_length;
  Direction direction;
  std::uint16_t port;
};

class Recorder final : public Tap {
 public:
  void frame(std::uint16_t port, ByteSpan bytes, std::size_t wire_length,
             Direction direction) override {
    seen.push_back({{bytes.begin(), bytes.end()}, wire_length, direction, port});
  }
  std::vector<Seen> seen;
};

class TapTest : public WithPool {
 protected:
  std::unique_ptr<Port> open(PortConfig config = {}) {
    config.name = "loop";
    config.device = "net_ring0";
    config.index = 3;
    auto port = Port::open(config, *pool);
    EXPECT_TRUE(port) << port.error();
    if (port) (*port)->attach(0, counters);
    return port ? std::move(*port) : nullptr;
  }
  static void send(Port& port, const MacBytes& to, std::uint8_t mark, std::size_t length = 60) {
    const MutByteSpan room = port.reserve(0, length);
    ASSERT_EQ(room.size(), length);
    std::memcpy(room.data(), to.data(), 6);
    std::memcpy(room.data() + 6, "\x02peer!", 6);
    store_be16(room.data() + 12, 0x88b5);  // IEEE 802 local experimental
    std::memset(room.data() + 14, mark, length - 14);
    port.commit(0);
  }
  void TearDown() override {
    for (auto& packet : packets) packet.reset();
    WithPool::TearDown();
  }
  telemetry::CounterBlock counters;
  Recorder tap;
  std::array<Packet, Port::kBurst> packets;
};

TEST_F(TapTest, SeesBothDirectionsWhileItIsThere) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  port->set_tap(0, &tap);
  send(*port, port->mac(), 0xaa, 200);
  EXPECT_TRUE(tap.seen.empty()) << "not before the device is offered it";
  port->flush(0);
  ASSERT_EQ(tap.seen.size(), 1u);
  EXPECT_EQ(tap.seen[0].direction, Direction::out);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  ASSERT_EQ(tap.seen.size(), 2u);
  EXPECT_EQ(tap.seen[1].direction, Direction::in);
  for (const Seen& seen : tap.seen) {
    EXPECT_EQ(seen.port, 3u);
    EXPECT_EQ(seen.wire_length, 200u);
    ASSERT_EQ(seen.bytes.size(), 200u);
    EXPECT_EQ(seen.bytes[199], 0xaa);
  }
  port->set_tap(0, nullptr);
  send(*port, port->mac(), 0xbb);
  port->flush(0);
  EXPECT_EQ(port->rx_burst(0, packets), 1u);
  EXPECT_EQ(tap.seen.size(), 2u);
}

TEST_F(TapTest, SeesWhatThePortDrops) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  port->set_tap(0, &tap);
  send(*port, MacBytes{2, 9, 9, 9, 9, 9}, 1);
  port->flush(0);
  EXPECT_EQ(port->rx_burst(0, packets), 0u);
  EXPECT_EQ(counters.get(telemetry::Counter::drop_link_destination), 1u);
  EXPECT_EQ(tap.seen.size(), 2u);
}

TEST_F(TapTest, SeesTagsAndPadding) {
  const auto port = open({.vlan = 120});
  ASSERT_NE(port, nullptr);
  port->set_tap(0, &tap);
  send(*port, port->mac(), 0xcc, 42);
  port->flush(0);
  ASSERT_EQ(port->rx_burst(0, packets), 1u);
  ASSERT_EQ(tap.seen.size(), 2u);
  for (const Seen& seen : tap.seen) {
    ASSERT_EQ(seen.bytes.size(), 60u);
    EXPECT_EQ(load_be16(&seen.bytes[12]), 0x8100);
    EXPECT_EQ(load_be16(&seen.bytes[14]), 120);
    EXPECT_EQ(seen.bytes[59], 0) << "padding, behind 14 + 4 + 28 bytes";
  }
}

// The driver's ring takes 1023 frames: the rest waits, and is offered again each turn.
TEST_F(TapTest, SeesEachFrameOnceHoweverLongItWaits) {
  const auto port = open();
  ASSERT_NE(port, nullptr);
  port->set_tap(0, &tap);
  for (int i = 0; i < 1100; ++i) send(*port, port->mac(), static_cast<std::uint8_t>(i));
  EXPECT_EQ(port->flush(0), 1023u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(port->flush(0), 0u);
  send(*port, port->mac(), 0xff);
  std::size_t received = 0;
  for (int i = 0; i < 100 && received < 1101; ++i) {
    received += port->rx_burst(0, packets);
    port->flush(0);
  }
  EXPECT_EQ(received, 1101u);
  std::array<std::size_t, 2> count{};
  for (const Seen& seen : tap.seen) ++count[static_cast<std::size_t>(seen.direction)];
  EXPECT_EQ(count[static_cast<std::size_t>(Direction::out)], 1101u);
  EXPECT_EQ(count[static_cast<std::size_t>(Direction::in)], 1101u);
}

}  // namespace
}  // namespace sluice::port
