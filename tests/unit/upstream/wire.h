// Two TCP stacks back to back on a virtual clock: the gateway's side and a scripted tool.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tcp/stack.h"

namespace sluice::test {

// Carries segments from one stack to the other, in order and without loss.
class Cable final : public tcp::TransmitSink {
 public:
  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override {
    pending_ = {source, destination, std::vector<std::uint8_t>(length)};
    return pending_.bytes;
  }
  void commit() override { queue_.push_back(std::move(pending_)); }

  // Hands over what was sent so far; returns how many segments.
  std::size_t deliver(tcp::Stack& to, Time now) {
    std::size_t n = 0;
    for (; !queue_.empty(); ++n) {
      in_hand_.push_back(std::move(queue_.front()));
      queue_.pop_front();
      const Segment& s = in_hand_.back();
      to.input({s.source, s.destination, s.bytes, true, 0}, now);
    }
    return n;
  }
  void end_turn() { in_hand_.clear(); }
  // What is on its way never arrives.
  void lose() { queue_.clear(); }
  std::size_t waiting() const { return queue_.size(); }

 private:
  struct Segment {
    IpAddress source, destination;
    std::vector<std::uint8_t> bytes;
  };
  Segment pending_;
  std::deque<Segment> queue_;
  std::deque<Segment> in_hand_;
};

// One end of a connection: collects what it gets and is told by the test what to say.
struct Peer final : tcp::Observer {
  void on_ready(tcp::Connection& c, Time) override {
    for (ByteSpan b = c.peek(); reading && !b.empty(); b = c.peek()) {
      received += as_text(b);
      c.consume(b.size());
    }
    ended = ended || c.end_of_stream();
    reason = c.close_reason();
    if (reason != tcp::CloseReason::none) connection = nullptr;
  }
  void say(std::string_view text) { connection->write(as_bytes(text)); }
  void close() { std::exchange(connection, nullptr)->close(); }
  void abort() { std::exchange(connection, nullptr)->abort(); }
  tcp::Connection* connection = nullptr;  // null once closed
  tcp::CloseReason reason = tcp::CloseReason::none;
  std::string received;
  bool reading = true;
  bool ended = false;  // the other end's FIN, everything before it was read
};

// A tool: takes every connection.
class Tool final : public tcp::Acceptor {
 public:
  tcp::Observer* on_accept(tcp::Connection& connection, std::uint32_t, Time) override {
    peers.push_back(std::make_unique<Peer>());
    peers.back()->connection = &connection;
    return peers.back().get();
  }
  std::vector<std::unique_ptr<Peer>> peers;
};

}  // namespace sluice::test
