// A refused setting: where it is, what is wrong and what would be accepted.
#pragma once

#include <string>

namespace sluice::control {

struct ConfigError {
  std::string file;      // empty for REST
  int line = 0;          // from 1; 0 if unknown (REST)
  int column = 0;        // from 1
  std::string pointer;   // RFC 6901 JSON pointer, "/spec/limits/calls"; empty: the whole document
  std::string message;   // "expected a whole number from 0 to 1000000000, got \"ten\""
  std::string document;  // "service/kb" once kind and name are known; empty for the boot file

  // "sluice.yaml:12:5: /ports/agents/mtu: …"
  std::string to_string() const;
};

}  // namespace sluice::control
