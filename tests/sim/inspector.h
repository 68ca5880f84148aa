// Looks into a stack: the invariants that must hold between any two calls.
#pragma once

#include <string>
#include <vector>

#include "tcp/stack.h"

namespace sluice::tcp {

struct Inspector {
  // What is wrong, or empty. `edges` remembers the right edge of each receive window.
  static std::string check(const Stack& stack, std::vector<std::uint64_t>& edges);
  // What is left in a stack that should be empty.
  static std::string leftovers(const Stack& stack);
  // One line per connection, for the message of a failure.
  static std::string describe(const Stack& stack, Time now);
  static std::size_t out_of_order_ranges(const Stack& stack);
  static std::size_t syn_cache(const Stack& stack);
};

}  // namespace sluice::tcp
