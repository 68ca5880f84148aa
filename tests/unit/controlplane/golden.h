// Golden files: what is expected of a file stands at its end, one "#! " line per error.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "controlplane/config_error.h"

namespace sluice::control {

inline std::string read_all(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline std::vector<std::string> expected_errors(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("#! ")) lines.push_back(line.substr(3));
  }
  return lines;
}

// "3:7: service/kb: /spec/hosts: …"; the file's name is left out.
inline std::vector<std::string> as_lines(std::vector<ConfigError> errors) {
  std::vector<std::string> lines;
  for (ConfigError& e : errors) {
    const std::string place = std::to_string(e.line) + ":" + std::to_string(e.column) + ": ";
    e.file.clear();
    lines.push_back(place + e.to_string());
  }
  return lines;
}

// With SLUICE_UPDATE_GOLDEN=1 in the environment the file is given the errors that were found; look
// at the difference before you keep it.
inline std::vector<std::string> golden_errors(const std::filesystem::path& path,
                                              const std::string& text,
                                              const std::vector<std::string>& found) {
  if (std::getenv("SLUICE_UPDATE_GOLDEN") == nullptr) return expected_errors(text);
  const std::size_t end =
      text.starts_with("#! ") ? 0 : std::min(text.find("\n#! ") + 1, text.size());
  std::ofstream out(path, std::ios::binary);
  out << (end == 0 && !text.starts_with("#! ") ? text : text.substr(0, end));
  for (const std::string& line : found) out << "#! " << line << "\n";
  return found;
}

inline std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace sluice::control
