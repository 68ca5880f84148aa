// An open-addressed table from a 64-bit hash to a 32-bit index, for flows of one thread.
//
// Keys live with the caller: it supplies a keyed hash (peers choose the tuples) and compares keys
// by index. One bucket is one cache line: seven entries and a count of entries that had to pass
// this bucket when they were inserted. That count ends a search early and makes erasing exact,
// without tombstones. Fixed capacity, no growth: the caller bounds what it inserts to `capacity`.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice {

class FlowTable {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  explicit FlowTable(std::size_t capacity)
      : buckets_(std::bit_ceil(capacity * 2 / kEntries + 1)), mask_(buckets_.size() - 1) {}

  std::size_t size() const { return size_; }

  void prefetch(std::uint64_t hash) const { __builtin_prefetch(&buckets_[home(hash)]); }

  // An index that find() will likely look at, to fetch what lies there beforehand, or kNone. Cheap
  // once the bucket is in the cache: a burst is looked up by prefetch() of all, this of all,
  // find().
  std::uint32_t candidate(std::uint64_t hash) const {
    const Bucket& bucket = buckets_[home(hash)];
    const std::uint32_t tag = tag_of(hash);
    for (std::size_t i = 0; i < kEntries; ++i) {
      if (bucket.tag[i] == tag) return bucket.index[i];
    }
    return kNone;
  }

  // The index whose tag fits and for which same(index) holds, or kNone.
  template <typename Same>
  std::uint32_t find(std::uint64_t hash, Same&& same) const {
    const std::uint32_t tag = tag_of(hash);
    std::size_t at = home(hash);
    for (std::size_t probed = 0; probed < buckets_.size(); ++probed) {
      const Bucket& bucket = buckets_[at];
      for (std::size_t i = 0; i < kEntries; ++i) {
        if (bucket.tag[i] == tag && same(bucket.index[i])) return bucket.index[i];
      }
      if (bucket.passed == 0) return kNone;
      at = (at + 1) & mask_;
    }
    return kNone;
  }

  // The key must not be in the table. False when the table is full.
  bool insert(std::uint64_t hash, std::uint32_t index) {
    const std::size_t from = home(hash);
    std::size_t at = from;
    for (std::size_t probed = 0; probed < buckets_.size(); ++probed) {
      Bucket& bucket = buckets_[at];
      for (std::size_t i = 0; i < kEntries; ++i) {
        if (bucket.tag[i] != kFree) continue;
        bucket.tag[i] = tag_of(hash);
        bucket.index[i] = index;
        for (std::size_t b = from; b != at; b = (b + 1) & mask_) ++buckets_[b].passed;
        ++size_;
        return true;
      }
      at = (at + 1) & mask_;
    }
    return false;
  }

  // Removes the entry of exactly this hash and index. False if it was not there.
  bool erase(std::uint64_t hash, std::uint32_t index) {
    const std::uint32_t tag = tag_of(hash);
    const std::size_t from = home(hash);
    std::size_t at = from;
    for (std::size_t probed = 0; probed < buckets_.size(); ++probed) {
      Bucket& bucket = buckets_[at];
      for (std::size_t i = 0; i < kEntries; ++i) {
        if (bucket.tag[i] != tag || bucket.index[i] != index) continue;
        bucket.tag[i] = kFree;
        for (std::size_t b = from; b != at; b = (b + 1) & mask_) --buckets_[b].passed;
        --size_;
        return true;
      }
      if (bucket.passed == 0) return false;
      at = (at + 1) & mask_;
    }
    return false;
  }

 private:
  static constexpr std::size_t kEntries = 7;
  static constexpr std::uint32_t kFree = 0;

  struct alignas(64) Bucket {
    std::uint32_t tag[kEntries] = {};
    std::uint32_t passed = 0;
    std::uint32_t index[kEntries] = {};
    std::uint32_t unused = 0;
  };
  static_assert(sizeof(Bucket) == 64);

  // The tag comes from the upper half, the place from the lower: they are independent.
  static std::uint32_t tag_of(std::uint64_t hash) {
    return static_cast<std::uint32_t>(hash >> 32) | 1u;
  }
  std::size_t home(std::uint64_t hash) const { return static_cast<std::size_t>(hash) & mask_; }

  std::vector<Bucket> buckets_;
  std::size_t mask_;
  std::size_t size_ = 0;
};

}  // namespace sluice
