#include "fields.h"

#include <algorithm>

namespace sluice::call {

namespace {

constexpr std::string_view kDroppedFromAgents[] = {
    "txn-token",  "proxy-authorization", "proxy-status",  "forwarded", "traceparent",
    "tracestate", "agent-step-timeout",  "agent-attempt", "expect",
};

bool dropped_from_agents(std::string_view name) {
  if (name.starts_with("sluice-") || name.starts_with("x-forwarded-")) return true;
  return std::ranges::find(kDroppedFromAgents, name) != std::end(kDroppedFromAgents);
}

}  // namespace

void clean_request(http::FieldBlock& fields, std::string_view token_field) {
  fields.remove_if([&](const http::Field& field) {
    return dropped_from_agents(field.name) || (!token_field.empty() && field.name == token_field);
  });
}

void clean_response(http::FieldBlock& fields) {
  fields.remove_if([](const http::Field& field) { return field.name.starts_with("sluice-"); });
}

std::string hex(const std::uint8_t* bytes, std::size_t n) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string s;
  s.reserve(2 * n);
  for (std::size_t i = 0; i < n; ++i) {
    s.push_back(kDigits[bytes[i] >> 4]);
    s.push_back(kDigits[bytes[i] & 15]);
  }
  return s;
}

std::string traceparent(const std::array<std::uint8_t, 16>& trace,
                        const std::array<std::uint8_t, 8>& span) {
  return "00-" + hex(trace.data(), trace.size()) + "-" + hex(span.data(), span.size()) + "-01";
}

std::string uuid_text(const std::array<std::uint8_t, 16>& id) {
  std::string s = hex(id.data(), id.size());
  for (const std::size_t at : {8u, 13u, 18u, 23u}) s.insert(at, 1, '-');
  return s;
}

bool safe_method(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "TRACE";
}

bool idempotent_method(std::string_view method) {
  return safe_method(method) || method == "PUT" || method == "DELETE";
}

}  // namespace sluice::call
