// Each reason for which a port or the redirect drops a frame counts once, and no other does.
#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include <array>
#include <cstring>
#include <map>
#include <string>

#include "eal_environment.h"
#include "port/port.h"
#include "port/redirect.h"
#include "port_drops.h"

namespace sluice::port {
namespace {

using telemetry::Counter;

class Drops : public WithPool, public testing::WithParamInterface<Counter> {
 protected:
  void SetUp() override {
    WithPool::SetUp();
    auto opened = Port::open({.name = "loop", .device = "net_ring0"}, *pool);
    ASSERT_TRUE(opened) << opened.error();
    port = std::move(*opened);
    port->attach(0, counters);
  }
  void TearDown() override {
    port.reset();
    WithPool::TearDown();
  }
  // Past the port, straight into the device.
  void receive(rte_mbuf* mbuf) {
    std::uint16_t id = 0;
    ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &id), 0);
    ASSERT_EQ(rte_eth_tx_burst(id, 0, &mbuf, 1), 1);
    std::array<Packet, Port::kBurst> packets;
    EXPECT_EQ(port->rx_burst(0, packets), 0u);
  }
  void make(Counter reason);

  std::unique_ptr<Port> port;
  telemetry::CounterBlock counters;
};

void Drops::make(Counter reason) {
  std::array<std::uint8_t, 1500> frame{};
  std::memcpy(frame.data(), port->mac().data(), 6);
  switch (reason) {
    case Counter::tx_refused:
      EXPECT_TRUE(port->reserve(0, 13).empty());
      return;
    case Counter::drop_own_frame:
      std::memcpy(frame.data() + 6, port->mac().data(), 6);
      return receive(pool->copy_of(frame).release());
    case Counter::drop_frame_too_long: {
      rte_mbuf* chain = pool->copy_of(frame).release();
      ASSERT_EQ(rte_pktmbuf_chain(chain, pool->copy_of(frame).release()), 0);
      return receive(chain);
    }
    case Counter::drop_redirect_full: {
      Redirect redirect(2, 1);
      redirect.attach(0, counters, nullptr);
      for (int i = 0; i < 2; ++i) redirect.push(0, 1, pool->copy_of(frame));
      return redirect.flush(0);
    }
    default:
      FAIL() << telemetry::info(reason).id << " has no case here: write one";
  }
}

TEST_P(Drops, CountsItsReasonAndNoOther) {
  make(GetParam());
  std::map<std::string_view, std::uint64_t> counted;
  for (std::size_t i = 0; i < telemetry::kCounterCount; ++i) {
    const auto c = static_cast<Counter>(i);
    const auto& row = telemetry::info(c);
    if (row.metric == "drops" && counters.get(c) > 0) counted[row.id] = counters.get(c);
  }
  EXPECT_EQ(counted,
            (std::map<std::string_view, std::uint64_t>{{telemetry::info(GetParam()).id, 1}}));
}

INSTANTIATE_TEST_SUITE_P(Table, Drops, testing::ValuesIn(kPortDrops), [](const auto& row) {
  return std::string(telemetry::info(row.param).id);
});

}  // namespace
}  // namespace sluice::port
