#include "core.h"

#include <algorithm>
#include <utility>

#include "agent_connection.h"

namespace sluice::worker {

Core::Core() = default;
Core::~Core() = default;

AgentConnection& Core::adopt(tcp::Connection& tcp, std::unique_ptr<crypto::Session> session,
                             Time now) {
  agents.push_back(std::make_unique<AgentConnection>(*this, tcp, std::move(session), now));
  return *agents.back();
}

std::size_t Core::run_timers(Time now, std::size_t most) {
  const std::size_t fired = agent_timers.expire(now, most, [now](TimerNode& node) {
    static_cast<AgentConnection::Timer&>(node).owner->on_timer(now);
  });
  return fired + call_timers.expire(now, most, [](TimerNode& node) {
    static_cast<call::Call::Timer&>(node).owner->on_deadline();
  });
}

std::size_t Core::run_connections(Time now) {
  std::size_t moved = 0;
  // Answers written on one side's turn go out in the same turn on the other: at most two rounds,
  // the rest is next turn's.
  for (int round = 0; round < 2; ++round) {
    context.pools->flush(now);
    for (std::size_t i = 0; i < dirty.size(); ++i) {
      AgentConnection& agent = *dirty[i];
      agent.clear_scheduled();
      agent.pump(now);
    }
    moved += dirty.size();
    dirty.clear();
    if (!context.pools->has_work()) break;
  }
  dead_calls.clear();
  dead_agents.clear();
  return moved;
}

Time Core::next_deadline() const {
  return std::min(agent_timers.next_deadline(), call_timers.next_deadline());
}

// Who is visited may go, and the last one takes its place: that one was visited before.
void Core::drain(Time now) {
  draining = true;
  for (std::size_t i = agents.size(); i-- > 0;) agents[i]->drain(now);
}

void Core::revoke_task(const state::TaskId& task) {
  for (std::size_t i = agents.size(); i-- > 0;) agents[i]->revoke_task(task);
}

void Core::abort_all() {
  while (!agents.empty()) agents.back()->abort();
  dirty.clear();
  dead_calls.clear();
  dead_agents.clear();
}

}  // namespace sluice::worker
