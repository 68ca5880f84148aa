// A gateway of one port: real workers on their EAL threads and the real clock, and the test's
// thread as the host on the other end of the wire, agents and tool alike.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "call/example_policy.h"
#include "eal_environment.h"
#include "wire.h"
#include "worker/worker.h"

namespace sluice::worker {

class WorkerBench : public port::WithPool {
 protected:
  // Listeners and certificates may be changed before.
  void start(unsigned workers = 1);
  // Every worker ends with 0.
  void stop();
  void TearDown() override;

  // Turns the outside until `done` says so; false, and a failed test, when it never does.
  template <typename Done>
  [[nodiscard]] bool until(Done&& done) {
    const Time give_up = shared.clock->mono() + Seconds{60};
    while (!done()) {
      const Time now = shared.clock->mono();
      if (now > give_up) return false;
      outside->turn(now);
    }
    return true;
  }
  void command(unsigned worker, runtime::Command::Kind kind, const state::TaskId& id = {});
  void publish(std::uint64_t generation);

  // A connection to a listener, whose flow `worker` owns.
  test::Peer& connect(unsigned worker = 0, std::uint16_t listener = kHttp,
                      std::string_view address = "198.18.1.1");
  std::string request(std::string_view path) const;
  // The next record of this worker, waited for.
  telemetry::CallRecord next_record(unsigned worker = 0);
  std::uint64_t count(telemetry::Counter c, unsigned worker = 0) const {
    return workers.at(worker)->counters().get(c);
  }

  static constexpr std::uint16_t kHttp = 80;

  Shared shared;
  std::vector<std::unique_ptr<Worker>> workers;
  std::unique_ptr<JoinedPorts> ports;
  std::optional<Host> outside;
  const crypto::SigningKey key = test::example_key();
};

}  // namespace sluice::worker
