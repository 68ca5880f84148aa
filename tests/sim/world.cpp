#include "world.h"

#include <algorithm>
#include <cstdio>

#include "inspector.h"
#include "packet/checksum.h"

namespace sluice::tcp {
namespace {

constexpr std::uint16_t kPort = 443;
constexpr std::size_t kMostSteps = 3'000'000;
constexpr Micros kMostTime{Seconds{6 * 3600}};

}  // namespace

std::uint64_t Random::next() {
  // SplitMix64.
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// Swarm testing: each run has its own subset of faults.
Profile Profile::random(Random& r) {
  Profile p;
  const bool lossy = r.chance(0.7), reordering = r.chance(0.5), doubling = r.chance(0.3);
  const bool corrupting = r.chance(0.2), starved = r.chance(0.2), slow = r.chance(0.3);
  for (Impairment& i : p.direction) {
    if (lossy) i.loss = static_cast<double>(r.below(r.chance(0.2) ? 25 : 6)) / 100;
    if (reordering) i.reorder = static_cast<double>(r.below(20)) / 100;
    if (doubling) i.duplicate = static_cast<double>(r.below(10)) / 100;
    if (corrupting) i.corrupt = static_cast<double>(r.below(5)) / 100;
    if (starved) i.no_buffer = static_cast<double>(r.below(30)) / 100;
    i.delay = Micros{static_cast<std::int64_t>(r.between(20, r.chance(0.3) ? 120'000 : 3000))};
    if (r.chance(0.5)) i.jitter = Micros{static_cast<std::int64_t>(r.below(2000))};
    if (slow) i.bytes_per_second = r.between(20'000, 5'000'000);
  }
  for (StackConfig& c : p.stack) {
    c.max_connections = 64;
    c.syn_cache_entries = 64;
    c.time_wait_entries = 64;
    c.receive_buffer = r.chance(0.5) ? r.between(5000, 70'000) : 262'144;
    c.send_buffer = r.chance(0.5) ? r.between(2000, 60'000) : 1'048'576;
    if (r.chance(0.2)) c.memory_limit = r.between(100'000, 400'000);
    c.mtu = static_cast<std::uint16_t>(r.chance(0.3) ? r.between(600, 9000) : 1500);
    c.secret[0] = r.next();
    c.secret[1] = r.next();
    c.connect_timeout = Seconds{120};
  }
  p.connections = r.chance(0.5) ? 1 : r.between(2, 12);
  p.most_bytes = r.chance(0.2) ? 600'000 : 60'000;
  if (r.chance(0.4)) p.pause = 0.02;
  if (r.chance(0.2)) p.abort = 0.3;
  if (r.chance(0.3)) p.late = Micros{static_cast<std::int64_t>(r.below(200'000))};
  p.ipv6 = r.chance(0.3);
  return p;
}

std::string Profile::text() const {
  char line[512];
  std::string all;
  for (const Impairment& i : direction) {
    std::snprintf(line, sizeof line,
                  "[loss %.2f dup %.2f reorder %.2f corrupt %.2f nobuf %.2f delay %lld rate %llu] ",
                  i.loss, i.duplicate, i.reorder, i.corrupt, i.no_buffer,
                  static_cast<long long>(i.delay.count()),
                  static_cast<unsigned long long>(i.bytes_per_second));
    all += line;
  }
  std::snprintf(
      line, sizeof line,
      "connections %zu bytes<=%zu rcv %zu/%zu snd %zu/%zu mtu %u/%u mem %zu/%zu pause %.2f",
      connections, most_bytes, stack[0].receive_buffer, stack[1].receive_buffer,
      stack[0].send_buffer, stack[1].send_buffer, stack[0].mtu, stack[1].mtu, stack[0].memory_limit,
      stack[1].memory_limit, pause);
  return all + line;
}

Node::Node(World& world_, unsigned side_, const StackConfig& config)
    : world(world_),
      side(side_),
      address(*IpAddress::parse(world_.profile.ipv6 ? (side_ == 0 ? "2001:db8::1" : "2001:db8::2")
                                                    : (side_ == 0 ? "198.18.0.1" : "198.18.0.2"))),
      stack(config, *this, *this) {}

Node::~Node() = default;

MutByteSpan Node::reserve(const IpAddress& source, const IpAddress& destination,
                          std::size_t length) {
  if (world.random.chance(world.profile.direction[side].no_buffer)) return {};
  const std::size_t headers = source.is_v4() ? 20 : 40;
  if (length + headers > world.profile.stack[side].mtu) world.fail("segment larger than the MTU");
  pending.assign(length, 0xee);
  pending_source = source;
  pending_destination = destination;
  return pending;
}

void Node::commit() {
  const std::uint16_t sum = packet::l4_checksum(pending_source, pending_destination, 6, pending);
  store_be16(&pending[16], sum);
  world.deliver(1 - side, pending, pending_source, pending_destination);
}

Observer* Node::on_accept(Connection& connection, std::uint32_t, Time) {
  // The client's port tells which stream this is.
  for (auto& a : world.applications) {
    if (a->side == 0 && a->connection != nullptr &&
        a->connection->flow().local_port == connection.flow().remote_port) {
      for (auto& b : world.applications) {
        if (b->side == 1 && b->id == a->id && b->connection == nullptr && !b->done) {
          b->connection = &connection;
          // A peer that has gone, and whose RST was lost, is found out by nothing else.
          connection.set_keepalive(true);
          return b.get();
        }
      }
    }
  }
  return nullptr;
}

void Application::on_ready(Connection& c, Time now) {
  Random& r = world.random;
  if (now >= paused_until) {
    std::size_t budget = r.between(1, 65'536);
    while (budget > 0) {
      const ByteSpan bytes = c.peek();
      if (bytes.empty()) break;
      const std::size_t n = std::min({bytes.size(), budget, std::size_t{r.between(1, 20'000)}});
      for (std::size_t i = 0; i < n; ++i) {
        if (bytes[i] != world.pattern(id, 1 - side, received + i)) {
          world.fail("stream differs at " + std::to_string(received + i));
          break;
        }
      }
      c.consume(n);
      received += n;
      budget -= n;
    }
    // Shorter than what a peer that has let go of its end waits for a closed window to open.
    if (world.profile.pause > 0 && r.chance(world.profile.pause)) {
      paused_until =
          now + Micros{static_cast<std::int64_t>(r.below(r.chance(0.1) ? 40'000'000 : 3'000'000))};
      world.wake_at(*this, paused_until);
    } else if (c.readable() > 0) {
      c.mark_ready();
    }
  } else if (c.close_reason() == CloseReason::none) {
    world.wake_at(*this, paused_until);
  }
  while (sent < to_send) {
    std::array<std::uint8_t, 8192> chunk;
    const std::size_t n = std::min({chunk.size(), to_send - sent, std::size_t{r.between(1, 8192)}});
    for (std::size_t i = 0; i < n; ++i) chunk[i] = world.pattern(id, side, sent + i);
    const std::size_t taken = c.write(ByteSpan{chunk}.first(n));
    sent += taken;
    if (taken < n) break;
  }
  if (c.close_reason() == CloseReason::none && received >= abort_after) {
    aborted = done = true;
    connection = nullptr;
    c.abort();
    return;
  }
  if (sent == to_send && !half_closed && c.established()) {
    half_closed = true;
    c.shutdown_write();
  }
  if (c.end_of_stream()) peer_closed = true;
  if (c.close_reason() != CloseReason::none) {
    reason = c.close_reason();
    done = true;
    connection = nullptr;
    return;
  }
  if (close_early && half_closed && peer_closed) {
    done = true;
    reason = CloseReason::graceful;
    connection = nullptr;
    c.close();
  }
}

World::World(std::uint64_t seed_, const Profile& profile_)
    : seed(seed_),
      profile(profile_),
      random(seed_),
      now(Micros{static_cast<std::int64_t>(seed_ * 7919 % 100'000'000)}) {
  for (unsigned side : {0u, 1u}) {
    nodes[side] = std::make_unique<Node>(*this, side, profile.stack[side]);
  }
}

World::~World() = default;

void World::fail(const std::string& what) {
  if (failure.empty()) {
    failure = "seed " + std::to_string(seed) + " at " +
              std::to_string(now.time_since_epoch().count()) + " us: " + what + "\n  " +
              profile.text();
    for (const auto& node : nodes) failure += "\n" + Inspector::describe(node->stack, now);
  }
}

std::uint8_t World::pattern(std::uint64_t id, unsigned side, std::size_t offset) const {
  const std::uint64_t x =
      (offset / 8 + 1) * 0x9e3779b97f4a7c15ULL ^ (id * 2 + side) * 0xbf58476d1ce4e5b9ULL;
  return static_cast<std::uint8_t>((x ^ (x >> 29)) >> (offset % 8 * 8));
}

void World::push(Time at, unsigned node, Event::Kind kind, std::size_t subject) {
  events_.push({at, order_++, node, kind, subject});
}

void World::deliver(unsigned to, std::vector<std::uint8_t> bytes, const IpAddress& source,
                    const IpAddress& destination) {
  const Impairment& i = profile.direction[1 - to];
  if (trace) {
    std::printf("%10.6f %c %5u>%-5u %c%c%c%c%c seq %u ack %u win %u len %zu\n",
                static_cast<double>(now.time_since_epoch().count()) / 1e6, to == 1 ? '>' : '<',
                load_be16(&bytes[0]), load_be16(&bytes[2]), bytes[13] & 2 ? 'S' : '.',
                bytes[13] & 1 ? 'F' : '.', bytes[13] & 4 ? 'R' : '.', bytes[13] & 8 ? 'P' : '.',
                bytes[13] & 16 ? 'A' : '.', load_be32(&bytes[4]), load_be32(&bytes[8]),
                load_be16(&bytes[14]), bytes.size() - (bytes[12] >> 4) * std::size_t{4});
  }
  if (random.chance(i.loss)) return;
  const int copies = random.chance(i.duplicate) ? 2 : 1;
  if (random.chance(i.corrupt)) {
    bytes[random.below(bytes.size())] ^= static_cast<std::uint8_t>(1u << random.below(8));
  }
  for (int copy = 0; copy < copies; ++copy) {
    Time at = now + i.delay;
    if (i.bytes_per_second > 0) {
      Time& line = line_free_[to];
      line = std::max(line, now);
      if (line - now > i.queue) return;
      line += Micros{static_cast<std::int64_t>(bytes.size() * 1'000'000 / i.bytes_per_second)};
      at = line + i.delay;
    }
    if (i.jitter > Micros{0})
      at += Micros{
          static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(i.jitter.count())))};
    if (random.chance(i.reorder))
      at += Micros{
          static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(2 * i.delay.count())))};
    std::size_t slot;
    if (free_flying_.empty()) {
      slot = flying_.size();
      flying_.emplace_back();
    } else {
      slot = free_flying_.back();
      free_flying_.pop_back();
    }
    flying_[slot] = {bytes, source, destination};
    push(at, to, Event::Kind::segment, slot);
  }
}

void World::wake_at(Application& application, Time at) {
  for (std::size_t i = 0; i < applications.size(); ++i) {
    if (applications[i].get() == &application)
      push(at, application.side, Event::Kind::application, i);
  }
}

void World::turn(unsigned side, const InFlight* segment) {
  Node& n = *nodes[side];
  if (segment != nullptr) {
    n.stack.input({segment->source, segment->destination, segment->bytes}, now);
    check(side);
  }
  n.stack.poll_timers(now);
  check(side);
  n.stack.dispatch(now);
  check(side);
  n.stack.flush(now);
  n.stack.end_turn();
  check(side);
  Time next = n.stack.next_deadline();
  if (n.stack.has_ready()) next = now + Micros{50};
  if (next == kNever) return;
  next = std::max(next, now + Micros{1});
  if (profile.late > Micros{0} && !n.stack.has_ready()) {
    next += Micros{
        static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(profile.late.count())))};
  }
  if (n.poll_at <= now || next < n.poll_at) {
    n.poll_at = next;
    push(next, side, Event::Kind::poll, 0);
  }
}

void World::check(unsigned side) {
  const std::string wrong = Inspector::check(nodes[side]->stack, edges_[side]);
  if (!wrong.empty()) fail("side " + std::to_string(side) + ": " + wrong);
}

void World::start() {
  nodes[1]->stack.listen(kPort, 7);
  for (std::size_t i = 0; i < profile.connections; ++i) {
    for (unsigned side : {0u, 1u}) {
      auto a = std::make_unique<Application>(*this, side, i);
      a->to_send = random.chance(0.1) ? 0 : random.between(1, profile.most_bytes);
      if (random.chance(profile.abort)) a->abort_after = random.below(profile.most_bytes);
      a->close_early = random.chance(0.5);
      applications.push_back(std::move(a));
    }
    Application& client = *applications[applications.size() - 2];
    client.connection =
        nodes[0]->stack.connect(nodes[0]->address, {nodes[1]->address, kPort}, client, now);
    if (client.connection == nullptr) {
      fail("connect failed");
      return;
    }
    client.connection->set_keepalive(true);
  }
  turn(0, nullptr);
}

bool World::all_done() const {
  if (!nodes[0]->stack.connection_count() && !nodes[1]->stack.connection_count() &&
      nodes[0]->stack.time_wait_count() == 0 && nodes[1]->stack.time_wait_count() == 0) {
    return Inspector::syn_cache(nodes[1]->stack) == 0;
  }
  return false;
}

void World::check_end() {
  for (unsigned side : {0u, 1u}) {
    const std::string left = Inspector::leftovers(nodes[side]->stack);
    if (!left.empty()) fail("side " + std::to_string(side) + ": " + left);
  }
  for (std::size_t i = 0; i + 1 < applications.size(); i += 2) {
    const Application& a = *applications[i];
    const Application& b = *applications[i + 1];
    if (a.abort_after != SIZE_MAX || b.abort_after != SIZE_MAX) continue;
    if (!a.done) fail("client " + std::to_string(i / 2) + " never heard of the end");
    // Of a half-open connection that a server without memory has shed the client hears by RST.
    if (a.reason == CloseReason::reset_by_peer &&
        nodes[1]->stack.stats().tcp_syn_cache_evicted > 0) {
      continue;
    }
    if (a.reason != CloseReason::graceful) {
      fail("client " + std::to_string(i / 2) + " ended with reason " +
           std::to_string(static_cast<int>(a.reason)));
    }
    if (a.received != b.to_send || b.received != a.to_send) {
      fail("stream " + std::to_string(i / 2) + " incomplete: " + std::to_string(a.received) +
           " of " + std::to_string(b.to_send) + ", " + std::to_string(b.received) + " of " +
           std::to_string(a.to_send));
    }
  }
}

std::string World::run() {
  const Time limit = now + kMostTime;
  start();
  while (failure.empty() && !events_.empty()) {
    const Event e = events_.top();
    events_.pop();
    now = std::max(now, e.at);
    if (++steps > kMostSteps || now > limit) {
      fail("no end in sight");
      break;
    }
    switch (e.kind) {
      case Event::Kind::segment: {
        const InFlight segment = std::move(flying_[e.subject]);
        free_flying_.push_back(e.subject);
        turn(e.node, &segment);
        break;
      }
      case Event::Kind::poll:
        if (nodes[e.node]->poll_at == e.at) nodes[e.node]->poll_at = kNever;
        turn(e.node, nullptr);
        break;
      case Event::Kind::application:
        if (applications[e.subject]->connection != nullptr) {
          applications[e.subject]->connection->mark_ready();
          turn(e.node, nullptr);
        }
        break;
    }
  }
  if (failure.empty() && !all_done()) fail("events ran out, connections did not");
  if (failure.empty()) check_end();
  return failure;
}

}  // namespace sluice::tcp
