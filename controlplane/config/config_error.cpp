#include "controlplane/config_error.h"

namespace sluice::control {

std::string ConfigError::to_string() const {
  std::string text;
  if (!file.empty()) {
    text += file;
    if (line > 0) text += ":" + std::to_string(line) + ":" + std::to_string(column);
    text += ": ";
  }
  if (!document.empty()) text += document + ": ";
  if (!pointer.empty()) text += pointer + ": ";
  return text + message;
}

}  // namespace sluice::control
