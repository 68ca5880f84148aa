#include "tcp_pair.h"

#include <algorithm>
#include <deque>
#include <vector>

namespace sluice::testing {
namespace {

struct Segment {
  IpAddress source, destination;
  std::vector<std::uint8_t> bytes;
};

class Wire final : public tcp::TransmitSink {
 public:
  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override {
    next_ = {source, destination, std::vector<std::uint8_t>(length)};
    return next_.bytes;
  }
  void commit() override { queue.push_back(std::move(next_)); }
  std::deque<Segment> queue;

 private:
  Segment next_;
};

IpAddress address(std::uint32_t last) { return IpAddress::v4(0xC6120000u + last); }

}  // namespace

struct TcpPair::State final : tcp::Acceptor {
  static tcp::StackConfig config(const Options& options) {
    tcp::StackConfig c;
    c.max_connections = 64;
    c.syn_cache_entries = 64;
    c.receive_buffer = options.receive_buffer;
    c.send_buffer = options.send_buffer;
    c.secret[0] = 1;
    c.secret[1] = 2;
    return c;
  }
  State(tcp::Observer& server, const Options& options)
      : observer(server),
        client_stack(config(options), client_wire, *this),
        server_stack(config(options), server_wire, *this) {}

  tcp::Observer* on_accept(tcp::Connection& connection, std::uint32_t, Time) override {
    server_end = &connection;
    return &observer;
  }

  // Everything in flight arrives; the checksum was left to the sink, so it counts as verified.
  void deliver(Wire& from, tcp::Stack& to) {
    arrived.swap(from.queue);
    for (const Segment& segment : arrived) {
      to.input({segment.source, segment.destination, segment.bytes, true, 0}, now);
    }
  }
  void loop(Wire& from, tcp::Stack& stack) {
    deliver(from, stack);
    stack.poll_timers(now);
    stack.dispatch(now);
    stack.flush(now);
    stack.end_turn();
    arrived.clear();
  }

  tcp::Observer& observer;
  Wire client_wire, server_wire;
  std::deque<Segment> arrived;
  tcp::Stack client_stack, server_stack;
  tcp::Connection* client_end = nullptr;
  tcp::Connection* server_end = nullptr;
  Time now{std::chrono::seconds(1000)};
};

TcpPair::TcpPair(tcp::Observer& client, tcp::Observer& server, const Options& options)
    : state_(std::make_unique<State>(server, options)) {
  if (options.listen) state_->server_stack.listen(443, 1);
  state_->client_end =
      state_->client_stack.connect(address(1), {address(2), 443}, client, state_->now);
  state_->client_stack.flush(state_->now);
}

TcpPair::~TcpPair() {
  state_->client_stack.abort_all(state_->now);
  state_->server_stack.abort_all(state_->now);
}

tcp::Connection* TcpPair::client() const { return state_->client_end; }
tcp::Connection* TcpPair::server() const { return state_->server_end; }
Time TcpPair::now() const { return state_->now; }

void TcpPair::turn() {
  state_->now += Micros(500);
  state_->loop(state_->client_wire, state_->server_stack);
  state_->loop(state_->server_wire, state_->client_stack);
}

}  // namespace sluice::testing
