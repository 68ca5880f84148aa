#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>

#include "telemetry/call_record.h"
#include "telemetry/counters.h"
#include "telemetry/histogram.h"
#include "telemetry/reasons.h"

namespace sluice::telemetry {
namespace {

bool metric_name(std::string_view s) {
  if (s.empty() || (s[0] >= '0' && s[0] <= '9')) return false;
  for (const char c : s) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

TEST(Reasons, EveryCodeParsesBackAndHasAnErrorStatus) {
  for (std::size_t i = 1; i < static_cast<std::size_t>(Reason::count_); ++i) {
    const auto reason = static_cast<Reason>(i);
    EXPECT_EQ(parse_reason(to_string(reason)), reason);
    EXPECT_GE(info(reason).status, 400);
    EXPECT_LT(info(reason).status, 600);
    EXPECT_NE(info(reason).jsonrpc, 0);
    EXPECT_FALSE(info(reason).title.empty());
  }
  EXPECT_EQ(parse_reason("no_such_code"), std::nullopt);
  EXPECT_EQ(parse_reason(""), std::nullopt);
}

TEST(Reasons, FactsOfTheContract) {
  EXPECT_EQ(info(Reason::breaker_open).status, 503);
  EXPECT_EQ(info(Reason::breaker_open).retry, Retry::after);
  EXPECT_EQ(info(Reason::tool_unknown).jsonrpc, -32602);
  EXPECT_EQ(info(Reason::token_expired).retry, Retry::after_refresh);
  EXPECT_EQ(to_string(info(Reason::deadline_unreachable).fault), "agent");
  EXPECT_EQ(to_string(info(Reason::token_revoked).fault), "policy");
  EXPECT_EQ(to_string(info(Reason::connect_failed).fault), "service");
}

TEST(Reasons, FaultAndStatusAgree) {
  for (std::size_t i = 1; i < static_cast<std::size_t>(Reason::count_); ++i) {
    const ReasonInfo& facts = info(static_cast<Reason>(i));
    if (facts.fault == Fault::service) {
      EXPECT_GE(facts.status, 500) << facts.code;
    }
    if (facts.status < 500) {
      EXPECT_NE(facts.fault, Fault::service) << facts.code;
    }
  }
}

TEST(Counters, NamesAreValidAndSeriesAreUnique) {
  std::set<std::string> ids, series;
  for (std::size_t i = 0; i < kCounterCount; ++i) {
    const CounterInfo& row = info(static_cast<Counter>(i));
    EXPECT_TRUE(metric_name(row.id)) << row.id;
    EXPECT_TRUE(metric_name(row.metric)) << row.metric;
    EXPECT_FALSE(row.help.empty()) << row.id;
    EXPECT_TRUE(ids.insert(std::string(row.id)).second) << row.id;
    const std::string one = std::string(row.metric) + "{" + std::string(row.labels) + "}";
    EXPECT_TRUE(series.insert(one).second) << one;
  }
}

TEST(Counters, AddAndSet) {
  CounterBlock block;
  block.add(Counter::calls_started);
  block.add(Counter::calls_started, 4);
  block.set(Counter::rx_bytes, 77);
  EXPECT_EQ(block.get(Counter::calls_started), 5u);
  EXPECT_EQ(block.get(Counter::rx_bytes), 77u);
  EXPECT_EQ(block.get(Counter::calls_finished), 0u);
}

TEST(CallRecord, StagesHaveDistinctNames) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < static_cast<std::size_t>(Stage::count_); ++i) {
    EXPECT_TRUE(names.insert(to_string(static_cast<Stage>(i))).second);
  }
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(CallRecord, TextIsCutNotOverrun) {
  FixedText<4> text;
  text.assign("abcdef");
  EXPECT_EQ(text.view(), "abcd");
  text.assign("x");
  EXPECT_EQ(text.view(), "x");
}

TEST(Histogram, BucketsCoverAllValuesWithoutGaps) {
  for (std::size_t i = 0; i < Histogram::kBuckets; ++i) {
    EXPECT_EQ(Histogram::bucket_of(Histogram::lower_bound(i)), i);
    if (i > 0) {
      EXPECT_EQ(Histogram::bucket_of(Histogram::lower_bound(i) - 1), i - 1);
    }
  }
  EXPECT_EQ(Histogram::bucket_of(~0ULL), Histogram::kBuckets - 1);
}

TEST(Histogram, QuantilesAreWithinOneSixteenth) {
  Histogram h;
  for (std::uint64_t v = 1; v <= 100'000; ++v) h.record(v);
  HistogramSnapshot s;
  h.add_to(s);
  EXPECT_EQ(s.count, 100'000u);
  EXPECT_EQ(s.sum, 5'000'050'000u);
  EXPECT_EQ(s.max, 100'000u);
  for (const double q : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = q * 100'000;
    const auto got = static_cast<double>(s.quantile(q));
    EXPECT_GE(got, exact - 1);
    EXPECT_LE(got, exact * (1 + 1.0 / 16) + 1);
  }
  EXPECT_EQ(s.quantile(1.0), 100'000u);
  EXPECT_EQ(s.at_most(15), 15u);
  EXPECT_EQ(s.at_most(~0ULL), 100'000u);
}

TEST(Histogram, SumsOverWorkersAndHandlesExtremes) {
  Histogram a, b;
  HistogramSnapshot s;
  a.add_to(s);
  EXPECT_EQ(s.quantile(0.5), 0u);
  a.record(0);
  b.record(~0ULL >> 1);
  a.add_to(s);
  b.add_to(s);
  EXPECT_EQ(s.count, 2u);
  EXPECT_EQ(s.quantile(0.5), 0u);
  EXPECT_EQ(s.quantile(0.99), ~0ULL >> 1);
}

}  // namespace
}  // namespace sluice::telemetry
