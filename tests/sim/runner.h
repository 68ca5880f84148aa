// Runs worlds: one, many on all cores, or smaller and smaller ones that still fail.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scenario.h"

namespace sluice::sim {

// A world by its seed, with less in it than the seed drew.
struct Selection {
  std::uint64_t seed = 0;
  std::optional<FaultSet> faults{};                   // nothing: as drawn
  std::optional<std::vector<std::size_t>> streams{};  // nothing: all

  Scenario scenario() const;
  // The options of the command line that run it again.
  std::string options() const;
};

struct Totals {
  std::uint64_t worlds = 0, failed = 0, steps = 0, streams = 0, given_up = 0, connections = 0,
                bytes = 0, retransmissions = 0, recoveries = 0, timeouts = 0, probes = 0,
                out_of_order = 0;
  // More streams given up than bad luck explains.
  bool too_many_given_up() const { return given_up > 3 + streams / 1000; }
};

// What went wrong, or empty. Adds to `totals`.
std::string run_world(const Selection& selection, bool trace, Totals& totals);

// Seeds first to first + count - 1, `jobs` processes. Prints failures as they come.
Totals run_seeds(std::uint64_t first, std::uint64_t count, unsigned jobs);

// The smallest selection found that still fails. Each world runs in a process of its own.
Selection shrink(const Selection& failing);

}  // namespace sluice::sim
