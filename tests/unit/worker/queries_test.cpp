// Questions about connections, answered in slices over real TCP stacks.
#include "queries.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <vector>

#include "packet/tcp.h"

namespace sluice::worker {
namespace {

// Takes every segment and sends none: handshakes stay half open, which is enough to fill a table.
class Table final : public tcp::TransmitSink, public tcp::Acceptor, public tcp::Observer {
 public:
  explicit Table(std::size_t half_open) {
    tcp::StackConfig config;
    config.syn_cache_entries = std::max<std::size_t>(half_open, 1);
    config.max_connections = 4096;
    config.secret[0] = 7;
    stack_.emplace(config, *this, *this);
    stack_->listen(443, 3);
    for (std::size_t i = 0; i < half_open; ++i) syn(static_cast<std::uint16_t>(1024 + i));
  }
  void connect(std::uint16_t port) {
    ASSERT_NE(stack_->connect(kLocal, {kRemote, port}, *this, kNow), nullptr);
  }
  tcp::Stack& stack() { return *stack_; }

  static constexpr Time kNow{Micros{5'000'000}};
  static inline const IpAddress kLocal = *IpAddress::parse("198.18.1.1");
  static inline const IpAddress kRemote = *IpAddress::parse("198.18.1.10");

 private:
  void syn(std::uint16_t port) {
    std::array<std::uint8_t, packet::kTcpHeader> segment{};
    store_be16(segment.data(), port);
    store_be16(&segment[2], 443);
    segment[12] = 0x50;
    segment[13] = packet::kTcpSyn;
    stack_->input(
        {.source = kRemote, .destination = kLocal, .bytes = segment, .checksum_verified = true},
        kNow);
  }
  MutByteSpan reserve(const IpAddress&, const IpAddress&, std::size_t length) override {
    return MutByteSpan{room_}.first(length);
  }
  void commit() override {}
  tcp::Observer* on_accept(tcp::Connection&, std::uint32_t, Time) override { return this; }
  void on_ready(tcp::Connection&, Time) override {}

  std::array<std::uint8_t, 1500> room_;
  std::optional<tcp::Stack> stack_;
};

class QueriesTest : public ::testing::Test {
 protected:
  // Turns until the question is back.
  std::size_t turns(const runtime::Loan& q) {
    std::size_t n = 0;
    while (!q.is_back() && n < 1000) {
      EXPECT_TRUE(queries.run(stacks, Table::kNow));
      ++n;
    }
    return n;
  }
  Queries queries{5};
  std::vector<tcp::Stack*> stacks;
};

TEST_F(QueriesTest, ALargeTableIsWalkedASliceATurn) {
  Table agents(3000), tools(0);
  tools.connect(80);
  stacks = {&agents.stack(), &tools.stack()};
  runtime::ConnectionQuery q;
  q.most = 5000;
  q.found.reserve(q.most);
  queries.add(&q);
  EXPECT_TRUE(queries.pending());
  const std::size_t took = turns(q);
  EXPECT_GE(took, 3000 / Queries::kPlacesPerTurn);
  EXPECT_LE(took, 3000 / Queries::kPlacesPerTurn + 3);
  EXPECT_FALSE(queries.pending());
  EXPECT_EQ(q.next, runtime::ConnectionQuery::kEnd);
  ASSERT_EQ(q.found.size(), 3001u);
  std::set<std::uint16_t> ports;
  for (std::size_t i = 0; i < 3000; ++i) {
    EXPECT_EQ(q.found[i].worker, 5u);
    EXPECT_EQ(q.found[i].port_index, 0u);
    EXPECT_EQ(q.found[i].listener_id, 3u);
    ports.insert(q.found[i].remote_port);
  }
  EXPECT_EQ(ports.size(), 3000u);
  EXPECT_EQ(q.found[3000].port_index, 1u);
  EXPECT_EQ(q.found[3000].state, tcp::State::syn_sent);
}

TEST_F(QueriesTest, GoesOnWhereTheLastAnswerEnded) {
  Table agents(700), tools(0);
  tools.connect(80);
  stacks = {&agents.stack(), &tools.stack()};
  std::set<std::uint16_t> ports;
  std::uint64_t from = 0;
  std::size_t found = 0;
  while (from != runtime::ConnectionQuery::kEnd) {
    runtime::ConnectionQuery q;
    q.most = 97;
    q.found.reserve(q.most);
    q.from = from;
    queries.add(&q);
    turns(q);
    ASSERT_LE(q.found.size(), 97u);
    for (const auto& c : q.found) ports.insert(c.remote_port);
    found += q.found.size();
    ASSERT_NE(q.next, from);
    from = q.next;
  }
  EXPECT_EQ(found, 701u);
  EXPECT_EQ(ports.size(), 701u);
}

TEST_F(QueriesTest, FiltersAsItWalks) {
  Table agents(500);
  stacks = {&agents.stack()};
  runtime::ConnectionQuery q;
  q.most = 10;
  q.found.reserve(q.most);
  q.filter.remote.port = 1300;
  queries.add(&q);
  turns(q);
  ASSERT_EQ(q.found.size(), 1u);
  EXPECT_EQ(q.found[0].remote_port, 1300u);
  EXPECT_EQ(q.next, runtime::ConnectionQuery::kEnd);
}

TEST_F(QueriesTest, OneAfterTheOther) {
  Table agents(1);
  stacks = {&agents.stack()};
  runtime::ConnectionQuery first, second;
  first.most = second.most = 10;
  queries.add(&first);
  queries.add(&second);
  turns(second);
  EXPECT_TRUE(first.is_back());
  EXPECT_EQ(second.found.size(), 1u);
  EXPECT_FALSE(queries.run(stacks, Table::kNow));
}

TEST_F(QueriesTest, TooManyAreRefused) {
  std::array<runtime::ConnectionQuery, Queries::kWaiting + 1> all;
  for (auto& q : all) {
    q.most = 1;
    queries.add(&q);
  }
  EXPECT_TRUE(all.back().is_back());
  EXPECT_TRUE(all.back().refused);
  for (std::size_t i = 0; i < Queries::kWaiting; ++i) {
    EXPECT_EQ(turns(all[i]), 1u);
    EXPECT_FALSE(all[i].refused);
  }
}

// A position of another time: whatever it names, the walk ends.
TEST_F(QueriesTest, AnyPositionEnds) {
  Table agents(300);
  stacks = {&agents.stack()};
  for (const std::uint64_t from :
       {1ULL, 1ULL << 32, ~1ULL, 0x7fffffffULL, 0xc0000000ULL, 0xfffffffeULL}) {
    runtime::ConnectionQuery q;
    q.most = 1000;
    q.found.reserve(q.most);
    q.from = from;
    queries.add(&q);
    EXPECT_LE(turns(q), 5u) << from;
    EXPECT_EQ(q.next, runtime::ConnectionQuery::kEnd);
  }
}

TEST_F(QueriesTest, TracesOfLiveConnectionsByTheirEndpoints) {
  Table tools(0);
  tools.connect(80);
  tools.connect(81);
  stacks = {&tools.stack()};
  runtime::ConnectionQuery all;
  all.most = 2;
  all.found.reserve(2);
  queries.add(&all);
  turns(all);
  ASSERT_EQ(all.found.size(), 2u);
  runtime::TraceQuery q;
  q.most = 4;
  q.found.reserve(4);
  q.filter.local = {IpPrefix{Table::kLocal, 32}, all.found[1].local_port};
  q.filter.remote = {IpPrefix{Table::kRemote, 32}, all.found[1].remote_port};
  queries.add(&q);
  EXPECT_EQ(turns(q), 1u);
  ASSERT_TRUE(q.is_back());
  ASSERT_EQ(q.found.size(), 1u);
  EXPECT_TRUE(q.found[0].live);
  EXPECT_EQ(q.found[0].connection.remote_port, all.found[1].remote_port);
  EXPECT_EQ(q.found[0].connection.worker, 5u);
  EXPECT_EQ(q.found[0].events[0].kind(), telemetry::ConnectionEvent::state);
}

}  // namespace
}  // namespace sluice::worker
