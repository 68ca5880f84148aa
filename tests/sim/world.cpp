#include "world.h"

#include <algorithm>
#include <cstdio>

#include "impair/packet_view.h"
#include "packet/tcp.h"
#include "wire.h"

namespace sluice::sim {
namespace {

constexpr std::size_t kMostSteps = 4'000'000;
constexpr Micros kMostTime{Seconds{6 * 3600}};
// From the end of the last stream to the end of all state: at worst a last FIN goes unanswered
// until R2 (100 s), and TIME-WAIT follows (60 s), or a half-open connection expires.
constexpr Micros kAftermath{Seconds{240}};
// Nothing arrived for so long when a connection was given up.
constexpr Micros kLeastGiveUp{Seconds{50}};
constexpr std::size_t kEthernet = 14;

std::string sack_of(const Bytes& frame, std::size_t header) {
  const auto view = packet::TcpView::parse(ByteSpan{frame}.subspan(header));
  tcp::Options options;
  if (!view || !tcp::parse_options(view->options(), options)) return {};
  std::string text;
  for (std::size_t i = 0; i < options.sack_count; ++i) {
    text += i == 0 ? " sack " : ",";
    text += std::to_string(options.sack[i].start.raw()) + "-" +
            std::to_string(options.sack[i].end.raw());
  }
  return text;
}

}  // namespace

World::World(const Scenario& scenario, const WorldOptions& options)
    : scenario_(scenario), options_(options), now_(scenario.begins) {
  for (std::size_t i = 0; i < scenario_.links.size(); ++i) {
    const auto& direction = scenario_.links[i].direction;
    links_.push_back(
        {impair::Link(direction[0], direction[1], scenario_.seed * 64 + i, now_, kEthernet)});
  }
  hosts_.resize(scenario_.hosts.size());
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    come_up(i);
    if (scenario_.hosts[i].down != kNever) push(scenario_.hosts[i].down, Event::Kind::down, i);
    if (scenario_.hosts[i].up != kNever) push(scenario_.hosts[i].up, Event::Kind::up, i);
  }
  streams_.resize(scenario_.streams.size());
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    const StreamPlan& plan = scenario_.streams[i];
    const bool relayed = plan.kind == StreamPlan::Kind::relayed;
    const std::size_t opener = plan.kind == StreamPlan::Kind::from_gateway ? 0 : plan.client;
    const std::size_t acceptor = relayed ? plan.server : plan.client - opener;
    Stream& s = streams_[i];
    s.end[0] = std::make_unique<End>(*this, opener, i, 0, plan.end[0]);
    s.end[1] = std::make_unique<End>(*this, acceptor, i, 1, plan.end[1]);
    if (relayed) s.relay = std::make_unique<Relay>(*this, 0, i);
    s.disturbed = plan.absent;
    for (const auto& end : s.end) {
      s.disturbed |= end->plan().abort_after != SIZE_MAX;
      s.disturbed |= scenario_.hosts[end->host()].down != kNever;
      s.may_abort |= scenario_.hosts[end->host()].no_allocation > 0;
    }
    s.may_abort |= relayed && scenario_.hosts[0].no_allocation > 0;
    push(now_ + plan.start, Event::Kind::stream, i);
  }
}

World::~World() = default;

void World::fail(const std::string& what) {
  if (failed()) return;
  failure_ = "seed " + std::to_string(scenario_.seed) + " at " +
             std::to_string(now_.time_since_epoch().count()) + " us: " + what + "\n  " +
             scenario_.text();
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    if (!hosts_[i].host) continue;
    failure_ += "\n  host " + std::to_string(i) + ":\n" +
                tcp::Inspector::describe(hosts_[i].host->stack(), now_);
  }
}

void World::push(Time at, Event::Kind kind, std::size_t subject, Application* application) {
  events_.push({at, order_++, kind, subject, application});
}

void World::turn_at(std::size_t host, Time at) {
  if (at >= hosts_[host].turn_at) return;
  hosts_[host].turn_at = at;
  push(at, Event::Kind::turn, host);
}

void World::watch_link(std::size_t link) {
  const Time next = links_[link].link.next();
  if (next >= links_[link].due_at) return;
  links_[link].due_at = next;
  push(next, Event::Kind::link, link);
}

// The gateway's port leads to all links, as a switch would.
void World::transmit(std::size_t from, const Bytes& frame) {
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (from != 0 && from != i + 1) continue;
    const bool to_all = (frame[0] & 1) != 0;
    const packet::MacAddress mac = mac_of(from == 0 ? i + 1 : 0);
    if (!to_all && !std::equal(mac.octets.begin(), mac.octets.end(), frame.begin())) continue;
    const unsigned side = from == 0 ? 0 : 1;
    const std::uint64_t dropped = links_[i].link.line(side).stats().dropped();
    links_[i].link.push(side, frame, now_);
    if (options_.trace) {
      print(from, links_[i].link.line(side).stats().dropped() != dropped ? "LOST" : "sent", frame);
    }
    watch_link(i);
  }
}

void World::print(std::size_t host, const char* what, const Bytes& frame) const {
  const double at = static_cast<double>(now_.time_since_epoch().count()) / 1e6;
  const auto s = impair::view_segment(ByteSpan{frame}.subspan(kEthernet));
  if (!s) {
    std::printf("%12.6f host %zu %s no TCP, %zu bytes\n", at, host, what, frame.size());
    return;
  }
  std::string flags;
  for (unsigned bit = 0; bit < 6; ++bit) flags += (s->flags & 1u << bit) != 0 ? "FSRPAU"[bit] : '.';
  const std::size_t header = (frame[kEthernet] >> 4 == 4 ? 20u : 40u) + kEthernet;
  std::printf("%12.6f host %zu %s %5u>%-5u %s seq %u ack %u win %u len %zu%s\n", at, host, what,
              load_be16(&frame[header]), load_be16(&frame[header + 2]), flags.c_str(), s->seq,
              s->ack, load_be16(&frame[header + 14]), s->payload, sack_of(frame, header).c_str());
}

tcp::Observer* World::accept(std::size_t host, tcp::Connection& connection, Time now) {
  const tcp::FlowKey& flow = connection.flow();
  const auto opened =
      opened_.find({{flow.remote, flow.remote_port}, {flow.local, flow.local_port}});
  if (opened == opened_.end()) return nullptr;
  Stream& s = streams_[opened->second];
  if (s.relay && host == 0) {
    if (s.relay->taken()) return nullptr;
    const Endpoint onwards{address_of(s.end[1]->host(), scenario_.ipv6), kServicePort};
    if (s.relay->attach(connection, onwards, now)) return s.relay.get();
    s.disturbed = true;
    return nullptr;
  }
  End& end = *s.end[1];
  if (end.host() != host || end.taken()) return nullptr;
  end.attach(connection, now);
  return &end;
}

tcp::Connection* World::connect(Application& application, const Endpoint& remote,
                                std::size_t stream, Time now) {
  tcp::Connection* c = hosts_[application.host()].host->connect(remote, application, now);
  if (c != nullptr) opened_[{{c->flow().local, c->flow().local_port}, remote}] = stream;
  return c;
}

void World::wake_at(Application& application, Time at) {
  push(at, Event::Kind::wake, application.host(), &application);
}

void World::start_stream(std::size_t stream) {
  Stream& s = streams_[stream];
  End& end = *s.end[0];
  if (scenario_.streams[stream].absent || !hosts_[end.host()].host) return end.give_up();
  const std::size_t server = s.relay ? 0 : s.end[1]->host();
  const Endpoint remote{address_of(server, scenario_.ipv6), kServicePort};
  tcp::Connection* c = connect(end, remote, stream, now_);
  if (c == nullptr) {
    // No port is free: all are in TIME-WAIT.
    push(now_ + Seconds{1}, Event::Kind::stream, stream);
    return;
  }
  end.attach(*c, now_);
  turn_at(end.host(), now_);
}

void World::go_down(std::size_t host) {
  const tcp::Stats& gone = hosts_[host].host->stats();
#define X(id) lost_stats_.id += gone.id;
  SLUICE_TCP_COUNTERS(X)
#undef X
  hosts_[host].host.reset();
  hosts_[host].turn_at = kNever;
  for (Stream& s : streams_) {
    for (const auto& end : s.end) {
      if (end->host() == host && end->taken()) end->lost();
    }
  }
}

void World::come_up(std::size_t host) {
  Place& place = hosts_[host];
  place.host = std::make_unique<Host>(*this, host, scenario_.hosts[host], place.lives++);
  place.host->start(now_);
  turn_at(host, now_);
}

void World::deliver(std::size_t link) {
  Wire& wire = links_[link];
  wire.due_at = kNever;
  for (unsigned side : {0u, 1u}) {
    const std::size_t host = side == 0 ? 0 : link + 1;
    while (std::optional<Bytes> frame = wire.link.pop(side, now_)) {
      if (!hosts_[host].host) continue;
      if (options_.trace) print(host, " got", *frame);
      hosts_[host].host->receive(std::move(*frame));
      turn_at(host, std::max(now_, hosts_[host].host->paused_until()));
    }
  }
  watch_link(link);
}

void World::turn(std::size_t host) {
  Place& place = hosts_[host];
  place.turn_at = kNever;
  turn_at(host, place.host->turn(now_));
}

void World::handle(const Event& e) {
  switch (e.kind) {
    case Event::Kind::turn:
      if (hosts_[e.subject].host && hosts_[e.subject].turn_at == e.at) turn(e.subject);
      break;
    case Event::Kind::link:
      if (links_[e.subject].due_at == e.at) deliver(e.subject);
      break;
    case Event::Kind::stream:
      start_stream(e.subject);
      break;
    case Event::Kind::wake:
      if (!hosts_[e.subject].host) break;
      e.application->wake();
      turn_at(e.subject, std::max(now_, hosts_[e.subject].host->paused_until()));
      break;
    case Event::Kind::down:
      go_down(e.subject);
      break;
    case Event::Kind::up:
      come_up(e.subject);
      break;
  }
}

bool World::streams_done() const {
  return std::all_of(streams_.begin(), streams_.end(), [](const Stream& s) {
    const bool relay = !s.relay || !s.relay->taken() || s.relay->done();
    return relay && s.end[0]->done() && (s.end[1]->done() || s.end[1]->connection() == nullptr);
  });
}

bool World::all_done() const {
  const bool quiet = std::all_of(links_.begin(), links_.end(),
                                 [](const Wire& w) { return w.link.next() == kNever; });
  return quiet && streams_done() && std::all_of(hosts_.begin(), hosts_.end(), [](const Place& p) {
           return !p.host || p.host->empty();
         });
}

// R2, the connect timeout, or TIME-WAIT at one end and a peer that never got its last ACK.
bool World::given_up(const Stream& s) {
  const bool one_end = std::any_of(s.end.begin(), s.end.end(), [](const auto& end) {
    return end->reason() == tcp::CloseReason::timed_out ||
           end->reason() == tcp::CloseReason::reset_by_peer;
  });
  const Time progress = std::max(s.end[0]->progress_at(), s.end[1]->progress_at());
  const Time done = std::max(s.end[0]->done_at(), s.end[1]->done_at());
  // One direction may stand still while the other goes on.
  const auto waits = [&](unsigned side) {
    return s.end[side]->received() < s.end[1 - side]->plan().to_send &&
           done - s.end[side]->progress_at() >= kLeastGiveUp;
  };
  return one_end && (waits(0) || waits(1) || done - progress >= kLeastGiveUp);
}

void World::check_stream(std::size_t stream) {
  const Stream& s = streams_[stream];
  if (s.disturbed) return;
  const std::string name =
      "stream " + std::to_string(stream) + " (host " + std::to_string(s.end[0]->host()) + " port " +
      std::to_string(s.end[0]->local_port()) + " to host " + std::to_string(s.end[1]->host()) + ")";
  const auto cut_off = [](const std::unique_ptr<End>& end) {
    return end->reason() == tcp::CloseReason::aborted ||
           end->reason() == tcp::CloseReason::reset_by_peer;
  };
  if (s.may_abort && std::any_of(s.end.begin(), s.end.end(), cut_off)) return;
  // Of a half-open connection that a host without memory has shed its peer hears by RST.
  const auto shed = [](const auto& h) {
    return h.host && h.host->stack().stats().tcp_syn_cache_evicted > 0;
  };
  const auto reset = [](const std::unique_ptr<End>& end) {
    return end->reason() == tcp::CloseReason::reset_by_peer;
  };
  if (std::any_of(s.end.begin(), s.end.end(), reset) &&
      std::any_of(hosts_.begin(), hosts_.end(), shed)) {
    return;
  }
  if (scenario_.lossy() && given_up(s)) {
    ++given_up_;
    return;
  }
  for (unsigned side : {0u, 1u}) {
    const End& end = *s.end[side];
    const std::size_t expected = s.end[1 - side]->plan().to_send;
    const End& other = *s.end[1 - side];
    // The last ACK was lost, and the peer's next connection from its port ended the old one. A
    // relay passes that on, before what it still holds.
    const bool replaced = scenario_.hosts[other.host()].ports > 0 &&
                          end.reason() == tcp::CloseReason::reset_by_peer &&
                          other.reason() == tcp::CloseReason::graceful &&
                          other.received() == end.plan().to_send;
    if (replaced && (s.relay || end.received() == expected)) continue;
    if (!end.done()) {
      fail(name + ": end " + std::to_string(side) + " never heard of its end");
    } else if (end.reason() != tcp::CloseReason::graceful) {
      fail(name + ": end " + std::to_string(side) + " ended with reason " +
           std::to_string(static_cast<int>(end.reason())));
    } else if (end.received() != expected) {
      fail(name + ": end " + std::to_string(side) + " received " + std::to_string(end.received()) +
           " of " + std::to_string(expected));
    }
  }
}

void World::check_end() {
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    if (!hosts_[i].host) continue;
    const std::string left = tcp::Inspector::leftovers(hosts_[i].host->stack());
    if (!left.empty()) fail("host " + std::to_string(i) + ": " + left);
  }
  for (std::size_t i = 0; i < streams_.size(); ++i) check_stream(i);
}

std::string World::run() {
  const Time limit = now_ + kMostTime;
  while (!failed() && !events_.empty()) {
    const Event e = events_.top();
    events_.pop();
    now_ = std::max(now_, e.at);
    handle(e);
    if (++steps_ > kMostSteps || now_ > limit) fail("no end in sight");
    if (e.kind != Event::Kind::turn) continue;
    if (streams_done_at_ == kNever) {
      if (streams_done()) streams_done_at_ = now_;
      continue;
    }
    if (all_done()) break;
    if (now_ - streams_done_at_ > kAftermath) fail("state remains long after the last stream");
  }
  if (!failed() && !all_done()) fail("events ran out, connections did not");
  if (!failed()) check_end();
  return failure_;
}

std::string World::run_until(Time end) {
  while (!failed() && !events_.empty() && events_.top().at <= end) {
    const Event e = events_.top();
    events_.pop();
    now_ = std::max(now_, e.at);
    handle(e);
  }
  now_ = end;
  return failure_;
}

}  // namespace sluice::sim
