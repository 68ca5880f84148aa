// The error codes of contract section 8 as an enum with its facts.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::telemetry {

enum class Reason : std::uint8_t {
  ok = 0,
#define X(code, status, rpc, retry, fault, title) code,
#include "telemetry/reasons.def"
#undef X
  count_,
};

enum class Retry : std::uint8_t { no, after, when_safe, after_refresh };
enum class Fault : std::uint8_t { agent, policy, service };

struct ReasonInfo {
  std::string_view code;
  std::uint16_t status;
  std::int32_t jsonrpc;
  Retry retry;
  Fault fault;
  std::string_view title;
};

// Facts of a reason other than ok.
const ReasonInfo& info(Reason reason);
std::string_view to_string(Reason reason);
std::string_view to_string(Fault fault);
std::optional<Reason> parse_reason(std::string_view code);

}  // namespace sluice::telemetry
