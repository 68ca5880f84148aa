// Two Sluice stacks on two real ports of this process, joined by shared memory (memif).
//
// One thread runs both ends in turn and charges each with its CPU time. Time for the stacks is what
// the serving end has used, as if it had a core of its own and the other end were another machine:
// what else the machine does, and what the other end costs, does not show.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "port/packet_pool.h"
#include "port/port.h"
#include "port_stack.h"
#include "telemetry/counters.h"

namespace sluice::bench {

inline constexpr std::uint16_t kSinkPort = 80;   // reads everything, answers nothing
inline constexpr std::uint16_t kCallPort = 443;  // kRequest bytes -> kReply bytes
inline constexpr std::size_t kRequest = 64;
inline constexpr std::size_t kReply = 1000;
inline constexpr unsigned kClientAddresses = 8;

IpAddress server_address();                    // 198.18.1.1
IpAddress client_address(std::size_t number);  // 198.18.1.10 and the next

// One end: a port, its stack, and what runs on it.
class End final : public tcp::Acceptor, public tcp::Observer {
 public:
  End(port::Port& port, const worker::PortAddresses& addresses, const tcp::StackConfig& tcp,
      Time now = Time{Seconds{1}});
  ~End();
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  // A worker's turn. Returns how many packets came.
  std::size_t turn(Time now);

  tcp::Observer* on_accept(tcp::Connection&, std::uint32_t listener, Time) override;
  void on_ready(tcp::Connection& connection, Time now) override;

  ByteSpan offered;  // written whenever there is room
  std::uint64_t received = 0;
  std::size_t accepted = 0, closed = 0;

 private:
  port::Port& attach(port::Port& port);

  // Of kCallPort.
  struct Callee final : tcp::Observer {
    void on_ready(tcp::Connection& connection, Time now) override;
  };
  telemetry::CounterBlock counters_;
  Callee callee_;
  Time last_turn_;

 public:
  worker::PortStack stack;
};

class World {
 public:
  World(port::PacketPool& pool, const tcp::StackConfig& tcp);
  ~World();

  // Client, then server: up to `turns` turns each while packets come.
  void step(unsigned turns = 8);
  // A step after which time passes, where something is waited for.
  void rest();
  // Before measuring.
  void reset_cost() { client_cost = server_cost = 0; }
  tcp::Connection* connect(tcp::Observer& observer, std::uint16_t to_port, std::size_t number = 0);

  std::unique_ptr<port::Port> server_port, client_port;
  std::unique_ptr<End> server, client;
  Time now{Seconds{1}};
  double client_cost = 0, server_cost = 0;  // s of CPU

 private:
  double elapsed_us_ = 0;
};

}  // namespace sluice::bench
