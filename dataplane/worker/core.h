// What the parts of one worker share within its loop. Private to worker/.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/timer_wheel.h"
#include "call/call.h"
#include "call/context.h"
#include "crypto/contexts.h"
#include "http/connection.h"
#include "tls/stream.h"
#include "worker/worker.h"

namespace sluice::worker {

class AgentConnection;

// Limits of an agent's connection that are not HTTP's own.
inline constexpr Micros kHandshakeTime{10'000'000};
inline constexpr Micros kLingerTime{2'000'000};  // reading on after our FIN, RFC 9112 section 9.6
inline constexpr std::size_t kBytesPerTurn = std::size_t{64} * 1024;

struct Core {
  call::Context context;
  http::ConnectionLimits http_limits;
  tls::HandshakeBudget handshakes;
  TimerWheel agent_timers;
  TimerWheel call_timers;
  std::array<std::uint8_t, 16384> scratch;  // one read of clear bytes
  bool draining = false;

  std::vector<std::unique_ptr<AgentConnection>> agents;
  std::vector<AgentConnection*> dirty;
  // Ended in this turn; destroyed at its end, when no caller is inside them any more.
  std::vector<std::unique_ptr<AgentConnection>> dead_agents;
  std::vector<std::unique_ptr<call::Call>> dead_calls;
};

}  // namespace sluice::worker
