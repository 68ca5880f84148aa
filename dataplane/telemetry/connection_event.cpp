#include "telemetry/connection_event.h"

namespace sluice::telemetry {

namespace {

constexpr bool yes = true, no = false;
constexpr ConnectionEventInfo kEvents[] = {
#define X(id, value, unusual, help) ConnectionEventInfo{#id, #value, unusual, help},
#include "telemetry/connection_events.def"
#undef X
};
static_assert(std::size(kEvents) == static_cast<std::size_t>(ConnectionEvent::count_));

}  // namespace

const ConnectionEventInfo& info(ConnectionEvent event) {
  const auto i = static_cast<std::size_t>(event);
  return kEvents[i < std::size(kEvents) ? i : 0];
}

}  // namespace sluice::telemetry
