#include "worker_bench.h"

#include <algorithm>
#include <utility>

namespace sluice::worker {

using port::test_eal;

void WorkerBench::start(unsigned count) {
  ports = std::make_unique<JoinedPorts>(*pool, count);
  ASSERT_NE(ports->gateway, nullptr);
  ASSERT_NE(ports->outside, nullptr);
  shared.packets = std::move(pool);
  shared.clock = std::make_unique<runtime::Clock>();
  shared.qsbr = std::make_unique<runtime::Qsbr>(count);
  shared.snapshot = std::make_unique<runtime::SnapshotSlot<policy::Snapshot>>(*shared.qsbr);
  shared.tasks = std::make_unique<state::TaskTable>(64);
  shared.secret[0] = 1;
  shared.secret[1] = 2;
  for (unsigned i = 0; i < count; ++i) {
    shared.wakers.push_back(std::make_unique<runtime::Waker>());
    shared.neighbour_news.push_back(
        i == 0 ? nullptr : std::make_unique<runtime::SpscRing<NeighbourNews>>(64));
    ports->gateway->set_waker(i, *shared.wakers[i]);
  }
  shared.ports.push_back(std::move(ports->gateway));
  shared.addresses.push_back(gateway_addresses());
  shared.address_boards.push_back(std::make_unique<AddressBoard>());
  if (count > 1) shared.redirect = std::make_unique<port::Redirect>(count);
  shared.listeners.push_back({"http", 0, kHttp, ListenerProtocol::http, ""});
  publish(1);

  PortStack::Config config;
  config.tcp.secret[0] = 3;
  outside.emplace(*ports->outside, outside_addresses(), shared.clock->mono(), config);
  EXPECT_TRUE(outside->stack.tcp().listen(test::kToolPort, 0));
  for (unsigned i = 0; i < count; ++i) {
    workers.push_back(std::make_unique<Worker>(shared, i, 0, count));
    ASSERT_TRUE(test_eal()->launch(
        i, [](void* w) { return static_cast<Worker*>(w)->run(); }, workers[i].get()));
  }
  ASSERT_TRUE(until([&] {
    return std::ranges::all_of(workers, [](const auto& w) { return w->status().running.load(); });
  }));
}

void WorkerBench::stop() {
  for (unsigned i = 0; i < workers.size(); ++i) command(i, runtime::Command::Kind::stop);
  for (unsigned i = 0; i < workers.size(); ++i) {
    EXPECT_EQ(test_eal()->join(i), 0);
    EXPECT_FALSE(workers[i]->status().running.load());
  }
}

void WorkerBench::TearDown() {
  if (!workers.empty() && test_eal()->running(0)) stop();
  outside.reset();
  workers.clear();
  shared.redirect.reset();
  shared.ports.clear();
  ports.reset();
  if (!pool) pool = std::move(shared.packets);
  WithPool::TearDown();
}

void WorkerBench::command(unsigned worker, runtime::Command::Kind kind, const state::TaskId& id) {
  ASSERT_TRUE(workers.at(worker)->mailbox().push({kind, id}));
  shared.wakers.at(worker)->wake();
}

void WorkerBench::publish(std::uint64_t generation) {
  shared.snapshot->publish(
      std::make_unique<const policy::Snapshot>(test::example_policy(key, generation)));
  for (auto& waker : shared.wakers) waker->wake();
}

test::Peer& WorkerBench::connect(unsigned worker, std::uint16_t listener,
                                 std::string_view address) {
  struct Wanted {
    const packet::FlowOwner& owner;
    unsigned worker;
  } wanted{shared.ports[0]->flow_owner(), worker};
  // As the gateway receives it: our local end is its remote one.
  const auto accept_port = [](void* context, const tcp::FlowKey& flow) {
    const auto& want = *static_cast<const Wanted*>(context);
    return want.owner(flow.local, flow.remote, flow.local_port, flow.remote_port) == want.worker;
  };
  return outside->connect(address, listener, shared.clock->mono(), accept_port, &wanted);
}

std::string WorkerBench::request(std::string_view path) const {
  const auto now_s =
      std::chrono::duration_cast<Seconds>(shared.clock->now().wall.time_since_epoch()).count();
  std::string head("GET ");
  head.append(path).append(" HTTP/1.1\r\nHost: kb.tools.example\r\nTxn-Token: ");
  return head.append(test::example_token(key, now_s, "research")).append("\r\n\r\n");
}

telemetry::CallRecord WorkerBench::next_record(unsigned worker) {
  std::optional<runtime::Event> event;
  EXPECT_TRUE(until([&] {
    event = workers.at(worker)->events().pop();
    return event.has_value();
  }));
  return event ? event->call : telemetry::CallRecord{};
}

}  // namespace sluice::worker
