// Tables of what congestion control makes of a path, committed so that a change shows as a diff.
//
//   sim_tables [--folder F] [--write] [throughput|fairness]
//
// Without --write a difference is an error. Worlds are the same in each build and on each machine,
// and everything here is counted in integers.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "world.h"

namespace {

using namespace sluice;
using namespace sluice::sim;

// The hosts' addresses are theirs after a second (RFC 5227).
constexpr Micros kStart = Seconds{2};

// `flows` connections through one bottleneck from the gateway to a client, all of them with more to
// send than there is time.
Scenario bulk(std::size_t flows, const LinkPlan& link, std::size_t buffer) {
  Scenario s;
  s.seed = 1;
  s.hosts.resize(2);
  for (std::size_t i = 0; i < s.hosts.size(); ++i) {
    tcp::StackConfig& c = s.hosts[i].tcp;
    c.max_connections = c.syn_cache_entries = c.time_wait_entries = 128;
    c.receive_buffer = c.send_buffer = buffer;
    c.secret[0] = c.secret[1] = i + 1;
  }
  s.links = {link};
  for (std::size_t i = 0; i < flows; ++i) {
    StreamPlan stream;
    stream.start = kStart + Micros{static_cast<std::int64_t>(i * 10'000)};
    stream.end[1].to_send = std::size_t{1} << 40;
    s.streams.push_back(stream);
  }
  return s;
}

LinkPlan bottleneck(double loss, Micros round_trip, std::uint64_t rate, std::size_t queue) {
  LinkPlan link;
  link.direction[0].loss = loss;
  link.direction[0].rate = rate;
  link.direction[0].queue = queue;
  link.direction[0].delay = link.direction[1].delay = round_trip / 2;
  return link;
}

void run(World& world, Micros until) {
  const std::string wrong = world.run_until(world.scenario().begins + kStart + until);
  if (wrong.empty()) return;
  std::fprintf(stderr, "FAILED %s\n", wrong.c_str());
  std::exit(1);
}

std::string number(std::uint64_t value, int width) {
  char text[32];
  std::snprintf(text, sizeof text, "%*llu", width, static_cast<unsigned long long>(value));
  return text;
}

std::string throughput() {
  constexpr std::uint64_t kRate = 2'500'000;
  constexpr std::uint64_t kSeconds = 20;
  std::string table =
      "One connection: kB/s delivered in 20 s, by buffer of both ends, loss and round trip.\n"
      "Bottleneck of 2500 kB/s with a queue of 64 kB.\n\n"
      "buffer kB  loss ‰     2 ms    20 ms   100 ms   200 ms\n";
  for (const std::size_t buffer : {64U, 256U, 1024U}) {
    for (const unsigned loss : {0u, 1u, 10u, 50u}) {
      table += number(buffer, 9) + number(loss, 8);
      for (const int round_trip : {2, 20, 100, 200}) {
        const LinkPlan link =
            bottleneck(static_cast<double>(loss) / 1000, Millis{round_trip}, kRate, 64'000);
        World world(bulk(1, link, buffer * 1024), {.trace = false, .checked = false});
        run(world, Seconds{kSeconds});
        table += number(world.end(0, 0).received() / kSeconds / 1000, 9);
      }
      table += "\n";
    }
  }
  return table;
}

// Jain's index, (Σx)² / (n Σx²), in thousandths.
std::uint64_t jain(const std::vector<std::uint64_t>& shares) {
  std::uint64_t sum = 0, squares = 0;
  for (const std::uint64_t x : shares) {
    sum += x;
    squares += x * x;
  }
  return squares == 0 ? 0 : sum * sum * 1000 / (shares.size() * squares);
}

std::string fairness() {
  constexpr std::uint64_t kRate = 5'000'000;
  constexpr std::uint64_t kSeconds = 10;
  std::string table =
      "Flows through one bottleneck of 5000 kB/s with a queue of 100 kB, round trip 40 ms.\n"
      "Of the second ten seconds: kB/s of all, of the slowest and the fastest; Jain's index in "
      "thousandths;\nsegments sent again, in thousandths of those sent since the start.\n\n"
      "flows      all  slowest  fastest   Jain ‰   again ‰\n";
  for (const std::size_t flows : {1U, 2U, 4U, 8U, 16U, 32U, 64U}) {
    World world(bulk(flows, bottleneck(0, Millis{40}, kRate, 100'000), 256 * 1024),
                {.trace = false, .checked = false});
    std::vector<std::uint64_t> shares(flows);
    run(world, Seconds{kSeconds});
    for (std::size_t i = 0; i < flows; ++i) shares[i] = world.end(i, 0).received();
    run(world, Seconds{2 * kSeconds});
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < flows; ++i) {
      // In kB/s: squares of bytes would not fit.
      shares[i] = (world.end(i, 0).received() - shares[i]) / kSeconds / 1000;
      all += shares[i];
    }
    const tcp::Stats& sender = world.host(0)->stats();
    table += number(flows, 5) + number(all, 9) +
             number(*std::min_element(shares.begin(), shares.end()), 9) +
             number(*std::max_element(shares.begin(), shares.end()), 9) + number(jain(shares), 9) +
             number(sender.tcp_retrans_segs * 1000 / sender.tcp_out_segs, 10) + "\n";
  }
  return table;
}

// The first line that differs; 0 when none does.
std::size_t first_difference(std::string_view a, std::string_view b) {
  for (std::size_t line = 1;; ++line) {
    const std::size_t end_a = a.find('\n'), end_b = b.find('\n');
    if (a.substr(0, end_a) != b.substr(0, end_b)) return line;
    if (end_a == std::string_view::npos || end_b == std::string_view::npos) {
      return end_a == end_b ? 0 : line;
    }
    a.remove_prefix(end_a + 1);
    b.remove_prefix(end_b + 1);
  }
}

// False when the file has something else and may not be written.
bool settle(const std::string& folder, const std::string& name, const std::string& table,
            bool write) {
  const std::string path = folder + "/" + name + ".txt";
  if (write) {
    std::ofstream file(path);
    file << table;
    if (file.flush()) return true;
    std::fprintf(stderr, "FAILED: cannot write %s\n", path.c_str());
    return false;
  }
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "FAILED: cannot read %s\n", path.c_str());
    return false;
  }
  const std::string committed{std::istreambuf_iterator<char>(file), {}};
  const std::size_t line = first_difference(committed, table);
  if (line == 0) return true;
  std::fprintf(stderr,
               "FAILED: line %zu of %s has changed. It is now\n%s\nif that is meant: sim_tables "
               "--write %s\n",
               line, path.c_str(), table.c_str(), name.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder = "tests/sim/tables";
  bool write = false;
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--write") {
      write = true;
    } else if (word == "--folder" && i + 1 < argc) {
      folder = argv[++i];
    } else if (word == "throughput" || word == "fairness") {
      names.emplace_back(word);
    } else {
      std::fprintf(stderr, "usage: %s [--folder F] [--write] [throughput|fairness]\n", argv[0]);
      return 2;
    }
  }
  if (names.empty()) names = {"throughput", "fairness"};
  bool good = true;
  for (const std::string& name : names) {
    good &= settle(folder, name, name == "throughput" ? throughput() : fairness(), write);
  }
  return good ? 0 : 1;
}
