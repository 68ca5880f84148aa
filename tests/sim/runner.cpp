#include "runner.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "world.h"

namespace sluice::sim {
namespace {

void add(Totals& t, const tcp::Stats& s) {
  t.connections += s.tcp_active_opens;
  t.bytes += s.tcp_data_octets_in;
  t.retransmissions += s.tcp_retrans_segs;
  t.recoveries += s.tcp_fast_retransmits;
  t.timeouts += s.tcp_timeouts;
  t.probes += s.tcp_zero_window_probes;
  t.out_of_order += s.tcp_out_of_order;
}

void add(Totals& t, const Totals& o) {
  t.worlds += o.worlds;
  t.failed += o.failed;
  t.steps += o.steps;
  t.connections += o.connections;
  t.bytes += o.bytes;
  t.retransmissions += o.retransmissions;
  t.recoveries += o.recoveries;
  t.timeouts += o.timeouts;
  t.probes += o.probes;
  t.out_of_order += o.out_of_order;
  t.streams += o.streams;
  t.given_up += o.given_up;
}

// What a worker process tells its parent, also when it dies.
struct Report {
  Totals totals;
  std::uint64_t seed = 0;  // being run; 0 when all are done
};

void work(Report& report, std::uint64_t first, std::uint64_t end, unsigned step) {
  for (std::uint64_t seed = first; seed < end; seed += step) {
    report.seed = seed;
    const std::string wrong = run_world({.seed = seed}, false, report.totals);
    if (wrong.empty()) continue;
    std::fprintf(stderr,
                 "FAILED %s\n  again: sim_tcp --trace %llu    smaller: sim_tcp --shrink %llu\n",
                 wrong.c_str(), static_cast<unsigned long long>(seed),
                 static_cast<unsigned long long>(seed));
  }
  report.seed = 0;
}

// Runs a world in a child, so that it may crash. True when it failed.
bool fails(const Selection& selection) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) {
    std::perror("fork");
    std::exit(2);
  }
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    Totals totals;
    _exit(run_world(selection, false, totals).empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

// Removes from `items` what the failure does not need: halves, then quarters, down to single ones.
template <typename Item, typename Test>
void minimise(std::vector<Item>& items, Test still_fails) {
  for (std::size_t chunk = std::max<std::size_t>(items.size() / 2, 1); !items.empty();) {
    bool removed = false;
    for (std::size_t at = 0; at < items.size();) {
      std::vector<Item> fewer = items;
      const auto begin = fewer.begin() + static_cast<std::ptrdiff_t>(at);
      fewer.erase(begin, begin + static_cast<std::ptrdiff_t>(std::min(chunk, items.size() - at)));
      if (still_fails(fewer)) {
        items = std::move(fewer);
        removed = true;
      } else {
        at += chunk;
      }
    }
    if (chunk > 1) {
      chunk /= 2;
    } else if (!removed) {
      return;
    }
  }
}

FaultSet set_of(const std::vector<std::size_t>& faults) {
  FaultSet set;
  for (const std::size_t f : faults) set.set(f);
  return set;
}

}  // namespace

Scenario Selection::scenario() const {
  Scenario s = Scenario::make(seed, faults.value_or(Scenario::draw(seed)));
  if (!streams) return s;
  // The others keep their numbers, and so their random numbers: they just never begin.
  for (std::size_t i = 0; i < s.streams.size(); ++i) {
    s.streams[i].absent = std::find(streams->begin(), streams->end(), i) == streams->end();
  }
  return s;
}

std::string Selection::options() const {
  std::string text = "--trace " + std::to_string(seed);
  if (faults) text += " --faults " + (faults->none() ? "none" : text_of(*faults));
  if (streams) {
    text += " --streams ";
    for (std::size_t i = 0; i < streams->size(); ++i) {
      text += (i == 0 ? "" : ",") + std::to_string((*streams)[i]);
    }
  }
  return text;
}

std::string run_world(const Selection& selection, bool trace, Totals& totals) {
  World world(selection.scenario(), {.trace = trace});
  std::string wrong = world.run();
  ++totals.worlds;
  totals.failed += !wrong.empty();
  totals.steps += world.steps();
  totals.streams += world.streams();
  totals.given_up += world.given_up();
  add(totals, world.lost_stats());
  for (std::size_t i = 0; i < world.hosts(); ++i) {
    if (world.host(i) != nullptr) add(totals, world.host(i)->stats());
  }
  return wrong;
}

Totals run_seeds(std::uint64_t first, std::uint64_t count, unsigned jobs) {
  void* shared = mmap(nullptr, jobs * sizeof(Report), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    std::perror("mmap");
    std::exit(2);
  }
  auto* reports = new (shared) Report[jobs];
  std::vector<pid_t> children;
  std::fflush(nullptr);
  for (unsigned job = 0; job < jobs; ++job) {
    const pid_t child = fork();
    if (child < 0) {
      std::perror("fork");
      std::exit(2);
    }
    if (child == 0) {
      work(reports[job], first + job, first + count, jobs);
      std::fflush(nullptr);
      _exit(0);
    }
    children.push_back(child);
  }
  Totals totals;
  for (unsigned job = 0; job < jobs; ++job) {
    int status = 0;
    waitpid(children[job], &status, 0);
    add(totals, reports[job].totals);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    ++totals.failed;
    std::fprintf(stderr, "FAILED seed %llu: the process died\n",
                 static_cast<unsigned long long>(reports[job].seed));
  }
  munmap(shared, jobs * sizeof(Report));
  return totals;
}

Selection shrink(const Selection& failing) {
  if (!fails(failing)) return failing;
  Selection small = failing;
  const Scenario whole = failing.scenario();
  std::vector<std::size_t> faults, streams;
  for (std::size_t i = 0; i < kFaults; ++i) {
    if (whole.faults.test(i)) faults.push_back(i);
  }
  minimise(faults, [&](const std::vector<std::size_t>& fewer) {
    Selection s = small;
    s.faults = set_of(fewer);
    return fails(s);
  });
  small.faults = set_of(faults);
  for (std::size_t i = 0; i < small.scenario().streams.size(); ++i) streams.push_back(i);
  minimise(streams, [&](const std::vector<std::size_t>& fewer) {
    Selection s = small;
    s.streams = fewer;
    return fails(s);
  });
  small.streams = streams;
  return small;
}

}  // namespace sluice::sim
