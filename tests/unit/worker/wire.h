// Two real ports joined back to back inside the process (net_ring), and hosts on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "ip/fixture.h"
#include "port/packet_pool.h"
#include "port/port.h"
#include "port_stack.h"
#include "upstream/wire.h"

struct rte_ring;

namespace sluice::worker {

class JoinedPorts {
 public:
  // `gateway_workers` share one queue. A failed test, and null members, when it cannot be had.
  explicit JoinedPorts(port::PacketPool& pool, unsigned gateway_workers = 1,
                       std::uint16_t mtu = 1500);
  // Ports that were moved away are gone by then.
  ~JoinedPorts();
  JoinedPorts(const JoinedPorts&) = delete;
  JoinedPorts& operator=(const JoinedPorts&) = delete;

  std::unique_ptr<port::Port> gateway;
  std::unique_ptr<port::Port> outside;

 private:
  rte_ring* to_gateway_;
  rte_ring* to_outside_;
};

// 198.18.1.0/24 and 2001:db8:1::/64 for agents, 198.18.2.0/24 for tools.
PortAddresses gateway_addresses();  // .1
PortAddresses outside_addresses();  // .10

// A port's only worker, which runs when the test says so.
struct Host {
  Host(port::Port& port, const PortAddresses& addresses, Time now,
       const PortStack::Config& config = {});
  ~Host();

  // One turn of a worker's loop. Returns how much happened.
  std::size_t turn(Time now);
  test::Peer& connect(std::string_view to, std::uint16_t to_port, Time now,
                      bool (*accept_port)(void*, const tcp::FlowKey&) = nullptr,
                      void* accept_port_context = nullptr);
  std::uint64_t count(telemetry::Counter c) const { return counters.get(c); }
  const tcp::Stats& stats() { return stack.tcp().stats(); }

  telemetry::CounterBlock counters;
  test::Tool accepted;
  std::vector<std::unique_ptr<test::Peer>> opened;
  std::size_t longest_frame = 0;  // received
  PortStack stack;

 private:
  port::Port& attach(port::Port& port, unsigned worker);
  Time now_;
};

// A frame of ip/fixture.h as one from `from` to `to`.
ip::test::Bytes addressed(ip::test::Bytes frame, const port::MacBytes& from,
                          const port::MacBytes& to);
// Past any stack, straight through a port.
void send_frame(port::Port& port, ByteSpan frame);
// The next frame that carries IP and is not about neighbours; empty if none has come.
ip::test::Bytes next_frame(port::Port& port);

}  // namespace sluice::worker
