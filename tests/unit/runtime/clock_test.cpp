#include "runtime/clock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace sluice::runtime {
namespace {

// A machine whose TSC runs at `hz` and whose reference runs true. Each reading costs some time.
struct Machine {
  double hz = 2.6e9;
  std::int64_t true_ns = 1'000'000;
  std::int64_t wall_offset = 1'700'000'000'000'000'000;
  double cycles = 5e9;
  std::int64_t reading_costs_ns = 30;

  void advance(std::int64_t ns) {
    true_ns += ns;
    cycles += static_cast<double>(ns) * hz / 1e9;
  }
  ClockSource source() {
    ClockSource s;
    s.cycles = [](void* m) {
      auto& machine = *static_cast<Machine*>(m);
      machine.advance(machine.reading_costs_ns);
      return static_cast<std::uint64_t>(machine.cycles);
    };
    s.raw_ns = [](void* m) {
      auto& machine = *static_cast<Machine*>(m);
      machine.advance(machine.reading_costs_ns);
      return machine.true_ns;
    };
    s.wall_ns = [](void* m) {
      auto& machine = *static_cast<Machine*>(m);
      return machine.true_ns + machine.wall_offset;
    };
    s.context = this;
    return s;
  }
};

constexpr std::int64_t kMilli = 1'000'000;
constexpr std::int64_t kSecondNs = 1'000'000'000;

TEST(Clock, CalibratesAgainstTheReference) {
  for (const double hz : {1.0e9, 2'596'136'163.0, 2.3e9, 5.7e9}) {
    Machine machine{.hz = hz};
    const Clock clock(machine.source());
    EXPECT_NEAR(clock.cycles_per_second() / hz, 1.0, 5e-6) << hz;
    const std::int64_t from_true = machine.true_ns;
    const std::int64_t from = clock.since_start().count();
    machine.advance(kSecondNs);
    EXPECT_NEAR(static_cast<double>(clock.since_start().count() - from),
                static_cast<double>(machine.true_ns - from_true), 10'000.0);
  }
}

TEST(Clock, NowGivesMicrosecondsOfBothAxes) {
  Machine machine;
  const Clock clock(machine.source());
  machine.advance(3 * kSecondNs);
  const Now now = clock.now();
  EXPECT_NEAR(static_cast<double>(now.mono.time_since_epoch().count()), 3.02e6, 1e4);
  const std::int64_t wall_ns = machine.true_ns + machine.wall_offset;
  EXPECT_NEAR(static_cast<double>(now.wall.time_since_epoch().count() - wall_ns / 1000), 0, 100.0);
  EXPECT_NEAR(static_cast<double>(clock.wall().count() - wall_ns), 0, 100'000.0);
}

TEST(Clock, NeverGoesBackwardsAcrossRefinementsWhileTheTscDrifts) {
  Machine machine;
  Clock clock(machine.source());
  std::int64_t last = 0;
  for (int step = 0; step < 20'000; ++step) {
    // The rate wanders by up to 200 ppm: the clock must keep correcting in both directions.
    machine.hz = 2.6e9 * (1.0 + 200e-6 * ((step / 1000) % 2 == 0 ? 1.0 : -1.0));
    machine.advance(kMilli);
    if (step % 7 == 0) clock.refine();
    const std::int64_t now = clock.since_start().count();
    ASSERT_GE(now, last) << "step " << step;
    last = now;
  }
}

TEST(Clock, RefinementsConvergeOnTheReference) {
  Machine machine;
  Clock clock(machine.source());
  const std::int64_t origin = machine.true_ns - clock.since_start().count();
  machine.hz = 2.6e9 * (1.0 + 40e-6);  // as if the first calibration had been 40 ppm off
  for (int i = 0; i < 600; ++i) {
    machine.advance(kSecondNs / 2);
    clock.refine();
  }
  const std::int64_t now = clock.since_start().count();
  EXPECT_NEAR(static_cast<double>(now), static_cast<double>(machine.true_ns - origin), 50'000.0);
}

TEST(Clock, FollowsAStepOfTheWallClockAtTheNextRefinement) {
  Machine machine;
  Clock clock(machine.source());
  const Now before = clock.now();
  machine.wall_offset -= 3600 * kSecondNs;
  clock.refine();
  const Now after = clock.now();
  EXPECT_GE(after.mono, before.mono);
  const auto stepped = before.wall - after.wall;
  EXPECT_NEAR(static_cast<double>(stepped.count()), 3600e6, 1000.0);
}

TEST(Clock, ConvertsCycleDifferences) {
  Machine machine{.hz = 2e9};
  const Clock clock(machine.source());
  EXPECT_NEAR(static_cast<double>(clock.to_nanos(2'000'000).count()), 1e6, 10.0);
  EXPECT_EQ(clock.to_nanos(0).count(), 0);
}

TEST(Clock, ReadersOnOtherThreadsSeeNoStepBack) {
  Clock clock;  // the machine's own
  std::atomic<bool> done{false};
  std::atomic<int> steps_back{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      std::int64_t last = 0;
      while (!done.load(std::memory_order_relaxed)) {
        const std::int64_t now = clock.since_start().count();
        if (now < last) steps_back.fetch_add(1);
        last = now;
      }
    });
  }
  for (int i = 0; i < 20'000; ++i) clock.refine();
  done = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(steps_back.load(), 0);
}

TEST(Clock, FallsBackToTheSystemClockWithoutAnInvariantTsc) {
  ClockSource source = ClockSource::system();
  source.cycles = [](void* context) {
    return static_cast<std::uint64_t>(ClockSource::system().raw_ns(context));
  };
  const Clock clock(source);
  EXPECT_FALSE(clock.uses_tsc());
  EXPECT_NEAR(clock.cycles_per_second(), 1e9, 1e6);
}

}  // namespace
}  // namespace sluice::runtime
