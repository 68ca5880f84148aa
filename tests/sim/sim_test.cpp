// Runs worlds by seed: `sim_tcp [--seeds N] [--first K]`. Each seed is one world, the same each
// time.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "world.h"

int main(int argc, char** argv) {
  using namespace sluice::tcp;
  std::uint64_t seeds = 200, first = 1, trace = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--seeds") == 0) {
      seeds = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (std::strcmp(argv[i], "--first") == 0) {
      first = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (std::strcmp(argv[i], "--trace") == 0) {
      trace = std::strtoull(argv[i + 1], nullptr, 10);
      first = trace;
      seeds = 1;
    } else {
      std::fprintf(stderr, "usage: %s [--seeds N] [--first K] [--trace SEED]\n", argv[0]);
      return 2;
    }
  }
  std::size_t failed = 0, steps = 0;
  std::uint64_t bytes = 0, retransmitted = 0, recoveries = 0, timeouts = 0, probes = 0,
                overtaken = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    Random random(seed ^ 0x5eed);
    World world(seed, Profile::random(random));
    world.trace = seed == trace;
    const std::string wrong = world.run();
    steps += world.steps;
    for (const auto& node : world.nodes) {
      const Stats& s = node->stack.stats();
      bytes += s.tcp_data_octets_in;
      retransmitted += s.tcp_retrans_segs;
      recoveries += s.tcp_fast_retransmits;
      timeouts += s.tcp_timeouts;
      probes += s.tcp_zero_window_probes;
      overtaken += s.tcp_out_of_order;
    }
    if (!wrong.empty()) {
      ++failed;
      std::fprintf(stderr, "FAILED %s\n", wrong.c_str());
    }
  }
  std::printf(
      "%llu seeds, %zu failed, %zu steps, %llu bytes, %llu retransmissions, %llu recoveries, "
      "%llu timeouts, %llu probes, %llu out of order\n",
      static_cast<unsigned long long>(seeds), failed, steps, static_cast<unsigned long long>(bytes),
      static_cast<unsigned long long>(retransmitted), static_cast<unsigned long long>(recoveries),
      static_cast<unsigned long long>(timeouts), static_cast<unsigned long long>(probes),
      static_cast<unsigned long long>(overtaken));
  return failed == 0 ? 0 : 1;
}
