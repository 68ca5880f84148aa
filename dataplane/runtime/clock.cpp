#include "runtime/clock.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

namespace sluice::runtime {
namespace {

__extension__ typedef unsigned __int128 Wide;

constexpr std::int64_t kSecond = 1'000'000'000;
// A new slope takes effect so long after it was published: longer than a writer can be kept from
// publishing what it computed.
constexpr std::int64_t kLeadNs = 50'000'000;
// Errors of the axis are worked off over this time, at no more than kSlewLimit.
constexpr std::int64_t kSlewNs = 2 * kSecond;
constexpr double kSlewLimit = 500e-6;
constexpr double kQ32 = 4294967296.0;
constexpr std::int64_t kFirstBaselineNs = 20'000'000;

std::int64_t read_clock(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

// The kernel gives up the TSC when its watchdog finds it unstable.
bool kernel_distrusts_tsc() {
  const int fd = ::open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                        O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[32] = {};
  const ssize_t n = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (n <= 0) return false;
  return std::strncmp(text, "hpet", 4) == 0 || std::strncmp(text, "acpi_pm", 7) == 0 ||
         std::strncmp(text, "jiffies", 7) == 0;
}

bool tsc_is_invariant() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0x80000007, &a, &b, &c, &d) == 0) return false;
  return (d & (1u << 8)) != 0 && !kernel_distrusts_tsc();
}

std::uint64_t monotonic_as_cycles(void*) {
  return static_cast<std::uint64_t>(read_clock(CLOCK_MONOTONIC_RAW));
}

std::uint64_t to_q32(double ns_per_cycle) {
  return static_cast<std::uint64_t>(std::llround(ns_per_cycle * kQ32));
}

}  // namespace

ClockSource ClockSource::system() {
  ClockSource source;
  source.cycles = tsc_is_invariant() ? nullptr : monotonic_as_cycles;
  source.raw_ns = [](void*) { return read_clock(CLOCK_MONOTONIC_RAW); };
  source.wall_ns = [](void*) { return read_clock(CLOCK_REALTIME); };
  return source;
}

Clock::Clock(const ClockSource& source) : source_(source) {
  first_ = sample();
  Sample second = sample();
  while (second.raw_ns - first_.raw_ns < kFirstBaselineNs) second = sample();
  const double rate = static_cast<double>(second.raw_ns - first_.raw_ns) /
                      static_cast<double>(std::max<std::uint64_t>(second.cycle - first_.cycle, 1));
  for (Table& table : tables_) {
    for (Line* line : {&table.before, &table.after}) {
      line->cycle.store(first_.cycle, std::memory_order_relaxed);
      line->ns_per_cycle_q32.store(to_q32(rate), std::memory_order_relaxed);
    }
    table.wall_minus_mono_ns.store(
        source_.wall_ns(source_.context) - (second.raw_ns - first_.raw_ns),
        std::memory_order_relaxed);
  }
}

// Cycles and reference read together: the tightest of a few tries, so that an interruption between
// the two readings does not count.
Clock::Sample Clock::sample() const {
  Sample best;
  std::uint64_t tightest = ~std::uint64_t{0};
  for (int i = 0; i < 8; ++i) {
    const std::uint64_t before = cycles();
    const std::int64_t raw = source_.raw_ns(source_.context);
    const std::uint64_t after = cycles();
    if (after - before < tightest) {
      tightest = after - before;
      best = {before + (after - before) / 2, raw};
    }
  }
  return best;
}

std::uint64_t Clock::cycles() const {
  return source_.cycles == nullptr ? __rdtsc() : source_.cycles(source_.context);
}

std::int64_t Clock::on_line(const Line& line, std::uint64_t cycle) {
  const std::uint64_t origin = line.cycle.load(std::memory_order_acquire);
  const std::uint64_t slope = line.ns_per_cycle_q32.load(std::memory_order_acquire);
  const std::int64_t ns = line.ns.load(std::memory_order_acquire);
  if (cycle < origin) {  // another core's TSC may trail by a few cycles
    return ns - static_cast<std::int64_t>((Wide{origin - cycle} * slope) >> 32);
  }
  return ns + static_cast<std::int64_t>((Wide{cycle - origin} * slope) >> 32);
}

Clock::Reading Clock::read() const {
  for (;;) {
    const std::uint32_t sequence = sequence_.load(std::memory_order_acquire);
    const Table& table = tables_[sequence & 1];
    const std::uint64_t cycle = cycles();
    const bool changed = cycle >= table.after.cycle.load(std::memory_order_acquire);
    Reading reading;
    reading.mono_ns = on_line(changed ? table.after : table.before, cycle);
    reading.wall_minus_mono_ns = table.wall_minus_mono_ns.load(std::memory_order_acquire);
    // A table is rewritten only after its successor was named. Fields are stored with release and
    // loaded with acquire, so an unmoved sequence proves that the table was whole.
    if (sequence_.load(std::memory_order_acquire) == sequence) return reading;
  }
}

Now Clock::now() const {
  const Reading reading = read();
  const std::int64_t wall = reading.mono_ns + reading.wall_minus_mono_ns;
  return {Time{Micros{reading.mono_ns / 1000}}, WallTime{Micros{wall / 1000}}};
}

Time Clock::mono() const { return Time{Micros{read().mono_ns / 1000}}; }

Nanos Clock::since_start() const { return Nanos{read().mono_ns}; }

Nanos Clock::wall() const {
  const Reading reading = read();
  return Nanos{reading.mono_ns + reading.wall_minus_mono_ns};
}

Nanos Clock::to_nanos(std::uint64_t cycle_difference) const {
  const Table& table = tables_[sequence_.load(std::memory_order_acquire) & 1];
  const std::uint64_t slope = table.after.ns_per_cycle_q32.load(std::memory_order_acquire);
  return Nanos{static_cast<std::int64_t>((Wide{cycle_difference} * slope) >> 32)};
}

double Clock::cycles_per_second() const {
  const Table& table = tables_[sequence_.load(std::memory_order_acquire) & 1];
  const std::uint64_t slope = table.after.ns_per_cycle_q32.load(std::memory_order_acquire);
  return slope == 0 ? 0.0 : 1e9 * kQ32 / static_cast<double>(slope);
}

void Clock::refine() {
  const std::uint32_t sequence = sequence_.load(std::memory_order_relaxed);
  const Table& current = tables_[sequence & 1];
  Table& next = tables_[(sequence + 1) & 1];
  const Sample now = sample();
  const std::int64_t truth = now.raw_ns - first_.raw_ns;
  if (now.cycle <= first_.cycle || truth <= 0) return;

  // The last change must have taken effect, or two bends would have to be kept.
  const std::uint64_t last_bend = current.after.cycle.load(std::memory_order_acquire);
  const bool bent = now.cycle >= last_bend;
  std::int64_t shown = on_line(bent ? current.after : current.before, now.cycle);

  const Line& in_force = bent ? current.after : current.before;
  const double rate = static_cast<double>(truth) / static_cast<double>(now.cycle - first_.cycle);
  const double correction = std::clamp(
      static_cast<double>(truth - shown) / static_cast<double>(kSlewNs), -kSlewLimit, kSlewLimit);
  const auto bend = now.cycle + static_cast<std::uint64_t>(static_cast<double>(kLeadNs) / rate);

  next.before.cycle.store(in_force.cycle.load(std::memory_order_acquire),
                          std::memory_order_release);
  next.before.ns.store(in_force.ns.load(std::memory_order_acquire), std::memory_order_release);
  next.before.ns_per_cycle_q32.store(in_force.ns_per_cycle_q32.load(std::memory_order_acquire),
                                     std::memory_order_release);
  if (bent) {
    next.after.cycle.store(bend, std::memory_order_release);
    next.after.ns.store(on_line(in_force, bend), std::memory_order_release);
    next.after.ns_per_cycle_q32.store(to_q32(rate * (1.0 + correction)), std::memory_order_release);
  } else {
    next.after.cycle.store(last_bend, std::memory_order_release);
    next.after.ns.store(current.after.ns.load(std::memory_order_acquire),
                        std::memory_order_release);
    next.after.ns_per_cycle_q32.store(
        current.after.ns_per_cycle_q32.load(std::memory_order_acquire), std::memory_order_release);
  }
  next.wall_minus_mono_ns.store(source_.wall_ns(source_.context) - shown,
                                std::memory_order_release);
  sequence_.store(sequence + 1, std::memory_order_release);
}

}  // namespace sluice::runtime
