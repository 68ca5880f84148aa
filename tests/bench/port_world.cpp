#include "port_world.h"

#include <unistd.h>

#include <array>
#include <thread>

#include "measure.h"

namespace sluice::bench {

namespace {

worker::PortAddresses server_addresses() {
  // Answers to addresses nobody has go to the client's end, too.
  return {{{server_address(), 24}}, {client_address(0)}};
}

worker::PortAddresses client_addresses() {
  worker::PortAddresses all;
  for (unsigned i = 0; i < kClientAddresses; ++i) all.addresses.push_back({client_address(i), 24});
  return all;
}

worker::PortStack::Config stack_config(const tcp::StackConfig& tcp) {
  worker::PortStack::Config config;
  config.tcp = tcp;
  return config;
}

// The driver of DPDK 22.11 keeps a listener's address until the process ends: a new one each time.
std::string next_socket() {
  static int number = 0;
  return "sluice-bench-" + std::to_string(::getpid()) + "-" + std::to_string(number++);
}

std::unique_ptr<port::Port> open_memif(port::PacketPool& pool, const std::string& role,
                                       const std::string& socket) {
  const std::string device = "net_memif_" + role + ",role=" + role +
                             ",socket-abstract=yes,socket=" + socket + ",id=0,rsize=10";
  auto port = port::Port::open({.name = role, .device = device}, pool);
  if (!port) require(false, port.error().c_str());
  return std::move(*port);
}

}  // namespace

IpAddress server_address() { return IpAddress::v4(0xc6120101); }
IpAddress client_address(std::size_t number) {
  return IpAddress::v4(0xc612010au + static_cast<std::uint32_t>(number % kClientAddresses));
}

End::End(port::Port& port, const worker::PortAddresses& addresses, const tcp::StackConfig& tcp,
         Time now)
    : last_turn_(now), stack(attach(port), addresses, stack_config(tcp), *this, counters_, now) {}

End::~End() {
  stack.tcp().abort_all(last_turn_);
  stack.end_turn();
}

port::Port& End::attach(port::Port& port) {
  port.attach(0, counters_);
  return port;
}

std::size_t End::turn(Time now) {
  last_turn_ = now;
  const std::size_t n = stack.rx_burst();
  for (std::size_t i = 0; i < n; ++i) {
    const port::Packet& packet = stack.received(i);
    stack.input(packet, worker::PortStack::parse(packet), now);
  }
  stack.poll(now, 64);
  stack.tcp().dispatch(now, 64);
  stack.flush(now);
  stack.end_turn();
  return n;
}

tcp::Observer* End::on_accept(tcp::Connection&, std::uint32_t listener, Time) {
  ++accepted;
  return listener == kCallPort ? static_cast<tcp::Observer*>(&callee_) : this;
}

void End::on_ready(tcp::Connection& c, Time) {
  if (c.close_reason() != tcp::CloseReason::none) {
    ++closed;
    return;
  }
  while (!c.peek().empty()) {
    received += c.peek().size();
    c.consume(c.peek().size());
  }
  while (!offered.empty() && c.established() && c.write(offered) == offered.size()) {
  }
  if (c.end_of_stream()) {
    c.close();
    ++closed;
  }
}

void End::Callee::on_ready(tcp::Connection& c, Time) {
  static const std::array<std::uint8_t, kReply> reply{};
  if (c.close_reason() != tcp::CloseReason::none) return;
  while (!c.peek().empty()) {
    // One request at a time, in one segment.
    const std::size_t n = c.peek().size();
    c.consume(n);
    for (std::size_t i = 0; i < n / kRequest; ++i) c.write(reply);
  }
  if (c.end_of_stream()) c.close();
}

World::World(port::PacketPool& pool, const tcp::StackConfig& tcp) {
  const std::string socket = next_socket();
  server_port = open_memif(pool, "server", socket);
  client_port = open_memif(pool, "client", socket);
  // The two ends find each other on DPDK's interrupt thread.
  const double give_up = wall() + 10;
  while (!server_port->link_up() || !client_port->link_up()) {
    require(wall() < give_up, "the two ends of the memif do not meet");
    std::this_thread::sleep_for(Millis{1});
  }
  server = std::make_unique<End>(*server_port, server_addresses(), tcp);
  client = std::make_unique<End>(*client_port, client_addresses(), tcp);
  for (const std::uint16_t p : {kSinkPort, kCallPort}) server->stack.tcp().listen(p, p);
  // The ends learn each other's link address: what is sent before waits in a short queue.
  tcp::Connection* first = connect(*client, kSinkPort);
  while (!first->established()) rest();
  first->close();
  while (server->closed == 0) rest();
  server->accepted = server->closed = 0;
}

World::~World() {
  client.reset();
  server.reset();
  client_port.reset();
  server_port.reset();
}

void World::step(unsigned turns) {
  const double from = seconds();
  const auto run = [&](End& end) {
    std::size_t came = 1;
    for (unsigned i = 0; i < turns && came > 0; ++i) came = end.turn(now);
  };
  run(*client);
  const double half = seconds();
  run(*server);
  const double end = seconds();
  const double served = between(half, end);
  client_cost += between(from, half);
  server_cost += served;
  elapsed_us_ += std::max(0.1, served * 1e6);
  now = Time{Seconds{1}} + Micros{static_cast<std::int64_t>(elapsed_us_)};
}

void World::rest() {
  step();
  elapsed_us_ += 500;
}

tcp::Connection* World::connect(tcp::Observer& observer, std::uint16_t to_port,
                                std::size_t number) {
  tcp::Connection* c = client->stack.tcp().connect(client_address(number),
                                                   {server_address(), to_port}, observer, now);
  require(c != nullptr, "no connection");
  return c;
}

}  // namespace sluice::bench
