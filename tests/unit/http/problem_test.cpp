// The error record of contract section 8.
#include "http/problem.h"

#include <gtest/gtest.h>

namespace sluice::http {
namespace {

using telemetry::Reason;

TEST(Problem, WholeRecord) {
  const std::vector<std::string> alternatives = {"search/query", "mail/read"};
  Problem p;
  p.reason = Reason::breaker_open;
  p.detail = "Knowledge base unavailable";
  p.hint = "Use search_issues";
  p.service = "kb";
  p.tool = "lookup";
  p.task = "9705a1d2";
  p.trace_id = "4bf9";
  p.alternatives = alternatives;
  p.attempts = 1;
  p.retry_after_ms = 8000;
  p.budget = Budget{61, 4, 41250};
  EXPECT_EQ(
      problem_json(p),
      R"({"type":"urn:sluice:error:breaker_open","title":"Tool temporarily unavailable","status":503,)"
      R"("detail":"Knowledge base unavailable","code":"breaker_open","retryable":true,)"
      R"("retry_after_ms":8000,"hint":"Use search_issues","alternatives":["search/query","mail/read"],)"
      R"("service":"kb","tool":"lookup","attempts":1,)"
      R"("budget":{"calls_left":61,"retries_left":4,"wall_ms_left":41250},)"
      R"("task":"9705a1d2","trace_id":"4bf9","fault":"service"})");
}

TEST(Problem, Escaping) {
  Problem p;
  p.detail = "a\"b\\c\n\x01\x7f/\xc3\xa9";
  const std::string json = problem_json(p);
  EXPECT_NE(json.find(R"("detail":"a\"b\\c\u000a\u0001\u007f/)"
                      "\xc3\xa9\""),
            std::string::npos)
      << json;
}

// JSON is UTF-8 (RFC 8259 section 8.1), whatever came from outside.
TEST(Problem, InvalidUtf8IsReplaced) {
  const std::string replacement = "\xef\xbf\xbd";
  const std::pair<std::string, std::string> cases[] = {
      {"\xff", replacement},
      {"\xc3", replacement},
      {"\xc3(", replacement + "("},
      {"\xc0\xaf", replacement + replacement},                    // overlong
      {"\xed\xa0\x80", replacement + replacement + replacement},  // a surrogate
      {"\xf4\x90\x80\x80", replacement + replacement + replacement + replacement},
      {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
      {"\xe2\x82\xac", "\xe2\x82\xac"},
  };
  for (const auto& [in, out] : cases) {
    Problem p;
    p.detail = in;
    EXPECT_NE(problem_json(p).find("\"detail\":\"" + out + "\","), std::string::npos) << out;
  }
}

std::string value(const Response& r, std::string_view name) {
  return std::string(r.fields.find(name).value_or(""));
}

TEST(Problem, FieldsOfEveryReason) {
  for (int i = 1; i < static_cast<int>(Reason::count_); ++i) {
    Problem p;
    p.reason = static_cast<Reason>(i);
    p.retry_after_ms = 1001;
    const auto& info = telemetry::info(p.reason);
    const Response r = problem_response(p);
    EXPECT_EQ(r.status, info.status);
    EXPECT_EQ(value(r, "content-type"), "application/problem+json");
    EXPECT_EQ(value(r, "cache-control"), "no-store");
    EXPECT_TRUE(value(r, "proxy-status").starts_with("sluice;error=")) << info.code;
    EXPECT_TRUE(value(r, "proxy-status").ends_with(";details=\"" + std::string(info.code) + "\""));
    const bool retryable = info.retry != telemetry::Retry::no;
    EXPECT_EQ(value(r, "retry-after"), retryable ? "2" : "") << info.code;
    EXPECT_EQ(r.fields.count("www-authenticate") > 0,
              info.status == 401 || p.reason == Reason::scope_insufficient)
        << info.code;
    EXPECT_EQ(r.fields.count("proxy-authenticate"), 0u);
  }
}

TEST(Problem, Challenges) {
  Problem p;
  p.reason = Reason::token_missing;
  EXPECT_EQ(value(problem_response(p), "www-authenticate"), "Bearer realm=\"sluice\"");
  p.reason = Reason::token_expired;
  EXPECT_EQ(value(problem_response(p), "www-authenticate"),
            "Bearer realm=\"sluice\", error=\"invalid_token\", "
            "error_description=\"Task token expired\"");
  p.reason = Reason::scope_insufficient;
  EXPECT_EQ(value(problem_response(p), "www-authenticate"),
            "Bearer realm=\"sluice\", error=\"insufficient_scope\"");
}

TEST(Problem, RefusedConnect) {
  Problem p;
  p.connect = true;
  p.reason = Reason::token_missing;
  EXPECT_EQ(problem_response(p).status, 407);
  EXPECT_EQ(value(problem_response(p), "proxy-authenticate"), "Bearer realm=\"sluice\"");
  EXPECT_EQ(value(problem_response(p), "www-authenticate"), "");
  EXPECT_NE(problem_json(p).find("\"status\":407,"), std::string::npos);
  p.reason = Reason::scope_insufficient;
  EXPECT_EQ(problem_response(p).status, 403);
  EXPECT_EQ(value(problem_response(p), "www-authenticate"), "");
  EXPECT_NE(value(problem_response(p), "proxy-authenticate").find("insufficient_scope"),
            std::string::npos);
}

}  // namespace
}  // namespace sluice::http
