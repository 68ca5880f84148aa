// Agents' connections without a worker around them: the gateway's TCP stack and, back to back with
// it on a virtual clock, one that stands for the agents and for the tool "kb".
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent_connection.h"
#include "call/example_policy.h"
#include "core.h"
#include "upstream/wire.h"

namespace sluice::worker {

class AgentBench : public ::testing::Test, protected tcp::Acceptor, protected call::Host {
 protected:
  AgentBench();
  ~AgentBench() override;

  // A connection of an agent, accepted when this returns.
  test::Peer& connect();
  // The head of a request to kb, with a token of the class research unless `token` says otherwise.
  std::string request(std::string_view method, std::string_view path,
                      std::string_view more_fields = "");
  std::string token(std::string_view task = test::kTaskId) const;

  // One turn of a side: what has arrived, timers, news, output. Returns how much happened.
  std::size_t gateway_turn();
  std::size_t outside_turn();
  // Segments and acknowledgements cross, but the gateway's connections are not looked at.
  void fill_gateway();
  // Turns of both until nothing moves any more; time advances a little.
  void run();
  // Time passes, in steps that let timers work.
  void pass(Micros time);

  test::Peer& tool(std::size_t i) { return *tool_.peers.at(i); }
  std::uint64_t count(telemetry::Counter c) const { return counters_.get(c); }

  // tcp::Acceptor
  tcp::Observer* on_accept(tcp::Connection& connection, std::uint32_t, Time now) override;
  // call::Host
  std::uint64_t nanos() override { return ++ticks_; }
  std::uint64_t random() override { return 42; }
  void record(const telemetry::CallRecord& record) override { records_.push_back(record); }
  void arm(call::Call& call, Time at) override { core_.call_timers.arm(call.timer, at); }

  Time now_{Seconds{1000}};
  const crypto::SigningKey key_ = test::example_key();
  const policy::Snapshot snapshot_ = test::example_policy(key_, 1);
  state::TaskTable tasks_{64};
  telemetry::CounterBlock counters_;
  std::vector<telemetry::CallRecord> records_;
  crypto::ServerContexts* certificates_ = nullptr;  // set: connections are TLS's
  test::Cable to_gateway_, to_outside_;
  test::Tool tool_;
  std::unique_ptr<tcp::Stack> gateway_, outside_;
  std::unique_ptr<upstream::Pools> pools_;
  Core core_;
  tcp::Connection* accepted_ = nullptr;  // the gateway's end of the last one
  std::vector<std::unique_ptr<test::Peer>> agents_;
  std::uint64_t ticks_ = 0;
};

}  // namespace sluice::worker
