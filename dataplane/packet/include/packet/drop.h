// Why a packet died. A reason is the counter that counts it: no second table to keep in step.
#pragma once

#include "telemetry/counters.h"

namespace sluice::packet {

using Drop = telemetry::Counter;
inline constexpr Drop kNoDrop = Drop::count_;

}  // namespace sluice::packet
