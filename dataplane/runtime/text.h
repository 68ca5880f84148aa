// Small text helpers of this folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::runtime {

// The kernel's list format: "0-3,8". Anything malformed ends the list there.
std::vector<unsigned> parse_cpu_list(std::string_view text);
// The same format, ascending input.
std::string format_cpu_list(const std::vector<unsigned>& cpus);
// Whole file without trailing white space; empty when it cannot be read. At most 64 KiB.
std::string read_text(const std::string& path);
// CPUs this process may run on.
std::vector<unsigned> usable_cpus();

}  // namespace sluice::runtime
