#include "scenario.h"

#include <algorithm>

#include "impair/random.h"

namespace sluice::sim {
namespace {

using impair::Random;

constexpr std::array<std::string_view, kFaults> kNames = {
#define X(name) #name,
    SLUICE_SIM_FAULTS(X)
#undef X
};

constexpr std::array kLossy = {Fault::loss,         Fault::burst,         Fault::corrupt,
                               Fault::narrow,       Fault::blackout,      Fault::exact_drops,
                               Fault::full_tx_ring, Fault::paused_worker, Fault::mtu_black_hole};

Micros micros(std::uint64_t n) { return Micros{static_cast<std::int64_t>(n)}; }

// A probability in steps of a thousandth.
double share(Random& r, std::uint64_t least, std::uint64_t most) {
  return static_cast<double>(r.between(least, most)) / 1000;
}

class Maker {
 public:
  Maker(std::uint64_t seed, const FaultSet& faults) {
    s_.seed = seed;
    s_.faults = faults;
    s_.ipv6 = has(Fault::ipv6);
    s_.begins = Time{micros(seed * 7919 % 100'000'000)};
  }

  Scenario make() {
    Random r(s_.seed, 100);
    const std::size_t clients = has(Fault::crowd) ? r.between(2, 8) : has(Fault::relay) ? 2 : 1;
    for (std::size_t i = 0; i <= clients; ++i) s_.hosts.push_back(host(i));
    for (std::size_t i = 0; i < clients; ++i) s_.links.push_back(link(i));
    std::size_t streams = r.chance(0.5) ? 1 : r.between(2, 8);
    if (has(Fault::crowd)) streams = r.between(10, 60);
    for (std::size_t i = 0; i < streams; ++i) s_.streams.push_back(stream(i, clients));
    return std::move(s_);
  }

 private:
  bool has(Fault f) const { return s_.faults.test(static_cast<std::size_t>(f)); }
  // The random numbers of one fault at one place.
  Random random(Fault f, std::size_t place) const {
    return Random(s_.seed, 1000 * (place + 1) + static_cast<std::size_t>(f));
  }

  HostPlan host(std::size_t i) {
    HostPlan h;
    Random r(s_.seed, 200 + i);
    tcp::StackConfig& c = h.tcp;
    c.max_connections = 256;
    c.syn_cache_entries = 128;
    c.time_wait_entries = 128;
    c.secret[0] = r.next();
    c.secret[1] = r.next();
    c.connect_timeout = Seconds{120};
    if (has(Fault::small_buffers)) {
      Random f = random(Fault::small_buffers, i);
      if (f.chance(0.7)) c.receive_buffer = f.between(5000, 70'000);
      if (f.chance(0.7)) c.send_buffer = f.between(2000, 60'000);
    }
    if (has(Fault::odd_mtu)) {
      Random f = random(Fault::odd_mtu, i);
      c.mtu =
          static_cast<std::uint16_t>(f.between(s_.ipv6 ? 1280 : 600, f.chance(0.5) ? 1500 : 9000));
    }
    if (has(Fault::little_memory)) {
      Random f = random(Fault::little_memory, i);
      if (f.chance(0.7)) c.memory_limit = f.between(100'000, 400'000);
    }
    if (has(Fault::full_tx_ring)) {
      Random f = random(Fault::full_tx_ring, i);
      if (f.chance(0.7)) h.refuse = share(f, 0, 300);
      if (f.chance(0.5)) h.refuse_all = share(f, 1, 10);
      h.refuse_time = micros(f.between(1000, 300'000));
    }
    if (has(Fault::no_allocation)) {
      Random f = random(Fault::no_allocation, i);
      h.no_allocation = share(f, 10, 300);
    }
    if (has(Fault::late_timers)) {
      Random f = random(Fault::late_timers, i);
      if (f.chance(0.7)) h.late = micros(f.between(1000, 200'000));
    }
    if (has(Fault::paused_worker)) {
      Random f = random(Fault::paused_worker, i);
      h.pause = share(f, 0, 5);
      h.pause_time = micros(f.between(1000, f.chance(0.2) ? 5'000'000 : 100'000));
    }
    if (has(Fault::few_ports)) h.ports = 16;
    if (has(Fault::large_segments)) {
      Random f = random(Fault::large_segments, i);
      if (f.chance(0.8)) h.large = f.between(2000, 65'000);
    }
    if (has(Fault::vanish) && i > 0) {
      Random f = random(Fault::vanish, i);
      if (f.chance(0.5)) {
        h.down = s_.begins + micros(f.below(4'000'000));
        if (f.chance(0.5)) h.up = h.down + micros(f.between(1000, 200'000'000));
      }
    }
    return h;
  }

  LinkPlan link(std::size_t i) {
    LinkPlan l;
    for (std::size_t d = 0; d < 2; ++d) l.direction[d] = direction(2 * i + d);
    return l;
  }

  impair::Profile direction(std::size_t place) {
    impair::Profile p;
    Random r(s_.seed, 300 + place);
    p.delay = micros(r.between(20, 3000));
    if (has(Fault::far)) p.delay = micros(random(Fault::far, place).between(3000, 120'000));
    if (has(Fault::loss)) {
      Random f = random(Fault::loss, place);
      p.loss = share(f, 0, f.chance(0.1) ? 250 : 60);
    }
    if (has(Fault::burst)) {
      Random f = random(Fault::burst, place);
      if (f.chance(0.7)) p.gilbert = {share(f, 1, 20), share(f, 200, 600), 0, share(f, 500, 1000)};
    }
    if (has(Fault::reorder)) {
      Random f = random(Fault::reorder, place);
      p.reorder = share(f, 0, 200);
      p.reorder_by = static_cast<std::uint32_t>(f.between(1, f.chance(0.2) ? 20 : 4));
    }
    if (has(Fault::jitter)) {
      Random f = random(Fault::jitter, place);
      p.jitter = micros(f.below(f.chance(0.2) ? 40'000 : 2000));
      p.distribution = static_cast<impair::Jitter>(f.below(3));
      p.ordered = f.chance(0.3);
    }
    if (has(Fault::duplicate)) p.duplicate = share(*fault_random(Fault::duplicate, place), 0, 100);
    if (has(Fault::corrupt)) p.corrupt = share(*fault_random(Fault::corrupt, place), 0, 50);
    if (has(Fault::narrow)) {
      Random f = random(Fault::narrow, place);
      p.rate = f.between(20'000, f.chance(0.5) ? 200'000 : 5'000'000);
      // Less than a few packets would be a loss of its own.
      p.queue = std::max<std::size_t>(20'000, f.between(p.rate / 100, p.rate / 4));
    }
    if (has(Fault::small_path_mtu)) {
      Random f = random(Fault::small_path_mtu, place);
      p.mtu = static_cast<std::uint16_t>(f.between(s_.ipv6 ? 1280 : 576, 1499));
    }
    if (has(Fault::mtu_black_hole)) {
      Random f = random(Fault::mtu_black_hole, place);
      p.mtu = static_cast<std::uint16_t>(f.between(s_.ipv6 ? 1280 : 576, 1499));
      p.mtu_silent = true;
    }
    if (has(Fault::blackout)) {
      Random f = random(Fault::blackout, place / 2);
      for (std::uint64_t n = f.below(3); n > 0; --n) {
        p.blackouts.push_back(
            {micros(f.below(5'000'000)), micros(f.below(f.chance(0.2) ? 30'000'000 : 2'000'000))});
      }
    }
    if (has(Fault::exact_drops)) exact_drops(p, random(Fault::exact_drops, place));
    return p;
  }

  Random* fault_random(Fault f, std::size_t place) {
    scratch_ = random(f, place);
    return &scratch_;
  }

  static void exact_drops(impair::Profile& p, Random f) {
    for (std::uint64_t n = f.between(1, 3); n > 0; --n) {
      impair::Rule rule;
      rule.nth = static_cast<std::uint32_t>(f.between(1, 3));
      rule.count = static_cast<std::uint32_t>(f.between(1, 3));
      switch (f.below(5)) {
        case 0:
          rule.flags = 2;  // SYN
          break;
        case 1:
          rule.flags = 1;  // FIN
          break;
        case 2:  // a pure ACK
          rule.flags = 16;
          rule.clear = 3;
          rule.most = 0;
          rule.nth = static_cast<std::uint32_t>(f.between(1, 20));
          break;
        case 3:  // text from some place on, each time it is sent
          rule.seq_from = static_cast<std::uint32_t>(f.below(50'000));
          rule.least = 1;
          break;
        default:
          rule.least = 1;
          rule.nth = static_cast<std::uint32_t>(f.between(1, 40));
          if (f.chance(0.5)) {
            rule.action = impair::Rule::Action::delay;
            rule.delay = micros(f.below(2'000'000));
          }
          break;
      }
      p.rules.push_back(rule);
    }
  }

  StreamPlan stream(std::size_t i, std::size_t clients) {
    StreamPlan s;
    Random r(s_.seed, 10'000 + i);
    s.client = r.between(1, clients);
    if (r.chance(0.3)) s.kind = StreamPlan::Kind::from_gateway;
    if (has(Fault::relay) && clients >= 2 && random(Fault::relay, i).chance(0.5)) {
      s.kind = StreamPlan::Kind::relayed;
      s.server = s.client % clients + 1;
    }
    s.start = has(Fault::crowd) ? micros(r.below(3'000'000))
                                : micros(r.chance(0.5) ? 0 : r.below(500'000));
    const bool large = !has(Fault::crowd) && r.chance(0.15);
    for (EndPlan& e : s.end) {
      const bool is_short = has(Fault::crowd) ? r.chance(0.8) : r.chance(0.2);
      e.to_send = r.chance(0.1) ? 0 : r.between(1, is_short ? 4000 : large ? 600'000 : 60'000);
      e.close_early = r.chance(0.5);
    }
    for (std::size_t side = 0; side < 2; ++side) misbehave(s, side, 2 * i + side);
    if (has(Fault::half_close)) {
      Random f = random(Fault::half_close, i);
      if (f.chance(0.5)) s.end[f.below(2)].wait_for_end = true;
    }
    return s;
  }

  void misbehave(StreamPlan& s, std::size_t side, std::size_t place) {
    EndPlan& e = s.end[side];
    if (has(Fault::slow_reader)) {
      Random f = random(Fault::slow_reader, place);
      e.pause = share(f, 0, 20);
      // Shorter than what a peer that has let go of its end waits for a closed window to open.
      e.pause_time = micros(f.chance(0.1) ? 40'000'000 : 3'000'000);
    }
    if (has(Fault::short_writes)) {
      Random f = random(Fault::short_writes, place);
      if (f.chance(0.7)) {
        e.to_send = std::min<std::size_t>(e.to_send, 5000);
        e.write_size = f.between(1, 200);
        e.write_gap = micros(f.below(f.chance(0.2) ? 500'000 : 20'000));
      }
    }
    if (has(Fault::abort)) {
      Random f = random(Fault::abort, place);
      if (f.chance(0.3)) {
        e.abort_after = f.below(s.end[1 - side].to_send + 1);
        e.abort_politely = f.chance(0.5);
      }
    }
  }

  Scenario s_;
  Random scratch_;
};

}  // namespace

std::string_view name_of(Fault fault) { return kNames[static_cast<std::size_t>(fault)]; }

bool parse_faults(std::string_view text, FaultSet& faults) {
  while (!text.empty()) {
    const std::size_t end = text.find(',');
    const std::string_view word = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    const auto* found = std::find(kNames.begin(), kNames.end(), word);
    if (found == kNames.end()) return false;
    faults.set(static_cast<std::size_t>(found - kNames.begin()));
  }
  return true;
}

std::string text_of(const FaultSet& faults) {
  std::string text;
  for (std::size_t i = 0; i < kFaults; ++i) {
    if (faults.test(i)) text += (text.empty() ? "" : ",") + std::string(kNames[i]);
  }
  return text;
}

FaultSet Scenario::draw(std::uint64_t seed) {
  Random r(seed, 1);
  FaultSet faults;
  // Worlds with few faults and with many.
  const double density = static_cast<double>(r.between(1, 5)) / 10;
  for (std::size_t i = 0; i < kFaults; ++i) faults.set(i, r.chance(density));
  return faults;
}

Scenario Scenario::make(std::uint64_t seed, const FaultSet& faults) {
  return Maker(seed, faults).make();
}

bool Scenario::lossy() const {
  return std::any_of(kLossy.begin(), kLossy.end(),
                     [&](Fault f) { return faults.test(static_cast<std::size_t>(f)); });
}

std::string Scenario::text() const {
  std::string all = "faults " + (faults.none() ? "none" : text_of(faults));
  for (std::size_t i = 0; i < links.size(); ++i) {
    for (std::size_t d = 0; d < 2; ++d) {
      all += "\n  host " + std::to_string(d == 0 ? 0 : i + 1) + " to " +
             std::to_string(d == 0 ? i + 1 : 0) + ": " + links[i].direction[d].text();
    }
  }
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    const HostPlan& h = hosts[i];
    all += "\n  host " + std::to_string(i) + ": mtu " + std::to_string(h.tcp.mtu) + " receive " +
           std::to_string(h.tcp.receive_buffer) + " send " + std::to_string(h.tcp.send_buffer) +
           " memory " + std::to_string(h.tcp.memory_limit);
  }
  return all;
}

}  // namespace sluice::sim
