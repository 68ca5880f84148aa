#include "port/redirect.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>

#include "eal_environment.h"

namespace sluice::port {
namespace {

using telemetry::Counter;
using telemetry::CounterBlock;

class RedirectTest : public WithPool {
 protected:
  Packet numbered(std::uint32_t n) {
    std::array<std::uint8_t, 64> frame{};
    store_be32(frame.data(), n);
    Packet packet = pool->copy_of(frame);
    EXPECT_TRUE(packet);
    return packet;
  }
  static std::uint32_t number(const Packet& packet) { return load_be32(packet.data().data()); }

  std::array<Packet, 64> out;
  std::array<CounterBlock, 3> counters;
  void TearDown() override {
    for (auto& packet : out) packet.reset();
    WithPool::TearDown();
  }
};

TEST_F(RedirectTest, HandsOverInOrderAtFlush) {
  Redirect redirect(3, 128);
  redirect.attach(0, counters[0], nullptr);
  for (std::uint32_t i = 0; i < 10; ++i) redirect.push(0, 1 + i % 2, numbered(i));
  EXPECT_FALSE(redirect.pending(1));
  redirect.flush(0);
  EXPECT_TRUE(redirect.pending(1));
  ASSERT_EQ(redirect.pop(1, out), 5u);
  for (std::uint32_t i = 0; i < 5; ++i) EXPECT_EQ(number(out[i]), 2 * i);
  ASSERT_EQ(redirect.pop(2, out), 5u);
  for (std::uint32_t i = 0; i < 5; ++i) EXPECT_EQ(number(out[i]), 2 * i + 1);
  EXPECT_FALSE(redirect.pending(1));
  EXPECT_EQ(counters[0].get(Counter::redirected_packets), 10u);
}

TEST_F(RedirectTest, DropsAndCountsWhatDoesNotFit) {
  Redirect redirect(2, 63);
  redirect.attach(0, counters[0], nullptr);
  for (std::uint32_t i = 0; i < 100; ++i) redirect.push(0, 1, numbered(i));
  redirect.flush(0);
  EXPECT_EQ(counters[0].get(Counter::redirected_packets), 63u);
  EXPECT_EQ(counters[0].get(Counter::drop_redirect_full), 37u);
  EXPECT_EQ(pool->in_use(), 63u);
  std::uint32_t expected = 0;
  for (std::size_t n; (n = redirect.pop(1, out)) > 0;) {
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(number(out[i]), expected++);
  }
  EXPECT_EQ(expected, 63u);
}

TEST_F(RedirectTest, NoProducerStarvesAnother) {
  Redirect redirect(3, 1024);
  for (std::uint32_t i = 0; i < 500; ++i) {
    redirect.push(0, 2, numbered(i));
    if (i < 40) redirect.push(1, 2, numbered(1000 + i));
  }
  redirect.flush(0);
  redirect.flush(1);
  std::size_t from_second = 0;
  for (int turn = 0; turn < 4; ++turn) {
    const std::size_t n = redirect.pop(2, std::span(out).first(32));
    for (std::size_t i = 0; i < n; ++i) from_second += number(out[i]) >= 1000 ? 1 : 0;
  }
  EXPECT_EQ(from_second, 40u);
}

TEST_F(RedirectTest, NonsenseIsFreed) {
  Redirect redirect(2, 16);
  redirect.push(0, 0, numbered(1));
  redirect.push(0, 7, numbered(2));
  redirect.push(0, 1, Packet{});
  redirect.flush(0);
  EXPECT_FALSE(redirect.pending(1));
  EXPECT_EQ(pool->in_use(), 0u);
}

TEST_F(RedirectTest, WhatStillWaitsAtTheEndIsFreed) {
  {
    Redirect redirect(2, 128);
    for (std::uint32_t i = 0; i < 40; ++i) redirect.push(0, 1, numbered(i));
  }
  EXPECT_EQ(pool->in_use(), 0u);
}

// Two EAL workers, the way the product runs: one receives, one owns the flows.
TEST_F(RedirectTest, BetweenTwoWorkerThreads) {
  constexpr std::uint32_t kPackets = 50'000;
  struct Shared {
    PacketPool* pool = nullptr;
    Redirect redirect{2, 256};
    runtime::Qsbr qsbr{2};
    runtime::Waker waker;
    std::array<CounterBlock, 2> counters;
    std::atomic<std::uint32_t> popped{0};
    std::atomic<std::uint32_t> disordered{0};
  } shared;
  shared.pool = pool.get();
  shared.redirect.attach(0, shared.counters[0], nullptr);
  shared.redirect.attach(1, shared.counters[1], &shared.waker);

  const auto receiver = [](void* context) {
    auto& s = *static_cast<Shared*>(context);
    std::array<std::uint8_t, 64> frame{};
    for (std::uint32_t i = 1; i <= kPackets;) {
      // Stay below what the ring holds, so that nothing may be lost.
      if (i - s.popped.load(std::memory_order_acquire) > 200) continue;
      store_be32(frame.data(), i);
      Packet packet = s.pool->copy_of(frame);
      if (!packet) continue;
      s.redirect.push(0, 1, std::move(packet));
      if (i % 8 == 0) s.redirect.flush(0);
      ++i;
    }
    s.redirect.flush(0);
    return 0;
  };
  const auto owner = [](void* context) {
    auto& s = *static_cast<Shared*>(context);
    s.qsbr.register_worker(1);
    runtime::IdleLadder ladder(1, s.qsbr, s.waker, {.spin = Micros{0}});
    std::array<Packet, 32> packets;
    Time now{Micros{1}};
    for (std::uint32_t last = 0; last < kPackets;) {
      const std::size_t n = s.redirect.pop(1, packets);
      for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t got = load_be32(packets[i].data().data());
        if (got != ++last) s.disordered.fetch_add(1);
        packets[i].reset();
      }
      s.popped.store(last, std::memory_order_release);
      if (n == 0) {
        ladder.idle(
            now += Micros{1}, kNever,
            [](void* c) { return static_cast<Shared*>(c)->redirect.pending(1); }, &s);
      }
    }
    s.qsbr.unregister_worker(1);
    return 0;
  };
  ASSERT_TRUE(test_eal()->launch(1, owner, &shared));
  ASSERT_TRUE(test_eal()->launch(0, receiver, &shared));
  EXPECT_FALSE(test_eal()->launch(0, receiver, &shared)) << "a worker runs one thing at a time";
  EXPECT_EQ(test_eal()->join(0), 0);
  EXPECT_EQ(test_eal()->join(1), 0);
  EXPECT_EQ(shared.disordered.load(), 0u);
  EXPECT_EQ(shared.counters[0].get(Counter::redirected_packets), kPackets);
  EXPECT_EQ(shared.counters[0].get(Counter::drop_redirect_full), 0u);
}

TEST(Eal, StartsOnceAndSaysSo) {
  const auto again = runtime::Eal::start({.worker_cpus = {0}});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error(), "DPDK was started already in this process");
  EXPECT_FALSE(test_eal()->launch(2, nullptr, nullptr));
  EXPECT_EQ(test_eal()->workers(), 2u);
  EXPECT_FALSE(test_eal()->uses_hugepages());
}

}  // namespace
}  // namespace sluice::port
