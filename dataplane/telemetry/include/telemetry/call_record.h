// One finished call: every decision and every duration. A fixed-size value, so that a worker writes
// it to the event ring without allocating; text that does not fit is cut, which the *_cut bits say.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/ip_address.h"
#include "base/time.h"
#include "telemetry/reasons.h"

namespace sluice::telemetry {

// The stages of one call in the order of dataplane/call/. Durations are indexed by these.
enum class Stage : std::uint8_t {
  receive,  // first header byte to complete header section
  identify,
  classify,
  authorize,
  connect,  // waiting for an upstream connection (0 when pooled)
  send,     // request handed to the tool's connection
  wait,     // until the first byte of the response
  respond,  // until the last byte was handed to the agent's connection
  count_,
};
std::string_view to_string(Stage stage);

template <std::size_t N>
struct FixedText {
  std::array<char, N> text{};
  std::uint16_t length = 0;

  void assign(std::string_view s) {
    length = static_cast<std::uint16_t>(s.size() < N ? s.size() : N);
    s.copy(text.data(), length);
  }
  std::string_view view() const { return {text.data(), length}; }
};

struct CallRecord {
  WallTime started;
  Micros total{0};
  std::array<Nanos, static_cast<std::size_t>(Stage::count_)> stages{};
  std::array<std::uint8_t, 16> trace_id{};
  std::array<std::uint8_t, 8> span_id{};
  std::array<std::uint8_t, 16> task{};  // txn
  FixedText<64> agent_class;
  FixedText<96> subject;
  FixedText<64> service;
  FixedText<64> tool;
  FixedText<16> method;
  FixedText<160> path;          // without query
  Endpoint agent;               // source
  Endpoint endpoint;            // the tool's address that answered last
  std::uint64_t bytes_in = 0;   // request body
  std::uint64_t bytes_out = 0;  // response body
  std::uint64_t policy_generation = 0;
  std::uint16_t status = 0;  // sent to the agent; 0 if nothing was
  Reason reason = Reason::ok;
  std::uint8_t attempts = 0;
  std::uint8_t http_version = 0;  // http::Version on the agent's side
  bool pooled = false;            // upstream connection was reused
  bool cached_identity = false;   // decision cache hit
  bool agent_gone = false;        // the agent left before the end
  std::uint16_t worker = 0;
};

}  // namespace sluice::telemetry
