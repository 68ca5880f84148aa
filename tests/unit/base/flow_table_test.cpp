#include "base/flow_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace sluice {
namespace {

TEST(FlowTable, FindsWhatWasInserted) {
  FlowTable table(100);
  const auto any = [](std::uint32_t) { return true; };
  EXPECT_EQ(table.find(5, any), FlowTable::kNone);
  EXPECT_TRUE(table.insert(5, 42));
  EXPECT_EQ(table.find(5, any), 42u);
  EXPECT_EQ(table.find(5, [](std::uint32_t) { return false; }), FlowTable::kNone);
  EXPECT_TRUE(table.erase(5, 42));
  EXPECT_FALSE(table.erase(5, 42));
  EXPECT_EQ(table.size(), 0u);
}

// Keys that share bucket and tag are told apart by index, before and after erasing between them.
TEST(FlowTable, CollisionsSpillAndComeBack) {
  FlowTable table(64);
  for (std::uint32_t i = 0; i < 64; ++i) ASSERT_TRUE(table.insert(0, i));
  for (std::uint32_t i = 0; i < 64; i += 2) ASSERT_TRUE(table.erase(0, i));
  for (std::uint32_t i = 0; i < 64; ++i) {
    const auto found = table.find(0, [i](std::uint32_t x) { return x == i; });
    EXPECT_EQ(found, i % 2 == 1 ? i : FlowTable::kNone);
  }
  EXPECT_EQ(table.size(), 32u);
}

TEST(FlowTable, FullIsAnAnswer) {
  FlowTable table(1);
  std::uint32_t n = 0;
  while (table.insert(n, n)) ASSERT_LT(++n, 1000u);
  EXPECT_GE(n, 1u);
  EXPECT_EQ(table.find(12345, [](std::uint32_t) { return false; }), FlowTable::kNone);
}

// Against std::map, with hashes that collide often.
TEST(FlowTable, EqualsAMap) {
  std::mt19937_64 random(3);
  FlowTable table(500);
  std::map<std::uint32_t, std::uint64_t> model;  // index -> hash
  for (int step = 0; step < 100'000; ++step) {
    const auto index = static_cast<std::uint32_t>(random() % 600);
    const auto at = model.find(index);
    if (at == model.end()) {
      if (model.size() >= 500) continue;
      const std::uint64_t hash = random() % 40 | (random() % 3) << 40;
      ASSERT_TRUE(table.insert(hash, index));
      model[index] = hash;
    } else {
      ASSERT_EQ(table.find(at->second, [&](std::uint32_t x) { return x == index; }), index);
      if (random() % 2 == 0) {
        ASSERT_TRUE(table.erase(at->second, index));
        model.erase(at);
      }
    }
    ASSERT_EQ(table.size(), model.size());
  }
  for (const auto& [index, hash] : model) {
    EXPECT_EQ(table.find(hash, [&](std::uint32_t x) { return x == index; }), index);
  }
}

}  // namespace
}  // namespace sluice
