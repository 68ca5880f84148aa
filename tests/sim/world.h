// Two stacks, a network between them that does its worst, and one virtual clock.
//
// Everything that happens follows from the seed. After each step the invariants of each stack are
// checked; a broken one ends the run with a message that names the seed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "tcp/stack.h"
#include "tcp/stats.h"

namespace sluice::tcp {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  std::uint64_t next();
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : next() % n; }
  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1.0p-53 < p; }

 private:
  std::uint64_t state_;
};

// One direction.
struct Impairment {
  double loss = 0, duplicate = 0, reorder = 0, corrupt = 0;
  double no_buffer = 0;  // the transmit sink refuses
  Micros delay{1000}, jitter{0};
  std::uint64_t bytes_per_second = 0;  // 0: no limit
  Micros queue{50'000};                // tail drop beyond
};

struct Profile {
  std::array<Impairment, 2> direction;
  std::array<StackConfig, 2> stack;
  std::size_t connections = 1;
  std::size_t most_bytes = 100'000;
  double pause = 0;  // a reader stops for a while
  double abort = 0;  // a connection ends by abort() somewhere
  Micros late{0};    // timers are polled up to this late
  bool ipv6 = false;
  static Profile random(Random& random);
  std::string text() const;
};

class World;

class Node final : public TransmitSink, public Acceptor {
 public:
  Node(World& world, unsigned side, const StackConfig& config);
  ~Node();
  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override;
  void commit() override;
  Observer* on_accept(Connection& connection, std::uint32_t listener_id, Time now) override;

  World& world;
  const unsigned side;
  IpAddress address;
  Stack stack;
  Time poll_at = kNever;  // a poll event is pending for this time
  std::vector<std::uint8_t> pending;
  IpAddress pending_source, pending_destination;
};

// One end of one stream: sends `to_send` bytes of a pattern, reads what comes and compares.
class Application final : public Observer {
 public:
  Application(World& world_, unsigned side_, std::uint64_t id_)
      : world(world_), side(side_), id(id_) {}
  void on_ready(Connection& connection, Time now) override;

  World& world;
  const unsigned side;
  const std::uint64_t id;  // both ends of a stream share it
  Connection* connection = nullptr;
  std::size_t to_send = 0, sent = 0, received = 0;
  std::size_t abort_after = SIZE_MAX;  // bytes received
  bool half_closed = false, peer_closed = false, done = false, aborted = false;
  bool close_early = false;  // close() as soon as both directions ended
  CloseReason reason = CloseReason::none;
  Time paused_until{};
};

class World {
 public:
  World(std::uint64_t seed, const Profile& profile);
  ~World();
  // Empty when everything held; else what did not, with the seed.
  std::string run();

  void deliver(unsigned to, std::vector<std::uint8_t> bytes, const IpAddress& source,
               const IpAddress& destination);
  void wake_at(Application& application, Time at);
  void fail(const std::string& what);
  std::uint8_t pattern(std::uint64_t id, unsigned side, std::size_t offset) const;

  const std::uint64_t seed;
  const Profile profile;
  Random random;
  Time now;
  std::array<std::unique_ptr<Node>, 2> nodes;
  std::vector<std::unique_ptr<Application>> applications;
  std::string failure;
  std::size_t steps = 0;
  bool trace = false;  // prints each segment as it is sent

 private:
  struct Event {
    Time at;
    std::uint64_t order;
    unsigned node;
    enum class Kind { segment, poll, application } kind;
    std::size_t subject;
    bool operator>(const Event& o) const { return at != o.at ? at > o.at : order > o.order; }
  };
  struct InFlight {
    std::vector<std::uint8_t> bytes;
    IpAddress source, destination;
  };
  void push(Time at, unsigned node, Event::Kind kind, std::size_t subject);
  void turn(unsigned node, const InFlight* segment);
  void check(unsigned node);
  void start();
  bool all_done() const;
  void check_end();

  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<InFlight> flying_;
  std::vector<std::size_t> free_flying_;
  std::uint64_t order_ = 0;
  std::array<Time, 2> line_free_{};
  std::vector<std::uint64_t> edges_[2];
};

}  // namespace sluice::tcp
