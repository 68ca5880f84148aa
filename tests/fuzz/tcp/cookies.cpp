// Acknowledgements of SYN cookies, changed and unchanged, against a listener that has nothing but
// cookies. A connection comes from what was sent and from nothing else, with the options that were
// asked for.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cookies.h"
#include "impl.h"
#include "inspector.h"
#include "tcp/stack.h"
#include "tcp/stats.h"
#include "wire.h"

namespace {

using namespace sluice;
using namespace sluice::tcp;

void require(bool holds) {
  if (!holds) std::abort();
}

void empty(const std::string& wrong) {
  if (wrong.empty()) return;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}

// The last SYN of each peer, and what it was answered with.
struct Asked {
  bool sent = false;
  Seq irs, iss;
  std::uint32_t timestamp = 0;  // TSval of the answer
  Options options;
  Time at{};
};

class World final : public TransmitSink, public Acceptor, public Observer {
 public:
  World() : stack_(config(), *this, *this) { stack_.listen(443, 1); }

  void run(ByteReader& in) {
    while (in.ok() && in.remaining() > 0) {
      const std::uint8_t what = in.u8();
      peer_ = what >> 4 & 3;
      switch (what & 3) {
        case 0:
          syn(in);
          break;
        case 1:
        case 2:
          acknowledge(in, (what & 3) == 2);
          break;
        default:
          now_ += Millis{std::int64_t{in.be16()} * 4};
          listener_again(what);
          break;
      }
      stack_.poll_timers(now_);
      stack_.dispatch(now_);
      stack_.flush(now_);
      stack_.end_turn();
      arrived_.clear();
      empty(Inspector::check(stack_, edges_));
    }
    stack_.abort_all(now_);
    empty(Inspector::leftovers(stack_));
  }

 private:
  static StackConfig config() {
    StackConfig c;
    c.max_connections = 8;
    c.syn_cache_entries = 0;
    c.time_wait_entries = 0;
    return c;
  }

  MutByteSpan reserve(const IpAddress&, const IpAddress&, std::size_t length) override {
    pending_.assign(length, 0);
    return pending_;
  }
  void commit() override {
    const auto view = packet::TcpView::parse(pending_);
    require(view.has_value());
    Segment s;
    require(read_segment(*view, local_, remote_, s));
    if (!s.has(kSyn)) return;
    Asked& a = asked_[peer_];
    a.sent = listener_sent_ = true;
    a.iss = s.seq;
    a.timestamp = s.options.timestamp;
    a.at = now_;
    require(s.options.has_timestamps == a.options.has_timestamps);
    require(!s.options.has_window_scale || a.options.has_window_scale);
    require(!s.options.sack_permitted || a.options.sack_permitted);
    require(a.options.has_timestamps || (!s.options.has_window_scale && !s.options.sack_permitted));
  }
  Observer* on_accept(Connection& connection, std::uint32_t, Time) override {
    accepted_ = static_cast<Pcb*>(&connection);
    return this;
  }
  void on_ready(Connection& connection, Time) override {
    if (connection.close_reason() == CloseReason::none)
      connection.consume(connection.peek().size());
  }

  void send(const Outgoing& o, std::size_t text) {
    std::vector<std::uint8_t>& bytes = arrived_.emplace_back(o.header_length() + text, 0x41);
    write_header(o, bytes);
    stack_.input({remote_, local_, bytes, true}, now_);
  }
  Outgoing from_peer() const {
    Outgoing o;
    o.key.local_port = static_cast<std::uint16_t>(4000 + peer_);
    o.key.remote_port = 443;
    o.window = 1000;
    return o;
  }

  void syn(ByteReader& in) {
    const std::uint8_t options = in.u8();
    Outgoing o = from_peer();
    o.flags = kSyn;
    o.seq = Seq(in.be32());
    o.options.has_mss = (options & 1) != 0;
    o.options.mss = o.options.has_mss ? in.be16() : std::uint16_t{0};
    o.options.has_timestamps = (options & 2) != 0;
    o.options.timestamp = 1;
    o.options.sack_permitted = (options & 4) != 0;
    o.options.has_window_scale = (options & 8) != 0;
    o.options.window_scale = options >> 4;
    Asked before = asked_[peer_];
    asked_[peer_].options = o.options;
    asked_[peer_].irs = o.seq;
    asked_[peer_].sent = false;
    send(o, 0);
    // Within a connection a SYN is no new beginning.
    if (!asked_[peer_].sent) asked_[peer_] = before;
  }

  void acknowledge(ByteReader& in, bool changed) {
    const Asked& a = asked_[peer_];
    Outgoing o = from_peer();
    o.flags = kAck;
    o.seq = a.irs + 1;
    o.ack = a.iss + 1;
    o.options.has_timestamps = a.options.has_timestamps;
    o.options.timestamp = 2;
    o.options.timestamp_echo = a.timestamp;
    bool same = true;
    if (changed) {
      const std::uint8_t which = in.u8();
      if ((which & 1) != 0) o.seq = o.seq + in.be32();
      if ((which & 2) != 0) o.ack = o.ack + in.be32();
      if ((which & 4) != 0) o.options.timestamp_echo ^= in.u8();
      if ((which & 8) != 0) o.options.has_timestamps = !o.options.has_timestamps;
      if ((which & 16) != 0) o.flags |= in.u8() & (kFin | kPsh | kSyn | kRst);
      // The MSS is in the lowest place, and what both numbers move by is in neither.
      const std::uint32_t moved = distance(o.seq, o.ack) - distance(a.irs, a.iss);
      const std::uint32_t turned = o.options.timestamp_echo ^ a.timestamp;
      same = moved + 7 <= 14 && o.options.has_timestamps == a.options.has_timestamps &&
             (!o.options.has_timestamps || (turned & SynCookies::kLowBits) == 0);
    }
    accepted_ = nullptr;
    const std::size_t before = stack_.connection_count();
    send(o, in.u8() % 4 == 0 ? 100 : 0);
    if (accepted_ == nullptr) {
      const bool fresh = a.sent && listener_sent_ && now_ - a.at <= Seconds{64};
      // Room, and a whole one: nothing else may refuse it.
      require(changed || !fresh || before > 0);
      return;
    }
    require(a.sent && same && now_ - a.at < Seconds{128});
    const Options& asked = a.options;
    require(accepted_->timestamps == asked.has_timestamps);
    require(accepted_->sack == (asked.sack_permitted && asked.has_timestamps));
    require(accepted_->scaled == (asked.has_window_scale && asked.has_timestamps));
    if (accepted_->scaled) require(accepted_->snd_scale == std::min<int>(asked.window_scale, 14));
    const std::uint16_t mss = asked.has_mss && asked.mss != 0 ? asked.mss : std::uint16_t{536};
    require(changed || accepted_->peer_mss <= std::max<std::uint16_t>(mss, 48));
  }

  // What was sent is worth nothing any more.
  void listener_again(std::uint8_t what) {
    if ((what & 0xc0) != 0xc0) return;
    stack_.unlisten(443);
    stack_.listen(443, 1);
    listener_sent_ = false;
  }

  const IpAddress local_ = IpAddress::v4(0xc6120001), remote_ = IpAddress::v4(0xc6120002);
  Time now_{Micros{1'000'000}};
  std::array<Asked, 4> asked_;
  std::size_t peer_ = 0;
  bool listener_sent_ = false;
  Pcb* accepted_ = nullptr;
  std::vector<std::uint8_t> pending_;
  std::vector<std::vector<std::uint8_t>> arrived_;
  std::vector<std::uint64_t> edges_;
  Stack stack_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in({data, size});
  World().run(in);
  return 0;
}
