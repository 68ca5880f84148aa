// The TCP core alone, without ports: cycles per segment and per connection, memory of many idle
// connections, look-ups in a full flow table and re-arming timers. Prints a JSON object;
// tests/bench/tcp-core makes it readable.
#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/flow_table.h"
#include "base/slots.h"
#include "base/timer_wheel.h"
#include "measure.h"
#include "tcp/stack.h"
#include "tcp/stats.h"

namespace {

using namespace sluice;
using namespace sluice::tcp;
using namespace sluice::bench;

constexpr int kRounds = 5;
constexpr std::size_t kSlot = 2048;
constexpr std::size_t kBurst = 32;

// One end: its stack and the segments that have left it.
class End final : public TransmitSink, public Acceptor, public Observer {
 public:
  explicit End(const StackConfig& config) : stack(config, *this, *this), store_(kSlot * 4096) {}

  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override {
    if (count_ == store_.size() / kSlot) return {};
    sent_[count_] = {source, destination, length};
    return MutByteSpan{store_}.subspan(count_ * kSlot, length);
  }
  void commit() override { ++count_; }
  Observer* on_accept(Connection&, std::uint32_t, Time) override {
    ++accepted;
    return this;
  }
  void on_ready(Connection& c, Time) override {
    if (c.close_reason() != CloseReason::none) {
      ++closed;
      return;
    }
    while (!c.peek().empty()) {
      received += c.peek().size();
      c.consume(c.peek().size());
    }
    while (!offered.empty() && c.established() && c.write(offered) == offered.size()) {
    }
    if (closes_at_end && c.end_of_stream()) {
      c.close();
      ++closed;
    }
  }

  // Everything that has left, into the other stack.
  std::size_t deliver_to(End& other, Time now) {
    const std::size_t n = count_;
    count_ = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const Sent& s = sent_[i];
      other.stack.input(
          {s.source, s.destination, ByteSpan{store_}.subspan(i * kSlot, s.length), true}, now);
    }
    return n;
  }
  void turn(Time now) {
    stack.poll_timers(now);
    stack.dispatch(now, SIZE_MAX);
    stack.flush(now);
    stack.end_turn();
  }

  Stack stack;
  ByteSpan offered;  // written whenever there is room
  bool closes_at_end = false;
  std::size_t accepted = 0, closed = 0;
  std::uint64_t received = 0;

 private:
  struct Sent {
    IpAddress source, destination;
    std::size_t length;
  };
  std::vector<std::uint8_t> store_;
  std::array<Sent, 4096> sent_;
  std::size_t count_ = 0;
};

const IpAddress kClient = *IpAddress::parse("198.18.1.2");
const IpAddress kServer = *IpAddress::parse("198.18.1.1");

StackConfig config() {
  StackConfig c;
  c.max_connections = 200'000;
  c.syn_cache_entries = 200'000;
  c.time_wait_entries = 1024;
  c.secret[0] = 0x0123456789abcdef;
  c.secret[1] = 0xfedcba9876543210;
  return c;
}

// Bulk data on `flows` connections: cycles of the sender and of the receiver for one data segment,
// acknowledgements included.
void bulk(Figures& figures, std::size_t flows, const std::string& name) {
  End client(config()), server(config());
  server.stack.listen(443, 1);
  const std::vector<std::uint8_t> bytes(std::size_t{256} * 1024, 0x5a);
  client.offered = bytes;
  Time now{Seconds{1}};
  for (std::size_t i = 0; i < flows; ++i) {
    require(client.stack.connect(kClient, {kServer, 443}, client, now) != nullptr, "no connection");
  }
  double sender = 0, receiver = 0;
  const auto step = [&] {
    now += Micros{20};
    const double t0 = seconds();
    client.turn(now);
    const double t1 = seconds();
    client.deliver_to(server, now);
    server.turn(now);
    const double t2 = seconds();
    server.deliver_to(client, now);
    const double t3 = seconds();
    require(now < Time{Seconds{10'000}}, "bulk data has stopped");
    sender += t1 - t0 + t3 - t2;
    receiver += t2 - t1;
  };
  while (server.received < 64u << 20) step();  // windows have opened
  sender = receiver = 0;
  const std::uint64_t before = server.received;
  const double began = seconds();
  while (server.received - before < 512u << 20) step();
  const double took = seconds() - began;
  const double octets = static_cast<double>(server.received - before);
  const double segments = octets / 1448;
  figures[name + "_tx_cycles_per_segment"].push_back(sender * cycles_per_second() / segments);
  figures[name + "_rx_cycles_per_segment"].push_back(receiver * cycles_per_second() / segments);
  figures[name + "_gbit_per_s_both_ends_on_one_core"].push_back(octets * 8e-9 / took);
  require(client.stack.stats().tcp_retrans_segs == 0, "a wire without loss saw a retransmission");
  client.stack.abort_all(now);
  server.stack.abort_all(now);
}

// Connections opened, used for nothing and closed: what the accepting stack spends on each.
void accepts(Figures& figures) {
  constexpr std::size_t kConnections = 100'000;
  End client(config()), server(config());
  server.stack.listen(443, 1);
  client.closes_at_end = server.closes_at_end = true;
  Time now{Seconds{1}};
  double spent = 0;
  std::size_t opened = 0;
  std::deque<Connection*> open;
  while (server.closed < kConnections) {
    now += Micros{20};
    for (std::size_t i = 0; i < kBurst && opened < kConnections; ++i, ++opened) {
      // From many hosts, as a service sees them.
      const IpAddress from = IpAddress::v4(0xc6130000u + static_cast<std::uint32_t>(opened));
      Connection* c = client.stack.connect(from, {kServer, 443}, client, now);
      require(c != nullptr, "no connection");
      open.push_back(c);
    }
    client.turn(now);
    while (!open.empty() && open.front()->established()) {
      open.front()->shutdown_write();
      open.pop_front();
    }
    client.stack.flush(now);
    const double from = seconds();
    client.deliver_to(server, now);
    server.turn(now);
    spent += seconds() - from;
    server.deliver_to(client, now);
    require(now < Time{Seconds{1000}}, "connections do not end");
  }
  require(server.accepted == kConnections, "not every connection was accepted");
  figures["accepts_per_s_of_core"].push_back(kConnections / spent);
  client.stack.abort_all(now);
  server.stack.abort_all(now);
}

// Established connections that have carried a little and idle since.
void idle(Figures& figures) {
  constexpr std::size_t kConnections = 100'000;
  End client(config());
  const double before = heap();
  auto server = std::make_unique<End>(config());
  const double empty = heap() - before;
  server->stack.listen(443, 1);
  Time now{Seconds{1}};
  std::vector<Connection*> open;
  const double start = heap();
  const std::vector<std::uint8_t> hello(500, 0x41);
  double clients = 0;
  for (std::size_t i = 0; i < kConnections; ++i) {
    const IpAddress from = IpAddress::v4(0xc6130000u + static_cast<std::uint32_t>(i));
    Connection* c = client.stack.connect(from, {kServer, 443}, client, now);
    require(c != nullptr, "no connection");
    open.push_back(c);
    if (open.size() % kBurst != 0 && i + 1 != kConnections) continue;
    for (int round = 0; round < 4; ++round) {
      now += Micros{100};
      client.turn(now);
      client.deliver_to(*server, now);
      server->turn(now);
      server->deliver_to(client, now);
    }
  }
  for (std::size_t i = 0; i < open.size(); ++i) {
    open[i]->write(hello);
    if (i % kBurst != 0 && i + 1 != open.size()) continue;
    client.turn(now += Micros{10});
    client.deliver_to(*server, now);
    server->turn(now);
    server->deliver_to(client, now);
  }
  for (int i = 0; i < 3000; ++i) {  // buffers are given back
    now += Millis{10};
    client.turn(now);
    client.deliver_to(*server, now);
    server->turn(now);
    server->deliver_to(client, now);
  }
  require(server->received == kConnections * hello.size(), "not everything arrived");
  require(server->stack.connection_count() == kConnections, "not every connection is there");
  // Both stacks hold the same number; what the table took at the start counts, too.
  const double both = heap() - start;
  client.stack.abort_all(now);
  clients = both / 2;
  figures["idle_connections"].push_back(static_cast<double>(server->stack.connection_count()));
  figures["idle_connection_bytes"].push_back(clients / kConnections);
  figures["idle_flow_table_bytes_per_connection"].push_back(empty / kConnections);
  figures["idle_buffer_bytes"].push_back(static_cast<double>(server->stack.memory_in_use()));
  server->stack.abort_all(now);
}

struct Record {  // as large as what a look-up finds, its key in the first line
  FlowKey key;
  std::array<std::uint8_t, 800> rest;
};

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

void table(Figures& figures) {
  constexpr std::uint32_t kFlows = 1'000'000;
  Slots<Record> records;  // where connections lie, too
  for (std::uint32_t i = 0; i < kFlows; ++i) require(records.take() == i, "no memory");
  std::vector<std::uint64_t> hashes(kFlows);
  FlowTable flows(kFlows);
  const double before = heap();
  FlowTable second(kFlows);
  figures["table_bytes_per_entry_at_1m"].push_back((heap() - before) / kFlows);
  for (std::uint32_t i = 0; i < kFlows; ++i) {
    records[i].key = {kServer, IpAddress::v4(0x0a000000u + i), 443, 40000};
    hashes[i] = mix(i + 1);
    require(flows.insert(hashes[i], i), "the table is full");
  }
  std::vector<std::uint32_t> order(kFlows);
  for (std::uint32_t i = 0; i < kFlows; ++i) order[i] = i;
  for (std::uint32_t i = kFlows - 1; i > 0; --i) {
    std::swap(order[i], order[mix(i * 7919ull) % (i + 1)]);
  }
  std::vector<FlowKey> keys(kFlows);
  std::vector<std::uint64_t> wanted(kFlows);
  for (std::uint32_t i = 0; i < kFlows; ++i) {
    keys[i] = records[order[i]].key;
    wanted[i] = hashes[order[i]];
  }
  std::uint64_t sum = 0;
  double from = seconds();
  for (std::uint32_t i = 0; i < kFlows; ++i) {
    sum += flows.find(wanted[i], [&](std::uint32_t n) { return records[n].key == keys[i]; });
  }
  figures["lookup_single_cycles_at_1m"].push_back(cycles_since(from) / kFlows);
  // In bursts, as packets come: fetch the buckets, then the records, then look.
  from = seconds();
  for (std::uint32_t i = 0; i + kBurst <= kFlows; i += kBurst) {
    for (std::uint32_t b = i; b < i + kBurst; ++b) flows.prefetch(wanted[b]);
    for (std::uint32_t b = i; b < i + kBurst; ++b) {
      const std::uint32_t n = flows.candidate(wanted[b]);
      if (n != FlowTable::kNone) __builtin_prefetch(&records[n]);
    }
    for (std::uint32_t b = i; b < i + kBurst; ++b) {
      sum += flows.find(wanted[b], [&](std::uint32_t n) { return records[n].key == keys[b]; });
    }
  }
  figures["lookup_staged_cycles_at_1m"].push_back(cycles_since(from) / kFlows);
  // The table alone, without what its indices lead to.
  from = seconds();
  std::uint64_t candidates = 0;
  for (std::uint32_t i = 0; i + kBurst <= kFlows; i += kBurst) {
    for (std::uint32_t b = i; b < i + kBurst; ++b) flows.prefetch(wanted[b]);
    for (std::uint32_t b = i; b < i + kBurst; ++b) {
      candidates += flows.candidate(wanted[b]) != FlowTable::kNone;
    }
  }
  figures["lookup_staged_table_alone_cycles_at_1m"].push_back(cycles_since(from) / kFlows);
  require(candidates > kFlows / 2, "the table is crowded");
  require(sum == 2 * (std::uint64_t{kFlows} * (kFlows - 1) / 2), "a look-up found the wrong flow");
}

void timers(Figures& figures) {
  constexpr std::size_t kNodes = 1'000'000;
  TimerWheel wheel(Time{}, Micros{100});
  std::vector<TimerNode> nodes(kNodes);
  for (std::size_t i = 0; i < kNodes; ++i) {
    wheel.arm(nodes[i], Time{Millis{200 + static_cast<int>(i % 1000)}});
  }
  // What is active is in the cache: a thousand connections whose timers move with each segment.
  constexpr std::size_t kActive = 1000, kTimes = 1000;
  const double from = seconds();
  for (std::size_t t = 0; t < kTimes; ++t) {
    const Time at{Millis{1300} + Micros{100} * static_cast<int>(t)};
    for (std::size_t i = 0; i < kActive; ++i) wheel.arm(nodes[i * 997], at);
  }
  figures["timer_rearm_cycles"].push_back(cycles_since(from) / (kActive * kTimes));
  for (TimerNode& node : nodes) wheel.cancel(node);
}

}  // namespace

int main() {
  Figures figures;
  for (int round = 0; round < kRounds; ++round) {
    bulk(figures, 1, "one_flow");
    bulk(figures, 100, "hundred_flows");
    accepts(figures);
    table(figures);
    timers(figures);
    if (round == 0) idle(figures);
  }
  print_medians(figures);
  return 0;
}
