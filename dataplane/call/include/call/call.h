// One tool call, from the first header byte to the last body byte.
//
// The stages and their order stand in stages.cpp. A call is driven from two sides: the agent's
// connection (request, body, room to write, reset) and the exchange with the tool (response, body,
// failure). It holds no pointer into the policy snapshot across turns: what it needs later is
// copied.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/timer_wheel.h"
#include "call/context.h"
#include "http/connection.h"
#include "policy/snapshot.h"
#include "telemetry/call_record.h"
#include "upstream/pool.h"

namespace sluice::call {

// What a stage decides.
struct Verdict {
  enum class Kind : std::uint8_t { proceed, wait, reject };
  Kind kind = Kind::proceed;
  telemetry::Reason reason = telemetry::Reason::ok;
  std::string_view detail;  // static text, or the call's own
  Time until = kNever;      // of wait

  static Verdict next() { return {}; }
  static Verdict reject(telemetry::Reason reason, std::string_view detail) {
    return {Kind::reject, reason, detail, kNever};
  }
};

class Call final : public upstream::ExchangeHandler {
 public:
  // `arrived`: nanos() at the first byte of the header section.
  Call(Context& context, AgentLink& agent, http::StreamId id, http::Request&& request,
       bool has_body, std::uint64_t arrived);
  ~Call();

  // Runs the stages. The call may be finished when this returns.
  void run();

  // From the agent's side.
  std::size_t on_request_body(ByteSpan data);
  void on_request_end(const http::FieldBlock& trailers);
  void on_agent_writable();
  void on_agent_gone();

  // From the worker.
  void on_deadline();
  // The task was revoked while the call ran.
  void revoke();

  http::StreamId id() const { return id_; }
  const state::TaskId& task() const { return record_.task; }
  bool finished() const { return finished_; }

  struct Timer : TimerNode {  // Host::arm's
    Call* owner = nullptr;
  } timer;

 private:
  friend struct Stages;

  // upstream::ExchangeHandler
  void on_sent(Time now) override;
  void on_response(http::Response&& response, bool end, Time now) override;
  std::size_t on_response_body(ByteSpan data, Time now) override;
  void on_response_end(const http::FieldBlock& trailers, Time now) override;
  void on_request_writable(Time now) override;
  void on_failed(telemetry::Reason reason, std::string_view detail, bool begun, Time now) override;

  void refuse(telemetry::Reason reason, std::string_view detail);
  void cut_off(telemetry::Reason reason);
  void finish();
  void stage_done(telemetry::Stage stage);
  void progressed();
  struct Limit {
    Time at;
    std::string_view detail;
  };
  Limit limit() const;
  void rearm();

  Context& context_;
  AgentLink& agent_;
  const http::StreamId id_;
  http::Request request_;
  const bool has_body_;
  std::unique_ptr<upstream::Exchange> exchange_;

  // Copied decisions.
  policy::ServiceIndex service_ = policy::kNone;
  policy::ToolIndex tool_ = policy::kNone;
  policy::ClassIndex class_ = policy::kNone;
  state::TaskHandle task_;
  std::string scope_;
  policy::Timeouts timeouts_;
  Millis agent_step_{0};                             // Agent-Step-Timeout; 0: none
  std::string_view token_field_;                     // the field that carried the token: a literal
  telemetry::Reason audit_ = telemetry::Reason::ok;  // what enforce mode would have refused

  telemetry::CallRecord record_;
  std::uint64_t stage_began_ = 0;
  std::uint64_t began_ = 0;
  Time step_from_{};  // forward began, or the request body ended
  Time last_progress_{};
  Time first_byte_from_ = kNever;  // the request is with the tool
  Time hard_until_ = kNever;
  bool request_ended_ = false;
  bool counted_ = false;  // in the task's in-flight
  bool response_begun_ = false;
  bool finished_ = false;
  bool refusing_ = false;  // the rest of the request body is thrown away
};

}  // namespace sluice::call
