// A refusal in the form of RFC 9457, with one JSON pointer (RFC 6901) per thing that is wrong.
#pragma once

#include <boost/json.hpp>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "controlplane/config_error.h"

namespace sluice::control {

struct ProblemItem {
  std::string pointer;  // into the request's body; empty: the whole
  std::string detail;
  std::string document;  // "service/kb" when a document is meant
};

struct Problem {
  unsigned status = 500;
  std::string code;  // type is urn:sluice:error:<code>
  std::string title;
  std::string detail;
  std::vector<ProblemItem> errors;
  std::vector<std::pair<std::string, std::string>> headers;  // Allow, Retry-After
};

boost::json::object to_json(const Problem& problem);

Problem invalid(std::string pointer, std::string detail);         // 400 request_invalid
Problem invalid(const std::vector<ConfigError>& errors);          // 400, one item per error
Problem not_found(std::string detail);                            // 404
Problem precondition_failed(std::string detail);                  // 412
Problem unavailable(std::string detail, unsigned retry_after_s);  // 503
Problem internal_error(std::string detail);                       // 500

// Appends one member name to a pointer, escaped by RFC 6901 section 3.
std::string pointer_to(std::string_view base, std::string_view member);

// JSON text to a value: at most 32 levels deep, no duplicate members, nothing after the value.
std::expected<boost::json::value, Problem> parse_json(std::string_view text);

}  // namespace sluice::control
