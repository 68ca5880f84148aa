// Frames that wait for their neighbour's MAC address: one pool, allocated once, short lists in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"

namespace sluice::ip {

// A list's handle, kept in the neighbour's entry.
struct HoldList {
  std::int32_t head = -1;
  std::int32_t tail = -1;
  std::uint8_t count = 0;
};

class HoldQueue {
 public:
  HoldQueue(std::size_t slots, std::size_t slot_bytes)
      : slot_bytes_(slot_bytes), slots_(slots), bytes_(new std::uint8_t[slots * slot_bytes]) {
    for (std::size_t i = 0; i < slots; ++i) {
      slots_[i].next = free_;
      free_ = static_cast<std::int32_t>(i);
    }
  }

  // A slot in nobody's list yet; -1 when the pool is empty.
  std::int32_t take() {
    const std::int32_t slot = free_;
    if (slot >= 0) {
      free_ = at(slot).next;
      ++used_;
    }
    return slot;
  }
  void give_back(std::int32_t slot) {
    at(slot).next = free_;
    free_ = slot;
    --used_;
  }
  MutByteSpan room(std::int32_t slot) {
    return {&bytes_[static_cast<std::size_t>(slot) * slot_bytes_], slot_bytes_};
  }
  MutByteSpan frame(std::int32_t slot) { return room(slot).first(at(slot).length); }

  void push(HoldList& list, std::int32_t slot, std::size_t length) {
    at(slot).length = length;
    at(slot).next = -1;
    if (list.tail >= 0) at(list.tail).next = slot;
    list.tail = slot;
    if (list.head < 0) list.head = slot;
    ++list.count;
  }
  // Unlinks the oldest; the list is not empty.
  std::int32_t pop(HoldList& list) {
    const std::int32_t slot = list.head;
    list.head = at(slot).next;
    if (list.head < 0) list.tail = -1;
    --list.count;
    return slot;
  }
  std::size_t used() const { return used_; }

 private:
  struct Slot {
    std::int32_t next = -1;
    std::size_t length = 0;
  };
  Slot& at(std::int32_t slot) { return slots_[static_cast<std::size_t>(slot)]; }

  std::size_t slot_bytes_;
  std::vector<Slot> slots_;
  std::unique_ptr<std::uint8_t[]> bytes_;
  std::int32_t free_ = -1;
  std::size_t used_ = 0;
};

}  // namespace sluice::ip
