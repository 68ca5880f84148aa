#include "state/task_table.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/bytes.h"

namespace sluice::state {
namespace {

// The word of a slot holds everything that must change together:
//   63..32 generation · 31..30 phase · 29 revoked · 28..21 touched · 20..0 in flight
// `touched` counts extensions of the expiry, so that reclaim's compare-and-swap fails when the task
// was used after reclaim looked at its expiry.
constexpr std::uint64_t kInFlightMask = (1ULL << 21) - 1;
constexpr unsigned kTouchShift = 21;
constexpr std::uint64_t kTouchMask = 0xffULL << kTouchShift;
constexpr std::uint64_t kRevoked = 1ULL << 29;
constexpr unsigned kPhaseShift = 30;
constexpr std::uint64_t kPhaseMask = 3ULL << kPhaseShift;
constexpr unsigned kGenerationShift = 32;

enum class Phase : std::uint64_t {
  free = 0,
  claimed = 1,  // one inserter owns it; becomes live once its insertion has won
  live = 2,
};

constexpr Phase phase_of(std::uint64_t word) {
  return static_cast<Phase>((word & kPhaseMask) >> kPhaseShift);
}
constexpr std::uint32_t generation_of(std::uint64_t word) {
  return static_cast<std::uint32_t>(word >> kGenerationShift);
}
constexpr std::uint64_t make_word(std::uint32_t generation, Phase phase) {
  return std::uint64_t{generation} << kGenerationShift | static_cast<std::uint64_t>(phase)
                                                             << kPhaseShift;
}
constexpr std::uint64_t touched(std::uint64_t word) {
  return (word & ~kTouchMask) | ((word + (1ULL << kTouchShift)) & kTouchMask);
}
constexpr bool is_live(std::uint64_t word, std::uint32_t generation) {
  return generation_of(word) == generation && phase_of(word) == Phase::live;
}

constexpr std::uint64_t pack(TaskHandle h) { return std::uint64_t{h.generation} << 32 | h.slot; }
constexpr TaskHandle unpack(std::uint64_t v) {
  return {static_cast<std::uint32_t>(v), static_cast<std::uint32_t>(v >> 32)};
}
constexpr std::uint64_t kNothingInserted = pack(TaskHandle{});

// Slots a task may be in, from its home on. With at most half of the slots in use a run this long
// does not occur in practice; if it does, the task is refused as if the table were full.
constexpr std::size_t kWindow = 64;

// What each call touches.
struct alignas(64) HotLine {
  // control and workers: read and write (compare-and-swap only; acquire-release, because a change
  // of phase publishes or retires the cold line).
  std::atomic<std::uint64_t> word{make_word(0, Phase::free)};
  // workers: write (relaxed adds, between call_started and call_finished); control: reads.
  std::atomic<std::uint64_t> calls{0};
  std::atomic<std::uint64_t> bytes_in{0};
  std::atomic<std::uint64_t> bytes_out{0};
};
static_assert(sizeof(HotLine) == 64);

struct alignas(64) ColdLine {
  // Inserter: writes while the slot is claimed (release: whoever sees a new id also sees the new
  // generation); all: read (acquire, then look at the word again).
  std::atomic<std::uint64_t> id_high{0}, id_low{0};
  // Any inserter: raises (compare-and-swap), before it touches the word; control: reads.
  std::atomic<std::int64_t> expires_at{0};
};

struct Key {
  std::uint64_t high, low;
};

Key key_of(const TaskId& id) { return {load_be64(id.data()), load_be64(id.data() + 8)}; }

// SplitMix64's finisher: every input bit reaches every output bit.
constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

void raise(std::atomic<std::int64_t>& value, std::int64_t to) {
  std::int64_t now = value.load(std::memory_order_relaxed);
  while (now < to && !value.compare_exchange_weak(now, to, std::memory_order_release,
                                                  std::memory_order_relaxed)) {
  }
}

}  // namespace

struct TaskTable::Impl {
  Impl(std::size_t capacity_, std::uint64_t seed_)
      : capacity(std::bit_ceil(std::max<std::size_t>(capacity_, 1))),
        seed(seed_),
        mask(std::max(capacity * 2, kWindow) - 1),
        hot(mask + 1),
        cold(mask + 1),
        tags(mask + 1),
        homes(mask + 1) {
    for (auto& home : homes) home.store(kNothingInserted, std::memory_order_relaxed);
  }

  std::uint64_t hash(const Key& key) const { return mix(mix(key.high ^ seed) + key.low); }
  // Never 0, which means "no task here".
  static std::uint32_t tag_of(std::uint64_t hash) {
    return static_cast<std::uint32_t>(hash >> 32) | 1u;
  }

  // The last insertion of this home has won: makes its slot live if its inserter has not yet.
  void help(std::uint64_t last) {
    const TaskHandle h = unpack(last);
    if (!h) return;
    std::uint64_t expected = make_word(h.generation, Phase::claimed);
    hot[h.slot].word.compare_exchange_strong(expected, make_word(h.generation, Phase::live),
                                             std::memory_order_acq_rel, std::memory_order_relaxed);
  }

  // The word if the slot holds this task now.
  std::optional<std::uint64_t> word_if(std::size_t slot, const Key& key) const {
    const std::uint64_t before = hot[slot].word.load(std::memory_order_acquire);
    if (phase_of(before) != Phase::live) return std::nullopt;
    if (cold[slot].id_high.load(std::memory_order_acquire) != key.high) return std::nullopt;
    if (cold[slot].id_low.load(std::memory_order_acquire) != key.low) return std::nullopt;
    const std::uint64_t after = hot[slot].word.load(std::memory_order_acquire);
    if (!is_live(after, generation_of(before))) return std::nullopt;
    return after;
  }

  std::optional<TaskHandle> scan(const Key& key, std::uint64_t h) const {
    const std::uint32_t tag = tag_of(h);
    for (std::size_t i = 0; i < kWindow; ++i) {
      const std::size_t slot = (h + i) & mask;
      if (tags[slot].load(std::memory_order_acquire) != tag) continue;
      if (const auto word = word_if(slot, key)) {
        return TaskHandle{static_cast<std::uint32_t>(slot), generation_of(*word)};
      }
    }
    return std::nullopt;
  }

  // A free slot of the window, now owned by the caller, with key and expiry written.
  std::optional<TaskHandle> claim(const Key& key, std::uint64_t h, std::int64_t expires_at) {
    for (std::size_t i = 0; i < kWindow; ++i) {
      const std::size_t slot = (h + i) & mask;
      std::uint64_t word = hot[slot].word.load(std::memory_order_relaxed);
      if (phase_of(word) != Phase::free) continue;
      const std::uint32_t generation = generation_of(word) + 1;
      if (!hot[slot].word.compare_exchange_strong(word, make_word(generation, Phase::claimed),
                                                  std::memory_order_acq_rel,
                                                  std::memory_order_relaxed)) {
        continue;
      }
      hot[slot].calls.store(0, std::memory_order_relaxed);
      hot[slot].bytes_in.store(0, std::memory_order_relaxed);
      hot[slot].bytes_out.store(0, std::memory_order_relaxed);
      cold[slot].id_high.store(key.high, std::memory_order_release);
      cold[slot].id_low.store(key.low, std::memory_order_release);
      cold[slot].expires_at.store(expires_at, std::memory_order_release);
      tags[slot].store(tag_of(h), std::memory_order_release);
      return TaskHandle{static_cast<std::uint32_t>(slot), generation};
    }
    return std::nullopt;
  }

  // Gives a claimed slot back; its generation is spent.
  void release(TaskHandle h) {
    tags[h.slot].store(0, std::memory_order_relaxed);
    hot[h.slot].word.store(make_word(h.generation, Phase::free), std::memory_order_release);
  }

  // One insertion per home at a time wins, by compare-and-swap of the home's last handle. Whoever
  // comes later first completes the winner's insertion, so a task is never in two slots.
  std::optional<TaskHandle> insert(const Key& key, std::uint64_t h, std::int64_t expires_at,
                                   std::size_t limit, bool& existed) {
    std::atomic<std::uint64_t>& home = homes[h & mask];
    std::optional<TaskHandle> mine;
    for (;;) {
      std::uint64_t last = home.load(std::memory_order_acquire);
      help(last);
      if (const auto found = scan(key, h)) {
        if (mine) give_up(*mine);
        existed = true;
        return found;
      }
      if (!mine) {
        if (used.fetch_add(1, std::memory_order_relaxed) >= limit) {
          used.fetch_sub(1, std::memory_order_relaxed);
          return std::nullopt;
        }
        mine = claim(key, h, expires_at);
        if (!mine) {
          used.fetch_sub(1, std::memory_order_relaxed);
          return std::nullopt;
        }
      }
      if (home.compare_exchange_strong(last, pack(*mine), std::memory_order_acq_rel,
                                       std::memory_order_relaxed)) {
        help(pack(*mine));
        existed = false;
        return mine;
      }
    }
  }

  void give_up(TaskHandle mine) {
    release(mine);
    used.fetch_sub(1, std::memory_order_relaxed);
  }

  // Finds or inserts, raises the expiry and applies `set` to the word, as one step with respect to
  // reclaim.
  std::optional<TaskHandle> upsert(const TaskId& id, std::int64_t expires_at, std::uint64_t set,
                                   std::size_t limit) {
    const Key key = key_of(id);
    const std::uint64_t h = hash(key);
    for (;;) {
      bool existed = false;
      const auto handle = insert(key, h, expires_at, limit, existed);
      if (!handle) return std::nullopt;
      HotLine& line = hot[handle->slot];
      std::uint64_t word = line.word.load(std::memory_order_acquire);
      // A stray raise, after the slot went to another task, only makes that one stay longer.
      if (is_live(word, handle->generation)) raise(cold[handle->slot].expires_at, expires_at);
      while (is_live(word, handle->generation)) {
        if (line.word.compare_exchange_weak(word, touched(word) | set, std::memory_order_acq_rel,
                                            std::memory_order_acquire)) {
          return handle;
        }
      }
    }
  }

  TaskView view_of(std::size_t slot, std::uint64_t word) const {
    TaskView v{};
    store_be64(v.id.data(), cold[slot].id_high.load(std::memory_order_acquire));
    store_be64(v.id.data() + 8, cold[slot].id_low.load(std::memory_order_acquire));
    v.calls = hot[slot].calls.load(std::memory_order_relaxed);
    v.bytes_in = hot[slot].bytes_in.load(std::memory_order_relaxed);
    v.bytes_out = hot[slot].bytes_out.load(std::memory_order_relaxed);
    v.in_flight = static_cast<std::uint32_t>(word & kInFlightMask);
    v.expires_at = cold[slot].expires_at.load(std::memory_order_acquire);
    v.revoked = (word & kRevoked) != 0;
    return v;
  }

  const std::size_t capacity;
  const std::uint64_t seed;
  const std::size_t mask;  // slots less one; slots are at least twice the capacity
  std::vector<HotLine> hot;
  std::vector<ColdLine> cold;
  // Part of the hash of a slot's key, a hint that saves looking at the slot; 0 when free.
  // Inserter and control: write (release); all: read (acquire).
  std::vector<std::atomic<std::uint32_t>> tags;
  // The last insertion whose key has this home. Inserters: compare-and-swap; all: read.
  std::vector<std::atomic<std::uint64_t>> homes;
  // Inserters and control: relaxed adds; all: read.
  std::atomic<std::size_t> used{0};
};

TaskTable::TaskTable(std::size_t capacity, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(capacity, seed)) {}
TaskTable::~TaskTable() = default;

std::optional<TaskHandle> TaskTable::acquire(const TaskId& id, std::int64_t expires_at) {
  return impl_->upsert(id, expires_at, 0, impl_->capacity);
}

bool TaskTable::revoke(const TaskId& id, std::int64_t until) {
  // Revocations may use the slots beyond the capacity: refusing one would let a task go on.
  return impl_->upsert(id, until, kRevoked, impl_->mask + 1).has_value();
}

std::optional<TaskHandle> TaskTable::find(const TaskId& id) const {
  const Key key = key_of(id);
  const std::uint64_t h = impl_->hash(key);
  impl_->help(impl_->homes[h & impl_->mask].load(std::memory_order_acquire));
  return impl_->scan(key, h);
}

TaskStanding TaskTable::standing(TaskHandle handle) const {
  if (handle.slot > impl_->mask) return TaskStanding::stale;
  const std::uint64_t word = impl_->hot[handle.slot].word.load(std::memory_order_acquire);
  if (!is_live(word, handle.generation)) return TaskStanding::stale;
  return (word & kRevoked) != 0 ? TaskStanding::revoked : TaskStanding::live;
}

bool TaskTable::call_started(TaskHandle handle) {
  if (handle.slot > impl_->mask) return false;
  HotLine& line = impl_->hot[handle.slot];
  std::uint64_t word = line.word.load(std::memory_order_acquire);
  do {
    if (!is_live(word, handle.generation) || (word & kInFlightMask) == kInFlightMask) return false;
  } while (!line.word.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel,
                                            std::memory_order_acquire));
  line.calls.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void TaskTable::call_finished(TaskHandle handle, std::uint64_t bytes_in, std::uint64_t bytes_out) {
  if (handle.slot > impl_->mask) return;
  HotLine& line = impl_->hot[handle.slot];
  std::uint64_t word = line.word.load(std::memory_order_acquire);
  // While a call is in flight the slot cannot change hands.
  if (!is_live(word, handle.generation) || (word & kInFlightMask) == 0) return;
  line.bytes_in.fetch_add(bytes_in, std::memory_order_relaxed);
  line.bytes_out.fetch_add(bytes_out, std::memory_order_relaxed);
  while (!line.word.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel,
                                          std::memory_order_acquire)) {
  }
}

std::optional<TaskView> TaskTable::view(const TaskId& id) const {
  const auto handle = find(id);
  if (!handle) return std::nullopt;
  const std::uint64_t word = impl_->hot[handle->slot].word.load(std::memory_order_acquire);
  TaskView v = impl_->view_of(handle->slot, word);
  const std::uint64_t after = impl_->hot[handle->slot].word.load(std::memory_order_acquire);
  if (!is_live(word, handle->generation) || !is_live(after, handle->generation)) {
    return std::nullopt;
  }
  return v;
}

std::vector<TaskView> TaskTable::list() const {
  std::vector<TaskView> all;
  for (std::size_t slot = 0; slot <= impl_->mask; ++slot) {
    const std::uint64_t word = impl_->hot[slot].word.load(std::memory_order_acquire);
    if (phase_of(word) != Phase::live) continue;
    TaskView v = impl_->view_of(slot, word);
    const std::uint64_t after = impl_->hot[slot].word.load(std::memory_order_acquire);
    if (is_live(after, generation_of(word))) all.push_back(v);
  }
  return all;
}

std::size_t TaskTable::reclaim(std::int64_t now_s) {
  std::size_t freed = 0;
  for (std::size_t slot = 0; slot <= impl_->mask; ++slot) {
    HotLine& line = impl_->hot[slot];
    std::uint64_t word = line.word.load(std::memory_order_acquire);
    if (phase_of(word) != Phase::live || (word & kInFlightMask) != 0) continue;
    if (impl_->cold[slot].expires_at.load(std::memory_order_acquire) >= now_s) continue;
    // Retired under a generation of its own first, so that clearing the tag cannot hit the next
    // task of this slot.
    const std::uint32_t next = generation_of(word) + 1;
    if (!line.word.compare_exchange_strong(word, make_word(next, Phase::claimed),
                                           std::memory_order_acq_rel, std::memory_order_relaxed)) {
      continue;  // used or revoked just now: the next round decides again
    }
    impl_->release({static_cast<std::uint32_t>(slot), next});
    impl_->used.fetch_sub(1, std::memory_order_relaxed);
    freed++;
  }
  return freed;
}

std::size_t TaskTable::size() const { return impl_->used.load(std::memory_order_relaxed); }
std::size_t TaskTable::capacity() const { return impl_->capacity; }

}  // namespace sluice::state
