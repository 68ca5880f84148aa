// Disjoint byte ranges as offsets from a moving origin, in order, at most 64 of them: what arrived
// out of order (receiver) and what the peer reported as arrived (sender).
//
// Every operation costs at most one pass over the ranges, whatever a peer sends.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::tcp {

struct Interval {
  std::uint32_t start = 0;
  std::uint32_t end = 0;  // exclusive
  friend constexpr bool operator==(const Interval&, const Interval&) = default;
};

class IntervalSet {
 public:
  static constexpr std::size_t kCapacity = 64;

  bool empty() const { return count_ == 0; }
  std::size_t count() const { return count_; }
  const Interval& operator[](std::size_t i) const { return ranges_[i]; }
  const Interval& front() const { return ranges_[0]; }
  const Interval& back() const { return ranges_[count_ - 1]; }
  void clear() { count_ = 0; }

  enum class Added { fresh, nothing_new, full };

  // Joins [start, end) with what it touches. `full`: it would be one range too many.
  Added add(std::uint32_t start, std::uint32_t end) {
    if (start >= end) return Added::nothing_new;
    std::size_t first = 0;
    while (first < count_ && ranges_[first].end < start) ++first;
    std::size_t last = first;  // one past the ranges it touches
    while (last < count_ && ranges_[last].start <= end) ++last;
    if (first == last) {
      if (count_ == kCapacity) return Added::full;
      std::copy_backward(ranges_.begin() + first, ranges_.begin() + count_,
                         ranges_.begin() + count_ + 1);
      ranges_[first] = {start, end};
      ++count_;
      return Added::fresh;
    }
    if (last == first + 1 && ranges_[first].start <= start && end <= ranges_[first].end) {
      return Added::nothing_new;
    }
    const std::uint32_t joined_end = std::max(end, ranges_[last - 1].end);
    ranges_[first] = {std::min(start, ranges_[first].start), joined_end};
    std::copy(ranges_.begin() + last, ranges_.begin() + count_, ranges_.begin() + first + 1);
    count_ -= static_cast<std::uint32_t>(last - first - 1);
    return Added::fresh;
  }

  // The origin moves on by n: what lies before it is forgotten.
  void shift(std::uint32_t n) {
    std::size_t gone = 0;
    while (gone < count_ && ranges_[gone].end <= n) ++gone;
    for (std::size_t i = gone; i < count_; ++i) {
      ranges_[i - gone] = {ranges_[i].start > n ? ranges_[i].start - n : 0, ranges_[i].end - n};
    }
    count_ -= static_cast<std::uint32_t>(gone);
  }

  // The range that holds `offset`, or null.
  const Interval* holding(std::uint32_t offset) const {
    for (std::size_t i = 0; i < count_ && ranges_[i].start <= offset; ++i) {
      if (offset < ranges_[i].end) return &ranges_[i];
    }
    return nullptr;
  }

  // How many bytes of [start, end) are in the set.
  std::uint32_t covered(std::uint32_t start, std::uint32_t end) const {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < count_ && ranges_[i].start < end; ++i) {
      const std::uint32_t from = std::max(start, ranges_[i].start);
      const std::uint32_t to = std::min(end, ranges_[i].end);
      if (from < to) sum += to - from;
    }
    return sum;
  }
  std::uint32_t total() const { return covered(0, UINT32_MAX); }

  // The first run at or after `offset` that is not in the set, ending at the next range or `limit`.
  Interval hole(std::uint32_t offset, std::uint32_t limit) const {
    for (std::size_t i = 0; i < count_; ++i) {
      if (ranges_[i].end <= offset) continue;
      if (offset < ranges_[i].start) return {offset, std::min(limit, ranges_[i].start)};
      offset = ranges_[i].end;
    }
    return {offset, std::max(offset, limit)};
  }

 private:
  std::uint32_t count_ = 0;
  std::array<Interval, kCapacity> ranges_;
};

}  // namespace sluice::tcp
