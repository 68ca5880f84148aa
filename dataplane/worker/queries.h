// What control asks about connections, answered a slice per turn: neither a table of a million
// entries nor a hundred questions at once hold up the loop.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

#include "runtime/loan.h"
#include "tcp/stack.h"

namespace sluice::worker {

class Queries {
 public:
  static constexpr std::size_t kWaiting = 32;
  static constexpr std::size_t kPlacesPerTurn = 256;  // of the connection table

  using Stacks = std::span<tcp::Stack* const>;  // by port index

  explicit Queries(unsigned worker) : worker_(static_cast<std::uint16_t>(worker)) {}

  using Question = std::variant<runtime::ConnectionQuery*, runtime::TraceQuery*>;

  // Answered by run(), in their order; given back as refused when too many wait.
  void add(Question question);
  // One slice of the oldest question: so many places, or the traces of one port. True if there was
  // one.
  bool run(Stacks stacks, Time now);
  bool pending() const { return count_ > 0; }

 private:
  // True when the question is answered.
  bool go_on(runtime::ConnectionQuery& query, Stacks stacks, Time now) const;
  bool go_on(runtime::TraceQuery& query, Stacks stacks, Time now) const;

  const std::uint16_t worker_;
  std::array<Question, kWaiting> waiting_{};  // a ring
  std::size_t first_ = 0, count_ = 0;
};

}  // namespace sluice::worker
