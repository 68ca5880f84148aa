// The table of the boot file (contract section 2), and the rules that join several settings.
#pragma once

#include "schema.h"

namespace sluice::control {

const Value& boot_value();
// Impossible combinations in a boot file whose defaults are filled in. Tolerates wrong types, which
// are reported already.
void check_boot_combinations(const Node& root, Errors& errors);

// DPDK's device strings: a PCI address, or a virtual device with its arguments.
Complaint check_device(std::string_view text);

}  // namespace sluice::control
