// Looks at the machine before EAL starts and says in plain words what is missing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/eal.h"

namespace sluice::runtime {

struct Finding {
  enum class Severity : std::uint8_t {
    note,     // a choice was made; nothing to do
    warning,  // works, but worse than it could
    error,    // cannot start
  };
  Severity severity = Severity::note;
  std::string what;  // "CPU core 7 does not exist"
  std::string why;   // "workers: [7] asks for it; this machine has cores 0-1"
  std::string fix;   // "use one of 0-1"; may be empty
};

// How the machine is seen. Files are read below `root`, so tests bring their own tree.
struct SystemView {
  std::string root;                                          // "" is the real one
  std::function<bool(const std::string&)> interface_exists;  // in this network namespace

  static SystemView real();
};

std::vector<Finding> preflight(const EalConfig& config,
                               const SystemView& view = SystemView::real());

bool can_start(const std::vector<Finding>& findings);
std::string to_string(const Finding& finding);  // one or two lines for people

// Whether enough hugepages are free for `memory_mb` (and where they are mounted).
bool hugepages_available(unsigned memory_mb, const SystemView& view);

}  // namespace sluice::runtime
