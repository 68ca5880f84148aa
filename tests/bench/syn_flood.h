// A SYN flood at the port's full rate against calls on established connections and new clients.
#pragma once

#include "base/time.h"
#include "measure.h"
#include "port_world.h"

namespace sluice::bench {

// For `duration` of the server's time without the flood, then for as long with it.
void syn_flood(Figures& figures, World& world, Micros duration);

}  // namespace sluice::bench
