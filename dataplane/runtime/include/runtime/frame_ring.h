// Copies of frames on their way from one worker to control: a bounded ring of records of any
// length, with one writer and one reader.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>

#include "base/bytes.h"

namespace sluice::runtime {

struct FrameHead {
  std::uint64_t time = 0;         // ns since 1970
  std::uint32_t wire_length = 0;  // as the port saw it; the copy may be shorter
  std::uint16_t port = 0;
  bool outbound = false;
};

class FrameRing {
 public:
  // A power of two; it is touched here, so that the writer meets no page fault.
  explicit FrameRing(std::size_t capacity)
      : capacity_(std::bit_ceil(std::max(capacity, kSmallest))),
        bytes_(std::make_unique<std::uint8_t[]>(capacity_)) {}

  // Producer only. False when there is no room.
  bool push(const FrameHead& frame, ByteSpan bytes) {
    const std::size_t size = kHead + round_up(bytes.size());
    const std::size_t head = head_.load(std::memory_order_relaxed);
    const std::size_t at = head & (capacity_ - 1);
    // A record lies in one piece: what is left at the end may have to be skipped.
    const std::size_t skip = at + size > capacity_ ? capacity_ - at : 0;
    if (size > capacity_ || !room(head, skip + size)) return false;
    if (skip > 0) store(at, Record{});
    const std::size_t place = (at + skip) & (capacity_ - 1);
    store(place,
          {static_cast<std::uint32_t>(size), static_cast<std::uint32_t>(bytes.size()), frame});
    if (!bytes.empty()) std::memcpy(&bytes_[place + kHead], bytes.data(), bytes.size());
    head_.store(head + skip + size, std::memory_order_release);
    return true;
  }

  struct View {
    FrameHead frame;
    ByteSpan bytes;  // until pop()
  };
  // Consumer only: the oldest record.
  std::optional<View> front() {
    const std::size_t head = head_.load(std::memory_order_acquire);
    std::size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head) return std::nullopt;
    Record record = load(tail & (capacity_ - 1));
    if (record.size == 0) {
      tail += capacity_ - (tail & (capacity_ - 1));
      tail_.store(tail, std::memory_order_release);
      record = load(0);
    }
    front_ = record.size;
    return View{record.frame, {&bytes_[(tail & (capacity_ - 1)) + kHead], record.length}};
  }
  // Consumer only: lets go what front() showed.
  void pop() {
    tail_.store(tail_.load(std::memory_order_relaxed) + front_, std::memory_order_release);
    front_ = 0;
  }

  std::size_t capacity() const { return capacity_; }

 private:
  // What lies before the bytes. Size zero: the ring goes on at its beginning.
  struct alignas(32) Record {
    std::uint32_t size = 0;    // with this head, rounded up
    std::uint32_t length = 0;  // of the bytes
    FrameHead frame;
  };
  static constexpr std::size_t kHead = sizeof(Record);
  static constexpr std::size_t kSmallest = 4096;
  // Records begin at multiples of a head: one always fits before the end.
  static_assert(std::has_single_bit(kHead));
  static std::size_t round_up(std::size_t n) { return (n + kHead - 1) & ~(kHead - 1); }

  bool room(std::size_t head, std::size_t wanted) {
    if (head + wanted - cached_tail_ <= capacity_) return true;
    cached_tail_ = tail_.load(std::memory_order_acquire);
    return head + wanted - cached_tail_ <= capacity_;
  }
  void store(std::size_t at, const Record& record) {
    std::memcpy(&bytes_[at], &record, sizeof record);
  }
  Record load(std::size_t at) const {
    Record record;
    std::memcpy(&record, &bytes_[at], sizeof record);
    return record;
  }

  const std::size_t capacity_;
  const std::unique_ptr<std::uint8_t[]> bytes_;
  alignas(64) std::atomic<std::size_t> head_{0};  // producer: writes; consumer: reads
  std::size_t cached_tail_ = 0;                   // producer only
  alignas(64) std::atomic<std::size_t> tail_{0};  // consumer: writes; producer: reads
  std::size_t front_ = 0;                         // consumer only: size of what front() showed
};

}  // namespace sluice::runtime
