#include "upstream/pool.h"

#include <algorithm>
#include <cstring>

#include "connection.h"

namespace sluice::upstream {

namespace {

constexpr Micros kIdleCheck{100'000};

std::uint64_t mix(std::uint64_t h, ByteSpan bytes) {
  for (const std::uint8_t b : bytes) h = (h ^ b) * 0x100000001b3ULL;  // FNV-1a
  return (h ^ 0xff) * 0x100000001b3ULL;
}

}  // namespace

// Idle connections to one target; the most recently used is taken first.
struct Pools::Group {
  std::uint64_t key;
  std::vector<Connection*> idle;  // oldest first
};

Target make_target(const policy::Service& service, const policy::ServiceEndpoint& endpoint,
                   const IpAddress& address) {
  Target t;
  t.address = {address, endpoint.port};
  t.tls = service.tls.enabled;
  if (t.tls) {
    t.server_name = service.tls.server_name.empty() ? endpoint.host : service.tls.server_name;
    t.tls_context = service.tls.context;
  }
  t.connect = service.timeouts.connect;
  t.tls_time = service.timeouts.tls;
  std::uint64_t h = 0xcbf29ce484222325ULL ^ endpoint.id;
  h = mix(h, address.mapped());
  const std::uint8_t port[3] = {static_cast<std::uint8_t>(endpoint.port >> 8),
                                static_cast<std::uint8_t>(endpoint.port), t.tls};
  h = mix(h, port);
  h = mix(h, as_bytes(t.server_name));
  h = mix(h, as_bytes(service.tls.ca_file));
  h = mix(h, as_bytes(service.tls.certificate));
  // The context stays the same object as long as settings and files do, so that a policy reload
  // keeps the pool, and new authorities or a new client certificate do not. Idle connections own
  // theirs: no other context can have its address meanwhile.
  const auto identity = reinterpret_cast<std::uintptr_t>(t.tls_context.get());
  std::array<std::uint8_t, sizeof identity> context;
  std::memcpy(context.data(), &identity, sizeof identity);
  t.pool_key = mix(h, context);
  return t;
}

Pools::Pools(tcp::Stack& stack, const PoolLimits& limits)
    : stack_(stack),
      limits_(limits),
      scratch_(std::make_unique<std::array<std::uint8_t, 16384>>()) {}

Pools::~Pools() = default;

void Pools::set_local_addresses(const std::vector<IpAddress>& addresses) { locals_ = addresses; }

const IpAddress* Pools::local_for(const IpAddress& remote) const {
  for (const IpAddress& a : locals_) {
    if (a.is_v4() == remote.is_v4()) return &a;
  }
  return nullptr;
}

Connection* Pools::take_idle(std::uint64_t key) {
  for (auto& group : groups_) {
    if (group->key != key) continue;
    while (!group->idle.empty()) {
      Connection* c = group->idle.back();
      group->idle.pop_back();
      c->pooled_ = false;
      if (c->usable()) return c;
      c->close();
    }
  }
  return nullptr;
}

Connection* Pools::open(const Target& target, Exchange& exchange, Time now, std::string& error) {
  if (connections_.size() >= limits_.connections) {
    error = "the gateway's limit of connections to tools is reached";
    return nullptr;
  }
  const IpAddress* local = local_for(target.address.address);
  if (local == nullptr) {
    error = "the tools port has no usable address of the endpoint's family";
    return nullptr;
  }
  auto connection = std::make_unique<Connection>(*this, target);
  tcp::Connection* tcp = stack_.connect(*local, target.address, *connection, now,
                                        Micros{target.connect}, port_filter_, port_filter_context_);
  if (tcp == nullptr) {
    error = "no free source port or connection entry towards the tool";
    return nullptr;
  }
  if (!connection->begin(*tcp, error)) {
    tcp->abort();
    return nullptr;
  }
  stats_.opened++;
  connection->exchange_ = &exchange;
  connection->set_up_deadline_ = now + target.connect + target.tls_time;
  connection->index_ = connections_.size();
  Connection* raw = connection.get();
  handshaking_.push_back(raw);
  connections_.push_back(std::move(connection));
  return raw;
}

void Pools::give_back(Connection& connection, Time now) {
  if (connection.removed_ || !connection.usable()) return connection.close();
  auto it = std::ranges::find_if(
      groups_, [&](const auto& g) { return g->key == connection.target().pool_key; });
  if (it == groups_.end()) {
    groups_.push_back(std::make_unique<Group>(Group{connection.target().pool_key, {}}));
    it = groups_.end() - 1;
  }
  if ((*it)->idle.size() >= limits_.idle_per_endpoint) return connection.close();
  connection.idle_since_ = now;
  connection.pooled_ = true;
  (*it)->idle.push_back(&connection);
}

void Pools::remove(Connection& connection) {
  if (connection.removed_) return;
  connection.removed_ = true;
  std::erase(handshaking_, &connection);
  if (connection.pooled_) {
    for (auto& group : groups_) {
      if (group->key == connection.target().pool_key) std::erase(group->idle, &connection);
    }
  }
  const std::size_t i = connection.index_;
  graveyard_.push_back(std::move(connections_[i]));
  if (i + 1 != connections_.size()) {
    connections_[i] = std::move(connections_.back());
    connections_[i]->index_ = i;
  }
  connections_.pop_back();
}

void Pools::mark_dirty(Connection& connection) {
  if (connection.dirty_ || connection.removed_) return;
  connection.dirty_ = true;
  dirty_.push_back(&connection);
}

void Pools::flush(Time now) {
  // Pumping one connection may dirty others through its call; those appended are seen too.
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    Connection& c = *dirty_[i];
    c.dirty_ = false;
    if (c.removed_) continue;
    c.pump(now);
    if (!c.removed_ && c.exchange_ == nullptr && c.http_ && !c.pooled_) give_back(c, now);
  }
  dirty_.clear();
  graveyard_.clear();
}

void Pools::poll_timers(Time now) {
  for (std::size_t i = 0; i < handshaking_.size();) {
    Connection* c = handshaking_[i];
    if (now < c->set_up_deadline_) {
      ++i;
      continue;
    }
    // TCP ends by its own limit; what is left is TLS that does not come to an end.
    c->lost(telemetry::Reason::connect_timeout, "the TLS handshake with the tool took too long",
            now);
    if (i < handshaking_.size() && handshaking_[i] == c) ++i;
  }
  if (now < next_idle_check_) return;
  next_idle_check_ = now + kIdleCheck;
  for (auto& group : groups_) {
    while (!group->idle.empty() && group->idle.front()->idle_since_ + limits_.idle_time <= now) {
      stats_.closed_idle++;
      group->idle.front()->close();
    }
  }
  std::erase_if(groups_, [](const auto& g) { return g->idle.empty(); });
}

Time Pools::next_deadline() const {
  Time t = kNever;
  for (const Connection* c : handshaking_) t = std::min(t, c->set_up_deadline_);
  for (const auto& group : groups_) {
    if (!group->idle.empty()) {
      t = std::min(
          t, std::max(next_idle_check_, group->idle.front()->idle_since_ + limits_.idle_time));
    }
  }
  return t;
}

void Pools::shut_idle(Time) {
  for (auto& group : groups_) {
    while (!group->idle.empty()) group->idle.back()->close();
  }
}

std::size_t Pools::idle_count() const {
  std::size_t n = 0;
  for (const auto& group : groups_) n += group->idle.size();
  return n;
}

}  // namespace sluice::upstream
