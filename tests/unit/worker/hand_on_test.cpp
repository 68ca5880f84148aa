// Segments put together from fragments, where their flow belongs to another worker.
#include <array>
#include <optional>

#include "eal_environment.h"
#include "port/redirect.h"
#include "wire.h"

namespace sluice::worker {
namespace {

using ip::test::Bytes;
using telemetry::Counter;

constexpr unsigned kWorkers = 2;

struct Family {
  const char* name;
  const char* outside;
  const char* gateway;
};

class HandOnTest : public port::WithPool, public testing::WithParamInterface<Family> {
 protected:
  void SetUp() override {
    WithPool::SetUp();
    ports = std::make_unique<JoinedPorts>(*pool, kWorkers);
    ASSERT_NE(ports->gateway, nullptr);
    redirect.emplace(kWorkers, 64);
    for (unsigned i = 0; i < kWorkers; ++i) {
      PortStack::Config config;
      config.worker = i;
      config.neighbour_owner = i == 0;
      config.workers = kWorkers;
      config.redirect = &*redirect;
      config.packets = pool.get();
      config.tcp.secret[0] = i;
      workers[i].emplace(*ports->gateway, gateway_addresses(), now, config);
      redirect->attach(i, workers[i]->counters, nullptr);
    }
  }
  void TearDown() override {
    for (auto& packet : handed) packet.reset();
    for (auto& worker : workers) worker.reset();
    redirect.reset();
    ports.reset();
    WithPool::TearDown();
  }

  // A segment of `length` bytes for a flow of `owner`, in fragments, all of them to worker 0.
  void send_segment(unsigned owner, std::size_t length) {
    const IpAddress source = ip::test::ip(GetParam().outside);
    const IpAddress destination = ip::test::ip(GetParam().gateway);
    Bytes tcp = ip::test::tcp_segment(length - packet::kTcpHeader);
    std::uint16_t port = 40000;
    while (ports->gateway->flow_owner()(source, destination, port, 443) != owner) ++port;
    store_be16(&tcp[0], port);
    store_be16(&tcp[packet::kTcpChecksumOffset], 0);
    store_be16(&tcp[packet::kTcpChecksumOffset],
               packet::l4_checksum(source, destination, packet::kProtocolTcp, tcp));
    constexpr std::size_t kPiece = 1200;
    for (std::size_t at = 0; at < tcp.size(); at += kPiece) {
      const ByteSpan piece = ByteSpan{tcp}.subspan(at, std::min(kPiece, tcp.size() - at));
      const bool more = at + piece.size() < tcp.size();
      const port::Packet packet = pool->copy_of(addressed(
          ip::test::fragment_frame(source, destination, packet::kProtocolTcp, piece, at, more),
          ip::test::kPeerMac.octets, ports->gateway->mac()));
      ASSERT_TRUE(packet);
      workers[0]->stack.input(packet, PortStack::parse(packet), now);
    }
    workers[0]->stack.end_turn();
    redirect->flush(0);
  }

  Time now{Seconds{1000}};
  std::unique_ptr<JoinedPorts> ports;
  std::optional<port::Redirect> redirect;
  std::array<std::optional<Host>, kWorkers> workers;
  std::array<port::Packet, port::Port::kBurst> handed;
};

TEST_P(HandOnTest, ReachTheirFlowsOwner) {
  send_segment(1, 1400);
  EXPECT_EQ(workers[0]->count(Counter::datagrams_reassembled), 1u);
  EXPECT_EQ(workers[0]->count(Counter::redirected_packets), 1u);
  EXPECT_EQ(workers[0]->stats().tcp_in_segs, 0u);
  ASSERT_EQ(redirect->pop(1, handed), 1u);
  EXPECT_EQ(handed[0].port_index(), ports->gateway->index());
  workers[1]->stack.input(handed[0], PortStack::parse(handed[0]), now);
  // Whole and with a good checksum: answered by RST, since nobody listens.
  EXPECT_EQ(workers[1]->stats().tcp_in_segs, 1u);
  EXPECT_EQ(workers[1]->stats().drop_tcp_closed_port, 1u);
  EXPECT_EQ(workers[1]->stats().drop_tcp_checksum, 0u);
}

TEST_P(HandOnTest, StayWhereTheirFlowIs) {
  send_segment(0, 1400);
  EXPECT_FALSE(redirect->pending(1));
  EXPECT_EQ(workers[0]->count(Counter::redirected_packets), 0u);
  EXPECT_EQ(workers[0]->stats().drop_tcp_closed_port, 1u);
}

TEST_P(HandOnTest, DieWithACountWhenNoBufferHoldsThem) {
  send_segment(1, 8000);
  EXPECT_EQ(workers[0]->count(Counter::datagrams_reassembled), 1u);
  EXPECT_FALSE(redirect->pending(1));
  EXPECT_EQ(workers[0]->count(Counter::drop_frame_too_long), 1u);
}

TEST_P(HandOnTest, DieWithACountWhenNoBufferIsLeft) {
  std::vector<port::Packet> taken;
  while (taken.empty() || taken.back()) taken.push_back(pool->copy_of(Bytes(64)));
  taken.resize(taken.size() - 2);  // one is left, for each fragment in turn
  send_segment(1, 1400);
  EXPECT_EQ(workers[0]->count(Counter::datagrams_reassembled), 1u);
  EXPECT_FALSE(redirect->pending(1));
  EXPECT_EQ(workers[0]->count(Counter::drop_no_buffer), 1u);
}

INSTANTIATE_TEST_SUITE_P(Fragments, HandOnTest,
                         testing::Values(Family{"ipv4", "198.18.1.10", "198.18.1.1"},
                                         Family{"ipv6", "2001:db8:1::10", "2001:db8:1::1"}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace sluice::worker
