// sluicectl connections.
#pragma once

#include <string>

#include "command.h"

namespace sluice::control {

struct ConnectionArguments {
  std::string state, local, remote, listener, side;
  unsigned limit = 100;
  bool all = false;
};

void connections(const Options& options, const ConnectionArguments& given);
void connection_events(const Options& options, const ConnectionArguments& given);

}  // namespace sluice::control
