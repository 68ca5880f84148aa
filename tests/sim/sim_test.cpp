// Runs worlds by seed; each seed is one world, the same each time.
//
//   sim_tcp [--seeds N] [--first K] [--jobs J]
//   sim_tcp --trace SEED [--faults A,B,…|none] [--streams 0,2,…]     each segment is printed
//   sim_tcp --shrink SEED                                            the least that still fails

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "runner.h"

namespace {

using namespace sluice::sim;

struct Arguments {
  std::uint64_t seeds = 1000, first = 1, jobs = 1;
  std::optional<std::uint64_t> trace, shrink;
  Selection selection;
};

bool read_number(std::string_view text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool read_streams(std::string_view text, std::vector<std::size_t>& streams) {
  while (!text.empty()) {
    const std::size_t end = text.find(',');
    if (!read_number(text.substr(0, end), streams.emplace_back())) return false;
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return true;
}

bool read_option(std::string_view name, std::string_view value, Arguments& a) {
  if (name == "--seeds") return read_number(value, a.seeds);
  if (name == "--first") return read_number(value, a.first);
  if (name == "--jobs") return read_number(value, a.jobs) && a.jobs > 0 && a.jobs <= 256;
  if (name == "--trace") return read_number(value, a.trace.emplace());
  if (name == "--shrink") return read_number(value, a.shrink.emplace());
  if (name == "--streams") return read_streams(value, a.selection.streams.emplace());
  if (name == "--faults") {
    a.selection.faults.emplace();
    return value == "none" || parse_faults(value, *a.selection.faults);
  }
  return false;
}

int report(const Totals& t) {
  const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%llu worlds, %llu failed; %llu streams, %llu given up; %llu steps, %llu connections, "
      "%llu bytes, %llu retransmissions, %llu recoveries, %llu timeouts, %llu probes, %llu out of "
      "order\n",
      n(t.worlds), n(t.failed), n(t.streams), n(t.given_up), n(t.steps), n(t.connections),
      n(t.bytes), n(t.retransmissions), n(t.recoveries), n(t.timeouts), n(t.probes),
      n(t.out_of_order));
  if (t.too_many_given_up()) std::fprintf(stderr, "FAILED: too many streams were given up\n");
  return t.failed == 0 && !t.too_many_given_up() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  a.jobs = static_cast<std::uint64_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 < argc && read_option(argv[i], argv[i + 1], a)) continue;
    std::fprintf(
        stderr,
        "usage: %s [--seeds N] [--first K] [--jobs J]\n"
        "       %s --trace SEED|--shrink SEED [--faults A,B,...|none] [--streams 0,2,...]\n",
        argv[0], argv[0]);
    return 2;
  }
  if (a.shrink) {
    a.selection.seed = *a.shrink;
    const Selection small = shrink(a.selection);
    Totals totals;
    const std::string wrong = run_world(small, false, totals);
    std::printf("%s\n  again: sim_tcp %s\n", wrong.empty() ? "it does not fail" : wrong.c_str(),
                small.options().c_str());
    return wrong.empty() ? 0 : 1;
  }
  if (a.trace) {
    a.selection.seed = *a.trace;
    Totals totals;
    const std::string wrong = run_world(a.selection, true, totals);
    if (!wrong.empty()) std::fprintf(stderr, "FAILED %s\n", wrong.c_str());
    return report(totals);
  }
  return report(run_seeds(a.first, a.seeds, static_cast<unsigned>(a.jobs)));
}
