// The process clock: the TSC calibrated against CLOCK_MONOTONIC_RAW.
//
// One object, made at start; every thread may read it. Readers never wait, and the axis never goes
// backwards on any thread: a refinement changes the slope of a continuous function at an instant
// that lies ahead of all readers. Without an invariant TSC the same object reads the system clock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/time.h"

namespace sluice::runtime {

// Where cycles and reference times come from. Tests bring their own.
struct ClockSource {
  std::uint64_t (*cycles)(void*) = nullptr;  // null: rdtsc
  std::int64_t (*raw_ns)(void*) = nullptr;   // CLOCK_MONOTONIC_RAW
  std::int64_t (*wall_ns)(void*) = nullptr;  // CLOCK_REALTIME
  void* context = nullptr;

  // The system's: rdtsc where it is invariant, else clock_gettime.
  static ClockSource system();
};

class Clock {
 public:
  // Takes about 20 ms: the first calibration needs a baseline.
  explicit Clock(const ClockSource& source = ClockSource::system());
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  // [any thread] Both axes from one reading.
  Now now() const;
  Time mono() const;
  // [any thread] Nanoseconds since the clock was made.
  Nanos since_start() const;
  // [any thread] Nanoseconds since 1970.
  Nanos wall() const;
  // [any thread] Raw cycles, and a difference of them as time.
  std::uint64_t cycles() const;
  Nanos to_nanos(std::uint64_t cycle_difference) const;

  // [control] Call about once a second: longer baselines give a better rate, the wall clock is read
  // again (it may have been stepped).
  void refine();

  bool uses_tsc() const { return source_.cycles == nullptr; }
  double cycles_per_second() const;

 private:
  // ns(t) = ns + (t - cycle) * ns_per_cycle_q32 / 2^32
  struct Line {
    std::atomic<std::uint64_t> cycle{0};
    std::atomic<std::int64_t> ns{0};
    std::atomic<std::uint64_t> ns_per_cycle_q32{0};
  };
  // A change of slope is published before it takes effect: `before` holds until after.cycle.
  struct Table {
    Line before;
    Line after;
    std::atomic<std::int64_t> wall_minus_mono_ns{0};
  };
  struct Sample {
    std::uint64_t cycle = 0;
    std::int64_t raw_ns = 0;
  };
  struct Reading {
    std::int64_t mono_ns = 0;
    std::int64_t wall_minus_mono_ns = 0;
  };

  Sample sample() const;
  Reading read() const;
  static std::int64_t on_line(const Line& line, std::uint64_t cycle);

  ClockSource source_;
  Sample first_;
  // refine() (one thread): writes the table not in use, then moves `sequence_`; readers: read the
  // table sequence_ names and try again if it moved.
  std::array<Table, 2> tables_;
  std::atomic<std::uint32_t> sequence_{0};
};

}  // namespace sluice::runtime
