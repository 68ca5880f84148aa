// Threads that play workers and the control thread on one small table, so that slots change hands
// all the time. Totals must come out exact.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/bytes.h"
#include "state/task_table.h"

namespace sluice::state {
namespace {

constexpr unsigned kWorkers = 4;

TaskId id_of(std::uint64_t n) {
  TaskId id{};
  store_be64(id.data(), n * 0x9e3779b97f4a7c15);
  store_be64(id.data() + 8, n);
  return id;
}

template <typename Body>
void run_workers(Body body) {
  std::vector<std::thread> threads;
  for (unsigned w = 0; w < kWorkers; ++w) threads.emplace_back(body, w);
  for (auto& t : threads) t.join();
}

TEST(TaskTableStress, ConcurrentInsertsOfOneTaskGetOneSlot) {
  constexpr unsigned kTasks = 2000;
  TaskTable table(4096);
  std::vector<std::array<TaskHandle, kWorkers>> seen(kTasks);
  run_workers([&](unsigned w) {
    for (unsigned i = 0; i < kTasks; ++i)
      seen[i][w] = table.acquire(id_of(i), 100).value_or(TaskHandle{});
  });
  for (unsigned i = 0; i < kTasks; ++i) {
    ASSERT_TRUE(seen[i][0]);
    for (unsigned w = 1; w < kWorkers; ++w) ASSERT_EQ(seen[i][w], seen[i][0]) << i;
  }
  EXPECT_EQ(table.size(), kTasks);
  EXPECT_EQ(table.list().size(), kTasks);
}

TEST(TaskTableStress, CountsAreExactWhileSlotsAreReclaimed) {
  constexpr unsigned kTasks = 64;
  constexpr unsigned kTurns = 20000;
  TaskTable table(64);
  std::atomic<std::uint64_t> started{0}, stale{0};
  std::atomic<bool> stop{false};
  std::uint64_t reclaimed = 0, listed_in_flight = 0;
  std::thread control([&] {
    while (!stop.load()) {
      reclaimed += table.reclaim(1000);
      for (const TaskView& v : table.list()) {
        listed_in_flight = std::max<std::uint64_t>(listed_in_flight, v.in_flight);
      }
    }
  });
  run_workers([&](unsigned w) {
    std::mt19937 random(w);
    TaskHandle held;
    for (unsigned turn = 0; turn < kTurns; ++turn) {
      // Expired from the start: control may take the slot whenever nothing is in flight.
      if (!held || random() % 4 == 0) {
        const auto h = table.acquire(id_of(random() % kTasks), 1);
        if (!h) continue;
        held = *h;
      }
      if (!table.call_started(held)) {
        stale.fetch_add(1);
        held = {};
        continue;
      }
      started.fetch_add(1);
      ASSERT_TRUE(table.valid(held)) << "a task with a call in flight keeps its slot";
      table.call_finished(held, 1, 2);
    }
  });
  stop.store(true);
  control.join();
  EXPECT_GT(started.load(), 0u);
  EXPECT_LE(listed_in_flight, kWorkers);
  for (const TaskView& v : table.list()) {
    EXPECT_EQ(v.in_flight, 0u);
    EXPECT_EQ(v.bytes_in, v.calls);
    EXPECT_EQ(v.bytes_out, 2 * v.calls);
  }
  table.reclaim(1000);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_TRUE(table.list().empty());
}

TEST(TaskTableStress, CallsAreNeverLostWithoutReclaim) {
  constexpr unsigned kTurns = 20000;
  TaskTable table(16);
  run_workers([&](unsigned w) {
    std::mt19937 random(w);
    for (unsigned turn = 0; turn < kTurns; ++turn) {
      const auto h = table.acquire(id_of(random() % 8), 100);
      ASSERT_TRUE(h);
      ASSERT_TRUE(table.call_started(*h));
      table.call_finished(*h, 3, 5);
    }
  });
  std::uint64_t calls = 0, in = 0, out = 0;
  for (const TaskView& v : table.list()) {
    calls += v.calls;
    in += v.bytes_in;
    out += v.bytes_out;
  }
  EXPECT_EQ(calls, std::uint64_t{kWorkers} * kTurns);
  EXPECT_EQ(in, 3 * calls);
  EXPECT_EQ(out, 5 * calls);
}

TEST(TaskTableStress, ARevocationIsNeverLost) {
  constexpr unsigned kRounds = 3000;
  TaskTable table(16);
  std::atomic<unsigned> round{0};
  std::atomic<bool> stop{false};
  std::atomic<unsigned> broken{0};
  std::vector<std::thread> workers;
  for (unsigned w = 0; w < kWorkers - 1; ++w) {
    workers.emplace_back([&] {
      while (!stop.load()) {
        const unsigned r = round.load();
        // Short-lived tokens of the task in question, always about to be reclaimed.
        if (const auto h = table.acquire(id_of(r), 1)) {
          if (table.call_started(*h)) table.call_finished(*h, 0, 0);
        }
      }
    });
  }
  std::thread reclaimer([&] {
    while (!stop.load()) table.reclaim(10);
  });
  for (unsigned r = 0; r < kRounds; ++r) {
    round.store(r);
    const TaskId id = id_of(r);
    while (!table.revoke(id, 1000)) {
    }
    // Its revocation outlives the reclaim horizon of 10, so it must stay.
    const auto h = table.find(id);
    if (!h || !table.revoked(*h)) broken.fetch_add(1);
    const auto again = table.acquire(id, 1);
    if (!again || !table.revoked(*again)) broken.fetch_add(1);
    if (table.size() >= 12) table.reclaim(2000);
  }
  stop.store(true);
  for (auto& t : workers) t.join();
  reclaimer.join();
  EXPECT_EQ(broken.load(), 0u);
}

}  // namespace
}  // namespace sluice::state
