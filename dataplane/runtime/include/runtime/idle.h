// What a worker does when a turn found nothing: pause for a while, then sleep until a device,
// another thread or a deadline wakes it. An idle gateway leaves its core alone; the first packet is
// served within 200 µs.
#pragma once

#include <poll.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/time.h"
#include "runtime/qsbr.h"

namespace sluice::runtime {

// Wakes one sleeping worker. Producers first make the work visible (push to the ring), then call
// wake(); it costs one locked instruction unless the worker sleeps. Call it once per burst.
class Waker {
 public:
  Waker();
  ~Waker();
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;

  void wake();  // [any thread]

 private:
  friend class IdleLadder;
  std::atomic<bool> asleep_{false};  // worker: sets; whoever wakes it: clears
  int fd_ = -1;
};

// How a device queue tells that packets have come.
struct WaitSource {
  static constexpr int kNothing = -2;  // nothing comes here: no reason to wake
  static constexpr int kCannot = -1;   // something may come, and nobody tells: sleeps stay short
  int fd = kCannot;
  // Before sleeping, after the worker has announced it: enable the interrupt. Returns how long the
  // worker may sleep for all this queue knows: zero when work is waiting.
  Micros (*arm)(void*) = nullptr;
  void (*disarm)(void*) = nullptr;  // after: disable and drain it
  void* context = nullptr;
};

struct IdleConfig {
  Micros spin{50};               // keep polling so long after the last work
  Micros shortest_sleep{10};     // when a device cannot wake us: sleeps double from here
  Micros longest_sleep{100};     // to here
  Micros longest_wait{100'000};  // when all devices can
};

class IdleLadder {
 public:
  // All arguments must outlive the ladder. Use from the worker's own thread only.
  IdleLadder(unsigned worker, Qsbr& qsbr, Waker& waker, const IdleConfig& config = {});

  // One per device queue this worker polls; at most kMaxSources - 1 with a descriptor.
  void watch(const WaitSource& source);

  // After a turn that did something.
  void busy(Time now) {
    last_work_ = now;
    sleep_ = config_.shortest_sleep;
  }
  // After a turn that did nothing. Returns soon while spinning; else sleeps until something comes,
  // at most to `deadline` (kNever: none). The worker is offline for reclamation meanwhile, so it
  // must hold no pointer to shared objects. `has_work(context)` looks at rings and queues once more
  // after the worker has announced that it sleeps; true keeps it awake.
  void idle(Time now, Time deadline, bool (*has_work)(void*), void* context);

  std::uint64_t sleeps() const { return sleeps_; }
  std::uint64_t wakeups_by_source() const { return wakeups_; }

 private:
  static constexpr std::size_t kMaxSources = 32;

  void sleep(Micros longest);
  void forgive(pollfd& descriptor);

  unsigned worker_;
  Qsbr& qsbr_;
  Waker& waker_;
  IdleConfig config_;
  std::array<pollfd, kMaxSources> polled_{};
  std::size_t polled_count_ = 1;
  std::array<WaitSource, kMaxSources> armed_{};
  std::size_t armed_count_ = 0;
  bool all_can_wake_ = true;
  Time last_work_{};
  Micros sleep_{};
  std::uint64_t sleeps_ = 0;
  std::uint64_t wakeups_ = 0;
};

}  // namespace sluice::runtime
