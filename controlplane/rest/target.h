// A request's target as path segments and query parameters (RFC 3986). Private to rest/.
#pragma once

#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/control.h"

namespace sluice::control {

struct Target {
  std::vector<std::string> path;  // decoded segments, "v1" first
  std::map<std::string, std::string> query;
};

// A bad escape or a parameter that appears twice refuses the whole target.
std::expected<Target, Problem> split_target(std::string_view target);

}  // namespace sluice::control
