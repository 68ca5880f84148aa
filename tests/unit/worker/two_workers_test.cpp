// Two workers behind one queue: what arrives at one reaches the other where it must.
#include "worker_bench.h"

namespace sluice::worker {
namespace {

using telemetry::Counter;
using telemetry::Reason;

constexpr std::string_view kNoToken = "GET /docs/a HTTP/1.1\r\nHost: kb.tools.example\r\n\r\n";
constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class TwoWorkersTest : public WorkerBench {
 protected:
  static constexpr unsigned kWorkers = 2;
  void SetUp() override {
    WorkerBench::SetUp();
    start(kWorkers);
    ASSERT_EQ(shared.ports.size(), 1u);
    ASSERT_EQ(shared.ports[0]->rx_queues(), 1u) << "everything must arrive at worker 0";
  }
};

TEST_F(TwoWorkersTest, AFlowReachesItsOwner) {
  for (const unsigned worker : {1u, 0u, 1u, 0u}) {
    test::Peer& agent = connect(worker);
    agent.say(kNoToken);
    ASSERT_TRUE(until([&] { return agent.received.starts_with("HTTP/1.1 401 "); }));
    EXPECT_EQ(next_record(worker).worker, worker);
  }
  for (unsigned worker = 0; worker < kWorkers; ++worker) {
    EXPECT_EQ(count(Counter::agent_connections, worker), 2u);
    EXPECT_EQ(workers[worker]->events().size(), 0u);
  }
  EXPECT_GT(count(Counter::redirected_packets, 0), 0u);
  EXPECT_EQ(count(Counter::redirected_packets, 1), 0u);
}

TEST_F(TwoWorkersTest, Bug40_WhatTheOwnerOfNeighboursLearnsTheOtherUses) {
  // Answers to ARP and neighbour discovery come to worker 0 alone.
  for (const auto* address : {"198.18.1.1", "2001:db8:1::1"}) {
    test::Peer& agent = connect(1, kHttp, address);
    ASSERT_TRUE(until([&] { return agent.connection->established(); })) << address;
  }
  EXPECT_EQ(count(Counter::arp_received, 1), 0u);
  EXPECT_EQ(count(Counter::nd_received, 1), 0u);
  EXPECT_EQ(shared.neighbour_news[1]->size(), 0u);
}

TEST_F(TwoWorkersTest, Bug6_AConnectionToAToolComesBackToWhoOpenedIt) {
  for (const unsigned worker : {1u, 0u}) {
    test::Peer& agent = connect(worker);
    agent.say(request("/docs/a"));
    const std::size_t before = outside->accepted.peers.size();
    ASSERT_TRUE(until([&] { return outside->accepted.peers.size() > before; })) << worker;
    test::Peer& tool = *outside->accepted.peers.back();
    ASSERT_TRUE(until([&] { return !tool.received.empty(); }));
    const tcp::FlowKey& flow = tool.connection->flow();
    EXPECT_EQ(
        shared.ports[0]->flow_owner()(flow.local, flow.remote, flow.local_port, flow.remote_port),
        worker);
    tool.say(kOk);
    ASSERT_TRUE(until([&] { return agent.received.ends_with("ok"); }));
    EXPECT_EQ(next_record(worker).reason, Reason::ok);
  }
}

// Fragments gather at the worker their addresses and id choose, and what they make goes on.
TEST_F(TwoWorkersTest, AReassembledSegmentReachesItsFlowsOwner) {
  const packet::FlowOwner& owner = shared.ports[0]->flow_owner();
  const IpAddress gateway = ip::test::ip("198.18.1.1");
  std::array<std::uint64_t, kWorkers> begun{};
  for (const unsigned gathers : {0u, 1u}) {
    for (const unsigned owns : {0u, 1u}) {
      SCOPED_TRACE(std::to_string(gathers) + " gathers for " + std::to_string(owns));
      std::uint32_t host = 0xc6120114;  // 198.18.1.20 and on
      while (owner(IpAddress::v4(host), gateway, 0, 77) != gathers) ++host;
      const IpAddress source = IpAddress::v4(host);
      std::uint16_t port = 40000;
      while (owner(source, gateway, port, kHttp) != owns) ++port;
      ip::test::Bytes syn = ip::test::tcp_segment(100);
      store_be16(&syn[0], port);
      store_be16(&syn[2], kHttp);
      store_be32(&syn[4], port);
      syn[13] = packet::kTcpSyn;
      store_be16(&syn[packet::kTcpChecksumOffset], 0);
      store_be16(&syn[packet::kTcpChecksumOffset],
                 packet::l4_checksum(source, gateway, packet::kProtocolTcp, syn));
      for (const std::size_t at : {std::size_t{0}, std::size_t{80}}) {
        const ByteSpan piece = ByteSpan{syn}.subspan(at, at == 0 ? 80 : syn.size() - at);
        send_frame(*ports->outside,
                   addressed(ip::test::fragment_frame(source, gateway, packet::kProtocolTcp, piece,
                                                      at, at == 0),
                             ports->outside->mac(), shared.ports[0]->mac()));
      }
      ++begun[owns];
      ASSERT_TRUE(until([&] { return count(Counter::tcp_syn_cache_added, owns) == begun[owns]; }));
    }
  }
  EXPECT_EQ(count(Counter::datagrams_reassembled, 0), 2u);
  EXPECT_EQ(count(Counter::datagrams_reassembled, 1), 2u);
}

}  // namespace
}  // namespace sluice::worker
