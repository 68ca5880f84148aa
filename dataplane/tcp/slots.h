// The arena of a stack's connections.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace sluice::tcp {

// Slots that never move, addressed by index; freed slots are used again. They lie in blocks of a
// huge page: among many flows each segment is for another one, and finding its page costs as much
// as fetching its line.
template <typename T>
class Slots {
 public:
  Slots() = default;
  ~Slots() {
    for (std::size_t i = 0; i < slots_; ++i)
      std::destroy_at(&(*this)[static_cast<std::uint32_t>(i)]);
    for (T* block : blocks_) std::free(block);
  }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  // UINT32_MAX when there is no memory.
  std::uint32_t take() {
    if (!free_.empty()) {
      const std::uint32_t i = free_.back();
      free_.pop_back();
      return i;
    }
    if (slots_ == blocks_.size() * kPerBlock) {
      void* block = std::aligned_alloc(kBlock, kBlock);
      if (block == nullptr) return UINT32_MAX;
      madvise(block, kBlock, MADV_HUGEPAGE);
      blocks_.push_back(static_cast<T*>(block));
    }
    const auto i = static_cast<std::uint32_t>(slots_++);
    std::construct_at(&(*this)[i]);
    free_.reserve(slots_);
    return i;
  }
  void give_back(std::uint32_t i) { free_.push_back(i); }
  T& operator[](std::uint32_t i) { return blocks_[i / kPerBlock][i % kPerBlock]; }
  const T& operator[](std::uint32_t i) const { return blocks_[i / kPerBlock][i % kPerBlock]; }
  std::size_t slots() const { return slots_; }
  std::size_t used() const { return slots_ - free_.size(); }

 private:
  static constexpr std::size_t kBlock = std::size_t{2} << 20;
  static constexpr std::uint32_t kPerBlock = kBlock / sizeof(T);

  std::vector<T*> blocks_;
  std::size_t slots_ = 0;
  std::vector<std::uint32_t> free_;
};

}  // namespace sluice::tcp
