// One host of a world: the IP layer and the TCP stack of the product, run by a worker's turn, with
// the faults that come from inside.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "impair/path_mtu.h"
#include "impair/random.h"
#include "inspector.h"
#include "ip/interface.h"
#include "scenario.h"
#include "tcp/stack.h"
#include "tcp/stats.h"
#include "telemetry/counters.h"

namespace sluice::sim {

class World;
using impair::Bytes;

IpAddress address_of(std::size_t host, bool ipv6);
packet::MacAddress mac_of(std::size_t host);

class Host final : public ip::FrameSink, public tcp::TransmitSink, public tcp::Acceptor {
 public:
  Host(World& world, std::size_t number, const HostPlan& plan, unsigned life);
  ~Host();

  void start(Time now);
  // A frame is in the receive ring, or lost because that is full.
  void receive(Bytes frame);
  // One turn of the loop. Returns when the next one is due.
  Time turn(Time now);
  tcp::Connection* connect(const Endpoint& remote, tcp::Observer& observer, Time now);

  // A pause of the worker lasts until then.
  Time paused_until() const { return paused_until_; }
  tcp::Stack& stack() { return stack_; }
  const tcp::Stats& stats() const { return stack_.stats(); }
  const HostPlan& plan() const { return plan_; }
  // Connections, half-open ones and TIME-WAIT are all gone.
  bool empty() const;

 private:
  MutByteSpan reserve(std::size_t frame_length) override;
  void commit(std::size_t frame_length, const ip::L4Offload& offload) override;
  GatherRoom reserve_large(std::size_t headers, std::size_t text) override;
  tcp::LargeLimit large_limit(const IpAddress& remote) const override;
  GatherRoom reserve_large(const IpAddress& source, const IpAddress& destination,
                           std::size_t header, std::size_t piece, std::size_t pieces) override;
  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override;
  void commit() override;
  tcp::Observer* on_accept(tcp::Connection& connection, std::uint32_t listener_id,
                           Time now) override;
  void flush(Time now);
  void input(const Bytes& frame, Time now);
  void check(const char* after);
  void check_resets();
  Micros allowed_lateness() const;

  World& world_;
  const std::size_t number_;
  const HostPlan plan_;
  telemetry::CounterBlock counters_;
  ip::Interface ip_;
  tcp::Stack stack_;
  std::deque<Bytes> ring_;
  std::vector<Bytes> turn_frames_;  // until end_turn()
  Bytes pending_, pending_text_;
  std::array<MutByteSpan, 2> text_parts_;
  impair::Random refuse_, allocation_, late_, pause_;
  Time paused_until_{Time::min()}, full_until_{Time::min()};
  tcp::Inspector::Watch watch_;
  MutByteSpan segment_;
  tcp::FlowKey segment_flow_;
  std::vector<tcp::FlowKey> resets_;  // of this turn
  Time now_{};
};

}  // namespace sluice::sim
