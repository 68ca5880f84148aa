// A whole configuration file as text, bounded.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "controlplane/config_error.h"

namespace sluice::control {

std::expected<std::string, ConfigError> read_config_file(const std::filesystem::path& path);

}  // namespace sluice::control
