// A byte FIFO that grows by doubling up to what its owner allows, and holds no memory when
// released.
//
// Bytes may also be put down beyond the end (write_beyond) and made part of the FIFO later
// (extend): a receiver's reassembly needs no second store. Capacity is a power of two. The owner
// accounts for memory: it asks capacity_for() what a growth would cost before calling reserve().
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/bytes.h"

namespace sluice {

class ByteRing {
 public:
  static constexpr std::size_t kSmallest = 2048;
  static constexpr std::size_t kLargest = std::size_t{1} << 31;

  ByteRing() = default;
  ~ByteRing() { std::free(data_); }
  ByteRing(const ByteRing&) = delete;
  ByteRing& operator=(const ByteRing&) = delete;

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::size_t capacity() const { return capacity_; }

  // The capacity the ring would have after reserve(bytes).
  std::size_t capacity_for(std::size_t bytes) const {
    return bytes <= capacity_ ? capacity_ : std::bit_ceil(std::max(bytes, kSmallest));
  }

  // Room for `bytes` bytes in all. False, and nothing changed, when there is no memory.
  bool reserve(std::size_t bytes) {
    const std::size_t wanted = capacity_for(bytes);
    if (wanted == capacity_) return true;
    if (wanted > kLargest) return false;
    auto* grown = static_cast<std::uint8_t*>(std::malloc(wanted));
    if (grown == nullptr) return false;
    // All of it, not only the FIFO: bytes put down beyond the end move along.
    const std::size_t first = capacity_ - head_;
    if (capacity_ != 0) {
      std::memcpy(grown, data_ + head_, first);
      std::memcpy(grown + first, data_, head_);
    }
    std::free(data_);
    data_ = grown;
    capacity_ = static_cast<std::uint32_t>(wanted);
    head_ = 0;
    return true;
  }

  // Gives the memory back. The ring is empty afterwards.
  void release() {
    std::free(data_);
    data_ = nullptr;
    capacity_ = head_ = size_ = 0;
  }

  // Appends; size() + bytes.size() must be reserved.
  void append(ByteSpan bytes) {
    write_beyond(0, bytes);
    extend(bytes.size());
  }

  // Puts bytes down `offset` after the end, which does not move. Must be reserved.
  void write_beyond(std::size_t offset, ByteSpan bytes) {
    if (bytes.empty()) return;
    const std::size_t at = (std::size_t{head_} + size_ + offset) & (capacity_ - 1);
    const std::size_t first = std::min(bytes.size(), capacity_ - at);
    std::memcpy(data_ + at, bytes.data(), first);
    if (first < bytes.size()) std::memcpy(data_, bytes.data() + first, bytes.size() - first);
  }
  // The next n bytes after the end become part of the FIFO.
  void extend(std::size_t n) { size_ += static_cast<std::uint32_t>(n); }

  // The longest run in one piece from `offset` on; empty at the end.
  ByteSpan run(std::size_t offset = 0) const {
    if (offset >= size_) return {};
    const std::size_t at = (head_ + offset) & (capacity_ - 1);
    return {data_ + at, std::min<std::size_t>(size_ - offset, capacity_ - at)};
  }

  // Copies out [offset, offset + room.size()), which must lie inside.
  void copy_out(std::size_t offset, MutByteSpan room) const {
    if (room.empty()) return;
    const std::size_t at = (head_ + offset) & (capacity_ - 1);
    const std::size_t first = std::min(room.size(), capacity_ - at);
    std::memcpy(room.data(), data_ + at, first);
    if (first < room.size()) std::memcpy(room.data() + first, data_, room.size() - first);
  }

  // Removes from the front; n <= size().
  void drop(std::size_t n) {
    head_ = static_cast<std::uint32_t>((head_ + n) & (capacity_ - 1));
    size_ -= static_cast<std::uint32_t>(n);
  }

 private:
  std::uint8_t* data_ = nullptr;
  std::uint32_t capacity_ = 0;
  std::uint32_t head_ = 0;
  std::uint32_t size_ = 0;
};

}  // namespace sluice
