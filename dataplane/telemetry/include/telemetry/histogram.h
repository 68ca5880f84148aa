// A log-linear histogram of unsigned values: each power of two is cut into 16 equal buckets, so a
// bucket is at most 1/16 of its value wide. Fixed size (4.8 KB), no allocation.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice::telemetry {

// A copy that can be summed over workers and asked for quantiles.
struct HistogramSnapshot;

// Owned by one worker. worker: writes; any thread: reads with relaxed loads. A reader may see a sum
// and buckets that differ by the recordings in progress.
class alignas(64) Histogram {
 public:
  static constexpr unsigned kSubBits = 4;
  static constexpr unsigned kSub = 1U << kSubBits;
  // Values of 2^40 and more (18 minutes in nanoseconds) share the last bucket.
  static constexpr unsigned kMaxBits = 40;
  static constexpr std::size_t kBuckets = (kMaxBits - kSubBits + 1) * kSub + 1;

  static constexpr std::size_t bucket_of(std::uint64_t value) {
    if (value < kSub) return static_cast<std::size_t>(value);
    const auto bits = static_cast<unsigned>(std::bit_width(value));
    if (bits > kMaxBits) return kBuckets - 1;
    const unsigned shift = bits - 1 - kSubBits;
    return (std::size_t{shift} + 1) * kSub + static_cast<std::size_t>((value >> shift) - kSub);
  }
  // Smallest value of a bucket.
  static constexpr std::uint64_t lower_bound(std::size_t bucket) {
    if (bucket < kSub) return bucket;
    const std::size_t shift = bucket / kSub - 1;
    return (std::uint64_t{kSub} + bucket % kSub) << shift;
  }

  void record(std::uint64_t value) {
    bump(cells_[bucket_of(value)], 1);
    bump(sum_, value);
    if (value > max_.load(std::memory_order_relaxed)) {
      max_.store(value, std::memory_order_relaxed);
    }
  }

  void add_to(HistogramSnapshot& total) const;

 private:
  // One writer: a plain load and store needs no locked instruction.
  static void bump(std::atomic<std::uint64_t>& cell, std::uint64_t n) {
    cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }

  std::array<std::atomic<std::uint64_t>, kBuckets> cells_{};
  std::atomic<std::uint64_t> sum_{0};
  std::atomic<std::uint64_t> max_{0};
};

struct HistogramSnapshot {
  std::array<std::uint64_t, Histogram::kBuckets> cells{};
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  std::uint64_t max = 0;

  // The value that a share `q` (0..1) of all recordings does not exceed: the upper end of its
  // bucket, never above the greatest value recorded. 0 without recordings.
  std::uint64_t quantile(double q) const;
  // Recordings at or below `value`, exact where `value` ends a bucket.
  std::uint64_t at_most(std::uint64_t value) const;
};

}  // namespace sluice::telemetry
