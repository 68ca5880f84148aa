// sluicectl capture.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "command.h"

namespace sluice::control {

struct CaptureArguments {
  std::vector<std::string> filter;  // words
  std::string file;
  std::vector<std::string> ports;
  std::optional<std::uint64_t> packets, bytes, seconds, snap_bytes;  // else the gateway's
};

// Until a bound is reached, or SIGINT or SIGTERM asks for the end: the file is whole then too.
void capture(const Options& options, const CaptureArguments& given);

}  // namespace sluice::control
