#include "telemetry/counters.h"

namespace sluice::telemetry {

namespace {

constexpr CounterInfo kCounters[] = {
#define X(id, metric, labels, help) CounterInfo{#id, #metric, labels, help, false},
#define G(id, metric, labels, help) CounterInfo{#id, #metric, labels, help, true},
#include "telemetry/counters.def"
#undef X
};
static_assert(std::size(kCounters) == kCounterCount);

}  // namespace

const CounterInfo& info(Counter counter) {
  const auto i = static_cast<std::size_t>(counter);
  return kCounters[i < kCounterCount ? i : 0];
}

}  // namespace sluice::telemetry
