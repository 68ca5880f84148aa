// An arena of equal objects, for what there are very many of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace sluice {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;
// A huge page, or as many small ones where the kernel has none. Null when there is no memory.
void* allocate_huge_page();
void free_huge_page(void* page);

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
    for (T* block : blocks_) free_huge_page(block);
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
      void* block = allocate_huge_page();
      if (block == nullptr) return UINT32_MAX;
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
  static constexpr std::uint32_t kPerBlock = kHugePage / sizeof(T);

  std::vector<T*> blocks_;
  std::size_t slots_ = 0;
  std::vector<std::uint32_t> free_;
};

}  // namespace sluice
