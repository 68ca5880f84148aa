#include "worker/worker.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "agent_connection.h"
#include "capture_tap.h"
#include "core.h"
#include "port_stack.h"
#include "queries.h"

namespace sluice::worker {

using telemetry::Counter;

namespace {

constexpr std::size_t kDispatchPerTurn = 64;
constexpr std::size_t kTimersPerTurn = 64;
constexpr unsigned kMailboxEveryTurns = 16;
constexpr unsigned kNeighbourOwner = 0;  // the worker that keeps ARP and ND for all
constexpr unsigned kMirrorEveryTurns = 4096;
constexpr Micros kMirrorAfter{20};  // less than the idle ladder spins before it sleeps
constexpr std::size_t kMailboxRing = 1024;
constexpr std::size_t kEventRing = 8192;
constexpr Nanos kStall{1'000'000};

std::uint64_t split_mix(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace

struct Worker::Impl final : tcp::Acceptor, call::Host {
  Impl(Shared& shared_in, unsigned index_in, unsigned cpu_in, unsigned count)
      : shared(shared_in),
        index(index_in),
        cpu(cpu_in),
        worker_count(count),
        mailbox(kMailboxRing),
        events(kEventRing),
        queries(index_in),
        capture(index_in) {
    random_state = shared.secret[0] ^ (0x100000001b3ULL * (index + 1));
  }

  // tcp::Acceptor
  tcp::Observer* on_accept(tcp::Connection& connection, std::uint32_t listener_id,
                           Time now) override;
  // call::Host
  std::uint64_t nanos() override {
    return static_cast<std::uint64_t>(shared.clock->since_start().count());
  }
  std::uint64_t random() override { return split_mix(random_state); }
  void record(const telemetry::CallRecord& record) override;
  void arm(call::Call& call, Time at) override {
    if (at == kNever) return core.call_timers.cancel(call.timer);
    core.call_timers.arm(call.timer, at);
  }

  // Whether answers to this flow are steered to this worker. One connect() asks about many ports of
  // the same peer: what does not depend on the port is kept.
  bool owns(const tcp::FlowKey& flow) {
    const packet::FlowOwner& owner = shared.ports[shared.tools_port]->flow_owner();
    const Endpoint remote{flow.remote, flow.remote_port};
    if (!source_ports || !source_ports->is_for(owner, flow.local, remote)) {
      source_ports.emplace(owner, flow.local, remote);
    }
    return source_ports->owner(flow.local_port) == index;
  }
  static bool returns_here(void* self, const tcp::FlowKey& flow) {
    return static_cast<Impl*>(self)->owns(flow);
  }

  void set_up();
  void tear_down();
  bool turn();
  bool receive(Time now);
  void accept_packet(port::Packet& packet, Time now);
  bool share_neighbours(Time now);
  bool run_timers(Time now);
  bool run_connections(Time now);
  void send(Time now);
  bool read_mailbox(Time now);
  void rest(Time now);
  void mirror();
  void publish_status(bool worked, std::uint64_t began);
  bool has_work() const;
  Time next_deadline() const;

  Shared& shared;
  const unsigned index;
  const unsigned cpu;
  const unsigned worker_count;

  runtime::Mailbox mailbox;   // control: w, worker: r
  runtime::EventRing events;  // worker: w, control: r
  telemetry::CounterBlock counters;
  WorkerStatus status;

  std::optional<packet::SourcePorts> source_ports;
  Core core;
  std::vector<std::unique_ptr<PortStack>> stacks;  // by port index
  std::vector<tcp::Stack*> tcp_stacks;             // of these
  Queries queries;
  CaptureTap capture;
  std::unique_ptr<upstream::Pools> pools;
  std::unique_ptr<runtime::IdleLadder> ladder;
  std::array<port::Packet, port::Port::kBurst> handed_over;
  std::uint64_t random_state = 0;
  std::uint64_t total_cycles = 0;
  std::uint64_t busy_cycles = 0;
  std::uint64_t turn_began = 0;
  unsigned turns = 0;
  Time last_work{};
  bool mirror_due = true;
  bool stopping = false;
};

tcp::Observer* Worker::Impl::on_accept(tcp::Connection& connection, std::uint32_t listener_id,
                                       Time now) {
  if (core.draining || listener_id >= shared.listeners.size()) return nullptr;
  const Listener& listener = shared.listeners[listener_id];
  std::unique_ptr<crypto::Session> session;
  if (listener.protocol == ListenerProtocol::https) {
    if (shared.certificates) session = shared.certificates->make_session(listener.certificate);
    if (!session) return nullptr;
  }
  counters.add(Counter::agent_connections);
  return &core.adopt(connection, std::move(session), now);
}

void Worker::Impl::record(const telemetry::CallRecord& record) {
  const bool kept = events.produce([&record](runtime::Event& event) {
    event.kind = runtime::Event::Kind::call;
    event.call = record;
  });
  if (!kept) counters.add(Counter::event_ring_full);
}

void Worker::Impl::set_up() {
  core.context.tasks = shared.tasks.get();
  core.context.counters = &counters;
  core.context.host = this;
  core.context.worker = static_cast<std::uint16_t>(index);
  core.context.identities.set_secret(shared.secret[0] ^ 0x736c75696365ULL, shared.secret[1]);
  core.context.now = shared.clock->now();
  shared.qsbr->register_worker(index);
  ladder = std::make_unique<runtime::IdleLadder>(index, *shared.qsbr, *shared.wakers[index]);
  for (std::size_t i = 0; i < shared.ports.size(); ++i) {
    port::Port& port = *shared.ports[i];
    PortStack::Config config;
    config.worker = index;
    config.neighbour_owner = index == kNeighbourOwner;
    config.workers = worker_count;
    config.redirect = shared.redirect.get();
    config.packets = shared.packets.get();
    config.board = shared.address_boards[i].get();
    config.tcp.mtu = port.mtu();
    std::memcpy(config.tcp.secret, shared.secret, sizeof config.tcp.secret);
    stacks.push_back(std::make_unique<PortStack>(port, shared.addresses[i], config, *this, counters,
                                                 core.context.now.mono));
    tcp_stacks.push_back(&stacks.back()->tcp());
    if (port.polls(index)) ladder->watch(port.wait_source(index));
  }
  for (std::size_t i = 0; i < shared.listeners.size(); ++i) {
    const Listener& listener = shared.listeners[i];
    stacks[listener.port_index]->tcp().listen(listener.tcp_port, static_cast<std::uint32_t>(i));
  }
  upstream::PoolLimits limits;
  pools = std::make_unique<upstream::Pools>(stacks[shared.tools_port]->tcp(), limits);
  pools->set_handshake_budget(core.handshakes);
  if (worker_count > 1) pools->set_port_filter(returns_here, this);
  core.context.pools = pools.get();
  status.running.store(true, std::memory_order_release);
}

void Worker::Impl::tear_down() {
  const Time now = shared.clock->mono();
  core.abort_all();
  pools.reset();
  for (auto& stack : stacks) stack->tcp().abort_all(now);
  for (auto& stack : stacks) stack->end_turn();
  for (auto& port : shared.ports) port->flush(index);
  capture.end();
  tcp_stacks.clear();
  stacks.clear();
  for (auto& packet : handed_over) packet.reset();
  shared.qsbr->unregister_worker(index);
  status.running.store(false, std::memory_order_release);
}

// Which worker a packet belongs to, and the way there.
void Worker::Impl::accept_packet(port::Packet& packet, Time now) {
  PortStack& stack = *stacks[packet.port_index()];
  const packet::ParsedFrame parsed = stack.parse(packet);
  if (worker_count > 1) {
    const packet::Steering steering = stack.port().steer(index, packet, parsed);
    if (steering.to == packet::SteerTo::worker && steering.worker != index) {
      return shared.redirect->push(index, steering.worker, std::move(packet));
    }
    if (steering.to == packet::SteerTo::neighbour_owner && index != kNeighbourOwner) {
      return shared.redirect->push(index, kNeighbourOwner, std::move(packet));
    }
  }
  stack.input(packet, parsed, now);
}

bool Worker::Impl::receive(Time now) {
  bool worked = false;
  for (auto& stack : stacks) {
    const std::size_t n = stack->rx_burst();
    for (std::size_t i = 0; i < n; ++i) accept_packet(stack->received(i), now);
    worked = worked || n > 0;
  }
  if (worker_count > 1) {
    const std::size_t n = shared.redirect->pop(index, handed_over);
    for (std::size_t i = 0; i < n; ++i) {
      PortStack& stack = *stacks[handed_over[i].port_index()];
      stack.input(handed_over[i], stack.parse(handed_over[i]), now);
    }
    // Fragments that were handed over may have become a segment of somebody else's.
    if (worked || n > 0) shared.redirect->flush(index);
    worked = share_neighbours(now) || worked || n > 0;
  }
  return worked;
}

// The owner's news go out to every other worker's replica; a full ring only costs that worker a
// solicitation of its own.
bool Worker::Impl::share_neighbours(Time now) {
  if (index != kNeighbourOwner) {
    bool any = false;
    while (const auto news = shared.neighbour_news[index]->pop()) {
      stacks[news->port_index]->ip().apply(news->update, now);
      any = true;
    }
    return any;
  }
  for (std::size_t i = 0; i < stacks.size(); ++i) {
    while (const auto update = stacks[i]->ip().pop_update()) {
      for (unsigned other = 1; other < worker_count; ++other) {
        shared.neighbour_news[other]->push({static_cast<std::uint16_t>(i), *update});
        shared.wakers[other]->wake();
      }
    }
  }
  return false;
}

bool Worker::Impl::run_timers(Time now) {
  for (auto& stack : stacks) stack->poll(now, kTimersPerTurn);
  PortStack& tools = *stacks[shared.tools_port];
  if (tools.take_address_change()) pools->set_local_addresses(tools.usable_addresses());
  pools->poll_timers(now);
  return core.run_timers(now, kTimersPerTurn) > 0;
}

bool Worker::Impl::run_connections(Time now) {
  core.handshakes.full_handshakes_left = kFullHandshakesPerTurn;
  std::size_t ready = 0;
  for (auto& stack : stacks) ready += stack->tcp().dispatch(now, kDispatchPerTurn);
  ready += core.run_connections(now);
  return ready > 0;
}

void Worker::Impl::send(Time now) {
  for (auto& stack : stacks) stack->flush(now);
  for (auto& stack : stacks) stack->end_turn();
  for (auto& packet : handed_over) packet.reset();
}

bool Worker::Impl::read_mailbox(Time now) {
  bool any = false;
  while (const auto command = mailbox.pop()) {
    any = true;
    switch (command->kind) {
      case runtime::Command::Kind::stop:
        stopping = true;
        break;
      case runtime::Command::Kind::drain:
        core.drain(now);
        pools->shut_idle(now);
        break;
      case runtime::Command::Kind::undrain:
        core.undrain();
        break;
      case runtime::Command::Kind::cancel_task:
        core.revoke_task(command->id);
        break;
      case runtime::Command::Kind::query_connections:
        queries.add(static_cast<runtime::ConnectionQuery*>(command->loan));
        break;
      case runtime::Command::Kind::capture:
        capture.begin(*static_cast<runtime::Capture*>(command->loan), shared.ports, *shared.clock);
        break;
      case runtime::Command::Kind::query_traces:
        queries.add(static_cast<runtime::TraceQuery*>(command->loan));
        break;
    }
  }
  return any;
}

Time Worker::Impl::next_deadline() const {
  Time t = std::min(pools->next_deadline(), core.next_deadline());
  for (const auto& stack : stacks) t = std::min(t, stack->next_deadline());
  return t;
}

bool Worker::Impl::has_work() const {
  if (mailbox.size() > 0 || queries.pending()) return true;
  if (worker_count == 1) return false;
  if (index != kNeighbourOwner && shared.neighbour_news[index]->size() > 0) return true;
  return shared.redirect->pending(index);
}

void Worker::Impl::publish_status(bool worked, std::uint64_t began) {
  const std::uint64_t now = shared.clock->cycles();
  if (worked) {
    busy_cycles += now - began;
    if (shared.clock->to_nanos(now - began) > kStall) counters.add(Counter::stalls);
  }
  total_cycles += now - turn_began;
  turn_began = now;
  status.busy_cycles.store(busy_cycles, std::memory_order_relaxed);
  status.total_cycles.store(total_cycles, std::memory_order_relaxed);
  status.connections.store(core.agents.size(), std::memory_order_relaxed);
  status.policy_generation.store(core.context.snapshot->generation, std::memory_order_release);
}

// Library counters into the worker's block: now and then is enough, readers look once a second.
void Worker::Impl::mirror() {
  std::array<std::uint64_t, telemetry::kCounterCount> sum{};
  std::size_t memory = 0;
  for (const auto& stack : stacks) {
    stack->tcp().stats().for_each([&](Counter c, std::uint64_t n) {
      sum[static_cast<std::size_t>(c)] += n;
      counters.set(c, sum[static_cast<std::size_t>(c)]);
    });
    memory += stack->tcp().memory_in_use();
  }
  counters.set(Counter::tcp_buffer_bytes, memory);
  counters.set(Counter::upstream_connections, pools->connection_count());
  const upstream::PoolStats& pool = pools->stats();
  counters.set(Counter::upstream_opened, pool.opened);
  counters.set(Counter::upstream_reused, pool.reused);
  counters.set(Counter::upstream_replaced, pool.replaced);
}

void Worker::Impl::rest(Time now) {
  // Once, before the first sleep after work.
  if (mirror_due && now - last_work >= kMirrorAfter) {
    mirror();
    mirror_due = false;
  }
  ladder->idle(
      now, next_deadline(), [](void* self) { return static_cast<Impl*>(self)->has_work(); }, this);
}

bool Worker::Impl::turn() {
  const std::uint64_t began = shared.clock->cycles();
  core.context.now = shared.clock->now();
  core.context.snapshot = shared.snapshot->get();
  const Time now = core.context.now.mono;
  bool worked = receive(now);
  worked = run_timers(now) || worked;
  worked = run_connections(now) || worked;
  send(now);
  if (!worked || ++turns % kMailboxEveryTurns == 0) worked = read_mailbox(now) || worked;
  worked = queries.run(tcp_stacks, now) || worked;
  capture.poll();
  publish_status(worked, began);
  core.context.snapshot = nullptr;
  shared.qsbr->quiescent(index);
  if (worked) {
    ladder->busy(now);
    last_work = now;
    mirror_due = true;
    if (turns % kMirrorEveryTurns == 0) mirror();
  } else {
    rest(now);
  }
  return !stopping;
}

Worker::Worker(Shared& shared, unsigned index, unsigned cpu, unsigned worker_count)
    : impl_(std::make_unique<Impl>(shared, index, cpu, worker_count)) {
  for (auto& port : shared.ports) port->attach(index, impl_->counters);
  if (shared.redirect) shared.redirect->attach(index, impl_->counters, shared.wakers[index].get());
}

Worker::~Worker() = default;

int Worker::run() {
  impl_->set_up();
  impl_->turn_began = impl_->shared.clock->cycles();
  while (impl_->turn()) {
  }
  impl_->tear_down();
  return 0;
}

runtime::Mailbox& Worker::mailbox() { return impl_->mailbox; }
runtime::EventRing& Worker::events() { return impl_->events; }
const telemetry::CounterBlock& Worker::counters() const { return impl_->counters; }
const WorkerStatus& Worker::status() const { return impl_->status; }
unsigned Worker::index() const { return impl_->index; }
unsigned Worker::cpu() const { return impl_->cpu; }

}  // namespace sluice::worker
