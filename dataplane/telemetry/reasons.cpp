#include "telemetry/reasons.h"

#include <array>

namespace sluice::telemetry {

namespace {

constexpr std::array kReasons{
    ReasonInfo{"ok", 200, 0, Retry::no, Fault::agent, "OK"},
#define X(code, status, rpc, retry, fault, title) \
  ReasonInfo{#code, status, rpc, Retry::retry, Fault::fault, title},
#include "telemetry/reasons.def"
#undef X
};
static_assert(kReasons.size() == static_cast<std::size_t>(Reason::count_));

}  // namespace

const ReasonInfo& info(Reason reason) {
  const auto i = static_cast<std::size_t>(reason);
  return kReasons[i < kReasons.size() ? i : 0];
}

std::string_view to_string(Reason reason) { return info(reason).code; }

std::string_view to_string(Fault fault) {
  switch (fault) {
    case Fault::agent:
      return "agent";
    case Fault::policy:
      return "policy";
    case Fault::service:
      return "service";
  }
  return "service";
}

std::optional<Reason> parse_reason(std::string_view code) {
  for (std::size_t i = 0; i < kReasons.size(); ++i) {
    if (kReasons[i].code == code) return static_cast<Reason>(i);
  }
  return std::nullopt;
}

}  // namespace sluice::telemetry
