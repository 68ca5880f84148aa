// The error record of contract section 8 in its plain-HTTP dialect: RFC 9457 body, RFC 9209 status.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "http/message.h"
#include "telemetry/reasons.h"

namespace sluice::http {

struct Budget {
  std::uint64_t calls_left = 0, retries_left = 0, wall_ms_left = 0;
};

struct Problem {
  telemetry::Reason reason = telemetry::Reason::request_invalid;
  std::string_view detail, hint, service, tool, task, trace_id;
  std::span<const std::string> alternatives;
  unsigned attempts = 0;
  std::uint64_t retry_after_ms = 0;
  std::optional<Budget> budget;
  bool connect = false;  // refused CONNECT: 407 and Proxy-Authenticate instead of 401
};

std::string problem_json(const Problem& problem);
// Status and fields of the response that carries it.
Response problem_response(const Problem& problem);

}  // namespace sluice::http
