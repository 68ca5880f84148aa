// The channels between the control thread and workers (design section 4).
//
// Four of the five are here; counters are telemetry::CounterBlock. All are bounded and lock-free.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "runtime/loan.h"
#include "telemetry/call_record.h"

namespace sluice::runtime {

// Bounded single-producer single-consumer ring of trivially copyable values. The capacity is a
// power of two. Each index has one writer; the other side reads it with acquire.
template <typename T>
class SpscRing {
 public:
  explicit SpscRing(std::size_t capacity)
      : mask_(std::bit_ceil(capacity) - 1), cells_(std::make_unique<T[]>(mask_ + 1)) {}

  // Producer only. False when full.
  bool push(const T& value) {
    return produce([&value](T& cell) { cell = value; });
  }
  // Producer only: fill(cell) writes the value where it stays; the cell holds an old one.
  template <typename Fill>
  bool produce(Fill&& fill) {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    if (head - cached_tail_ > mask_) {
      cached_tail_ = tail_.load(std::memory_order_acquire);
      if (head - cached_tail_ > mask_) return false;
    }
    fill(cells_[head & mask_]);
    head_.store(head + 1, std::memory_order_release);
    return true;
  }
  // Consumer only.
  std::optional<T> pop() {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == cached_head_) {
      cached_head_ = head_.load(std::memory_order_acquire);
      if (tail == cached_head_) return std::nullopt;
    }
    T value = cells_[tail & mask_];
    tail_.store(tail + 1, std::memory_order_release);
    return value;
  }
  // Either side; exact only when the other side rests.
  std::size_t size() const {
    return head_.load(std::memory_order_acquire) - tail_.load(std::memory_order_acquire);
  }
  std::size_t capacity() const { return mask_ + 1; }

 private:
  const std::size_t mask_;
  std::unique_ptr<T[]> cells_;
  alignas(64) std::atomic<std::size_t> head_{0};  // producer: writes; consumer: reads
  std::size_t cached_tail_ = 0;                   // producer only
  alignas(64) std::atomic<std::size_t> tail_{0};  // consumer: writes; producer: reads
  std::size_t cached_head_ = 0;                   // consumer only
};

// Control -> one worker.
struct Command {
  enum class Kind : std::uint8_t {
    stop,   // finish: RST what is open, leave the loop
    drain,  // stop accepting, GOAWAY, finish what runs
    undrain,
    cancel_task,        // end calls in flight of task `id`
    query_connections,  // `loan` is a ConnectionQuery
    query_traces,       // `loan` is a TraceQuery
    capture,            // `loan` is a Capture
  };
  Kind kind = Kind::stop;
  std::array<std::uint8_t, 16> id{};
  Loan* loan = nullptr;
};
using Mailbox = SpscRing<Command>;

// Worker -> control.
struct Event {
  enum class Kind : std::uint8_t { call };
  Kind kind = Kind::call;
  telemetry::CallRecord call;
};
using EventRing = SpscRing<Event>;

}  // namespace sluice::runtime
