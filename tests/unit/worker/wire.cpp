#include "wire.h"

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

namespace sluice::worker {

namespace {

// What rte_eth_from_rings() hands to the driver of DPDK 22.11 by its address: queues of one's own
// instead of a loop. Through the device string the port attaches and detaches them by itself.
struct RingQueues {
  rte_ring* const* receive;
  unsigned receive_count = 1;
  rte_ring* const* transmit;
  unsigned transmit_count = 1;
  unsigned numa_node = 0;
  void* self = this;

  std::string device(const std::string& name) const {
    std::array<char, 32> address{};
    std::snprintf(address.data(), address.size(), "%p", self);
    return "net_ring_" + name + ",internal=" + address.data();
  }
};

std::unique_ptr<port::Port> open_port(const port::PortConfig& config, port::PacketPool& pool) {
  auto port = port::Port::open(config, pool);
  EXPECT_TRUE(port) << port.error();
  return port ? std::move(*port) : nullptr;
}

rte_ring* make_ring(const char* name) {
  return rte_ring_create(name, 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

void drain(rte_ring* ring) {
  void* mbuf = nullptr;
  while (rte_ring_dequeue(ring, &mbuf) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
  rte_ring_free(ring);
}

}  // namespace

JoinedPorts::JoinedPorts(port::PacketPool& pool, unsigned gateway_workers, std::uint16_t mtu)
    : to_gateway_(make_ring("to-gateway")), to_outside_(make_ring("to-outside")) {
  const RingQueues at_gateway{.receive = &to_gateway_, .transmit = &to_outside_};
  const RingQueues at_outside{.receive = &to_outside_, .transmit = &to_gateway_};
  gateway = open_port({.name = "gateway",
                       .device = at_gateway.device("gateway"),
                       .mtu = mtu,
                       .workers = gateway_workers,
                       .max_queues = 1},
                      pool);
  outside =
      open_port({.name = "outside", .device = at_outside.device("outside"), .mtu = mtu}, pool);
}

JoinedPorts::~JoinedPorts() {
  gateway.reset();
  outside.reset();
  drain(to_gateway_);
  drain(to_outside_);
}

PortAddresses gateway_addresses() {
  return {{*IpPrefix::parse("198.18.1.1/24"), *IpPrefix::parse("2001:db8:1::1/64"),
           *IpPrefix::parse("198.18.2.1/24")},
          {}};
}

PortAddresses outside_addresses() {
  return {{*IpPrefix::parse("198.18.1.10/24"), *IpPrefix::parse("2001:db8:1::10/64"),
           *IpPrefix::parse("198.18.2.10/24")},
          {}};
}

Host::Host(port::Port& port, const PortAddresses& addresses, Time now,
           const PortStack::Config& config)
    : stack(attach(port, config.worker), addresses, config, accepted, counters, now), now_(now) {}

Host::~Host() {
  stack.tcp().abort_all(now_);
  stack.flush(now_);
  stack.end_turn();
}

port::Port& Host::attach(port::Port& port, unsigned worker) {
  port.attach(worker, counters);
  return port;
}

std::size_t Host::turn(Time now) {
  now_ = now;
  const std::size_t n = stack.rx_burst();
  for (std::size_t i = 0; i < n; ++i) {
    const port::Packet& packet = stack.received(i);
    longest_frame = std::max(longest_frame, packet.data().size());
    stack.input(packet, PortStack::parse(packet), now);
  }
  stack.poll(now, 64);
  const std::size_t ready = stack.tcp().dispatch(now);
  const std::size_t sent = stack.flush(now);
  stack.end_turn();
  return n + ready + sent;
}

test::Peer& Host::connect(std::string_view to, std::uint16_t to_port, Time now,
                          bool (*accept_port)(void*, const tcp::FlowKey&),
                          void* accept_port_context) {
  opened.push_back(std::make_unique<test::Peer>());
  const IpAddress remote = ip::test::ip(to);
  opened.back()->connection =
      stack.tcp().connect(*stack.ip().source_for(remote), {remote, to_port}, *opened.back(), now,
                          Micros{0}, accept_port, accept_port_context);
  EXPECT_NE(opened.back()->connection, nullptr);
  return *opened.back();
}

ip::test::Bytes addressed(ip::test::Bytes frame, const port::MacBytes& from,
                          const port::MacBytes& to) {
  std::ranges::copy(to, frame.begin());
  std::ranges::copy(from, frame.begin() + 6);
  return frame;
}

void send_frame(port::Port& port, ByteSpan frame) {
  const MutByteSpan room = port.reserve(0, frame.size());
  ASSERT_EQ(room.size(), frame.size());
  std::copy(frame.begin(), frame.end(), room.begin());
  port.commit(0);
  ASSERT_GE(port.flush(0), 1u);
}

ip::test::Bytes next_frame(port::Port& port) {
  std::array<port::Packet, 1> one;
  while (port.rx_burst(0, one) == 1) {
    const ByteSpan data = std::as_const(one[0]).data();
    const packet::ParsedFrame parsed = packet::parse_frame(data);
    EXPECT_TRUE(parsed.ok());
    if (parsed.network == packet::Network::arp) continue;
    if (parsed.ipv6() && parsed.protocol == packet::kProtocolIcmpv6 &&
        (packet::is_neighbour_discovery(parsed.icmp_type) ||
         parsed.icmp_type == packet::kIcmpv6MldReportV2)) {
      continue;
    }
    return {data.begin(), data.end()};
  }
  return {};
}

}  // namespace sluice::worker
