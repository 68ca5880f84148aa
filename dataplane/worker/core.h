// What the parts of one worker share within its loop. Private to worker/.
#pragma once

#include <array>
#include <cstddef>
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
inline constexpr Micros kLingerTime{2'000'000};   // reading on after our FIN, RFC 9112 section 9.6
inline constexpr Micros kDeliveryCheck{250'000};  // has it got our last bytes?
inline constexpr std::size_t kBytesPerTurn = std::size_t{64} * 1024;
// Handshakes may begin so many per turn; each costs its core hundreds of microseconds.
inline constexpr unsigned kFullHandshakesPerTurn = 1;

// The agents' connections of one worker and what runs on them. One turn is run_timers(), the TCP
// stacks' dispatch, run_connections().
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

  Core();
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // A new connection; null `session`: without TLS. What is returned observes it.
  AgentConnection& adopt(tcp::Connection& tcp, std::unique_ptr<crypto::Session> session, Time now);
  // Returns how many fired.
  std::size_t run_timers(Time now, std::size_t most);
  // Moves what was written in this turn out on both sides, and destroys what ended in it. Returns
  // how many connections had something to move.
  std::size_t run_connections(Time now);
  Time next_deadline() const;

  // No new requests on what is open; it ends once the running ones are done.
  void drain(Time now);
  void undrain() { draining = false; }
  void revoke_task(const state::TaskId& task);
  void abort_all();
};

}  // namespace sluice::worker
