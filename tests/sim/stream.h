// The applications of a world: who sends a pattern and compares what arrives, and who passes on.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "impair/random.h"
#include "scenario.h"
#include "tcp/stack.h"

namespace sluice::sim {

class World;

// The bytes that one end of a stream sends: a function of stream, end and offset.
class Pattern {
 public:
  Pattern(std::size_t stream, unsigned side) : key_((stream * 2 + side) * 0xbf58476d1ce4e5b9ULL) {}
  void fill(std::size_t offset, MutByteSpan bytes) const;
  // Offset of the first difference, or bytes.size().
  std::size_t compare(std::size_t offset, ByteSpan bytes) const;

 private:
  std::uint64_t word(std::size_t index) const {
    const std::uint64_t x = (index + 1) * 0x9e3779b97f4a7c15ULL ^ key_;
    return x ^ (x >> 29);
  }
  std::uint64_t key_;
};

// What a world may call a connection's owner back for.
class Application : public tcp::Observer {
 public:
  Application(World& world, std::size_t host) : world_(world), host_(host) {}
  virtual ~Application() = default;
  // At a time asked for with World::wake_at().
  virtual void wake() = 0;
  // The host went down, and its connections with it.
  virtual void lost() = 0;
  std::size_t host() const { return host_; }

 protected:
  World& world_;
  const std::size_t host_;
};

// One end of one stream: sends `to_send` bytes of its pattern, reads what comes and compares.
class End final : public Application {
 public:
  End(World& world, std::size_t host, std::size_t stream, unsigned side, const EndPlan& plan);
  void attach(tcp::Connection& connection, Time now);
  void on_ready(tcp::Connection& connection, Time now) override;
  void wake() override;
  void lost() override;

  const EndPlan& plan() const { return plan_; }
  tcp::Connection* connection() const { return connection_; }
  std::size_t received() const { return received_; }
  bool taken() const { return connection_ != nullptr || done_; }
  bool done() const { return done_; }
  // Before it ever had a connection: its host has gone, or the stream was refused.
  void give_up() { done_ = true; }
  tcp::CloseReason reason() const { return reason_; }
  // Of the last byte that arrived, and of the end.
  Time progress_at() const { return progress_at_; }
  Time done_at() const { return done_at_; }
  std::uint16_t local_port() const { return local_port_; }

 private:
  void read(tcp::Connection& connection, Time now);
  void write(tcp::Connection& connection, Time now);
  // True when the connection is gone.
  bool finish(tcp::Connection& connection, Time now);

  const EndPlan plan_;
  const Pattern ours_, theirs_;
  const std::size_t stream_;
  impair::Random random_;
  tcp::Connection* connection_ = nullptr;
  std::uint16_t local_port_ = 0;
  std::size_t sent_ = 0, received_ = 0;
  bool half_closed_ = false, peer_closed_ = false, done_ = false;
  tcp::CloseReason reason_ = tcp::CloseReason::none;
  Time paused_until_{}, write_at_{}, progress_at_{}, done_at_{};
};

// Passes bytes between two connections of its host, both ways, as fast as the slower one takes
// them.
class Relay final : public Application {
 public:
  Relay(World& world, std::size_t host, std::size_t stream);
  // False when the connection onwards cannot be opened.
  bool attach(tcp::Connection& front, const Endpoint& onwards, Time now);
  void on_ready(tcp::Connection& connection, Time now) override;
  void wake() override;
  void lost() override;
  bool taken() const { return taken_; }
  bool done() const { return taken_ && sides_[0] == nullptr && sides_[1] == nullptr; }

 private:
  void pass(unsigned from);

  const std::size_t stream_;
  std::array<tcp::Connection*, 2> sides_{};
  std::array<bool, 2> ended_{};  // FIN passed on from this side
  bool taken_ = false;
};

}  // namespace sluice::sim
