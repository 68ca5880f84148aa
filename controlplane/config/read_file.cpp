#include "read_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "node.h"

namespace sluice::control {

std::expected<std::string, ConfigError> read_config_file(const std::filesystem::path& path) {
  ConfigError problem;
  problem.file = path.string();
  std::error_code error;
  // A FIFO or a device would block, or never end.
  const auto status = std::filesystem::status(path, error);
  if (!error && std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    problem.message = "cannot be read: not a regular file";
    return std::unexpected(problem);
  }
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    problem.message = "cannot be read: " + std::generic_category().message(errno);
    return std::unexpected(problem);
  }
  std::string text(kMaxConfigFile + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) {
    problem.message = "cannot be read";
    return std::unexpected(problem);
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

}  // namespace sluice::control
