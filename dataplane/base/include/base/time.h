// Time as the data plane sees it: always an argument, never read from a clock.
//
// `Micros` is a duration; `Time` is an instant on a monotonic axis whose origin is arbitrary
// (process start); `WallTime` is Unix time, needed only where a standard speaks of dates (token
// expiry, certificate validity). A worker reads its clock once per loop turn and passes `Now` on.
#pragma once

#include <chrono>
#include <cstdint>

namespace sluice {

using Nanos = std::chrono::nanoseconds;
using Micros = std::chrono::microseconds;
using Millis = std::chrono::milliseconds;
using Seconds = std::chrono::seconds;

// The axis of `Time`. It has no now(): sans-I/O code cannot read it by accident.
struct MonotonicAxis {
  using rep = std::int64_t;
  using period = std::micro;
  using duration = Micros;
  using time_point = std::chrono::time_point<MonotonicAxis>;
  static constexpr bool is_steady = true;
};

using Time = MonotonicAxis::time_point;
using WallTime = std::chrono::sys_time<Micros>;

// Later than any deadline: "not armed".
inline constexpr Time kNever = Time::max();

struct Now {
  Time mono;
  WallTime wall;
};

}  // namespace sluice
