// A worker on its own thread, over a real port: start, service, commands, stop.
#include "worker/worker.h"

#include <algorithm>
#include <array>

#include "crypto/certificates.h"
#include "runtime/capture.h"
#include "tls_agent.h"
#include "worker_bench.h"

namespace sluice::worker {
namespace {

using runtime::Command;
using telemetry::Counter;
using telemetry::Reason;

constexpr std::string_view kNoToken = "GET /docs/a HTTP/1.1\r\nHost: kb.tools.example\r\n\r\n";
constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class WorkerTest : public WorkerBench {
 protected:
  bool told(test::Peer& agent, std::string_view beginning) {
    return until([&] { return agent.received.size() >= beginning.size(); }) &&
           agent.received.starts_with(beginning);
  }
};

TEST_F(WorkerTest, RunsUntilItIsStopped) {
  start();
  const WorkerStatus& status = workers[0]->status();
  ASSERT_TRUE(until([&] { return status.policy_generation.load() == 1; }));
  const std::uint64_t before = status.total_cycles.load();
  EXPECT_TRUE(until([&] { return status.total_cycles.load() > before; }));
  EXPECT_EQ(status.connections.load(), 0u);
  stop();
  EXPECT_FALSE(status.running.load());
}

TEST_F(WorkerTest, ServesACallAndReportsIt) {
  start();
  test::Peer& agent = connect();
  agent.say(request("/docs/a"));
  ASSERT_TRUE(until([&] { return outside->accepted.peers.size() == 1; }));
  test::Peer& tool = *outside->accepted.peers[0];
  ASSERT_TRUE(until([&] { return tool.received.ends_with("\r\n\r\n"); }));
  EXPECT_TRUE(tool.received.starts_with("GET /docs/a HTTP/1.1\r\n"));
  tool.say(kOk);
  ASSERT_TRUE(until([&] { return agent.received.ends_with("ok"); }));
  EXPECT_TRUE(agent.received.starts_with("HTTP/1.1 200 OK\r\n"));
  const telemetry::CallRecord record = next_record();
  EXPECT_EQ(record.reason, Reason::ok);
  EXPECT_EQ(record.status, 200);
  EXPECT_EQ(record.worker, 0);
  EXPECT_EQ(record.policy_generation, 1u);
  EXPECT_EQ(record.endpoint.address.to_string(), test::kToolAddress);

  const WorkerStatus& status = workers[0]->status();
  EXPECT_TRUE(until([&] { return status.connections.load() == 1; }));
  EXPECT_GT(status.busy_cycles.load(), 0u);
  EXPECT_LE(status.busy_cycles.load(), status.total_cycles.load());
  EXPECT_EQ(count(Counter::agent_connections), 1u);
  // Counters of the libraries follow when the worker rests.
  EXPECT_TRUE(until([&] {
    return count(Counter::tcp_passive_opens) == 1 && count(Counter::upstream_opened) == 1 &&
           count(Counter::upstream_connections) == 1 && count(Counter::tcp_data_octets_in) > 0;
  }));
}

TEST_F(WorkerTest, StoppingResetsWhatIsOpenAndRecordsWhatRan) {
  start();
  test::Peer& idle = connect();
  test::Peer& busy = connect();
  busy.say(request("/docs/a"));
  ASSERT_TRUE(until([&] {
    return !outside->accepted.peers.empty() && !outside->accepted.peers[0]->received.empty() &&
           workers[0]->status().connections.load() == 2;
  }));
  EXPECT_EQ(shared.tasks->list().at(0).in_flight, 1u);
  stop();
  const telemetry::CallRecord record = next_record();
  EXPECT_TRUE(record.agent_gone);
  EXPECT_EQ(shared.tasks->list().at(0).in_flight, 0u);
  ASSERT_TRUE(until([&] { return idle.connection == nullptr && busy.connection == nullptr; }));
  EXPECT_EQ(idle.reason, tcp::CloseReason::reset_by_peer);
  EXPECT_EQ(busy.reason, tcp::CloseReason::reset_by_peer);
  EXPECT_TRUE(until([&] { return outside->accepted.peers[0]->connection == nullptr; }));
}

TEST_F(WorkerTest, WhileDrainingNobodyNewComesIn) {
  start();
  test::Peer& idle = connect();
  test::Peer& busy = connect();
  busy.say(request("/docs/a"));
  ASSERT_TRUE(until([&] {
    return !outside->accepted.peers.empty() && !outside->accepted.peers[0]->received.empty() &&
           workers[0]->status().connections.load() == 2;
  }));
  command(0, Command::Kind::drain);
  ASSERT_TRUE(until([&] { return idle.ended; }));
  test::Peer& refused = connect();
  ASSERT_TRUE(until([&] { return refused.connection == nullptr; }));
  EXPECT_EQ(refused.reason, tcp::CloseReason::reset_by_peer);
  EXPECT_FALSE(busy.ended);
  outside->accepted.peers[0]->say(kOk);
  ASSERT_TRUE(until([&] { return busy.ended; }));
  EXPECT_NE(busy.received.find("connection: close"), std::string::npos) << busy.received;
  EXPECT_TRUE(busy.received.ends_with("ok"));
  idle.connection->shutdown_write();
  busy.connection->shutdown_write();
  EXPECT_TRUE(until([&] { return workers[0]->status().connections.load() == 0; }));

  command(0, Command::Kind::undrain);
  for (bool in = false; !in;) {
    test::Peer& agent = connect();
    agent.say(kNoToken);
    ASSERT_TRUE(until([&] { return !agent.received.empty() || agent.connection == nullptr; }));
    in = agent.received.starts_with("HTTP/1.1 401 ");
  }
}

TEST_F(WorkerTest, ACancelledTaskLosesItsCalls) {
  start();
  test::Peer& agent = connect();
  agent.say(request("/docs/a"));
  ASSERT_TRUE(until([&] { return !outside->accepted.peers.empty(); }));
  ASSERT_EQ(shared.tasks->size(), 1u);
  command(0, Command::Kind::cancel_task, shared.tasks->list()[0].id);
  EXPECT_TRUE(told(agent, "HTTP/1.1 401 "));
  EXPECT_EQ(next_record().reason, Reason::token_revoked);
}

class EveryFrame final : public runtime::FrameFilter {
 public:
  bool matches(ByteSpan frame, std::size_t wire_length) const noexcept override {
    return frame.size() == wire_length;
  }
};

TEST_F(WorkerTest, ACaptureCopiesFramesUntilItIsWantedNoLonger) {
  runtime::Capture capture(1), next(1);  // they outlive the worker
  for (auto* c : {&capture, &next}) c->ports[0].filter = std::make_shared<EveryFrame>();
  capture.snap_length = 100;
  start();
  Command command;
  command.kind = Command::Kind::capture;
  command.loan = &capture;
  ASSERT_TRUE(workers[0]->mailbox().push(command));
  ASSERT_TRUE(until([&] { return capture.begun.load(); }));
  const std::int64_t before = shared.clock->wall().count();
  test::Peer& agent = connect();
  agent.say(kNoToken);
  ASSERT_TRUE(told(agent, "HTTP/1.1 401 "));

  std::array<std::size_t, 2> frames{};
  std::uint64_t last = 0;
  bool cut = false;
  while (const auto view = capture.frames.front()) {
    ++frames[view->frame.outbound ? 1 : 0];
    EXPECT_EQ(view->frame.port, 0u);
    EXPECT_GE(view->frame.time, last);
    EXPECT_EQ(view->bytes.size(), std::min<std::size_t>(view->frame.wire_length, 100));
    cut = cut || view->frame.wire_length > 100;
    last = view->frame.time;
    capture.frames.pop();
  }
  EXPECT_GE(frames[0], 3u) << "SYN, ACK, request";
  EXPECT_GE(frames[1], 2u) << "SYN-ACK, response";
  EXPECT_TRUE(cut);
  EXPECT_GE(last, static_cast<std::uint64_t>(before));
  EXPECT_LE(last, static_cast<std::uint64_t>(shared.clock->wall().count()));
  EXPECT_GE(capture.ports[0].seen.load(), frames[0] + frames[1]);
  EXPECT_EQ(capture.ports[0].lost.load(), 0u);

  capture.wanted.store(false);
  ASSERT_TRUE(until([&] { return capture.is_back(); }));
  const std::uint64_t seen = capture.ports[0].seen.load();
  agent.say(kNoToken);
  const std::size_t answered = agent.received.size();
  ASSERT_TRUE(until([&] { return agent.received.size() > answered || agent.ended; }));
  EXPECT_EQ(capture.ports[0].seen.load(), seen);

  // One that is still there when the worker ends is given back too.
  command.loan = &next;
  ASSERT_TRUE(workers[0]->mailbox().push(command));
  ASSERT_TRUE(until([&] { return next.begun.load(); }));
  stop();
  EXPECT_TRUE(next.is_back());
}

TEST_F(WorkerTest, AFullCaptureCountsWhatItLoses) {
  runtime::Capture capture(1, 4096);
  capture.ports[0].filter = std::make_shared<EveryFrame>();
  start();
  Command command;
  command.kind = Command::Kind::capture;
  command.loan = &capture;
  ASSERT_TRUE(workers[0]->mailbox().push(command));
  ASSERT_TRUE(until([&] { return capture.begun.load(); }));
  for (int i = 0; i < 20; ++i) {
    test::Peer& agent = connect();
    agent.say(kNoToken);
    ASSERT_TRUE(told(agent, "HTTP/1.1 401 "));
  }
  EXPECT_GT(capture.ports[0].lost.load(), 0u);
  std::uint64_t kept = 0;
  for (; capture.frames.front(); ++kept) capture.frames.pop();
  EXPECT_EQ(kept + capture.ports[0].lost.load(), capture.ports[0].matched.load());
  capture.wanted.store(false);
  EXPECT_TRUE(until([&] { return capture.is_back(); }));
}

TEST_F(WorkerTest, AListenerWithoutACertificateRefusesAndTheOthersServe) {
  shared.listeners.push_back({"broken", 0, 443, ListenerProtocol::https, "none"});
  shared.listeners.push_back({"taken", 0, 443, ListenerProtocol::http, ""});
  start();
  test::Peer& refused = connect(0, 443);
  ASSERT_TRUE(until([&] { return refused.connection == nullptr; }));
  EXPECT_EQ(refused.reason, tcp::CloseReason::reset_by_peer);
  test::Peer& nowhere = connect(0, 444);
  ASSERT_TRUE(until([&] { return nowhere.connection == nullptr; }));
  EXPECT_EQ(nowhere.reason, tcp::CloseReason::refused);
  test::Peer& served = connect();
  served.say(kNoToken);
  EXPECT_TRUE(told(served, "HTTP/1.1 401 "));
  EXPECT_TRUE(until([&] { return count(Counter::drop_tcp_refused) == 1; }));
}

TEST_F(WorkerTest, ServesTls) {
  testing::TestAuthority authority;
  const auto files = authority.issue("server", {});
  shared.certificates =
      std::move(*crypto::ServerContexts::load({{"default", files.chain, files.key}}));
  shared.listeners.push_back({"https", 0, 443, ListenerProtocol::https, "default"});
  start();
  TlsAgent agent;
  agent.context = *crypto::ClientContext::make({authority.ca_file(), "", "", false});
  agent.to_say = kNoToken;
  const IpAddress gateway = ip::test::ip("198.18.1.1");
  outside->stack.tcp().connect(*outside->stack.ip().source_for(gateway), {gateway, 443}, agent,
                               shared.clock->mono());
  ASSERT_TRUE(until([&] { return agent.received.starts_with("HTTP/1.1 401 "); }));
  stop();
  EXPECT_TRUE(until([&] { return agent.reason != tcp::CloseReason::none; }));
}

TEST_F(WorkerTest, ANewPolicyIsUsedAndTheOldOneFreed) {
  start();
  ASSERT_TRUE(until([&] { return workers[0]->status().policy_generation.load() == 1; }));
  auto next = std::make_unique<policy::Snapshot>(test::example_policy(key, 2));
  next->issuers.clear();
  shared.snapshot->publish(std::move(next));
  shared.wakers[0]->wake();
  ASSERT_TRUE(until([&] { return workers[0]->status().policy_generation.load() == 2; }));
  EXPECT_TRUE(until([&] { return shared.qsbr->poll() == 0; }));
  test::Peer& agent = connect();
  agent.say(request("/docs/a"));
  EXPECT_TRUE(told(agent, "HTTP/1.1 401 "));
  const telemetry::CallRecord record = next_record();
  EXPECT_EQ(record.policy_generation, 2u);
  EXPECT_EQ(record.reason, Reason::token_invalid);
}

TEST_F(WorkerTest, RecordsThatDoNotFitTheEventRingAreCounted) {
  start();
  const std::size_t room = workers[0]->events().capacity();
  const std::size_t calls = room + 10;
  test::Peer& agent = connect();
  std::string all;
  for (std::size_t i = 0; i < calls; ++i) all += kNoToken;
  std::size_t said = 0;
  ASSERT_TRUE(until([&] {
    if (agent.connection != nullptr) {
      said += agent.connection->write(as_bytes(std::string_view(all).substr(said)));
    }
    agent.received.clear();
    return workers[0]->events().size() + count(Counter::event_ring_full) == calls;
  }));
  EXPECT_EQ(workers[0]->events().size(), room);
  EXPECT_EQ(count(Counter::event_ring_full), 10u);
  // Once somebody reads, records are written again.
  EXPECT_EQ(next_record().reason, Reason::token_missing);
  agent.say(kNoToken);
  EXPECT_TRUE(until([&] { return workers[0]->events().size() == room; }));
  EXPECT_EQ(count(Counter::event_ring_full), 10u);
}

}  // namespace
}  // namespace sluice::worker
