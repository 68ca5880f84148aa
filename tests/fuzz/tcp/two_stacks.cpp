// Two stacks and what lies between them: the input decides which segment arrives next, which are
// lost or doubled, when time passes, when a queue is full, and what the applications do.
//
// What is read is what was written; the invariants of both stacks hold after each step; and once
// the wire is left in peace, everything arrives and nothing stays behind.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "inspector.h"
#include "tcp/stack.h"

namespace {

using namespace sluice;
using namespace sluice::tcp;

void require(bool holds) {
  if (!holds) std::abort();
}

// Every place of a stream has its own value.
std::uint8_t octet(std::uint32_t at) { return static_cast<std::uint8_t>(at ^ at >> 8); }

struct Datagram {
  IpAddress source, destination;
  std::vector<std::uint8_t> bytes;
};

class Host final : public TransmitSink, public Acceptor, public Observer {
 public:
  Host(const StackConfig& config, std::deque<Datagram>& wire)
      : wire_(wire), stack_(config, *this, *this) {}

  Stack& stack() { return stack_; }
  void connect(const IpAddress& local, const Endpoint& remote, Time now) {
    connection_ = stack_.connect(local, remote, *this, now);
    require(connection_ != nullptr);
  }
  void write(std::size_t n) {
    if (connection_ == nullptr || finished_) return;
    std::vector<std::uint8_t> bytes(n);
    for (std::size_t i = 0; i < n; ++i) bytes[i] = octet(written_ + static_cast<std::uint32_t>(i));
    written_ += static_cast<std::uint32_t>(connection_->write(bytes));
  }
  void read(std::size_t appetite) {
    appetite_ = appetite;
    if (connection_ != nullptr) connection_->mark_ready();
  }
  void finish() {
    if (connection_ != nullptr && !std::exchange(finished_, true)) connection_->shutdown_write();
  }
  void abort() {
    if (connection_ != nullptr) std::exchange(connection_, nullptr)->abort();
    broken_ = true;
  }
  void release() {
    if (connection_ != nullptr) std::exchange(connection_, nullptr)->close();
  }
  void turn(Time now) {
    stack_.poll_timers(now);
    stack_.dispatch(now);
    stack_.flush(now);
    stack_.end_turn();
    check(now);
  }
  void input(const Datagram& d, Time now) {
    stack_.input({d.source, d.destination, d.bytes, true}, now);
    check(now);
  }

  bool connected() const { return connection_ != nullptr; }
  bool broken() const { return broken_; }
  bool saw_end() const { return saw_end_; }
  std::uint32_t written() const { return written_; }
  std::uint32_t received() const { return received_; }
  bool full = false;

 private:
  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override {
    if (full) return {};
    pending_ = {source, destination, std::vector<std::uint8_t>(length)};
    return pending_.bytes;
  }
  void commit() override { wire_.push_back(std::move(pending_)); }
  Observer* on_accept(Connection& connection, std::uint32_t, Time) override {
    if (connection_ != nullptr) return nullptr;
    connection_ = &connection;
    return this;
  }
  void on_ready(Connection& c, Time) override {
    if (c.close_reason() != CloseReason::none) {
      broken_ = true;
      connection_ = nullptr;
      return;
    }
    while (appetite_ > 0 && !c.peek().empty()) {
      const ByteSpan bytes = c.peek().first(std::min(appetite_, c.peek().size()));
      for (const std::uint8_t b : bytes) require(b == octet(received_++));
      appetite_ -= bytes.size();
      c.consume(bytes.size());
    }
    if (c.end_of_stream()) saw_end_ = true;
  }
  void check(Time now) {
    const std::string wrong = Inspector::check(stack_, edges_);
    if (wrong.empty()) return;
    std::fprintf(stderr, "%s\n%s", wrong.c_str(), Inspector::describe(stack_, now).c_str());
    std::abort();
  }

  std::deque<Datagram>& wire_;
  Datagram pending_;
  std::vector<std::uint64_t> edges_;
  Connection* connection_ = nullptr;
  std::uint32_t written_ = 0, received_ = 0;
  std::size_t appetite_ = 0;
  bool finished_ = false, saw_end_ = false, broken_ = false;
  Stack stack_;
};

class World {
 public:
  explicit World(ByteReader& in)
      : client_(config(in.u8(), 1), to_server_), server_(config(in.u8(), 2), to_client_) {
    server_.stack().listen(443, 1);
    client_.connect(IpAddress::v4(0xc6120001), {IpAddress::v4(0xc6120002), 443}, now_);
    turn();
  }

  void step(ByteReader& in) {
    const std::uint8_t what = in.u8();
    const bool of_client = (what & 128) != 0;
    Host& host = of_client ? client_ : server_;
    std::deque<Datagram>& wire = of_client ? to_server_ : to_client_;
    switch (what % 16) {
      case 0:
      case 1:
      case 2:
        deliver(of_client, 1 + what / 16 % 8);
        break;
      case 3:  // overtakes
        if (!wire.empty()) std::swap(wire.front(), wire[in.u8() % wire.size()]);
        break;
      case 4:
        if (!wire.empty()) wire.erase(wire.begin() + in.u8() % static_cast<int>(wire.size()));
        break;
      case 5:
        if (!wire.empty()) wire.push_back(wire[in.u8() % wire.size()]);
        break;
      case 6:
        wire.clear();
        break;
      case 7:
        host.write(in.be16() % 20'000);
        break;
      case 8:
        host.read(in.be16());
        break;
      case 9:
        host.finish();
        break;
      case 10:
        host.full = (what & 64) != 0;
        break;
      case 11:
        if ((what & 0x70) == 0) host.abort();
        break;
      case 12:
        now_ += Millis{in.u8()};
        break;
      case 13:
        now_ += Seconds{in.u8() % 16};
        break;
      default:
        now_ += Micros{in.u8()};
    }
    turn();
    // What no network holds is lost.
    for (auto* w : {&to_server_, &to_client_}) w->resize(std::min<std::size_t>(w->size(), 512));
  }

  // The wire is good from here on, the applications read all and say that they are done.
  void finish() {
    for (Host* host : {&client_, &server_}) host->full = false;
    for (int i = 0; i < 2000 && !over(); ++i) {
      for (Host* host : {&client_, &server_}) host->read(1'000'000), host->finish();
      deliver(true, to_server_.size());
      deliver(false, to_client_.size());
      turn();
      if (to_server_.empty() && to_client_.empty()) now_ += i < 1000 ? Millis{10} : Millis{1000};
    }
    if (!client_.broken() && !server_.broken()) {
      if (!over()) {
        std::fprintf(stderr,
                     "client wrote %u, server read %u; server wrote %u, client read %u\n%s%s",
                     client_.written(), server_.received(), server_.written(), client_.received(),
                     Inspector::describe(client_.stack(), now_).c_str(),
                     Inspector::describe(server_.stack(), now_).c_str());
        std::abort();
      }
      require(server_.received() == client_.written() && client_.received() == server_.written());
    }
    for (Host* host : {&client_, &server_}) {
      host->release();
      host->stack().abort_all(now_);
      const std::string left = Inspector::leftovers(host->stack());
      if (!left.empty()) std::fprintf(stderr, "%s\n", left.c_str());
      require(left.empty());
    }
  }

 private:
  static StackConfig config(std::uint8_t options, std::uint64_t secret) {
    StackConfig c;
    c.max_connections = 4;
    c.syn_cache_entries = 4;
    c.time_wait_entries = 2;
    c.mtu = (options & 1) != 0 ? 1500 : 576;
    c.receive_buffer = (options & 2) != 0 ? 3000 : 65536;
    c.send_buffer = (options & 4) != 0 ? 4000 : 100'000;
    c.memory_limit = (options & 8) != 0 ? 100'000 : 4'000'000;
    c.secret[0] = secret;
    return c;
  }
  bool over() const {
    return client_.broken() || server_.broken() || (client_.saw_end() && server_.saw_end());
  }
  void deliver(bool of_client, std::size_t count) {
    std::deque<Datagram>& wire = of_client ? to_server_ : to_client_;
    Host& host = of_client ? server_ : client_;
    // They lie in a buffer until the end of the turn.
    for (; count > 0 && !wire.empty(); --count) {
      arrived_.push_back(std::move(wire.front()));
      wire.pop_front();
      host.input(arrived_.back(), now_);
    }
  }
  void turn() {
    client_.turn(now_);
    server_.turn(now_);
    arrived_.clear();
  }

  Time now_{Micros{1'000'000}};
  std::deque<Datagram> to_server_, to_client_, arrived_;
  Host client_, server_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in({data, size});
  World world(in);
  for (int steps = 0; steps < 2000 && in.ok() && in.remaining() > 0; ++steps) world.step(in);
  world.finish();
  return 0;
}
