#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>

#include "telemetry/call_record.h"
#include "telemetry/connection_record.h"
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

// The whole table of the contract, section 8.
TEST(Reasons, TableOfTheContract) {
  const struct {
    std::string_view code;
    int status, jsonrpc;
    Retry retry;
    std::string_view fault;
  } rows[] = {
      {"token_missing", 401, 40101, Retry::no, "agent"},
      {"token_invalid", 401, 40104, Retry::no, "agent"},
      {"token_expired", 401, 40102, Retry::after_refresh, "agent"},
      {"token_revoked", 401, 40103, Retry::no, "policy"},
      {"scope_insufficient", 403, 40301, Retry::no, "policy"},
      {"endpoint_forbidden", 403, 40302, Retry::no, "policy"},
      {"segment_forbidden", 403, 40303, Retry::no, "policy"},
      {"tool_unknown", 404, -32602, Retry::no, "agent"},
      {"service_unknown", 404, 40401, Retry::no, "agent"},
      {"request_invalid", 400, 40001, Retry::no, "agent"},
      {"header_mismatch", 400, -32020, Retry::no, "agent"},
      {"request_too_large", 413, 41301, Retry::no, "agent"},
      {"rate_limited", 429, 42901, Retry::after, "agent"},
      {"concurrency_exceeded", 429, 42902, Retry::after, "agent"},
      {"task_budget_exhausted", 429, 42903, Retry::no, "agent"},
      {"breaker_open", 503, 50302, Retry::after, "service"},
      {"queue_full", 503, 50303, Retry::after, "service"},
      {"queue_timeout", 503, 50304, Retry::after, "service"},
      {"overload_shed", 503, 50305, Retry::after, "service"},
      {"retry_budget_exhausted", 503, 50301, Retry::no, "service"},
      {"endpoint_decommissioned", 503, 50306, Retry::no, "service"},
      {"dns_failed", 502, 50201, Retry::when_safe, "service"},
      {"connect_failed", 502, 50202, Retry::when_safe, "service"},
      {"upstream_tls_failed", 502, 50203, Retry::when_safe, "service"},
      {"upstream_reset", 502, 50204, Retry::when_safe, "service"},
      {"upstream_protocol", 502, 50205, Retry::when_safe, "service"},
      {"response_too_large", 502, 50206, Retry::when_safe, "service"},
      {"dns_timeout", 504, 50401, Retry::when_safe, "service"},
      {"connect_timeout", 504, 50402, Retry::when_safe, "service"},
      {"step_timeout", 504, 50403, Retry::when_safe, "service"},
      {"deadline_unreachable", 504, 50404, Retry::when_safe, "agent"},
  };
  EXPECT_EQ(std::size(rows), static_cast<std::size_t>(Reason::count_) - 1);
  for (const auto& row : rows) {
    SCOPED_TRACE(row.code);
    const auto reason = parse_reason(row.code);
    ASSERT_TRUE(reason.has_value());
    EXPECT_EQ(info(*reason).status, row.status);
    EXPECT_EQ(info(*reason).jsonrpc, row.jsonrpc);
    EXPECT_EQ(info(*reason).retry, row.retry);
    EXPECT_EQ(to_string(info(*reason).fault), row.fault);
  }
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

TEST(ConnectionEvents, NamesAreDistinctAndExplained) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < static_cast<std::size_t>(ConnectionEvent::count_); ++i) {
    const ConnectionEventInfo& row = info(static_cast<ConnectionEvent>(i));
    EXPECT_TRUE(metric_name(row.id)) << row.id;
    EXPECT_TRUE(row.value.empty() || metric_name(row.value)) << row.id;
    EXPECT_FALSE(row.help.empty()) << row.id;
    EXPECT_TRUE(names.insert(std::string(row.id)).second) << row.id;
  }
}

TEST(ConnectionEvents, TimesKeepTheirPrecision) {
  for (const std::int64_t exact : {0L, 1L, 524'287L}) {
    EXPECT_EQ(PackedMicros(Micros{exact}).time(), Micros{exact});
  }
  for (std::int64_t us = 600'000; us < 1'000'000'000'000'000; us = us * 3 + 7) {
    const Micros got = PackedMicros(Micros{us}).time();
    EXPECT_LE(got, Micros{us});
    EXPECT_GT(got.count(), us - us / 262'144 - 1);
  }
  EXPECT_EQ(PackedMicros(Micros{-5}).time(), Micros{0});
  EXPECT_GT(PackedMicros(Micros::max()).time(), std::chrono::years{30});
}

TEST(ConnectionEvents, TheLatestStayInTheirOrder) {
  ConnectionEvents ring;
  EXPECT_EQ(ring.size(), 0u);
  for (std::uint32_t i = 0; i < 40; ++i) {
    ring.add(ConnectionEvent::path_mtu, i, Time{Micros{1000 + 10 * i}});
    ASSERT_EQ(ring.size(), std::min<std::size_t>(i + 1, ConnectionEvents::kCapacity));
    ASSERT_EQ(ring[ring.size() - 1].value, i);
  }
  EXPECT_EQ(ring[0].value, 40 - ConnectionEvents::kCapacity);
  EXPECT_EQ(ring[0].since_last(), Micros{10});
  EXPECT_EQ(ring.last(), Time{Micros{1390}});
  EXPECT_EQ(ring.total(), 40u);
}

TEST(ConnectionRecord, StatesAndReasonsHaveDistinctNames) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < static_cast<std::size_t>(TcpState::count_); ++i) {
    EXPECT_TRUE(names.insert(to_string(static_cast<TcpState>(i))).second);
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(TcpCloseReason::count_); ++i) {
    EXPECT_TRUE(names.insert(to_string(static_cast<TcpCloseReason>(i))).second);
  }
  EXPECT_EQ(to_string(TcpState::count_), "unknown");
  EXPECT_EQ(to_string(TcpCloseReason::count_), "unknown");
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
