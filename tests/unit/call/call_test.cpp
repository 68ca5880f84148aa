// The stages of a call against a real policy snapshot and a real TCP stack whose wire leads
// nowhere.
#include "call/call.h"

#include <gtest/gtest.h>

#include <map>

#include "example_policy.h"

namespace sluice::call {
namespace {

using telemetry::Reason;

constexpr std::int64_t kNow = 1'800'000'000;

// Swallows segments: a tool's host that does not answer.
struct Nowhere final : tcp::TransmitSink {
  MutByteSpan reserve(const IpAddress&, const IpAddress&, std::size_t length) override {
    segments++;
    return MutByteSpan{room}.first(length);
  }
  void commit() override {}
  std::array<std::uint8_t, 2048> room{};
  int segments = 0;
};

struct NoAccept final : tcp::Acceptor {
  tcp::Observer* on_accept(tcp::Connection&, std::uint32_t, Time) override { return nullptr; }
};

// What the agent would see.
struct AgentSide final : http::ServerConnection, AgentLink {
  void feed(ByteSpan, Time) override {}
  void feed_end(Time) override {}
  bool wants_input() const override { return true; }
  ByteSpan pending_output() override { return {}; }
  void consume_output(std::size_t) override {}
  void send_continue(http::StreamId) override { continued = true; }
  void respond(http::StreamId, const http::Response& response, bool end) override {
    status = response.status;
    fields = response.fields;
    ended = end;
  }
  std::size_t write_body(http::StreamId, ByteSpan data) override {
    body += as_text(data);
    return data.size();
  }
  void finish(http::StreamId, const http::FieldBlock&) override { ended = true; }
  void reset(http::StreamId, http::Error) override { was_reset = true; }
  void resume(http::StreamId) override {}
  void shutdown() override {}
  bool finished() const override { return false; }
  bool aborted() const override { return false; }
  http::Error error() const override { return http::Error::none; }
  Time deadline() const override { return kNever; }
  void on_timer(Time) override {}
  std::size_t active_streams() const override { return 1; }
  http::Version version() const override { return http::Version::http_2; }

  http::ServerConnection& http() override { return *this; }
  const Endpoint& peer() const override { return source; }
  void schedule() override { scheduled = true; }
  void call_finished(Call&) override { finished_calls++; }

  Endpoint source{*IpAddress::parse("198.18.1.10"), 40000};
  http::FieldBlock fields;
  std::string body;
  int status = 0;
  int finished_calls = 0;
  bool ended = false, was_reset = false, continued = false, scheduled = false;
};

struct TestHost final : Host {
  std::uint64_t nanos() override { return ++ticks; }
  std::uint64_t random() override { return 42; }
  void record(const telemetry::CallRecord& r) override { records.push_back(r); }
  void arm(Call&, Time at) override { armed = at; }
  std::uint64_t ticks = 0;
  Time armed = kNever;
  std::vector<telemetry::CallRecord> records;
};

class CallTest : public testing::Test {
 protected:
  CallTest() {
    context_.snapshot = &snapshot_;
    context_.now = {Time{Seconds{100}}, WallTime{Seconds{kNow}}};
    context_.tasks = &tasks_;
    context_.counters = &counters_;
    context_.host = &host_;
    tcp::StackConfig config;
    stack_ = std::make_unique<tcp::Stack>(config, wire_, nobody_);
    pools_ = std::make_unique<upstream::Pools>(*stack_, upstream::PoolLimits{});
    pools_->set_local_addresses({*IpAddress::parse("198.18.2.1")});
    pools_->set_handshake_budget(budget_);
    context_.pools = pools_.get();
  }
  ~CallTest() override {
    call_.reset();
    pools_.reset();
    stack_->abort_all(context_.now.mono);
  }

  std::string token(std::string_view agent_class, std::string_view scope = "") {
    return test::example_token(key_, kNow, agent_class, scope);
  }

  void start(std::string_view path, std::string token_text,
             std::string_view host = "kb.tools.example", std::string_view method = "GET",
             std::initializer_list<http::Field> more = {}, bool has_body = false) {
    http::Request request;
    request.method = method;
    request.scheme = "https";
    request.authority = host;
    request.path = path;
    request.version = http::Version::http_2;
    if (!token_text.empty()) request.fields.add("txn-token", token_text);
    for (const auto& f : more) request.fields.add(f.name, f.value);
    call_ = std::make_unique<Call>(context_, agent_, 1, std::move(request), has_body, 0);
    call_->run();
  }

  void expect_refused(Reason reason) {
    ASSERT_EQ(host_.records.size(), 1u);
    EXPECT_EQ(to_string(host_.records[0].reason), to_string(reason));
    EXPECT_EQ(agent_.status, telemetry::info(reason).status);
    EXPECT_EQ(agent_.fields.find("content-type"), "application/problem+json");
    EXPECT_EQ(agent_.fields.find("cache-control"), "no-store");
    EXPECT_TRUE(agent_.fields.find("proxy-status").has_value());
    EXPECT_NE(agent_.body.find("\"code\":\"" + std::string(to_string(reason)) + "\""),
              std::string::npos)
        << agent_.body;
    EXPECT_TRUE(agent_.ended);
    EXPECT_EQ(agent_.finished_calls, 1);
    EXPECT_EQ(wire_.segments, 0) << "a refused call must not touch the tool";
  }

  policy::Timeouts& limits(std::size_t tool = 1) {
    return snapshot_.services[0].tools[tool].timeouts;
  }
  void expect_timed_out(std::string_view detail) {
    ASSERT_EQ(host_.records.size(), 1u);
    EXPECT_EQ(to_string(host_.records[0].reason), to_string(Reason::step_timeout));
    EXPECT_EQ(agent_.status, 504);
    EXPECT_NE(agent_.body.find(detail), std::string::npos) << agent_.body;
    EXPECT_EQ(tasks_.list().at(0).in_flight, 0u);
  }

  const crypto::SigningKey key_ = test::example_key();
  policy::Snapshot snapshot_ = test::example_policy(key_, 7);
  state::TaskTable tasks_{64};
  telemetry::CounterBlock counters_;
  TestHost host_;
  AgentSide agent_;
  Nowhere wire_;
  NoAccept nobody_;
  tls::HandshakeBudget budget_;
  Context context_;
  std::unique_ptr<tcp::Stack> stack_;
  std::unique_ptr<upstream::Pools> pools_;
  std::unique_ptr<Call> call_;
};

TEST_F(CallTest, WithoutATokenNothingPasses) {
  start("/docs/a", "");
  expect_refused(Reason::token_missing);
  // The host's random numbers are all 42.
  EXPECT_NE(agent_.body.find(R"("trace_id":"000000000000002a000000000000002a")"), std::string::npos)
      << agent_.body;
  EXPECT_EQ(host_.records[0].trace_id[7], 42);
  EXPECT_TRUE(agent_.fields.find("www-authenticate").has_value());
}

TEST_F(CallTest, ATokenThatIsNoneIsInvalid) {
  start("/docs/a", "not-a-token");
  expect_refused(Reason::token_invalid);
}

TEST_F(CallTest, AnUnknownHostIsAnUnknownService) {
  start("/docs/a", token("research"), "nowhere.example");
  expect_refused(Reason::service_unknown);
}

TEST_F(CallTest, AClassWithoutTheServiceIsForbidden) {
  start("/docs/a", token("nothing"));
  expect_refused(Reason::segment_forbidden);
  EXPECT_EQ(host_.records[0].service.view(), "kb");
  EXPECT_EQ(host_.records[0].tool.view(), "lookup");
}

TEST_F(CallTest, AClassOfOneToolMayNotUseTheRest) {
  start("/admin", token("lookup-only"));
  expect_refused(Reason::segment_forbidden);
  EXPECT_EQ(host_.records[0].tool.view(), "*");
}

TEST_F(CallTest, AClassFromElsewhereIsForbiddenHere) {
  start("/docs/a", token("elsewhere"));
  expect_refused(Reason::segment_forbidden);
}

TEST_F(CallTest, ATokenNarrowsItsClass) {
  start("/docs/a", token("research", "mail search/query"));
  expect_refused(Reason::scope_insufficient);
}

TEST_F(CallTest, ARevokedTaskIsTold) {
  const std::string t = token("research");
  const Identity id = verify_token(t, snapshot_, tasks_, context_.now.wall);
  ASSERT_TRUE(tasks_.revoke(id.id, kNow + 300));
  start("/docs/a", t);
  expect_refused(Reason::token_revoked);
}

TEST_F(CallTest, PathsThatToolsReadDifferentlyAreRefused) {
  for (const auto* path : {"/docs/../admin", "/docs/%2e%2e/admin", "/docs/a%2fb", "/docs/%00"}) {
    SCOPED_TRACE(path);
    host_.records.clear();
    agent_ = AgentSide{};
    start(path, token("research"));
    expect_refused(Reason::request_invalid);
  }
}

TEST_F(CallTest, AStepTimeoutThatIsNoNumberIsRefused) {
  for (const auto* value : {"soon", "0", "-5", "10s", ""}) {
    SCOPED_TRACE(value);
    host_.records.clear();
    agent_ = AgentSide{};
    start("/docs/a", token("research"), "kb.tools.example", "GET", {{"agent-step-timeout", value}});
    expect_refused(Reason::request_invalid);
  }
}

TEST_F(CallTest, AnAllowedCallGoesToTheTool) {
  start("/docs/a", token("research"));
  EXPECT_TRUE(host_.records.empty());
  stack_->flush(context_.now.mono);
  EXPECT_GT(wire_.segments, 0);
  EXPECT_EQ(tasks_.list().at(0).in_flight, 1u);
}

TEST_F(CallTest, AuditLetsPassWhatEnforceWouldRefuse) {
  start("/docs/a", token("trial"));
  EXPECT_TRUE(host_.records.empty());
  stack_->flush(context_.now.mono);
  EXPECT_GT(wire_.segments, 0);
}

TEST_F(CallTest, TheAgentMayOnlyLowerTheStepLimit) {
  start("/docs/a", token("research"), "kb.tools.example", "GET", {{"agent-step-timeout", "250"}});
  EXPECT_EQ(host_.armed, context_.now.mono + Millis{250});
  call_.reset();
  host_.records.clear();
  start("/docs/a", token("research"), "kb.tools.example", "GET",
        {{"agent-step-timeout", "99999999"}});
  EXPECT_EQ(host_.armed, context_.now.mono + policy::Timeouts{}.first_byte);
}

TEST_F(CallTest, AToolThatDoesNotAnswerEndsTheCallAtItsLimit) {
  start("/docs/a", token("research"), "kb.tools.example", "GET", {{"agent-step-timeout", "250"}});
  context_.now.mono += Millis{249};
  call_->on_deadline();
  EXPECT_TRUE(host_.records.empty());
  context_.now.mono += Millis{1};
  call_->on_deadline();
  ASSERT_EQ(host_.records.size(), 1u);
  EXPECT_EQ(host_.records[0].reason, Reason::step_timeout);
  EXPECT_EQ(agent_.status, 504);
  EXPECT_EQ(tasks_.list().at(0).in_flight, 0u);
}

TEST_F(CallTest, AStalledUploadEndsAtItsIdleLimit) {
  limits(0).idle = Millis{700};
  start("/docs/a", token("research"), "kb.tools.example", "POST", {}, true);
  EXPECT_EQ(host_.armed, context_.now.mono + Millis{700});
  context_.now.mono += Millis{699};
  call_->on_deadline();
  EXPECT_TRUE(host_.records.empty());
  context_.now.mono += Millis{1};
  call_->on_deadline();
  expect_timed_out("nothing moved within the idle limit");
}

TEST_F(CallTest, AHardLimitEndsACallThatMoves) {
  limits(0).hard = Millis{900};
  limits(0).idle = Millis{400};
  start("/docs/a", token("research"), "kb.tools.example", "POST", {}, true);
  for (int i = 0; i < 8; ++i) {
    context_.now.mono += Millis{100};
    ASSERT_GT(call_->on_request_body(as_bytes("x")), 0u);
    call_->on_deadline();
    ASSERT_TRUE(host_.records.empty());
  }
  context_.now.mono += Millis{100};
  call_->on_deadline();
  expect_timed_out("the call was not over within its hard limit");
}

TEST_F(CallTest, AHardLimitCutsAResponseOff) {
  limits().hard = Millis{900};
  start("/docs/a", token("research"));
  http::Response head;
  head.status = 200;
  static_cast<upstream::ExchangeHandler&>(*call_).on_response(std::move(head), false,
                                                              context_.now.mono);
  context_.now.mono += Millis{900};
  call_->on_deadline();
  ASSERT_EQ(host_.records.size(), 1u);
  EXPECT_EQ(host_.records[0].reason, Reason::step_timeout);
  EXPECT_EQ(agent_.status, 200);
  EXPECT_TRUE(agent_.was_reset);
}

TEST_F(CallTest, FirstByteAndStepAreToldApart) {
  limits().first_byte = Millis{300};
  start("/docs/a", token("research"));
  context_.now.mono += Millis{300};
  call_->on_deadline();
  expect_timed_out("the tool sent no response within its first-byte limit");
  call_.reset();
  host_.records.clear();
  agent_ = AgentSide{};
  limits().first_byte = Millis{10000};
  start("/docs/a", token("research"), "kb.tools.example", "GET", {{"agent-step-timeout", "300"}});
  context_.now.mono += Millis{300};
  call_->on_deadline();
  expect_timed_out("the tool did not answer within its step limit");
}

TEST_F(CallTest, AnAgentThatLeavesEndsTheCallWithoutAnAnswer) {
  start("/docs/a", token("research"));
  call_->on_agent_gone();
  ASSERT_EQ(host_.records.size(), 1u);
  EXPECT_TRUE(host_.records[0].agent_gone);
  EXPECT_EQ(agent_.status, 0);
  EXPECT_EQ(tasks_.list().at(0).in_flight, 0u);
}

TEST_F(CallTest, DeletingTheTaskEndsItsRunningCalls) {
  start("/docs/a", token("research"));
  call_->revoke();
  ASSERT_EQ(host_.records.size(), 1u);
  EXPECT_EQ(host_.records[0].reason, Reason::token_revoked);
  EXPECT_EQ(agent_.status, 401);
}

TEST_F(CallTest, TheSecondCallOfATokenIsDecidedFromTheCache) {
  const std::string t = token("nothing");
  start("/docs/a", t);
  start("/docs/a", t);
  ASSERT_EQ(host_.records.size(), 2u);
  EXPECT_FALSE(host_.records[0].cached_identity);
  EXPECT_TRUE(host_.records[1].cached_identity);
  EXPECT_EQ(counters_.get(telemetry::Counter::identity_cache_hits), 1u);
}

}  // namespace
}  // namespace sluice::call
