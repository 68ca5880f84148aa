// A hierarchical timer wheel with intrusive nodes: O(1) to arm and cancel, bounded work to expire.
//
// Re-arming to a later time costs a store: the node stays where it is and is put on when its old
// slot comes up ("lazy deadline"). That is the common case for retransmission and idle timers,
// which move with each packet. Resolution is one tick; a timer never fires early.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace sluice {

class TimerWheel;

// Put one in the object to be woken. Must be cancelled before it dies.
class TimerNode {
 public:
  TimerNode() = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  bool armed() const { return next_ != nullptr; }
  Time deadline() const { return armed() ? deadline_ : kNever; }

 private:
  friend class TimerWheel;
  TimerNode* prev_ = nullptr;
  TimerNode* next_ = nullptr;
  Time deadline_ = kNever;
  std::uint64_t slot_tick_ = 0;  // when its slot comes up; at most deadline_'s tick
};

class TimerWheel {
 public:
  // Times before `origin` count as due.
  explicit TimerWheel(Time origin = Time{}, Micros tick = Micros{1000})
      : origin_(origin), tick_length_(tick) {
    for (auto& level : slots_) {
      for (auto& slot : level) make_empty(slot);
    }
    make_empty(due_);
  }
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  void arm(TimerNode& node, Time at) {
    if (at == kNever) return cancel(node);
    const std::uint64_t tick = tick_of(at);
    if (node.armed() && node.slot_tick_ <= tick) {
      node.deadline_ = at;
      return;
    }
    unlink(node);
    node.deadline_ = at;
    link(node, tick);
  }

  void cancel(TimerNode& node) { unlink(node); }

  // Calls wake(node) for up to `max` nodes whose deadline is not after `now`; the node is disarmed
  // before. Those over `max` come with the next call. Returns how many were woken.
  template <typename Wake>
  std::size_t expire(Time now, std::size_t max, Wake&& wake) {
    advance(now);
    std::size_t woken = 0;
    while (woken < max && due_.next_ != &due_) {
      TimerNode& node = *due_.next_;
      unlink(node);
      if (node.deadline_ > now) {
        link(node, tick_of(node.deadline_));
        continue;
      }
      ++woken;
      wake(node);
    }
    return woken;
  }

  // No armed node is due before this; kNever if none is armed. May be early (a lazily moved node).
  Time next_deadline() const {
    if (armed_ == 0) return kNever;
    if (due_.next_ != &due_) return at_tick(current_);
    const std::uint64_t next = next_slot();
    return at_tick(next == UINT64_MAX ? current_ : next);
  }

  std::size_t armed() const { return armed_; }

 private:
  static constexpr std::size_t kLevels = 5;  // 2^40 ticks: 34 years of milliseconds
  static constexpr std::size_t kBits = 8;
  static constexpr std::size_t kSlots = 1u << kBits;

  static void make_empty(TimerNode& head) { head.prev_ = head.next_ = &head; }

  // Rounded up: never early.
  std::uint64_t tick_of(Time t) const {
    if (t <= origin_) return 0;
    const auto us = static_cast<std::uint64_t>((t - origin_).count());
    const auto length = static_cast<std::uint64_t>(tick_length_.count());
    return (us + length - 1) / length;
  }
  Time at_tick(std::uint64_t tick) const {
    return origin_ + tick_length_ * static_cast<std::int64_t>(tick);
  }

  void link(TimerNode& node, std::uint64_t tick) {
    TimerNode* head = &due_;
    if (tick > current_) {
      const std::uint64_t ahead = tick - current_;
      std::size_t level = 0;
      while (level + 1 < kLevels && ahead >= (std::uint64_t{1} << (kBits * (level + 1)))) ++level;
      const std::size_t slot = (tick >> (kBits * level)) & (kSlots - 1);
      head = &slots_[level][slot];
      used_[level][slot / 64] |= std::uint64_t{1} << (slot % 64);
      node.slot_tick_ = (tick >> (kBits * level)) << (kBits * level);
    } else {
      node.slot_tick_ = tick;
    }
    node.prev_ = head->prev_;
    node.next_ = head;
    head->prev_->next_ = &node;
    head->prev_ = &node;
    ++armed_;
  }

  void unlink(TimerNode& node) {
    if (!node.armed()) return;
    node.prev_->next_ = node.next_;
    node.next_->prev_ = node.prev_;
    node.prev_ = node.next_ = nullptr;
    --armed_;
  }

  // Slots from `from` on (in units of the level) to the first that may be in use; -1 if none.
  int first_from(std::size_t level, std::uint64_t from) const {
    for (std::size_t i = 0; i < kSlots;) {
      const std::size_t slot = (from + i) & (kSlots - 1);
      const std::uint64_t bits = used_[level][slot / 64] >> (slot % 64);
      if (bits != 0) {
        const auto ahead = i + static_cast<std::size_t>(std::countr_zero(bits));
        return ahead < kSlots ? static_cast<int>(ahead) : -1;
      }
      i += 64 - slot % 64;
    }
    return -1;
  }

  // The tick at which the next slot that may be in use comes up; UINT64_MAX if there is none.
  std::uint64_t next_slot() const {
    std::uint64_t best = UINT64_MAX;
    for (std::size_t level = 0; level < kLevels; ++level) {
      const auto shift = static_cast<unsigned>(kBits * level);
      const std::uint64_t here = current_ >> shift;
      const int ahead = first_from(level, here + 1);
      if (ahead < 0) continue;
      const std::uint64_t tick = (here + 1 + static_cast<std::uint64_t>(ahead)) << shift;
      best = tick < best ? tick : best;
    }
    return best;
  }

  void take_slot(std::size_t level, std::uint64_t position) {
    const std::size_t slot = position & (kSlots - 1);
    used_[level][slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
    TimerNode& head = slots_[level][slot];
    while (head.next_ != &head) {
      TimerNode& node = *head.next_;
      unlink(node);
      link(node, tick_of(node.deadline_));
    }
  }

  // Moves to the tick of `now`, bringing what comes up into due_.
  void advance(Time now) {
    if (now < origin_) return;
    const auto target = static_cast<std::uint64_t>((now - origin_) / tick_length_);
    while (current_ < target) {
      if (armed_ == 0) {
        current_ = target;
        return;
      }
      // To the next slot in use at any level: a long silence costs no more than a short one.
      const std::uint64_t next = next_slot();
      if (next > target) {
        current_ = target;
        return;
      }
      current_ = next;
      for (std::size_t level = kLevels - 1; level > 0; --level) {
        const auto unit = static_cast<unsigned>(kBits * level);
        if ((current_ & ((std::uint64_t{1} << unit) - 1)) == 0) take_slot(level, current_ >> unit);
      }
      take_slot(0, current_);
    }
  }

  const Time origin_;
  const Micros tick_length_;
  std::uint64_t current_ = 0;
  std::size_t armed_ = 0;
  std::array<std::array<TimerNode, kSlots>, kLevels> slots_;
  std::array<std::array<std::uint64_t, kSlots / 64>, kLevels> used_{};
  TimerNode due_;
};

}  // namespace sluice
