// The task table: what all workers and the control thread know of live tasks.
//
// Fixed capacity, open addressed, keyed by the 128-bit task id (the `txn` UUID, or the first 16
// bytes of SHA-256(iss 0x00 txn) when txn is not a UUID). Insert by compare-and-swap; a slot is
// reused only after the task has expired and a grace period has passed. All hot fields are atomics;
// each says who writes and who reads. The shape and admit stages add their words to HotLine.
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
  explicit TaskTable(std::size_t capacity);  // rounded up to a power of two
  ~TaskTable();

  // Finds, or inserts, the task. Any thread. nullopt when the table is full.
  std::optional<TaskHandle> acquire(const TaskId& id, std::int64_t expires_at);
  std::optional<TaskHandle> find(const TaskId& id) const;

  bool revoked(TaskHandle handle) const;         // workers, each call
  bool revoke(const TaskId& id, std::int64_t until);  // control: inserts if unknown
  // Workers: a call starts and ends.
  void call_started(TaskHandle handle);
  void call_finished(TaskHandle handle, std::uint64_t bytes_in, std::uint64_t bytes_out);

  std::optional<TaskView> view(const TaskId& id) const;
  std::vector<TaskView> list() const;            // control
  // Control: frees slots of tasks expired before `now_s` with nothing in flight; call after a grace
  // period so that no worker holds a handle from its decision cache. Returns how many.
  std::size_t reclaim(std::int64_t now_s);
  std::size_t size() const;
  std::size_t capacity() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::state
