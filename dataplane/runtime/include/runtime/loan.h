// Memory that control lends to one worker (docs/decisions/0008): what it asks, with room for the
// answer. Control makes it, passes a pointer through the mailbox, and does not touch what the
// worker writes until it has been given back; the worker keeps no pointer into it after that.
//
// Whoever owns it keeps it until it is back or the worker has ended (control::Gateway::lend()).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "telemetry/connection_filter.h"
#include "telemetry/connection_record.h"

namespace sluice::runtime {

struct Loan {
  // Worker: sets, once, as its last access; control: reads.
  std::atomic<bool> returned{false};
  // The worker had no place for it. Worker: writes before it gives back; control: reads afterwards.
  bool refused = false;

  void give_back() { returned.store(true, std::memory_order_release); }
  bool is_back() const { return returned.load(std::memory_order_acquire); }

 protected:
  Loan() = default;
  ~Loan() = default;
};

// Which connections are there? Control writes the first part; the worker the second, before it
// gives back.
struct ConnectionQuery final : Loan {
  static constexpr std::uint64_t kEnd = ~std::uint64_t{0};

  telemetry::ConnectionFilter filter;
  std::uint64_t from = 0;  // 0, or where an earlier answer of this worker ended
  std::size_t most = 0;    // records; `found` has that capacity

  std::vector<telemetry::ConnectionRecord> found;
  std::uint64_t next = kEnd;  // where to go on; kEnd: nothing is left
};

// What has happened to them? Those of connections that live when both endpoints are given whole,
// and those kept.
struct TraceQuery final : Loan {
  telemetry::ConnectionFilter filter;
  std::size_t most = 0;  // traces; `found` has that capacity

  std::vector<telemetry::ConnectionTrace> found;
  std::size_t port = 0;  // the worker's own: how far it is
};

}  // namespace sluice::runtime
