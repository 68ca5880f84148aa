#include "telemetry/connection_record.h"

namespace sluice::telemetry {

std::string_view to_string(TcpState state) {
  constexpr std::string_view kNames[] = {"closed",     "syn_sent",   "syn_received", "established",
                                         "fin_wait_1", "fin_wait_2", "close_wait",   "closing",
                                         "last_ack",   "time_wait"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(TcpState::count_));
  const auto i = static_cast<std::size_t>(state);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

std::string_view to_string(TcpCloseReason reason) {
  constexpr std::string_view kNames[] = {"none",      "graceful",    "reset_by_peer", "refused",
                                         "timed_out", "unreachable", "aborted"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(TcpCloseReason::count_));
  const auto i = static_cast<std::size_t>(reason);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

}  // namespace sluice::telemetry
