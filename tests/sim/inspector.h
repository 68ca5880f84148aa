// Looks into a stack: the invariants that must hold between any two calls.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tcp/stack.h"

namespace sluice::tcp {

struct Inspector {
  // What is remembered of a stack from one look to the next.
  struct Watch {
    std::vector<std::uint64_t> edges;  // the right edge of each receive window
    struct Slot {
      std::uint32_t generation = 0;
      std::uint32_t last_ack_sent = 0;
      Time unacknowledged_since = kNever;
      std::uint32_t snd_max = 0;  // before a flush
    };
    std::vector<Slot> slots;
  };

  // What is wrong, or empty.
  static std::string check(const Stack& stack, std::vector<std::uint64_t>& edges);
  // The same, and: what arrived has been acknowledged in time, give or take `lateness`.
  static std::string check(const Stack& stack, Watch& watch, Time now, Micros lateness);
  // Around flush(): what was sent for the first time fits the congestion window.
  static void before_flush(const Stack& stack, Watch& watch);
  static std::string after_flush(const Stack& stack, const Watch& watch);
  // What is left in a stack that should be empty.
  static std::string leftovers(const Stack& stack);
  // One line per connection, for the message of a failure.
  static std::string describe(const Stack& stack, Time now);
  // A synchronized connection that has not ended.
  static bool is_open(const Stack& stack, const FlowKey& flow);
  static std::size_t slots(const Stack& stack);
  static std::size_t out_of_order_ranges(const Stack& stack);
  static std::size_t syn_cache(const Stack& stack);
};

}  // namespace sluice::tcp
