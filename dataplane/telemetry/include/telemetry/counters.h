// Counters of one worker: one writer, any reader (channel "counters" of the design).
//
// The table is counters.def: X(id, metric, labels, help), and G(…) for gauges. `labels` is a
// comma-separated constant label list, e.g. `reason="bad_checksum"`; rows with the same metric
// share its name. Generates the enum, the metric names (sluice_<metric>_total, a gauge's without
// _total), help text and docs/metrics.md.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace sluice::telemetry {

// X(id, metric, labels, help)
enum class Counter : std::uint16_t {
#define X(id, metric, labels, help) id,
#include "telemetry/counters.def"
#undef X
  count_,
};

struct CounterInfo {
  std::string_view id, metric, labels, help;
  bool gauge = false;
};
const CounterInfo& info(Counter counter);

inline constexpr std::size_t kCounterCount = static_cast<std::size_t>(Counter::count_);

// Owned by one worker. worker: writes; any thread: reads with relaxed loads.
class alignas(64) CounterBlock {
 public:
  void add(Counter c, std::uint64_t n = 1) {
    auto& cell = cells_[static_cast<std::size_t>(c)];
    // One writer: a plain load and store is enough and needs no locked instruction.
    cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  // Gauges and mirrored library counters: store an absolute value.
  void set(Counter c, std::uint64_t v) {
    cells_[static_cast<std::size_t>(c)].store(v, std::memory_order_relaxed);
  }
  std::uint64_t get(Counter c) const {
    return cells_[static_cast<std::size_t>(c)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<std::uint64_t>, kCounterCount> cells_{};
};

}  // namespace sluice::telemetry
