// One EAL for all tests of this program: normal pages, no PCI, two workers that may share a core.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "port/packet_pool.h"
#include "runtime/eal.h"

namespace sluice::port {

inline std::unique_ptr<runtime::Eal>& test_eal() {
  static std::unique_ptr<runtime::Eal> eal;
  return eal;
}

// A fresh pool for each test; all buffers must be back at its end.
class WithPool : public ::testing::Test {
 protected:
  void make_pool(unsigned buffers = 4096, std::uint16_t mtu = 1500) {
    auto made = PacketPool::make({.name = "test", .buffers = buffers, .largest_mtu = mtu});
    ASSERT_TRUE(made) << made.error();
    pool = std::move(*made);
  }
  void SetUp() override { make_pool(); }
  void TearDown() override {
    ASSERT_NE(pool, nullptr);
    EXPECT_EQ(pool->in_use(), 0u) << "packet buffers leaked";
    pool.reset();
  }
  std::unique_ptr<PacketPool> pool;
};

}  // namespace sluice::port
