// A listener and a connection; then a sequence of segments that are valid but for what the input
// changes in them, of silences, and of what an application does. The invariants of the stack hold
// after each step, and nothing is left in the end.
//
// Each step is an octet that says what, and its arguments. Segments are made for where the
// connection stands, so that most changes land inside its windows; checksums are not verified in a
// fuzzing build.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "inspector.h"
#include "tcp/stack.h"
#include "wire.h"

namespace {

using namespace sluice;
using namespace sluice::tcp;

void require(bool holds) {
  if (!holds) std::abort();
}

class World final : public TransmitSink, public Acceptor, public Observer {
 public:
  explicit World(std::uint8_t options)
      : sack_((options & 1) != 0),
        timestamps_((options & 2) != 0),
        scaled_((options & 4) != 0),
        active_((options & 8) != 0),
        stack_(config(options), *this, *this) {}

  void run(ByteReader& in) {
    stack_.listen(443, 1);
    open();
    while (in.ok() && in.remaining() > 0) {
      step(in);
      turn();
    }
    finish();
  }

 private:
  static StackConfig config(std::uint8_t options) {
    StackConfig c;
    c.max_connections = 8;
    c.syn_cache_entries = 4;
    c.time_wait_entries = 2;
    c.receive_buffer = (options & 16) != 0 ? 5000 : 65536;
    c.send_buffer = 20'000;
    c.memory_limit = (options & 32) != 0 ? 40'000 : 4'000'000;
    return c;
  }

  MutByteSpan reserve(const IpAddress&, const IpAddress&, std::size_t length) override {
    require(length >= kHeader && length + 20 <= 1500);
    if (full_) return {};
    pending_.assign(length, 0);
    return pending_;
  }
  void commit() override {
    const auto view = packet::TcpView::parse(pending_);
    require(view.has_value());
    Segment s;
    require(read_segment(*view, remote_, local_, s));
    if (s.has(kRst)) return;
    if (s.has(kSyn)) {
      local_port_ = view->source_port();
      their_next_ = s.seq + 1;
    } else {
      their_next_ = later(their_next_, s.seq + s.length());
    }
    if (s.has(kAck)) our_acked_ = s.ack;
    if (s.options.has_timestamps) echo_ = s.options.timestamp;
  }
  Observer* on_accept(Connection& connection, std::uint32_t, Time) override {
    if (connection_ != nullptr) return (accepted_++ & 1) != 0 ? this : nullptr;
    connection_ = &connection;
    return this;
  }
  void on_ready(Connection& c, Time) override {
    if (c.close_reason() != CloseReason::none) {
      if (&c == connection_) connection_ = nullptr;
      return;
    }
    if (&c != connection_) {
      if ((accepted_ & 2) != 0) c.close();
      return;
    }
    std::size_t budget = appetite_;
    while (budget > 0 && !c.peek().empty()) {
      const std::size_t n = std::min(budget, c.peek().size());
      require(c.peek()[n - 1] == c.peek()[n - 1]);
      c.consume(n);
      budget -= n;
    }
  }

  // A segment as the peer would send it now.
  Outgoing next(std::uint8_t flags) const {
    Outgoing o;
    o.key.local_port = remote_port_;
    o.key.remote_port = local_port_;
    o.seq = (flags & kSyn) != 0 ? Seq(kIsn) : our_acked_;
    o.ack = their_next_;
    o.flags = flags;
    o.window = 2000;
    if ((flags & kSyn) != 0) {
      o.options.has_mss = true;
      o.options.mss = 500;
      o.options.sack_permitted = sack_;
      o.options.has_window_scale = scaled_;
      o.options.window_scale = 2;
    }
    o.options.has_timestamps = timestamps_;
    o.options.timestamp = static_cast<std::uint32_t>(now_.time_since_epoch().count() / 1000);
    o.options.timestamp_echo = echo_;
    return o;
  }
  void send(const Outgoing& o, std::size_t text, ByteSpan changes = {}) {
    std::vector<std::uint8_t>& bytes = arrived_.emplace_back(o.header_length() + text, 0x41);
    write_header(o, bytes);
    // (position, value) pairs over the whole segment.
    for (std::size_t i = 0; i + 1 < changes.size(); i += 2) {
      bytes[changes[i] % bytes.size()] ^= changes[i + 1];
    }
    stack_.input({remote_, local_, bytes, true}, now_);
    check();
  }

  void open() {
    if (active_) {
      connection_ = stack_.connect(local_, {remote_, remote_port_}, *this, now_);
      turn();
      send(next(kSyn | kAck), 0);
    } else {
      send(next(kSyn), 0);
      turn();
      our_acked_ = Seq(kIsn + 1);
      send(next(kAck), 0);
    }
    turn();
  }

  void step(ByteReader& in) {
    const std::uint8_t what = in.u8();
    switch (what % 12) {
      case 0:
      case 1:
      case 2:
      case 3: {
        // Where it lies relative to what is expected, its flags, window and text; then raw changes.
        Outgoing o = next(in.u8() & 0x3f);
        o.seq = o.seq + static_cast<std::uint32_t>(static_cast<std::int8_t>(in.u8()) *
                                                   ((what & 64) != 0 ? 100 : 1));
        o.ack = o.ack + static_cast<std::uint32_t>(static_cast<std::int8_t>(in.u8()) *
                                                   ((what & 128) != 0 ? 100 : 1));
        o.window = static_cast<std::uint16_t>(in.u8() * 16);
        const std::size_t text = std::size_t{in.u8()} * ((what & 16) != 0 ? 8 : 1);
        if ((what & 32) != 0) {
          const std::uint8_t blocks = in.u8() % 4;
          for (std::uint8_t i = 0; i < blocks; ++i) {
            const Seq start = their_next_ - std::uint32_t{in.u8()} * 50;
            o.options.sack[o.options.sack_count++] = {start, start + std::uint32_t{in.u8()} * 20};
          }
          if (o.options_length() > kMaxOptions) o.options.sack_count = 1;
          if (o.options_length() > kMaxOptions) o.options.sack_count = 0;
        }
        const std::size_t changes = what % 12 == 3 ? in.u8() % 16 : 0;
        send(o, text, in.bytes(std::min(changes, in.remaining())));
        break;
      }
      case 4:  // in order
        send(next(kAck | kPsh), in.be16() % 3000);
        break;
      case 5:
        now_ += Micros{std::int64_t{in.be16()} * ((what & 128) != 0 ? 10'000 : 100)};
        break;
      case 6:
        if (connection_ != nullptr) {
          const std::vector<std::uint8_t> bytes(in.be16() % 5000, 0x42);
          connection_->write(bytes);
        }
        break;
      case 7:
        appetite_ = std::size_t{in.u8()} * 64;
        if (connection_ != nullptr) connection_->mark_ready();
        break;
      case 8:
        if (connection_ != nullptr) connection_->shutdown_write();
        break;
      case 9:
        if (connection_ == nullptr) break;
        if ((what & 128) != 0) {
          std::exchange(connection_, nullptr)->close();
        } else if ((what & 64) != 0) {
          std::exchange(connection_, nullptr)->abort();
        } else {
          connection_->set_keepalive((what & 32) != 0);
        }
        break;
      case 10:
        full_ = (what & 128) != 0;
        break;
      default: {
        std::array<std::uint8_t, 8> quoted{};
        store_be32(&quoted[4], (their_next_ - std::uint32_t{in.u8()} * 8).raw());
        stack_.icmp_error({local_, remote_, local_port_, remote_port_}, quoted, (what & 128) != 0,
                          in.be16() % 1600, now_);
      }
    }
    check();
  }

  void turn() {
    stack_.poll_timers(now_);
    check();
    stack_.dispatch(now_);
    check();
    stack_.flush(now_);
    stack_.end_turn();
    check();
    arrived_.clear();
  }
  void check() {
    const std::string wrong = Inspector::check(stack_, edges_);
    if (wrong.empty()) return;
    std::fprintf(stderr, "%s\n%s", wrong.c_str(), Inspector::describe(stack_, now_).c_str());
    std::abort();
  }

  // Left alone by the peer, what the application has closed ends by itself; the rest is told to.
  void finish() {
    full_ = false;
    if (connection_ != nullptr) std::exchange(connection_, nullptr)->close();
    for (int i = 0; i < 100; ++i) {
      now_ += Seconds{10};
      turn();
    }
    stack_.abort_all(now_);
    const std::string left = Inspector::leftovers(stack_);
    if (left.empty()) return;
    std::fprintf(stderr, "%s\n", left.c_str());
    std::abort();
  }

  static constexpr std::uint32_t kIsn = 0xfffffc00;
  const bool sack_, timestamps_, scaled_, active_;
  const IpAddress local_ = IpAddress::v4(0xc6120001), remote_ = IpAddress::v4(0xc6120002);
  const std::uint16_t remote_port_ = 4000;
  std::uint16_t local_port_ = 443;
  Seq their_next_, our_acked_{kIsn};
  std::uint32_t echo_ = 0;
  Time now_{Micros{1'000'000}};
  std::vector<std::uint8_t> pending_;
  std::vector<std::vector<std::uint8_t>> arrived_;
  std::vector<std::uint64_t> edges_;
  Connection* connection_ = nullptr;
  std::size_t appetite_ = 0;
  unsigned accepted_ = 0;
  bool full_ = false;
  Stack stack_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in({data, size});
  World(in.u8()).run(in);
  return 0;
}
