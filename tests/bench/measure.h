// What benchmarks of one thread measure with.
#pragma once

#include <malloc.h>
#include <time.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace sluice::bench {

inline double clock_seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// CPU time of this thread: other programs on the machine do not count.
inline double seconds() { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }
inline double wall() { return clock_seconds(CLOCK_MONOTONIC); }

// What asking for seconds() takes itself: of account in short stretches.
inline double clock_cost() {
  static const double cost = [] {
    constexpr int kTimes = 100'000;
    const double from = seconds();
    for (int i = 0; i < kTimes; ++i) seconds();
    return (seconds() - from) / kTimes;
  }();
  return cost;
}

// From one seconds() to the next.
inline double between(double from, double to) { return std::max(0.0, to - from - clock_cost()); }

// Of the time-stamp counter.
inline double cycles_per_second() {
  static const double rate = [] {
    const double began = wall();
    const std::uint64_t from = __rdtsc();
    while (wall() - began < 0.2) {
    }
    return static_cast<double>(__rdtsc() - from) / (wall() - began);
  }();
  return rate;
}

inline double cycles_since(double began) { return (seconds() - began) * cycles_per_second(); }

// `share` of the values are at most this; sorts them.
inline double quantile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size()));
  return values[std::min(at, values.size() - 1)];
}

inline double median(std::vector<double> values) { return quantile(values, 0.5); }

inline double heap() {
  const auto info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// Name -> one value per round.
using Figures = std::map<std::string, std::vector<double>>;

// A JSON object of the medians.
inline void print_medians(const Figures& figures) {
  std::printf("{");
  const char* separator = "";
  for (const auto& [name, values] : figures) {
    std::printf("%s\n \"%s\": %.10g", separator, name.c_str(), median(values));
    separator = ",";
  }
  std::printf("\n}\n");
}

}  // namespace sluice::bench
