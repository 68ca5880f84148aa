// A poll-mode worker: the one place that knows the whole data plane.
//
// The daemon makes one Shared for the process and one Worker per core, and runs Worker::run() on
// the core's EAL thread. Everything a worker and the control thread both touch is in Shared or in
// the channels named in runtime/channels.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "base/time.h"
#include "crypto/contexts.h"
#include "ip/interface.h"
#include "policy/snapshot.h"
#include "port/packet_pool.h"
#include "port/port.h"
#include "port/redirect.h"
#include "runtime/channels.h"
#include "runtime/clock.h"
#include "runtime/idle.h"
#include "runtime/qsbr.h"
#include "state/task_table.h"
#include "telemetry/counters.h"

namespace sluice::worker {

enum class ListenerProtocol : std::uint8_t { https, http, connect };

struct Listener {
  std::string name;
  std::uint16_t port_index = 0;  // in Shared::ports
  std::uint16_t tcp_port = 0;
  ListenerProtocol protocol = ListenerProtocol::https;
  std::string certificate;  // name of a certificate in Shared::certificates
};

struct PortAddresses {
  std::vector<IpPrefix> addresses;
  std::vector<IpAddress> gateways;
  std::uint8_t duplicate_probes = 0;  // ip::InterfaceConfig, like the next
  std::uint8_t hop_limit = 64;
};

// Which of a port's addresses are in use (ip::AddressMask). Two words, each right by itself; who
// reads them together sees a change of both within a turn.
struct AddressBoard {
  std::atomic<std::uint64_t> usable{0};     // worker 0: w, other workers and control: r
  std::atomic<std::uint64_t> duplicate{0};  // worker 0: w, other workers and control: r
};

// What the owner of a port's neighbour table tells the other workers' replicas.
struct NeighbourNews {
  std::uint16_t port_index = 0;
  ip::NeighbourUpdate update;
};

// Lives as long as the process. Comments name writer and readers of what changes.
struct Shared {
  std::unique_ptr<port::PacketPool> packets;  // outlives ports and redirect
  std::vector<std::unique_ptr<port::Port>> ports;
  std::unique_ptr<port::Redirect> redirect;             // null with one worker
  std::vector<std::unique_ptr<runtime::Waker>> wakers;  // one per worker
  // By worker, none for the first: worker 0 owns the neighbour tables and writes, the others read.
  std::vector<std::unique_ptr<runtime::SpscRing<NeighbourNews>>> neighbour_news;
  std::vector<PortAddresses> addresses;                       // by port index
  std::vector<std::unique_ptr<AddressBoard>> address_boards;  // by port index
  std::uint16_t agents_port = 0;  // where listeners are unless they say otherwise
  std::uint16_t tools_port = 0;   // where upstream connections leave from by default
  std::vector<Listener> listeners;
  std::uint64_t secret[2] = {};  // process-wide, from getrandom
  std::unique_ptr<runtime::Qsbr> qsbr;
  std::unique_ptr<runtime::SnapshotSlot<policy::Snapshot>> snapshot;  // control: w, workers: r
  std::unique_ptr<state::TaskTable> tasks;                            // atomics inside
  // Control replaces on file change, RCU inside. Null: no certificate is configured.
  std::unique_ptr<crypto::ServerContexts> certificates;
  std::unique_ptr<runtime::Clock> clock;
};

// What REST and metrics read of a worker.
struct WorkerStatus {
  std::atomic<std::uint64_t> busy_cycles{0};        // worker: w, control: r
  std::atomic<std::uint64_t> total_cycles{0};       // worker: w, control: r
  std::atomic<std::uint64_t> connections{0};        // worker: w, control: r
  std::atomic<std::uint64_t> policy_generation{0};  // worker: w, control: r; the one in use
  std::atomic<bool> running{false};                 // worker: w, control: r
};

class Worker {
 public:
  Worker(Shared& shared, unsigned index, unsigned cpu, unsigned worker_count);
  ~Worker();

  // [worker thread] Until a stop command. Returns 0.
  int run();

  // [control] channels
  runtime::Mailbox& mailbox();
  runtime::EventRing& events();
  const telemetry::CounterBlock& counters() const;
  const WorkerStatus& status() const;
  unsigned index() const;
  unsigned cpu() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::worker
