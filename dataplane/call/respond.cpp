// A refused call's answer: the error record in the plain-HTTP dialect (contract section 8).
#include "call/call.h"
#include "fields.h"
#include "http/problem.h"

namespace sluice::call {

using telemetry::Reason;

namespace {

// When trying again makes sense and nothing better is known.
constexpr std::uint64_t kRetryAfterMs = 1000;

}  // namespace

void Call::refuse(Reason reason, std::string_view detail) {
  if (finished_) return;
  refusing_ = true;
  record_.reason = reason;
  const auto& info = telemetry::info(reason);
  record_.status = info.status;
  const bool known = record_.task != state::TaskId{};
  const std::string task = known ? uuid_text(record_.task) : std::string();
  // Without a task there is still a record to find: under a trace of its own.
  if (record_.trace_id == decltype(record_.trace_id){}) {
    store_be64(record_.trace_id.data(), context_.host->random());
    store_be64(record_.trace_id.data() + 8, context_.host->random());
  }
  const std::string trace = hex(record_.trace_id.data(), record_.trace_id.size());
  http::Problem problem;
  problem.reason = reason;
  problem.detail = detail;
  problem.service = record_.service.view();
  problem.tool = record_.tool.view();
  problem.task = task;
  problem.trace_id = trace;
  problem.attempts = record_.attempts;
  if (info.retry == telemetry::Retry::after || info.retry == telemetry::Retry::when_safe) {
    problem.retry_after_ms = kRetryAfterMs;
  }
  const policy::Snapshot* snapshot = context_.snapshot;
  const bool service_known = snapshot != nullptr && service_ < snapshot->services.size() &&
                             snapshot->generation == record_.policy_generation;
  std::string told;
  // Words of the service's owner only where the service is at fault.
  if (service_known && info.fault == telemetry::Fault::service) {
    const policy::Service& service = snapshot->services[service_];
    problem.hint = service.degrade.hint;
    if (!service.degrade.message.empty()) {
      told = service.degrade.message + ": " + std::string(detail);
      problem.detail = told;
    }
  }
  const std::string body = http::problem_json(problem);
  http::Response response = http::problem_response(problem);
  response.content_length = body.size();
  auto& http = agent_.http();
  http.respond(id_, response, false);
  http.write_body(id_, as_bytes(body));
  http.finish(id_);
  record_.bytes_out += body.size();
  agent_.schedule();
  finish();
}

}  // namespace sluice::call
