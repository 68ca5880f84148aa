// The reasons of counters.def that ports and the redirect between workers count, and nobody above.
#pragma once

#include "telemetry/counters.h"

inline constexpr sluice::telemetry::Counter kPortDrops[] = {
    sluice::telemetry::Counter::tx_refused,
    sluice::telemetry::Counter::drop_redirect_full,
    sluice::telemetry::Counter::drop_own_frame,
    sluice::telemetry::Counter::drop_frame_too_long,
};
