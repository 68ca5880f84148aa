// The task table: what all workers and the control thread know of live tasks.
//
// Fixed capacity, open addressed, keyed by the 128-bit task id (the `txn` UUID, or the first 16
// bytes of SHA-256(iss 0x00 txn) when txn is not a UUID). Lock-free: no thread ever waits for
// another one. All fields are atomics; each says who writes and who reads (task_table.cpp). The
// shape and admit stages add their words to the hot line.
//
// A slot is freed by reclaim() and may then hold another task. Handles carry the slot's generation,
// checked in the same atomic operation that counts a call, so a handle that outlived its task can
// neither count for, nor be revoked with, the slot's next task.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace sluice::state {

using TaskId = std::array<std::uint8_t, 16>;

// Index of a slot and the generation it had: stale handles are noticed.
struct TaskHandle {
  std::uint32_t slot = 0xffffffff;
  std::uint32_t generation = 0;
  explicit operator bool() const { return slot != 0xffffffff; }
  friend bool operator==(const TaskHandle&, const TaskHandle&) = default;
};

enum class TaskStanding : std::uint8_t {
  live,
  revoked,
  stale,  // the slot was reclaimed: acquire() again; the tokens seen for the task have all expired
};

struct TaskView {  // a copy for REST
  TaskId id;
  std::uint64_t calls = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0;
  std::uint32_t in_flight = 0;
  std::int64_t expires_at = 0;  // Unix seconds; the latest expiry of any token seen for the task
  bool revoked = false;
};

class TaskTable {
 public:
  // `capacity` is rounded up to a power of two. `seed` scatters ids over the slots; give a random
  // one where outsiders choose task ids.
  explicit TaskTable(std::size_t capacity, std::uint64_t seed = 0x9e3779b97f4a7c15);
  ~TaskTable();

  // Finds, or inserts, the task; its expiry becomes the later one. Any thread. nullopt when the
  // table is full.
  std::optional<TaskHandle> acquire(const TaskId& id, std::int64_t expires_at);
  std::optional<TaskHandle> find(const TaskId& id) const;

  // Workers, each call: one load.
  TaskStanding standing(TaskHandle handle) const;
  bool valid(TaskHandle handle) const { return standing(handle) != TaskStanding::stale; }
  // Of a stale handle: false. A holder of old handles asks standing().
  bool revoked(TaskHandle handle) const { return standing(handle) == TaskStanding::revoked; }

  // Control: no token of the task is accepted from here on; kept until `until`. Inserts if unknown,
  // also when acquire() would say full. False only when there is no room at all.
  bool revoke(const TaskId& id, std::int64_t until);

  // Workers: a call starts and ends. A task with calls in flight is never reclaimed. False, and
  // nothing is counted, when the handle is stale or the count is at its limit (2^21 - 1).
  bool call_started(TaskHandle handle);
  // Only after a call_started() that said true.
  void call_finished(TaskHandle handle, std::uint64_t bytes_in, std::uint64_t bytes_out);

  std::optional<TaskView> view(const TaskId& id) const;
  std::vector<TaskView> list() const;  // control
  // Control: frees slots of tasks whose expiry is before `now_s` and which have nothing in flight.
  // Returns how many. Give now minus the accepted clock skew, so that a freed task's tokens are
  // refused as expired everywhere.
  std::size_t reclaim(std::int64_t now_s);
  std::size_t size() const;
  std::size_t capacity() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::state
