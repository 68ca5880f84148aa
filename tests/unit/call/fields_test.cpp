// Contract section 5: which fields cross the gateway.
#include "fields.h"

#include <gtest/gtest.h>

namespace sluice::call {
namespace {

http::FieldBlock block(std::initializer_list<http::Field> fields) {
  http::FieldBlock b;
  for (const auto& f : fields) EXPECT_TRUE(b.add(f.name, f.value)) << f.name;
  return b;
}

TEST(CleanRequest, DropsWhatAgentsMayNotSay) {
  auto fields = block({{"accept", "*/*"},
                       {"sluice-decision", "allow"},
                       {"x-forwarded-for", "203.0.113.9"},
                       {"x-forwarded-host", "evil.example"},
                       {"forwarded", "for=203.0.113.9"},
                       {"proxy-status", "x"},
                       {"txn-token", "a.b.c"},
                       {"agent-step-timeout", "5"},
                       {"agent-attempt", "2"},
                       {"traceparent", "00-0-0-00"},
                       {"tracestate", "a=b"},
                       {"idempotency-key", "k1"}});
  clean_request(fields, "txn-token");
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields.find("accept"), "*/*");
  EXPECT_EQ(fields.find("idempotency-key"), "k1");
}

TEST(CleanRequest, AuthorizationIsDroppedOnlyWhenItWasTheTaskToken) {
  auto token = block({{"authorization", "Bearer a.b.c"}});
  clean_request(token, "authorization");
  EXPECT_TRUE(token.empty());

  auto own = block({{"authorization", "Basic dXNlcjpwdw=="}, {"txn-token", "a.b.c"}});
  clean_request(own, "txn-token");
  ASSERT_EQ(own.size(), 1u);
  EXPECT_EQ(own.find("authorization"), "Basic dXNlcjpwdw==");
}

TEST(CleanRequest, EveryRepetitionOfADroppedFieldGoes) {
  auto fields = block({{"txn-token", "one"}, {"accept", "a"}, {"txn-token", "two"}});
  clean_request(fields, "txn-token");
  EXPECT_EQ(fields.count("txn-token"), 0u);
  EXPECT_EQ(fields.size(), 1u);
}

TEST(CleanResponse, ToolsCannotSpeakForTheGateway) {
  auto fields = block({{"content-type", "text/plain"}, {"sluice-attempts", "9"}});
  clean_response(fields);
  EXPECT_EQ(fields.size(), 1u);
  EXPECT_FALSE(fields.find("sluice-attempts").has_value());
}

TEST(Traceparent, FollowsW3CTraceContext) {
  const std::array<std::uint8_t, 16> trace = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
                                              0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};
  const std::array<std::uint8_t, 8> span = {0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7};
  EXPECT_EQ(traceparent(trace, span), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
}

TEST(UuidText, IsTheFormOfRfc9562Section4) {
  const std::array<std::uint8_t, 16> id = {0x97, 0x05, 0xa1, 0xd2, 0x12, 0x34, 0x45, 0x67,
                                           0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67};
  EXPECT_EQ(uuid_text(id), "9705a1d2-1234-4567-89ab-cdef01234567");
}

TEST(Methods, SafeAndIdempotentAreThoseOfRfc9110Section922) {
  for (const auto* m : {"GET", "HEAD", "OPTIONS", "TRACE"}) {
    EXPECT_TRUE(safe_method(m)) << m;
    EXPECT_TRUE(idempotent_method(m)) << m;
  }
  for (const auto* m : {"PUT", "DELETE"}) {
    EXPECT_FALSE(safe_method(m)) << m;
    EXPECT_TRUE(idempotent_method(m)) << m;
  }
  for (const auto* m : {"POST", "PATCH", "get", ""}) EXPECT_FALSE(idempotent_method(m)) << m;
}

}  // namespace
}  // namespace sluice::call
