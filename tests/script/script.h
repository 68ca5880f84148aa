// TCP scripts: one stack, a peer played by the test, a virtual clock.
//
// A case is a sequence of statements in the manner of packetdrill:
//     in("S 0:0 win 65535 <mss 1460,sackOK>");     the peer sends a segment; one turn of the loop
//     out("S. 0:0 ack 1 <mss 1460,sackOK>");       the stack must have sent this, next in order
//     after(1000ms, "S. 0:0 ack 1");               ... silence until then, and then this
//     quiet(500ms);                                ... nothing at all for that long
//     write(1000); read(500); shutdown();          what the application does
// Segments: flags (S F R P and . for ACK; P is compared only when given), first and end sequence
// number of the text (SYN and FIN not counted), `ack`, `win` as in the header field, options. In
// out() what is left out is not compared; `<>` means no options at all. In in() the window is as in
// the segment before, and timestamps follow by themselves once negotiated; `late 200` echoes one
// that is 200 ms older than the latest.
// Sequence numbers are relative to the initial one of whom they belong to. The peer's own starts
// just below 2^32, so that every script crosses the wrap. Text is a pattern by stream offset, made
// and compared by the harness in both directions.
// Each segment that the stack sends must be expected, and its invariants hold after each turn.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "tcp/stack.h"
#include "tcp/stats.h"
#include "wire.h"

namespace sluice::tcp {

using namespace std::chrono_literals;
using Where = std::source_location;

class Script : public ::testing::Test, public TransmitSink, public Acceptor, public Observer {
 protected:
  Script();
  ~Script() override;
  void TearDown() override;

  // -- the stack; change `config` before the first statement
  StackConfig config;
  std::string local = "198.18.0.1", remote = "198.18.0.2";
  Stack& stack();
  const Stats& stats() { return stack().stats(); }

  // -- the peer
  void peer(std::uint16_t port);  // the peer of the following statements; 40000 at first
  void in(std::string_view segment, Where where = Where::current());
  // Several in one turn.
  void burst(std::initializer_list<std::string_view> segments, Where where = Where::current());
  void in_bytes(std::vector<std::uint8_t> segment);  // as it is, without statement checks
  std::vector<std::uint8_t> bytes_of(std::string_view segment);
  void icmp(std::uint32_t seq, bool hard, std::uint16_t mtu, Where where = Where::current());

  // -- what the stack sends
  void out(std::string_view segment, Where where = Where::current());
  void after(Micros delay, std::string_view segment, Where where = Where::current());
  void quiet(Micros time, Where where = Where::current());
  void nothing(Where where = Where::current());  // has been sent
  // The time until something is sent, which stays to be expected by out().
  Micros until_sent(Micros most, Where where = Where::current());
  void skip(Micros time);  // time passes; what is sent meanwhile is dropped from expectation
  std::size_t drain();     // takes what has been sent, unseen; how many segments
  void sink_full(bool full) { full_ = full; }
  LargeLimit large;     // what the port cuts; nothing at first
  std::size_t cut = 0;  // large segments so far

  // -- the application of the connection that was made last
  void listen(std::uint16_t port = 443);
  void connect(Micros timeout = Micros{0}, Where where = Where::current());
  void write(std::size_t n, Where where = Where::current());  // takes all of it
  std::size_t try_write(std::size_t n);
  void read(std::size_t n, Where where = Where::current());  // at least that much is there
  void readable(std::size_t n, Where where = Where::current());
  void end_of_stream(bool reached = true, Where where = Where::current());
  void shutdown();
  void close();
  void abort();
  void state(State expected, Where where = Where::current());
  void ended(CloseReason reason, Where where = Where::current());
  void open(Where where = Where::current());  // the application has not heard of an end
  void turn();                                // one turn of the loop without a segment
  telemetry::ConnectionRecord record();       // of the connection that was made last
  std::uint32_t iss();                        // of the stack, towards the current peer

  // Passive handshake; afterwards the next sequence number of both is 1.
  void establish(std::string_view options = "mss 1460", unsigned window = 65535,
                 Where where = Where::current());
  // Active one. The peer's SYN-ACK carries `options`.
  void establish_active(std::string_view options = "mss 1460", unsigned window = 65535,
                        Where where = Where::current());

  Connection* conn = nullptr;  // null once the end was reported
  bool accept = true;          // what on_accept() answers
  std::size_t accepted = 0;
  std::size_t ready_calls = 0;
  bool (*accept_port)(void*, const FlowKey&) = nullptr;  // which ports connect() may take
  std::uint32_t peer_isn = 0xfffff000;
  std::uint32_t peer_clock = 5000;       // TSval of the peer: this, and milliseconds since
  Micros round_trip{0};                  // of the handshakes that follow
  bool greedy = false;                   // the application reads all it can, at once
  std::size_t progress = 0, stalls = 0;  // hints about the path that the stack gave
  Time now{Micros{1'000'000'000}};

 private:
  struct Peer;
  struct Sent;
  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override;
  LargeLimit large_limit(const IpAddress& to) const override;
  GatherRoom reserve_large(const IpAddress& source, const IpAddress& destination,
                           std::size_t header, std::size_t piece, std::size_t pieces) override;
  void commit() override;
  void sent(std::vector<std::uint8_t> bytes);
  void on_progress(const IpAddress& to) override;
  void on_stall(const IpAddress& to) override;
  Observer* on_accept(Connection& connection, std::uint32_t listener_id, Time now) override;
  void on_ready(Connection& connection, Time now) override;
  void input(std::string_view segment, Where where);
  void run_turn();
  void advance(Time to, bool stop_when_sent);
  void check(Where where);
  void take(std::size_t n, Where where);
  std::string text_of(const Sent& sent) const;
  Peer& peer_of(std::uint16_t port);

  std::unique_ptr<Stack> stack_;
  std::vector<std::uint8_t> pending_, pending_text_;
  std::size_t pending_piece_ = 0;
  std::vector<MutByteSpan> text_parts_;
  std::vector<std::vector<std::uint8_t>> arrived_;  // until end_turn()
  std::deque<Sent> sent_;
  std::deque<Peer> peers_;
  std::uint16_t port_ = 40000, local_port_ = 443;
  std::vector<std::uint64_t> edges_;
  std::size_t written_ = 0, read_ = 0;
  CloseReason reason_ = CloseReason::none;
  bool full_ = false;
  Where last_ = Where::current();
};

}  // namespace sluice::tcp
