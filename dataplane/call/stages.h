// The stages of a call and their order.
#pragma once

#include "call/call.h"

namespace sluice::call {

struct Stages {
  static Verdict identify(Call& call, const policy::Snapshot& snapshot);
  static Verdict classify(Call& call, const policy::Snapshot& snapshot);
  static Verdict authorize(Call& call, const policy::Snapshot& snapshot);
  static Verdict forward(Call& call, const policy::Snapshot& snapshot);

  struct Step {
    telemetry::Stage stage;
    Verdict (*run)(Call& call, const policy::Snapshot& snapshot);
  };
};

// Design section 6. Each stage proceeds, waits or rejects; this is the one place that orders them.
inline constexpr Stages::Step kStages[] = {
    {telemetry::Stage::identify, Stages::identify},
    {telemetry::Stage::classify, Stages::classify},
    {telemetry::Stage::authorize, Stages::authorize},
    {telemetry::Stage::connect, Stages::forward},
};

}  // namespace sluice::call
