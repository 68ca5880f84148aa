#include "wire.h"

#include <chrono>
#include <string>
#include <thread>

namespace sluice::worker {

JoinedPorts join_ports(port::PacketPool& pool, unsigned gateway_workers) {
  // The driver lets go of a socket's name some time after its port.
  static unsigned number = 0;
  const std::string link =
      ",id=0,socket-abstract=yes,socket=sluice-unit-" + std::to_string(++number);
  JoinedPorts joined;
  auto gateway = port::Port::open(
      {.name = "gateway",
       .device = "net_memif0,role=server,mac=" + ip::test::kOurMac.to_string() + link,
       .workers = gateway_workers,
       .max_queues = 1},
      pool);
  auto outside = port::Port::open(
      {
          .name = "outside",
          .device = "net_memif1,role=client,mac=" + ip::test::kPeerMac.to_string() + link,
      },
      pool);
  EXPECT_TRUE(gateway) << gateway.error();
  EXPECT_TRUE(outside) << outside.error();
  if (!gateway || !outside) return joined;
  const auto until = std::chrono::steady_clock::now() + Seconds{20};
  while (!(*gateway)->link_up() || !(*outside)->link_up()) {
    if (std::chrono::steady_clock::now() > until) {
      ADD_FAILURE() << "the ports did not find each other";
      return joined;
    }
    std::this_thread::yield();
  }
  joined = {std::move(*gateway), std::move(*outside)};
  return joined;
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

void send_frame(port::Port& port, ByteSpan frame) {
  const MutByteSpan room = port.reserve(0, frame.size());
  ASSERT_EQ(room.size(), frame.size());
  std::copy(frame.begin(), frame.end(), room.begin());
  port.commit(0);
  ASSERT_EQ(port.flush(0), 1u);
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
