// Hosts, the links between them, an event heap and one virtual clock.
//
// Everything that happens follows from the scenario. After each turn of a host its invariants are
// checked; a broken one ends the run with a message that names the seed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "host.h"
#include "impair/line.h"
#include "scenario.h"
#include "stream.h"

namespace sluice::sim {

inline constexpr std::uint16_t kServicePort = 443;

struct WorldOptions {
  bool trace = false;   // prints each segment as it is sent
  bool checked = true;  // invariants after each turn
};

class World {
 public:
  explicit World(const Scenario& scenario, const WorldOptions& options = {});
  ~World();
  // Until everything is over. Empty when everything held; else what did not, with the seed.
  std::string run();
  // Until that time, whatever goes on then.
  std::string run_until(Time end);

  // -- for hosts and applications
  const Scenario& scenario() const { return scenario_; }
  bool checked() const { return options_.checked; }
  bool failed() const { return !failure_.empty(); }
  void fail(const std::string& what);
  void transmit(std::size_t from, const Bytes& frame);
  tcp::Observer* accept(std::size_t host, tcp::Connection& connection, Time now);
  tcp::Connection* connect(Application& application, const Endpoint& remote, std::size_t stream,
                           Time now);
  void wake_at(Application& application, Time at);

  // -- for whoever looks at the result
  std::size_t steps() const { return steps_; }
  // Streams that were given up, as may happen where packets are lost.
  std::size_t given_up() const { return given_up_; }
  std::size_t streams() const { return streams_.size(); }
  std::size_t hosts() const { return hosts_.size(); }
  // Null while it is down.
  Host* host(std::size_t i) { return hosts_[i].host.get(); }
  const impair::Link& link(std::size_t client) const { return links_[client].link; }
  const End& end(std::size_t stream, unsigned side) const { return *streams_[stream].end[side]; }
  const tcp::Stats& lost_stats() const { return lost_stats_; }

 private:
  struct Event {
    Time at;
    std::uint64_t order;
    enum class Kind : std::uint8_t { turn, link, stream, wake, down, up } kind;
    std::size_t subject;
    Application* application;
    bool operator>(const Event& o) const { return at != o.at ? at > o.at : order > o.order; }
  };
  struct Place {  // where a host is, or was
    std::unique_ptr<Host> host;
    Time turn_at = kNever;  // an event is pending for then
    unsigned lives = 0;
  };
  struct Wire {
    impair::Link link;
    Time due_at = kNever;
  };
  struct Stream {
    std::array<std::unique_ptr<End>, 2> end;
    std::unique_ptr<Relay> relay;
    bool disturbed = false;  // may end in any way
    bool may_abort = false;  // or be cut off where memory ran out
  };
  void push(Time at, Event::Kind kind, std::size_t subject, Application* application = nullptr);
  void turn_at(std::size_t host, Time at);
  void handle(const Event& event);
  void turn(std::size_t host);
  void deliver(std::size_t link);
  void watch_link(std::size_t link);
  void start_stream(std::size_t stream);
  void go_down(std::size_t host);
  void come_up(std::size_t host);
  void print(std::size_t host, const char* what, const Bytes& frame) const;
  bool streams_done() const;
  bool all_done() const;
  void check_end();
  static bool given_up(const Stream& s);
  void check_stream(std::size_t stream);

  const Scenario scenario_;
  const WorldOptions options_;
  Time now_;
  std::vector<Place> hosts_;
  std::vector<Wire> links_;
  std::vector<Stream> streams_;
  // The opener's end and the acceptor's: the latest stream between them.
  std::map<std::pair<Endpoint, Endpoint>, std::size_t> opened_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t order_ = 0;
  std::size_t steps_ = 0, given_up_ = 0;
  std::string failure_;
  Time streams_done_at_ = kNever;
  tcp::Stats lost_stats_;  // of hosts that went down
};

}  // namespace sluice::sim
