// Quiescent-state based reclamation over rte_rcu_qsbr, and the snapshot slot that rides on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace sluice::runtime {

// One per process. Workers report; the control thread frees. No worker ever waits.
class Qsbr {
 public:
  explicit Qsbr(unsigned max_workers);
  ~Qsbr();

  // [worker] before its first and after its last use.
  void register_worker(unsigned worker);
  void unregister_worker(unsigned worker);
  // [worker] once per loop turn: holds no pointer to shared objects at this point.
  void quiescent(unsigned worker);
  // [worker] around sleeping: an offline worker holds nothing and is not waited for.
  void offline(unsigned worker);
  void online(unsigned worker);

  // [control] runs `free_it` once all workers have passed a quiescent state. Never blocks.
  void defer(std::function<void()> free_it);
  // [control] runs what is due; returns how many are still waiting. Call every few milliseconds.
  std::size_t poll();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// control: writes; workers: read, once per turn, and keep the reference no longer than the turn.
template <typename T>
class SnapshotSlot {
 public:
  explicit SnapshotSlot(Qsbr& qsbr) : qsbr_(qsbr) {}
  ~SnapshotSlot() { delete current_.load(std::memory_order_relaxed); }

  const T* get() const { return current_.load(std::memory_order_acquire); }
  // [control] The old one is freed after a grace period.
  void publish(std::unique_ptr<const T> next) {
    const T* old = current_.exchange(next.release(), std::memory_order_acq_rel);
    if (old != nullptr) qsbr_.defer([old] { delete old; });
  }

 private:
  Qsbr& qsbr_;
  std::atomic<const T*> current_{nullptr};
};

}  // namespace sluice::runtime
