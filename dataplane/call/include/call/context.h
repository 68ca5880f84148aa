// What the calls of one worker share: policy of this turn, scratch memory, caches and exits.
#pragma once

#include <cstdint>

#include "base/ip_address.h"
#include "base/time.h"
#include "call/identity.h"
#include "http/connection.h"
#include "policy/decide.h"
#include "policy/snapshot.h"
#include "state/task_table.h"
#include "telemetry/call_record.h"
#include "telemetry/counters.h"
#include "upstream/pool.h"

namespace sluice::call {

class Call;

// What the worker does for calls.
class Host {
 public:
  // A clock for durations within a turn, nanoseconds from an arbitrary origin.
  virtual std::uint64_t nanos() = 0;
  // 64 random bits: span ids, endpoint choice.
  virtual std::uint64_t random() = 0;
  // A call has ended; copies the record to the event ring.
  virtual void record(const telemetry::CallRecord& record) = 0;
  // Call::on_deadline() comes at or after `at`; kNever disarms.
  virtual void arm(Call& call, Time at) = 0;

 protected:
  ~Host() = default;
};

struct Context {
  const policy::Snapshot* snapshot = nullptr;  // of this turn; never kept longer
  Now now;
  policy::Scratch scratch;
  IdentityCache identities;
  state::TaskTable* tasks = nullptr;
  upstream::Pools* pools = nullptr;
  telemetry::CounterBlock* counters = nullptr;
  Host* host = nullptr;
  std::uint16_t worker = 0;
};

// The agent's connection, as a call sees it.
class AgentLink {
 public:
  virtual http::ServerConnection& http() = 0;
  virtual const Endpoint& peer() const = 0;
  // Something was written to http(): move it out before the turn ends.
  virtual void schedule() = 0;
  // The call is complete on all sides; it is destroyed at the end of the turn.
  virtual void call_finished(Call& call) = 0;

  TokenMemo token_memo;

 protected:
  ~AgentLink() = default;
};

}  // namespace sluice::call
