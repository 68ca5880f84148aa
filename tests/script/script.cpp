#include "script.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "impair/cut.h"
#include "inspector.h"
#include "packet/checksum.h"

namespace sluice::tcp {
namespace {

std::uint8_t pattern(bool ours, std::uint32_t offset) {
  const std::uint64_t x = (offset / 8 + (ours ? 1'000'003u : 7u)) * 0x9e3779b97f4a7c15ULL;
  return static_cast<std::uint8_t>((x ^ (x >> 29)) >> (offset % 8 * 8));
}

struct Statement {
  std::string flags;  // sorted
  std::uint32_t seq = 0, end = 0;
  std::optional<std::uint32_t> ack, window;
  std::optional<std::vector<std::string>> options;
};

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t n = std::min(text.find(at), text.size());
    if (n > 0) parts.emplace_back(text.substr(0, n));
    text.remove_prefix(std::min(n + 1, text.size()));
  }
  return parts;
}

std::uint32_t number(std::string_view text) {
  std::uint32_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) {
    ADD_FAILURE() << "not a number: " << text;
  }
  return n;
}

// Sequence numbers may be written as negative: before the initial one.
std::uint32_t sequence(std::string_view text) {
  return text.starts_with('-') ? 0 - number(text.substr(1)) : number(text);
}

Statement parse(std::string_view text) {
  Statement s;
  if (const std::size_t at = text.find('<'); at != std::string_view::npos) {
    s.options = split(text.substr(at + 1, text.find('>') - at - 1), ',');
    text = text.substr(0, at);
  }
  const std::vector<std::string> words = split(text, ' ');
  s.flags = words.at(0);
  std::sort(s.flags.begin(), s.flags.end());
  const std::size_t colon = words.at(1).find(':');
  s.seq = sequence(words[1].substr(0, colon));
  s.end = colon == std::string::npos ? s.seq : sequence(words[1].substr(colon + 1));
  for (std::size_t i = 2; i + 1 < words.size(); i += 2) {
    (words[i] == "ack" ? s.ack : s.window) = sequence(words[i + 1]);
    if (words[i] != "ack" && words[i] != "win") ADD_FAILURE() << "unknown word " << words[i];
  }
  return s;
}

std::string flags_text(std::uint8_t flags) {
  std::string text;
  if (flags & kSyn) text += 'S';
  if (flags & kFin) text += 'F';
  if (flags & kRst) text += 'R';
  if (flags & kPsh) text += 'P';
  if (flags & kAck) text += '.';
  return text;
}

}  // namespace

struct Script::Peer {
  std::uint16_t port;
  std::uint32_t isn;
  std::uint32_t iss = 0;  // the stack's
  bool offers_timestamps = false, timestamps = false;
  std::uint32_t echo = 0;  // TSval of the stack seen last
  std::uint16_t window = 65535;
};

struct Script::Sent {
  std::vector<std::uint8_t> bytes;
  Segment segment;  // its options; `payload` points into `bytes`
  Time at;
};

Script::Script() {
  config.secret[0] = 0x0123456789abcdef;
  config.secret[1] = 0xfedcba9876543210;
}

Script::~Script() = default;

void Script::TearDown() {
  nothing(last_);
  if (!stack_) return;
  sent_.clear();
  stack_->abort_all(now);
  const std::string left = Inspector::leftovers(*stack_);
  if (!left.empty()) ADD_FAILURE() << left;
}

Stack& Script::stack() {
  if (!stack_) stack_ = std::make_unique<Stack>(config, *this, *this);
  return *stack_;
}

Script::Peer& Script::peer_of(std::uint16_t port) {
  for (Peer& p : peers_) {
    if (p.port == port) return p;
  }
  peers_.push_back({port, peer_isn});
  return peers_.back();
}

void Script::peer(std::uint16_t port) { port_ = port; }

std::uint32_t Script::iss() { return peer_of(port_).iss; }

telemetry::ConnectionRecord Script::record() {
  return stack().live_trace(conn->flow(), now).value().connection;
}

// -- the wire

MutByteSpan Script::reserve(const IpAddress& source, const IpAddress& destination,
                            std::size_t length) {
  EXPECT_EQ(source.to_string(), local);
  EXPECT_EQ(destination.to_string(), remote);
  EXPECT_LE(length + (source.is_v4() ? 20 : 40), config.mtu);
  if (full_) return {};
  pending_.assign(length, 0xee);
  return pending_;
}

LargeLimit Script::large_limit(const IpAddress& to) const {
  EXPECT_EQ(to.to_string(), remote);
  return large;
}

GatherRoom Script::reserve_large(const IpAddress& source, const IpAddress& destination,
                                 std::size_t header, std::size_t piece, std::size_t pieces) {
  EXPECT_EQ(source.to_string(), local);
  EXPECT_EQ(destination.to_string(), remote);
  EXPECT_LE(header + piece, large.segment);
  EXPECT_LE(piece * pieces, large.text);
  if (full_) return {};
  pending_.assign(header, 0xee);
  pending_text_.assign(piece * pieces, 0xee);
  pending_piece_ = piece;
  text_parts_.clear();
  for (MutByteSpan left = pending_text_; !left.empty();) {
    const std::size_t part = std::min<std::size_t>(left.size(), 700);
    text_parts_.push_back(left.first(part));
    left = left.subspan(part);
  }
  return {pending_, text_parts_};
}

void Script::commit() {
  if (pending_piece_ == 0) return sent(std::move(pending_));
  ++cut;
  for (auto& piece : impair::cut_segment(pending_, pending_text_, pending_piece_)) {
    sent(std::move(piece));
  }
  pending_piece_ = 0;
}

void Script::sent(std::vector<std::uint8_t> bytes) {
  Sent sent{std::move(bytes), {}, now};
  const auto view = packet::TcpView::parse(sent.bytes);
  ASSERT_TRUE(view.has_value());
  ASSERT_TRUE(
      read_segment(*view, *IpAddress::parse(remote), *IpAddress::parse(local), sent.segment));
  Segment& s = sent.segment;
  std::swap(s.key.local_port, s.key.remote_port);
  Peer& p = peer_of(s.key.remote_port);
  if (s.has(kSyn)) {
    p.iss = s.seq.raw();
    p.timestamps = s.has(kAck) ? s.options.has_timestamps : p.timestamps;
  }
  if (s.options.has_timestamps) p.echo = s.options.timestamp;
  const std::uint32_t offset = s.seq.raw() - p.iss - 1;
  for (std::uint32_t i = 0; i < s.payload.size(); ++i) {
    if (s.payload[i] == pattern(true, offset + i)) continue;
    ADD_FAILURE() << "text sent differs at " << offset + i;
    break;
  }
  sent_.push_back(std::move(sent));
}

void Script::on_progress(const IpAddress& to) {
  EXPECT_EQ(to, IpAddress::parse(remote));
  ++progress;
}

void Script::on_stall(const IpAddress& to) {
  EXPECT_EQ(to, IpAddress::parse(remote));
  ++stalls;
}

std::vector<std::uint8_t> Script::bytes_of(std::string_view text) {
  const Statement s = parse(text);
  Peer& p = peer_of(port_);
  Outgoing o;
  o.key.local_port = port_;
  o.key.remote_port = local_port_;
  o.seq = Seq(p.isn + s.seq);
  if (s.ack) o.ack = Seq(p.iss + *s.ack);
  for (const char c : s.flags) {
    o.flags |= c == 'S' ? kSyn : c == 'F' ? kFin : c == 'R' ? kRst : c == 'P' ? kPsh : kAck;
  }
  if (s.window) p.window = static_cast<std::uint16_t>(*s.window);
  o.window = p.window;
  const bool syn = (o.flags & kSyn) != 0;
  bool wants_timestamps = p.timestamps && !syn;
  std::uint32_t late = 0;
  for (const std::string& option : s.options.value_or(std::vector<std::string>{})) {
    const std::vector<std::string> words = split(option, ' ');
    if (words[0] == "mss") {
      o.options.has_mss = true;
      o.options.mss = static_cast<std::uint16_t>(number(words.at(1)));
    } else if (words[0] == "wscale") {
      o.options.has_window_scale = true;
      o.options.window_scale = static_cast<std::uint8_t>(number(words.at(1)));
    } else if (words[0] == "sackOK") {
      o.options.sack_permitted = true;
    } else if (words[0] == "nots") {
      wants_timestamps = false;
    } else if (words[0] == "ts") {
      wants_timestamps = true;
      if (words.size() > 1) {
        o.options.has_timestamps = true;
        o.options.timestamp = number(words[1]);
      }
    } else if (words[0] == "late") {
      late = number(words.at(1));
    } else if (words[0] == "sack") {
      for (std::size_t i = 1; i < words.size(); ++i) {
        const std::size_t dash = words[i].find('-');
        o.options.sack[o.options.sack_count++] = {Seq(p.iss + number(words[i].substr(0, dash))),
                                                  Seq(p.iss + number(words[i].substr(dash + 1)))};
      }
    } else {
      ADD_FAILURE() << "unknown option " << option;
    }
  }
  if (wants_timestamps && !o.options.has_timestamps) {
    o.options.timestamp =
        peer_clock + static_cast<std::uint32_t>(now.time_since_epoch().count() / 1000 - 1'000'000);
  }
  o.options.has_timestamps = wants_timestamps;
  o.options.timestamp_echo = (o.flags & kAck) != 0 ? p.echo - late : 0;
  if (syn) {
    p.offers_timestamps = wants_timestamps;
    if ((o.flags & kAck) != 0) p.timestamps = wants_timestamps;
  }
  const std::uint32_t text_length = s.end - s.seq;
  std::vector<std::uint8_t> bytes(o.header_length() + text_length);
  write_header(o, bytes);
  for (std::uint32_t i = 0; i < text_length; ++i) {
    bytes[o.header_length() + i] = pattern(false, s.seq + (syn ? 0 : ~0u) + i);
  }
  return bytes;
}

void Script::in_bytes(std::vector<std::uint8_t> bytes) {
  const IpAddress from = *IpAddress::parse(remote), to = *IpAddress::parse(local);
  store_be16(&bytes[16], 0);
  store_be16(&bytes[16], packet::l4_checksum(from, to, 6, bytes));
  arrived_.push_back(std::move(bytes));
  stack().input({from, to, arrived_.back()}, now);
}

void Script::in(std::string_view segment, Where where) { burst({segment}, where); }

void Script::burst(std::initializer_list<std::string_view> segments, Where where) {
  last_ = where;
  nothing(where);
  for (const std::string_view segment : segments) {
    in_bytes(bytes_of(segment));
    check(where);
  }
  run_turn();
  check(where);
}

void Script::icmp(std::uint32_t seq, bool hard, std::uint16_t mtu, Where where) {
  last_ = where;
  nothing(where);
  std::array<std::uint8_t, 8> quoted{};
  store_be32(&quoted[4], peer_of(port_).iss + seq);
  stack().icmp_error({*IpAddress::parse(local), *IpAddress::parse(remote), local_port_, port_},
                     quoted, hard, mtu, now);
  run_turn();
  check(where);
}

// -- the clock

void Script::run_turn() {
  stack().poll_timers(now);
  stack().dispatch(now);
  stack().flush(now);
  stack().end_turn();
  arrived_.clear();
}

void Script::turn() {
  run_turn();
  check(last_);
}

void Script::check(Where where) {
  const std::string wrong = Inspector::check(*stack_, edges_);
  if (!wrong.empty()) ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << wrong;
}

void Script::advance(Time to, bool stop_when_sent) {
  while (!(stop_when_sent && !sent_.empty())) {
    Time next = stack().next_deadline();
    if (stack().has_ready()) next = now + 100us;
    if (next > to) break;
    now = std::max(next, now + 1us);
    run_turn();
    check(last_);
  }
  if (stop_when_sent && !sent_.empty()) return;
  now = std::max(now, to);
  run_turn();
  check(last_);
}

void Script::quiet(Micros time, Where where) {
  last_ = where;
  nothing(where);
  advance(now + time, true);
  nothing(where);
}

void Script::skip(Micros time) {
  advance(now + time, false);
  sent_.clear();
}

std::size_t Script::drain() {
  const std::size_t n = sent_.size();
  sent_.clear();
  return n;
}

Micros Script::until_sent(Micros most, Where where) {
  last_ = where;
  nothing(where);
  const Time from = now;
  advance(now + most, true);
  if (sent_.empty()) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << "nothing was sent";
  }
  return now - from;
}

void Script::after(Micros delay, std::string_view segment, Where where) {
  constexpr Micros kGrain{1000};
  const Micros took = until_sent(delay + kGrain, where);
  if (took < delay - kGrain) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
        << "too early: after " << took.count() << " us";
  }
  out(segment, where);
}

// -- what was sent

std::string Script::text_of(const Sent& sent) const {
  const Segment& s = sent.segment;
  std::uint32_t iss = 0, isn = 0;
  for (const Peer& p : peers_) {
    if (p.port == s.key.remote_port) iss = p.iss, isn = p.isn;
  }
  const std::uint32_t seq = s.seq.raw() - iss;
  std::string text = flags_text(s.flags) + " " + std::to_string(seq) + ":" +
                     std::to_string(seq + static_cast<std::uint32_t>(s.payload.size()));
  if (s.has(kAck)) text += " ack " + std::to_string(s.ack.raw() - isn);
  text += " win " + std::to_string(s.window) + " <";
  const Options& o = s.options;
  std::string options;
  if (o.has_mss) options += ",mss " + std::to_string(o.mss);
  if (o.has_window_scale) options += ",wscale " + std::to_string(o.window_scale);
  if (o.sack_permitted) options += ",sackOK";
  if (o.has_timestamps) options += ",ts " + std::to_string(o.timestamp_echo);
  if (o.sack_count > 0) options += ",sack";
  for (std::size_t i = 0; i < o.sack_count; ++i) {
    options += " " + std::to_string(o.sack[i].start.raw() - isn) + "-" +
               std::to_string(o.sack[i].end.raw() - isn);
  }
  return text + (options.empty() ? "" : options.substr(1)) + ">";
}

void Script::nothing(Where where) {
  for (const Sent& sent : sent_) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
        << "was sent and not expected: " << text_of(sent);
  }
  sent_.clear();
}

void Script::out(std::string_view segment, Where where) {
  last_ = where;
  if (sent_.empty()) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
        << "nothing was sent; expected: " << segment;
    return;
  }
  const Sent sent = std::move(sent_.front());
  sent_.pop_front();
  const std::string actual = text_of(sent);
  Statement expected = parse(segment), got = parse(actual);
  if (expected.flags.find('P') == std::string::npos) std::erase(got.flags, 'P');
  bool same = expected.flags == got.flags && expected.seq == got.seq && expected.end == got.end &&
              sent.segment.key.remote_port == port_;
  if (expected.ack) same = same && expected.ack == got.ack;
  if (expected.window) same = same && expected.window == got.window;
  if (expected.options) {
    for (std::string& option : *got.options) {
      const bool any = std::ranges::count(*expected.options, std::string("ts")) > 0;
      if (any && option.starts_with("ts ")) option = "ts";
    }
    same = same && std::multiset<std::string>(expected.options->begin(), expected.options->end()) ==
                       std::multiset<std::string>(got.options->begin(), got.options->end());
  }
  if (!same) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
        << "expected: " << segment << "\n  was sent: " << actual << " (port "
        << sent.segment.key.remote_port << ")";
  }
}

// -- the application

void Script::listen(std::uint16_t port) {
  local_port_ = port;
  stack().listen(port, port);
}

Observer* Script::on_accept(Connection& connection, std::uint32_t listener_id, Time) {
  EXPECT_EQ(listener_id, local_port_);
  if (!accept) return nullptr;
  ++accepted;
  conn = &connection;
  reason_ = CloseReason::none;
  read_ = written_ = 0;
  return this;
}

void Script::on_ready(Connection& connection, Time) {
  ++ready_calls;
  if (&connection != conn) return;
  if (greedy && connection.readable() > 0) take(connection.readable(), last_);
  if (connection.close_reason() == CloseReason::none) return;
  reason_ = connection.close_reason();
  conn = nullptr;
}

void Script::connect(Micros timeout, Where where) {
  last_ = where;
  reason_ = CloseReason::none;
  read_ = written_ = 0;
  conn = stack().connect(*IpAddress::parse(local), {*IpAddress::parse(remote), port_}, *this, now,
                         timeout, accept_port, nullptr);
  if (conn == nullptr) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << "connect() refused";
    return;
  }
  local_port_ = conn->flow().local_port;
  run_turn();
  check(where);
}

std::size_t Script::try_write(std::size_t n) {
  if (conn == nullptr) return 0;
  std::vector<std::uint8_t> bytes(n);
  for (std::size_t i = 0; i < n; ++i) {
    bytes[i] = pattern(true, static_cast<std::uint32_t>(written_ + i));
  }
  const std::size_t taken = conn->write(bytes);
  written_ += taken;
  run_turn();
  check(last_);
  return taken;
}

void Script::write(std::size_t n, Where where) {
  last_ = where;
  nothing(where);
  const std::size_t taken = try_write(n);
  if (taken != n) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
        << "wrote " << taken << " of " << n;
  }
}

void Script::take(std::size_t n, Where where) {
  while (n > 0) {
    const ByteSpan bytes = conn->peek();
    if (bytes.empty()) {
      ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << n << " bytes missing";
      return;
    }
    const std::size_t now_taken = std::min(n, bytes.size());
    for (std::size_t i = 0; i < now_taken; ++i, ++read_) {
      if (bytes[i] == pattern(false, static_cast<std::uint32_t>(read_))) continue;
      ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
          << "text read differs at " << read_;
      return;
    }
    conn->consume(now_taken);
    n -= now_taken;
  }
}

void Script::read(std::size_t n, Where where) {
  last_ = where;
  nothing(where);
  if (conn == nullptr) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << "no connection";
    return;
  }
  take(n, where);
  run_turn();
  check(where);
}

void Script::readable(std::size_t n, Where where) {
  if (conn != nullptr && conn->readable() == n) return;
  ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
      << "readable: " << (conn != nullptr ? std::to_string(conn->readable()) : "no connection");
}

void Script::end_of_stream(bool reached, Where where) {
  if (conn != nullptr && conn->end_of_stream() == reached) return;
  ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << "end of stream";
}

void Script::shutdown() {
  conn->shutdown_write();
  turn();
}

void Script::close() {
  std::exchange(conn, nullptr)->close();
  turn();
}

void Script::abort() {
  std::exchange(conn, nullptr)->abort();
  turn();
}

void Script::state(State expected, Where where) {
  if (conn != nullptr && conn->state() == expected) return;
  ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
      << "state: " << (conn != nullptr ? static_cast<int>(conn->state()) : -1);
}

void Script::open(Where where) {
  if (conn != nullptr && reason_ == CloseReason::none) return;
  ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
      << "ended with reason " << static_cast<int>(reason_);
}

void Script::ended(CloseReason reason, Where where) {
  if (conn == nullptr && reason_ == reason) return;
  ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
      << (conn != nullptr ? "still open" : "reason " + std::to_string(static_cast<int>(reason_)));
}

void Script::establish(std::string_view options, unsigned window, Where where) {
  if (stack().listen(443, 443)) local_port_ = 443;
  const std::string win = " win " + std::to_string(window);
  in("S 0" + win + " <" + std::string(options) + ">", where);
  out("S. 0 ack 1", where);
  quiet(round_trip, where);
  in(". 1 ack 1" + win, where);
  nothing(where);
  if (conn == nullptr) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << "not accepted";
  }
}

void Script::establish_active(std::string_view options, unsigned window, Where where) {
  connect(Micros{0}, where);
  out("S 0", where);
  quiet(round_trip, where);
  in("S. 0 ack 1 win " + std::to_string(window) + " <" + std::string(options) + ">", where);
  out(". 1 ack 1", where);
}

}  // namespace sluice::tcp
