#include "state/task_table.h"

#include <gtest/gtest.h>

#include <set>

#include "base/bytes.h"

namespace sluice::state {
namespace {

TaskId id_of(std::uint32_t n) {
  TaskId id{};
  store_be32(id.data() + 12, n);
  id[0] = 0xab;
  return id;
}

TEST(TaskTable, CapacityIsRoundedUpToAPowerOfTwo) {
  EXPECT_EQ(TaskTable(1000).capacity(), 1024u);
  EXPECT_EQ(TaskTable(1024).capacity(), 1024u);
  EXPECT_EQ(TaskTable(0).capacity(), 1u);
}

TEST(TaskTable, AcquireInsertsOnceAndFinds) {
  TaskTable table(8);
  EXPECT_FALSE(table.find(id_of(1)));
  const auto first = table.acquire(id_of(1), 100);
  ASSERT_TRUE(first);
  EXPECT_EQ(table.acquire(id_of(1), 50), first);
  EXPECT_EQ(table.find(id_of(1)), first);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_NE(table.acquire(id_of(2), 100), first);
  EXPECT_EQ(table.size(), 2u);
}

TEST(TaskTable, ExpiryIsTheLatestSeen) {
  TaskTable table(8);
  table.acquire(id_of(1), 100);
  table.acquire(id_of(1), 300);
  table.acquire(id_of(1), 200);
  EXPECT_EQ(table.view(id_of(1))->expires_at, 300);
}

TEST(TaskTable, FullTableRefusesNewTasksButStillRevokes) {
  TaskTable table(4);
  for (std::uint32_t i = 0; i < 4; ++i) ASSERT_TRUE(table.acquire(id_of(i), 100));
  EXPECT_FALSE(table.acquire(id_of(4), 100));
  EXPECT_TRUE(table.acquire(id_of(3), 100)) << "a known task needs no place";
  EXPECT_TRUE(table.revoke(id_of(9), 100));
  EXPECT_TRUE(table.revoked(*table.find(id_of(9))));
  EXPECT_EQ(table.reclaim(101), 5u);
  EXPECT_TRUE(table.acquire(id_of(4), 100));
}

TEST(TaskTable, HoldsAsManyAsItSays) {
  TaskTable table(4096);
  std::set<std::uint32_t> slots;
  for (std::uint32_t i = 0; i < 4096; ++i) {
    const auto h = table.acquire(id_of(i), 100);
    ASSERT_TRUE(h) << i;
    slots.insert(h->slot);
  }
  EXPECT_EQ(slots.size(), 4096u);
  EXPECT_EQ(table.list().size(), 4096u);
  for (std::uint32_t i = 0; i < 4096; ++i) ASSERT_TRUE(table.find(id_of(i))) << i;
}

TEST(TaskTable, RevokeMarksKnownAndUnknownTasks) {
  TaskTable table(8);
  const auto h = table.acquire(id_of(1), 100);
  EXPECT_EQ(table.standing(*h), TaskStanding::live);
  EXPECT_TRUE(table.revoke(id_of(1), 400));
  EXPECT_TRUE(table.revoked(*h));
  EXPECT_EQ(table.standing(*h), TaskStanding::revoked);
  EXPECT_EQ(table.view(id_of(1))->expires_at, 400) << "kept until no token can be valid";
  EXPECT_TRUE(table.revoke(id_of(2), 400));
  EXPECT_TRUE(table.revoked(*table.acquire(id_of(2), 100))) << "a later token does not revive it";
}

TEST(TaskTable, CallsAndBytesAreCounted) {
  TaskTable table(8);
  const auto h = *table.acquire(id_of(1), 100);
  EXPECT_TRUE(table.call_started(h));
  EXPECT_TRUE(table.call_started(h));
  table.call_finished(h, 10, 20);
  const auto v = table.view(id_of(1));
  EXPECT_EQ(v->id, id_of(1));
  EXPECT_EQ(v->calls, 2u);
  EXPECT_EQ(v->in_flight, 1u);
  EXPECT_EQ(v->bytes_in, 10u);
  EXPECT_EQ(v->bytes_out, 20u);
  table.call_finished(h, 1, 2);
  table.call_finished(h, 1, 2);
  EXPECT_EQ(table.view(id_of(1))->in_flight, 0u) << "never below zero";
  EXPECT_EQ(table.view(id_of(1))->bytes_in, 11u);
}

TEST(TaskTable, ReclaimTakesExpiredIdleTasksOnly) {
  TaskTable table(8);
  const auto busy = *table.acquire(id_of(1), 100);
  table.acquire(id_of(2), 100);
  table.acquire(id_of(3), 101);
  ASSERT_TRUE(table.call_started(busy));
  EXPECT_EQ(table.reclaim(101), 1u);
  EXPECT_TRUE(table.find(id_of(1))) << "in flight";
  EXPECT_FALSE(table.find(id_of(2)));
  EXPECT_TRUE(table.find(id_of(3))) << "expires at 101, not before it";
  table.call_finished(busy, 0, 0);
  EXPECT_EQ(table.reclaim(102), 2u);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_TRUE(table.list().empty());
}

TEST(TaskTable, StaleHandlesAreNoticedAndTouchNothing) {
  TaskTable table(1);
  const auto old = *table.acquire(id_of(1), 100);
  ASSERT_EQ(table.reclaim(200), 1u);
  EXPECT_FALSE(table.valid(old));
  EXPECT_FALSE(table.revoked(old));
  // Same id, hence the same home and the same slot.
  const auto now = *table.acquire(id_of(1), 300);
  ASSERT_EQ(now.slot, old.slot);
  ASSERT_NE(now.generation, old.generation);
  EXPECT_EQ(table.standing(old), TaskStanding::stale);
  EXPECT_EQ(table.standing(now), TaskStanding::live);
  EXPECT_FALSE(table.call_started(old));
  table.call_finished(old, 5, 5);
  const auto v = table.view(id_of(1));
  EXPECT_EQ(v->calls, 0u);
  EXPECT_EQ(v->bytes_in, 0u);
}

TEST(TaskTable, ReusedSlotStartsFromZero) {
  TaskTable table(1);
  const auto h = *table.acquire(id_of(1), 100);
  table.call_started(h);
  table.call_finished(h, 7, 8);
  table.revoke(id_of(1), 100);
  ASSERT_EQ(table.reclaim(200), 1u);
  table.acquire(id_of(1), 300);
  const auto v = table.view(id_of(1));
  EXPECT_EQ(v->calls + v->bytes_in + v->bytes_out + v->in_flight, 0u);
  EXPECT_EQ(v->expires_at, 300);
  EXPECT_FALSE(v->revoked);
}

TEST(TaskTable, EmptyAndForgedHandlesAreStale) {
  TaskTable table(8);
  EXPECT_FALSE(TaskHandle{});
  EXPECT_EQ(table.standing(TaskHandle{}), TaskStanding::stale);
  EXPECT_EQ(table.standing(TaskHandle{0, 0}), TaskStanding::stale);
  EXPECT_EQ(table.standing(TaskHandle{1u << 30, 1}), TaskStanding::stale);
  EXPECT_FALSE(table.call_started(TaskHandle{}));
  table.call_finished(TaskHandle{}, 1, 1);
  EXPECT_EQ(table.size(), 0u);
}

}  // namespace
}  // namespace sluice::state
