#include "runtime/channels.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/idle.h"
#include "runtime/qsbr.h"

namespace sluice::runtime {
namespace {

TEST(SpscRing, RefusesWhenFullAndKeepsOrder) {
  SpscRing<int> ring(3);
  EXPECT_EQ(ring.capacity(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(ring.push(i));
  EXPECT_FALSE(ring.push(4));
  EXPECT_EQ(ring.size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ring.pop(), i);
  EXPECT_EQ(ring.pop(), std::nullopt);
}

TEST(SpscRing, CarriesEverythingBetweenTwoThreads) {
  constexpr std::uint64_t kCount = 200'000;
  SpscRing<std::uint64_t> ring(64);
  std::thread producer([&] {
    for (std::uint64_t i = 1; i <= kCount;) {
      if (ring.push(i)) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  std::uint64_t expected = 1;
  while (expected <= kCount) {
    const auto value = ring.pop();
    if (!value) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(*value, expected);
    ++expected;
  }
  producer.join();
}

// What a snapshot is to QSBR: readable while a worker may hold it.
struct Canary {
  explicit Canary(std::uint64_t generation_in, std::atomic<int>& alive_in)
      : generation(generation_in), twin(generation_in), alive(alive_in) {
    alive.fetch_add(1);
  }
  ~Canary() {
    generation = 0;
    twin = ~std::uint64_t{0};
    alive.fetch_sub(1);
  }
  Canary(const Canary&) = delete;
  Canary& operator=(const Canary&) = delete;
  std::uint64_t generation;
  std::uint64_t twin;
  std::atomic<int>& alive;
};

TEST(Qsbr, FreesNothingBeforeEveryWorkerPassedAQuiescentState) {
  std::atomic<int> alive{0};
  Qsbr qsbr(2);
  SnapshotSlot<Canary> slot(qsbr);
  qsbr.register_worker(0);
  qsbr.register_worker(1);
  slot.publish(std::make_unique<Canary>(1, alive));
  slot.publish(std::make_unique<Canary>(2, alive));
  EXPECT_EQ(qsbr.poll(), 1u);
  EXPECT_EQ(alive.load(), 2);
  qsbr.quiescent(0);
  EXPECT_EQ(qsbr.poll(), 1u);
  qsbr.quiescent(1);
  EXPECT_EQ(qsbr.poll(), 0u);
  EXPECT_EQ(alive.load(), 1);
  EXPECT_EQ(slot.get()->generation, 2u);
}

TEST(Qsbr, DoesNotWaitForSleepersOrTheGone) {
  std::atomic<int> alive{0};
  Qsbr qsbr(3);
  SnapshotSlot<Canary> slot(qsbr);
  qsbr.register_worker(0);
  qsbr.register_worker(1);
  slot.publish(std::make_unique<Canary>(1, alive));
  qsbr.offline(0);
  qsbr.unregister_worker(1);
  slot.publish(std::make_unique<Canary>(2, alive));
  EXPECT_EQ(qsbr.poll(), 0u);
  qsbr.online(0);
  slot.publish(std::make_unique<Canary>(3, alive));
  EXPECT_EQ(qsbr.poll(), 1u);
  qsbr.quiescent(0);
  EXPECT_EQ(qsbr.poll(), 0u);
}

TEST(Qsbr, RunsWhatIsLeftWhenItEnds) {
  int freed = 0;
  {
    Qsbr qsbr(1);
    qsbr.register_worker(0);
    qsbr.defer([&] { ++freed; });
    qsbr.defer([&] { ++freed; });
    EXPECT_EQ(qsbr.poll(), 2u);
  }
  EXPECT_EQ(freed, 2);
}

TEST(Qsbr, FreeingMayDeferMore) {
  Qsbr qsbr(1);
  qsbr.register_worker(0);
  bool second = false;
  qsbr.defer([&] { qsbr.defer([&] { second = true; }); });
  qsbr.quiescent(0);
  EXPECT_EQ(qsbr.poll(), 1u);
  qsbr.quiescent(0);
  EXPECT_EQ(qsbr.poll(), 0u);
  EXPECT_TRUE(second);
}

TEST(Qsbr, WorkersNeverSeeAFreedSnapshotUnderConstantPublishing) {
  constexpr unsigned kWorkers = 2;
  constexpr std::uint64_t kGenerations = 5'000;
  std::atomic<int> alive{0};
  std::atomic<int> broken{0};
  std::atomic<bool> done{false};
  {
    Qsbr qsbr(kWorkers);
    SnapshotSlot<Canary> slot(qsbr);
    slot.publish(std::make_unique<Canary>(1, alive));
    std::vector<std::thread> workers;
    for (unsigned w = 0; w < kWorkers; ++w) {
      workers.emplace_back([&, w] {
        qsbr.register_worker(w);
        std::uint64_t last = 0;
        for (std::uint64_t turn = 0; !done.load(std::memory_order_relaxed); ++turn) {
          const Canary* snapshot = slot.get();
          const bool sound = snapshot->generation == snapshot->twin && snapshot->generation >= last;
          if (!sound) broken.fetch_add(1);
          last = snapshot->generation;
          qsbr.quiescent(w);
          if (turn % 16 == 0) {
            qsbr.offline(w);
            std::this_thread::yield();
            qsbr.online(w);
          }
        }
        qsbr.unregister_worker(w);
      });
    }
    for (std::uint64_t generation = 2; generation <= kGenerations; ++generation) {
      slot.publish(std::make_unique<Canary>(generation, alive));
      qsbr.poll();
    }
    done = true;
    for (auto& worker : workers) worker.join();
    EXPECT_EQ(qsbr.poll(), 0u);
    EXPECT_EQ(alive.load(), 1);
  }
  EXPECT_EQ(alive.load(), 0);
  EXPECT_EQ(broken.load(), 0);
}

// Sleeps of these tests end by what is tested, or not at all: the longest wait is far beyond any
// test's patience.
constexpr IdleConfig kPatient{.spin = Micros{50},
                              .shortest_sleep = Micros{1},
                              .longest_sleep = Micros{2},
                              .longest_wait = Micros{3'600'000'000}};

struct IdleTest : testing::Test {
  Qsbr qsbr{1};
  Waker waker;
  IdleLadder ladder{0, qsbr, waker, kPatient};
  IdleTest() { qsbr.register_worker(0); }
  static bool nothing(void*) { return false; }
};

TEST_F(IdleTest, SpinsForAWhileAfterWork) {
  ladder.busy(Time{Micros{1000}});
  ladder.idle(Time{Micros{1049}}, kNever, nothing, nullptr);
  EXPECT_EQ(ladder.sleeps(), 0u);
}

TEST_F(IdleTest, AWakeBetweenAnnouncementAndSleepIsNotLost) {
  ladder.idle(
      Time{Micros{5000}}, kNever,
      [](void* w) {
        static_cast<Waker*>(w)->wake();
        return false;
      },
      &waker);
  EXPECT_EQ(ladder.sleeps(), 1u);
  EXPECT_EQ(ladder.wakeups_by_source(), 1u);
}

TEST_F(IdleTest, DoesNotSleepOverWorkFoundAtTheLastLook) {
  ladder.idle(Time{Micros{5000}}, kNever, [](void*) { return true; }, nullptr);
  EXPECT_EQ(ladder.sleeps(), 0u);
}

TEST_F(IdleTest, DoesNotSleepPastADeadline) {
  ladder.idle(Time{Micros{5000}}, Time{Micros{4999}}, nothing, nullptr);
  EXPECT_EQ(ladder.sleeps(), 0u);
  ladder.idle(Time{Micros{5000}}, Time{Micros{5200}}, nothing, nullptr);
  EXPECT_EQ(ladder.sleeps(), 1u);
  EXPECT_EQ(ladder.wakeups_by_source(), 0u);
}

TEST_F(IdleTest, SleepsAreShortWhenADeviceCannotWake) {
  ladder.watch({.fd = WaitSource::kCannot});
  for (int i = 0; i < 10; ++i) ladder.idle(Time{Micros{5000 + i}}, kNever, nothing, nullptr);
  EXPECT_EQ(ladder.sleeps(), 10u);
}

TEST_F(IdleTest, AQueueMayForbidSleepingAndIsDisarmedAfterwards) {
  struct Hooks {
    int armed = 0;
    int disarmed = 0;
  } hooks;
  ladder.watch({.fd = WaitSource::kNothing,
                .arm =
                    [](void* h) {
                      ++static_cast<Hooks*>(h)->armed;
                      return Micros{0};
                    },
                .disarm = [](void* h) { ++static_cast<Hooks*>(h)->disarmed; },
                .context = &hooks});
  ladder.idle(Time{Micros{5000}}, kNever, nothing, nullptr);
  EXPECT_EQ(ladder.sleeps(), 0u);
  EXPECT_EQ(hooks.armed, 1);
  EXPECT_EQ(hooks.disarmed, 1);
}

TEST_F(IdleTest, ASleeperHoldsUpNobodysReclamation) {
  bool freed = false;
  struct Context {
    Qsbr* qsbr;
    bool* freed;
  } context{&qsbr, &freed};
  ladder.idle(
      Time{Micros{5000}}, kNever,
      [](void* c) {
        auto& at = *static_cast<Context*>(c);
        at.qsbr->defer([freed_flag = at.freed] { *freed_flag = true; });
        at.qsbr->poll();
        return true;
      },
      &context);
  EXPECT_TRUE(freed);
}

TEST_F(IdleTest, IsWokenByAnotherThread) {
  SpscRing<int> ring(8);
  std::thread producer([&] {
    ring.push(1);
    waker.wake();
  });
  const auto pending = [](void* r) { return static_cast<SpscRing<int>*>(r)->size() > 0; };
  Time now{Micros{5000}};
  while (ring.size() == 0) ladder.idle(now += Micros{1}, kNever, pending, &ring);
  EXPECT_EQ(ring.pop(), 1);
  producer.join();
}

}  // namespace
}  // namespace sluice::runtime
