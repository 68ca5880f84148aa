#include "host.h"

#include <algorithm>

#include "allocation.h"
#include "impair/cut.h"
#include "packet/ipv4.h"
#include "world.h"

namespace sluice::sim {
namespace {

constexpr std::size_t kRing = 256, kBurst = 32;
constexpr std::size_t kLookAtEachStep = 4;  // connections; with more of them once a turn
constexpr std::uint8_t kRst = 4;

ip::InterfaceConfig interface_config(std::size_t number, const HostPlan& plan, bool ipv6) {
  ip::InterfaceConfig c;
  c.mac = mac_of(number);
  c.addresses = {{address_of(number, ipv6), static_cast<std::uint8_t>(ipv6 ? 64 : 24)}};
  c.mtu = plan.tcp.mtu;
  c.secret[0] = plan.tcp.secret[0];
  c.secret[1] = plan.tcp.secret[1];
  c.neighbours = 64;
  return c;
}

// What comes back after a crash remembers nothing, its secrets included.
tcp::StackConfig in_life(tcp::StackConfig config, unsigned life) {
  config.secret[0] += life;
  return config;
}

Micros up_to(impair::Random& r, Micros most) {
  return Micros{static_cast<std::int64_t>(r.below(static_cast<std::uint64_t>(most.count()) + 1))};
}

}  // namespace

IpAddress address_of(std::size_t host, bool ipv6) {
  const std::string number = std::to_string(host + 1);
  return *IpAddress::parse(ipv6 ? "2001:db8::" + number : "198.18.0." + number);
}

packet::MacAddress mac_of(std::size_t host) {
  return {{2, 0, 0, 0, 0, static_cast<std::uint8_t>(host + 1)}};
}

Host::Host(World& world, std::size_t number, const HostPlan& plan, unsigned life)
    : world_(world),
      number_(number),
      plan_(plan),
      ip_(interface_config(number, plan, world.scenario().ipv6), *this, counters_),
      stack_(in_life(plan.tcp, life), *this, *this),
      refuse_(world.scenario().seed, 30'000 + number),
      allocation_(world.scenario().seed, 31'000 + number),
      late_(world.scenario().seed, 32'000 + number),
      pause_(world.scenario().seed, 33'000 + number) {
  stack_.listen(kServicePort, 1);
}

Host::~Host() = default;

void Host::start(Time now) { ip_.start(now); }

void Host::receive(Bytes frame) {
  if (ring_.size() < kRing) ring_.push_back(std::move(frame));
}

bool Host::empty() const {
  return stack_.connection_count() == 0 && stack_.time_wait_count() == 0 &&
         tcp::Inspector::syn_cache(stack_) == 0;
}

tcp::Connection* Host::connect(const Endpoint& remote, tcp::Observer& observer, Time now) {
  const auto few = [](void* ports, const tcp::FlowKey& key) {
    return key.local_port % 1024 < *static_cast<const unsigned*>(ports) && key.local_port < 4096;
  };
  unsigned ports = plan_.ports / 4;
  return stack_.connect(address_of(number_, world_.scenario().ipv6), remote, observer, now,
                        Micros{0}, ports == 0 ? nullptr : +few, &ports);
}

Time Host::turn(Time now) {
  if (now < paused_until_) return paused_until_;
  now_ = now;
  const AllocationFault fault(plan_.no_allocation, allocation_);
  if (plan_.refuse_all > 0 && now >= full_until_ && refuse_.chance(plan_.refuse_all)) {
    full_until_ = now + up_to(refuse_, plan_.refuse_time);
  }
  for (std::size_t n = 0; n < kBurst && !ring_.empty(); ++n) {
    turn_frames_.push_back(std::move(ring_.front()));
    ring_.pop_front();
    input(turn_frames_.back(), now);
    check("input");
  }
  ip_.poll(now);
  stack_.poll_timers(now);
  check("timers");
  stack_.dispatch(now);
  check("dispatch");
  flush(now);
  stack_.end_turn();
  turn_frames_.clear();
  check(nullptr);
  check_resets();
  if (plan_.pause > 0 && pause_.chance(plan_.pause)) {
    paused_until_ = now + up_to(pause_, plan_.pause_time);
    return paused_until_;
  }
  if (!ring_.empty()) return now + Micros{1};
  // Trying a full ring again and again finds nothing that trying now and then does not.
  if (stack_.has_ready()) return now + (now < full_until_ ? Micros{2000} : Micros{50});
  const Time next = std::min(stack_.next_deadline(), ip_.next_deadline());
  if (next == kNever) return kNever;
  return std::max(next, now + Micros{1}) + up_to(late_, plan_.late);
}

void Host::flush(Time now) {
  if (!world_.checked()) return stack_.flush(now);
  tcp::Inspector::before_flush(stack_, watch_);
  stack_.flush(now);
  const std::string wrong = tcp::Inspector::after_flush(stack_, watch_);
  if (!wrong.empty()) world_.fail("host " + std::to_string(number_) + " after flush: " + wrong);
}

void Host::input(const Bytes& frame, Time now) {
  using Kind = ip::InputResult::Kind;
  const ip::InputResult result = ip_.input(frame, {}, now);
  if (result.kind == Kind::icmp_error) {
    const packet::IcmpError& e = result.error;
    stack_.icmp_error({e.source, e.destination, e.source_port, e.destination_port}, e.quoted,
                      e.hard, e.mtu, now);
  } else if (result.kind == Kind::packet && result.packet.protocol == packet::kProtocolTcp) {
    const ip::LocalPacket& p = result.packet;
    stack_.input({p.source, p.destination, p.bytes, p.checksum_verified, p.ecn}, now);
  }
}

MutByteSpan Host::reserve(std::size_t frame_length) {
  if (now_ < full_until_ || refuse_.chance(plan_.refuse)) return {};
  if (frame_length > plan_.tcp.mtu + std::size_t{14}) world_.fail("frame larger than the MTU");
  pending_.assign(frame_length, 0xee);
  return pending_;
}

void Host::commit(std::size_t, const ip::L4Offload& offload) {
  if (offload.piece == 0) return world_.transmit(number_, pending_);
  for (const Bytes& frame : impair::cut_frame(pending_, offload.l2_length, offload.l3_length,
                                              pending_text_, offload.piece)) {
    if (frame.size() > plan_.tcp.mtu + std::size_t{14}) world_.fail("piece larger than the MTU");
    world_.transmit(number_, frame);
  }
}

GatherRoom Host::reserve_large(std::size_t headers, std::size_t text) {
  if (now_ < full_until_ || refuse_.chance(plan_.refuse)) return {};
  pending_.assign(headers, 0xee);
  pending_text_.assign(text, 0xee);
  // Buffers end where they will.
  const MutByteSpan all = pending_text_;
  text_parts_ = {all.first(text / 3), all.subspan(text / 3)};
  return {pending_, text_parts_};
}

tcp::LargeLimit Host::large_limit(const IpAddress& remote) const {
  if (plan_.large == 0) return {};
  return {.text = plan_.large, .segment = plan_.tcp.mtu - (remote.is_v6() ? 40u : 20u)};
}

GatherRoom Host::reserve_large(const IpAddress& source, const IpAddress& destination,
                               std::size_t header, std::size_t piece, std::size_t pieces) {
  const GatherRoom room = ip_.begin_large(source, destination, header, piece, pieces);
  segment_ = room.head;
  return room;
}

MutByteSpan Host::reserve(const IpAddress& source, const IpAddress& destination,
                          std::size_t length) {
  segment_ = ip_.begin_l4(source, destination, packet::kProtocolTcp, length);
  segment_flow_ = {source, destination, 0, 0};
  return segment_;
}

void Host::commit() {
  if ((segment_[13] & kRst) != 0) {
    segment_flow_.local_port = load_be16(&segment_[0]);
    segment_flow_.remote_port = load_be16(&segment_[2]);
    // A handshake that an old segment disturbed is still one, and may end well in the same turn.
    if (tcp::Inspector::is_open(stack_, segment_flow_)) resets_.push_back(segment_flow_);
  }
  ip_.end_l4();
}

tcp::Observer* Host::on_accept(tcp::Connection& connection, std::uint32_t, Time now) {
  return world_.accept(number_, connection, now);
}

// Acknowledgements may be this much later than they should be: two pauses and two full rings come
// one after the other now and then.
Micros Host::allowed_lateness() const {
  const bool pauses = plan_.pause > 0, refuses = plan_.refuse_all > 0 || plan_.refuse > 0;
  return plan_.late + (pauses ? 2 * plan_.pause_time : Micros{0}) +
         (refuses ? 2 * plan_.refuse_time : Micros{0}) + Micros{1000};
}

void Host::check(const char* after) {
  if (!world_.checked()) return;
  if (after != nullptr && tcp::Inspector::slots(stack_) > kLookAtEachStep) return;
  const std::string wrong = tcp::Inspector::check(stack_, watch_, now_, allowed_lateness());
  if (wrong.empty()) return;
  world_.fail("host " + std::to_string(number_) + " after " + (after ? after : "the turn") + ": " +
              wrong);
}

// A RST ends a connection, answers for one that is no more, or refuses a handshake.
void Host::check_resets() {
  for (const tcp::FlowKey& flow : resets_) {
    if (tcp::Inspector::is_open(stack_, flow)) {
      world_.fail("host " + std::to_string(number_) + ": RST for a connection that goes on");
    }
  }
  resets_.clear();
}

}  // namespace sluice::sim
