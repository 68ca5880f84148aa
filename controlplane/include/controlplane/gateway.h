// What the control plane needs of the data plane: the channels of the design, seen from the control
// thread. The daemon implements it over DPDK; tests implement it in memory.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policy/snapshot.h"
#include "runtime/channels.h"
#include "state/task_table.h"
#include "telemetry/counters.h"

namespace sluice::control {

struct WorkerView {
  unsigned index = 0;
  unsigned cpu = 0;
  bool running = false;
  std::uint64_t busy_cycles = 0, total_cycles = 0;  // TSC cycles since start
  std::uint64_t connections = 0;
  std::uint64_t policy_generation = 0;                // in use by this worker
  const telemetry::CounterBlock* counters = nullptr;  // lives as long as the gateway
};

struct AddressView {
  std::string address;  // with its prefix length, as configured
  std::string state;    // tentative | usable | duplicate
};

struct PortView {
  std::string name;
  bool link_up = false;
  std::string spreading;       // single | redirect | rss: how flows reach their workers
  std::string spreading_note;  // why not rss, with several workers
  std::vector<AddressView> addresses;
  // Lost in the device or its driver, before a worker or after it.
  std::uint64_t missed = 0, receive_errors = 0, receive_no_buffer = 0, transmit_errors = 0;
  std::uint16_t vlan = 0;  // 0: untagged
};

// Called by the control thread only; nothing here blocks.
class Gateway {
 public:
  virtual ~Gateway() = default;
  virtual void publish(std::unique_ptr<const policy::Snapshot> snapshot) = 0;
  // Frees what no worker can see any more; returns how much still waits for a grace period.
  virtual std::size_t reclaim() = 0;
  virtual std::vector<WorkerView> workers() const = 0;
  virtual std::vector<PortView> ports() const = 0;         // by port index
  virtual std::vector<std::string> listeners() const = 0;  // names, by listener id
  // False when that worker's mailbox is full.
  virtual bool send(unsigned worker, const runtime::Command& command) = 0;
  // The same with memory for the answer. It is kept until the worker has given it back or has
  // ended, whatever becomes of the caller's own pointer.
  virtual bool lend(unsigned worker, runtime::Command::Kind kind,
                    std::shared_ptr<runtime::Loan> loan) = 0;
  virtual std::optional<runtime::Event> next_event(unsigned worker) = 0;
  virtual state::TaskTable& tasks() = 0;
  // Cores, ports, memory: merged into GET /v1/info.
  virtual boost::json::object info() const = 0;
};

}  // namespace sluice::control
