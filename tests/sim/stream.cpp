#include "stream.h"

#include <algorithm>
#include <cstring>

#include "world.h"

namespace sluice::sim {

using tcp::CloseReason;
using tcp::Connection;

void Pattern::fill(std::size_t offset, MutByteSpan bytes) const {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const std::uint64_t value = word((offset + at) / 8);
    const std::size_t skip = (offset + at) % 8;
    const std::size_t n = std::min(8 - skip, bytes.size() - at);
    std::memcpy(&bytes[at], reinterpret_cast<const std::uint8_t*>(&value) + skip, n);
    at += n;
  }
}

std::size_t Pattern::compare(std::size_t offset, ByteSpan bytes) const {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const std::uint64_t value = word((offset + at) / 8);
    const auto* expected = reinterpret_cast<const std::uint8_t*>(&value) + (offset + at) % 8;
    const std::size_t n = std::min(8 - (offset + at) % 8, bytes.size() - at);
    for (std::size_t i = 0; i < n; ++i) {
      if (bytes[at + i] != expected[i]) return at + i;
    }
    at += n;
  }
  return bytes.size();
}

End::End(World& world, std::size_t host, std::size_t stream, unsigned side, const EndPlan& plan)
    : Application(world, host),
      plan_(plan),
      ours_(stream, side),
      theirs_(stream, 1 - side),
      stream_(stream),
      random_(world.scenario().seed, 20'000 + 2 * stream + side) {}

void End::attach(Connection& connection, Time now) {
  progress_at_ = now;
  connection_ = &connection;
  local_port_ = connection.flow().local_port;
  // A peer that has gone, and whose RST was lost, is found out by nothing else.
  connection.set_keepalive(true);
}

void End::read(Connection& c, Time now) {
  if (now < paused_until_) {
    if (c.close_reason() == CloseReason::none) world_.wake_at(*this, paused_until_);
    return;
  }
  std::size_t budget = random_.between(1, 65'536);
  while (budget > 0) {
    const ByteSpan bytes = c.peek();
    if (bytes.empty()) break;
    const std::size_t n = std::min({bytes.size(), budget, std::size_t{random_.between(1, 20'000)}});
    const std::size_t same = theirs_.compare(received_, bytes.first(n));
    if (same != n) {
      world_.fail("stream " + std::to_string(stream_) + " differs at " +
                  std::to_string(received_ + same));
      return;
    }
    c.consume(n);
    received_ += n;
    progress_at_ = now;
    budget -= n;
  }
  if (plan_.pause > 0 && random_.chance(plan_.pause)) {
    paused_until_ = now + Micros{static_cast<std::int64_t>(
                              random_.below(static_cast<std::uint64_t>(plan_.pause_time.count())))};
    world_.wake_at(*this, paused_until_);
  } else if (c.readable() > 0) {
    c.mark_ready();
  }
}

void End::write(Connection& c, Time now) {
  if (plan_.wait_for_end && !peer_closed_) return;
  std::array<std::uint8_t, 8192> chunk;
  while (sent_ < plan_.to_send && now >= write_at_) {
    const std::size_t n = std::min(
        {chunk.size(), plan_.to_send - sent_, std::size_t{random_.between(1, plan_.write_size)}});
    ours_.fill(sent_, MutByteSpan{chunk}.first(n));
    const std::size_t taken = c.write(ByteSpan{chunk}.first(n));
    sent_ += taken;
    if (plan_.write_gap > Micros{0}) {
      write_at_ = now + Micros{static_cast<std::int64_t>(random_.between(
                            1, static_cast<std::uint64_t>(plan_.write_gap.count())))};
      world_.wake_at(*this, write_at_);
    }
    if (taken < n) break;
  }
  if (sent_ == plan_.to_send && !half_closed_ && c.established()) {
    half_closed_ = true;
    c.shutdown_write();
  }
}

bool End::finish(Connection& c, Time now) {
  done_at_ = now;
  if (c.close_reason() != CloseReason::none) {
    reason_ = c.close_reason();
    done_ = true;
    connection_ = nullptr;
    return true;
  }
  const bool abort = received_ >= plan_.abort_after && c.established();
  if (!abort && !(plan_.close_early && half_closed_ && peer_closed_)) return false;
  reason_ = abort ? CloseReason::aborted : CloseReason::graceful;
  done_ = true;
  connection_ = nullptr;
  if (abort && !plan_.abort_politely) {
    c.abort();
  } else {
    c.close();
  }
  return true;
}

void End::on_ready(Connection& c, Time now) {
  read(c, now);
  if (world_.failed()) return;
  if (c.end_of_stream()) peer_closed_ = true;
  write(c, now);
  finish(c, now);
}

void End::wake() {
  if (connection_ != nullptr) connection_->mark_ready();
}

void End::lost() {
  connection_ = nullptr;
  done_ = true;
}

Relay::Relay(World& world, std::size_t host, std::size_t stream)
    : Application(world, host), stream_(stream) {}

bool Relay::attach(Connection& front, const Endpoint& onwards, Time now) {
  taken_ = true;
  Connection* back = world_.connect(*this, onwards, stream_, now);
  if (back == nullptr) return false;
  sides_ = {&front, back};
  for (Connection* c : sides_) c->set_keepalive(true);
  return true;
}

void Relay::pass(unsigned from) {
  Connection& source = *sides_[from];
  Connection& sink = *sides_[1 - from];
  while (true) {
    const ByteSpan bytes = source.peek();
    if (bytes.empty()) break;
    const std::size_t taken = sink.write(bytes);
    source.consume(taken);
    if (taken < bytes.size()) break;
  }
  if (source.end_of_stream() && !ended_[from] && sink.established()) {
    ended_[from] = true;
    sink.shutdown_write();
  }
}

void Relay::on_ready(Connection& c, Time) {
  const unsigned side = &c == sides_[0] ? 0 : 1;
  Connection* other = sides_[1 - side];
  if (other != nullptr) {
    pass(side);
    pass(1 - side);
  }
  const CloseReason reason = c.close_reason();
  if (reason == CloseReason::none) return;
  sides_[side] = nullptr;
  // After a good end the other side ends by itself; else it is told.
  if (other != nullptr && (reason != CloseReason::graceful || !ended_[side])) {
    sides_[1 - side] = nullptr;
    other->abort();
  }
}

void Relay::wake() {}

void Relay::lost() { sides_ = {}; }

}  // namespace sluice::sim
