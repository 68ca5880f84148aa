#include "agent_bench.h"

namespace sluice::worker {
namespace {

constexpr std::int64_t kWall = 1'800'000'000;
const IpAddress kGateway = *IpAddress::parse("198.18.1.1");
const IpAddress kAgents = *IpAddress::parse("198.18.1.10");
const IpAddress kTowardsTools = *IpAddress::parse("198.18.2.1");
constexpr std::uint16_t kListener = 443;

tcp::StackConfig config(std::uint64_t secret) {
  tcp::StackConfig c;
  c.secret[0] = secret;
  return c;
}

}  // namespace

AgentBench::AgentBench() {
  gateway_ =
      std::make_unique<tcp::Stack>(config(11), to_outside_, static_cast<tcp::Acceptor&>(*this));
  outside_ = std::make_unique<tcp::Stack>(config(22), to_gateway_, tool_);
  EXPECT_TRUE(gateway_->listen(kListener, 0));
  EXPECT_TRUE(outside_->listen(test::kToolPort, 0));
  pools_ = std::make_unique<upstream::Pools>(*gateway_, upstream::PoolLimits{});
  pools_->set_local_addresses({kTowardsTools});
  pools_->set_handshake_budget(core_.handshakes);
  core_.context.snapshot = &snapshot_;
  core_.context.tasks = &tasks_;
  core_.context.counters = &counters_;
  core_.context.host = this;
  core_.context.pools = pools_.get();
}

AgentBench::~AgentBench() {
  core_.abort_all();
  pools_.reset();
  gateway_->abort_all(now_);
  outside_->abort_all(now_);
  EXPECT_EQ(gateway_->memory_in_use(), 0u);
  EXPECT_EQ(count(telemetry::Counter::calls_started), count(telemetry::Counter::calls_finished));
  EXPECT_EQ(count(telemetry::Counter::calls_finished), records_.size());
  for (const auto& task : tasks_.list()) EXPECT_EQ(task.in_flight, 0u);
}

tcp::Observer* AgentBench::on_accept(tcp::Connection& connection, std::uint32_t, Time now) {
  accepted_ = &connection;
  return &core_.adopt(
      connection, certificates_ == nullptr ? nullptr : certificates_->make_session("server"), now);
}

test::Peer& AgentBench::connect() {
  agents_.push_back(std::make_unique<test::Peer>());
  test::Peer& agent = *agents_.back();
  const std::size_t before = core_.agents.size();
  agent.connection = outside_->connect(kAgents, {kGateway, kListener}, agent, now_);
  run();
  EXPECT_EQ(core_.agents.size(), before + 1);
  return agent;
}

std::string AgentBench::token(std::string_view task) const {
  return test::example_token(key_, kWall, "research", "", task);
}

std::string AgentBench::request(std::string_view method, std::string_view path,
                                std::string_view more_fields) {
  std::string head(method);
  head.append(" ").append(path).append(" HTTP/1.1\r\nHost: kb.tools.example\r\n");
  head.append("Txn-Token: ").append(token()).append("\r\n");
  return head.append(more_fields).append("\r\n");
}

std::size_t AgentBench::gateway_turn() {
  core_.context.now = {now_, WallTime{Seconds{kWall}}};
  std::size_t did = to_gateway_.deliver(*gateway_, now_);
  gateway_->poll_timers(now_);
  pools_->poll_timers(now_);
  did += core_.run_timers(now_, 64);
  core_.handshakes.full_handshakes_left = kFullHandshakesPerTurn;
  did += gateway_->dispatch(now_);
  did += core_.run_connections(now_);
  gateway_->flush(now_);
  gateway_->end_turn();
  to_gateway_.end_turn();
  return did;
}

std::size_t AgentBench::outside_turn() {
  std::size_t did = to_outside_.deliver(*outside_, now_);
  outside_->poll_timers(now_);
  did += outside_->dispatch(now_);
  outside_->flush(now_);
  outside_->end_turn();
  to_outside_.end_turn();
  return did;
}

void AgentBench::fill_gateway() {
  for (int i = 0; i < 50; ++i) {
    outside_turn();
    to_gateway_.deliver(*gateway_, now_);
    gateway_->flush(now_);
    gateway_->end_turn();
    to_gateway_.end_turn();
    now_ += Micros{50};
  }
}

void AgentBench::run() {
  for (int quiet = 0; quiet < 3;) {
    std::size_t did = gateway_turn();
    did += outside_turn();
    quiet = did + to_gateway_.waiting() + to_outside_.waiting() == 0 ? quiet + 1 : 0;
    now_ += Micros{50};
  }
}

void AgentBench::pass(Micros time) {
  const Time until = now_ + time;
  while (now_ < until) {
    run();
    now_ = std::min(until, now_ + Millis{10});
  }
  run();
}

}  // namespace sluice::worker
