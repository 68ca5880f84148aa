#include "call/call.h"

#include <algorithm>
#include <utility>

#include "fields.h"
#include "stages.h"

namespace sluice::call {

using telemetry::Counter;
using telemetry::Reason;
using telemetry::Stage;

namespace {

std::string_view without_query(std::string_view path) { return path.substr(0, path.find('?')); }

}  // namespace

Call::Call(Context& context, AgentLink& agent, http::StreamId id, http::Request&& request,
           bool has_body, std::uint64_t arrived)
    : context_(context),
      agent_(agent),
      id_(id),
      request_(std::move(request)),
      has_body_(has_body),
      stage_began_(arrived),
      began_(arrived),
      request_ended_(!has_body) {
  timer.owner = this;
  record_.started = context.now.wall;
  record_.method.assign(request_.method);
  record_.path.assign(without_query(request_.path));
  record_.agent = agent.peer();
  record_.policy_generation = context.snapshot->generation;
  record_.http_version = static_cast<std::uint8_t>(request_.version);
  record_.worker = context.worker;
  context.counters->add(Counter::calls_started);
  stage_done(Stage::receive);
}

Call::~Call() { context_.host->arm(*this, kNever); }

void Call::run() {
  const policy::Snapshot& snapshot = *context_.snapshot;
  for (const auto& step : kStages) {
    const Verdict verdict = step.run(*this, snapshot);
    if (finished_) return;
    if (step.stage != Stage::connect) stage_done(step.stage);
    if (verdict.kind == Verdict::Kind::reject) return refuse(verdict.reason, verdict.detail);
  }
  rearm();
}

void Call::stage_done(Stage stage) {
  const std::uint64_t now = context_.host->nanos();
  record_.stages[static_cast<std::size_t>(stage)] +=
      Nanos{static_cast<std::int64_t>(now - stage_began_)};
  stage_began_ = now;
}

std::size_t Call::on_request_body(ByteSpan data) {
  record_.bytes_in += data.size();
  if (refusing_ || finished_ || !exchange_) return data.size();
  const std::size_t n = exchange_->write_body(data, context_.now.mono);
  record_.bytes_in -= data.size() - n;
  if (n > 0) progressed();
  return n;
}

void Call::on_request_end(const http::FieldBlock& trailers) {
  if (request_ended_) return;
  request_ended_ = true;
  if (refusing_ || finished_ || !exchange_) return;
  // From here on the tool's time runs: an upload's own duration is not held against it.
  step_from_ = first_byte_from_ = last_progress_ = context_.now.mono;
  exchange_->finish_body(trailers, context_.now.mono);
  if (!finished_) rearm();
}

void Call::on_agent_writable() {
  if (exchange_ && !finished_) exchange_->resume(context_.now.mono);
}

void Call::on_agent_gone() {
  if (finished_) return;
  record_.agent_gone = true;
  if (exchange_) exchange_->cancel();
  finish();
}

void Call::on_sent(Time) {
  stage_done(Stage::connect);
  record_.pooled = exchange_ && exchange_->progress().pooled;
}

void Call::on_request_writable(Time) {
  if (finished_ || refusing_) return;
  agent_.http().resume(id_);
  agent_.schedule();
}

void Call::on_response(http::Response&& response, bool end, Time now) {
  if (finished_) return;
  stage_done(Stage::wait);
  response_begun_ = true;
  last_progress_ = now;
  record_.status = response.status;
  record_.endpoint = exchange_->progress().address;
  clean_response(response.fields);
  if (audit_ != Reason::ok) {
    response.fields.add("sluice-decision", std::string("deny;reason=") +
                                               std::string(to_string(audit_)) + ";mode=audit");
  }
  agent_.http().respond(id_, response, end);
  agent_.schedule();
  if (end) return finish();
  rearm();
}

std::size_t Call::on_response_body(ByteSpan data, Time now) {
  if (finished_) return data.size();
  const std::size_t n = agent_.http().write_body(id_, data);
  if (n > 0) {
    record_.bytes_out += n;
    last_progress_ = now;
    agent_.schedule();
  }
  return n;
}

void Call::on_response_end(const http::FieldBlock& trailers, Time) {
  if (finished_) return;
  agent_.http().finish(id_, trailers);
  agent_.schedule();
  finish();
}

void Call::on_failed(Reason reason, std::string_view detail, bool begun, Time) {
  if (finished_) return;
  record_.endpoint = exchange_->progress().address;
  if (begun || response_begun_) return cut_off(reason);
  stage_done(exchange_->progress().connection_ready == Time{} ? Stage::connect : Stage::wait);
  refuse(reason, detail);
}

void Call::revoke() {
  if (finished_) return;
  if (exchange_) exchange_->cancel();
  if (response_begun_) return cut_off(Reason::token_revoked);
  refuse(Reason::token_revoked, "the task was ended by its owner");
}

// A response already begun cannot turn into an error: it ends visibly incomplete (contract 8).
void Call::cut_off(Reason reason) {
  record_.reason = reason;
  agent_.http().reset(id_, http::Error::internal);
  agent_.schedule();
  finish();
}

void Call::finish() {
  if (finished_) return;
  finished_ = true;
  stage_done(Stage::respond);
  record_.total = std::chrono::duration_cast<Micros>(
      Nanos{static_cast<std::int64_t>(context_.host->nanos() - began_)});
  if (counted_) {
    context_.tasks->call_finished(task_, record_.bytes_in, record_.bytes_out);
    counted_ = false;
  }
  context_.counters->add(Counter::calls_finished);
  context_.host->arm(*this, kNever);
  context_.host->record(record_);
  agent_.call_finished(*this);
}

void Call::progressed() { last_progress_ = context_.now.mono; }

// The limit that comes first, and what an agent is told of it (docs/decisions/0003).
Call::Limit Call::limit() const {
  Limit first{hard_until_, "the call was not over within its hard limit"};
  const auto consider = [&first](Time at, std::string_view detail) {
    if (at < first.at) first = {at, detail};
  };
  consider(last_progress_ + timeouts_.idle, "nothing moved within the idle limit");
  if (response_begun_ || !request_ended_) return first;
  consider(step_from_ + timeouts_.step, "the tool did not answer within its step limit");
  if (first_byte_from_ != kNever) {
    consider(first_byte_from_ + timeouts_.first_byte,
             "the tool sent no response within its first-byte limit");
  }
  return first;
}

void Call::rearm() {
  if (!finished_) context_.host->arm(*this, limit().at);
}

void Call::on_deadline() {
  if (finished_ || !exchange_) return;
  // Progress moves the deadline without touching the timer: look before acting.
  const Limit reached = limit();
  if (context_.now.mono < reached.at) return rearm();
  exchange_->cancel();
  if (response_begun_) return cut_off(Reason::step_timeout);
  stage_done(exchange_->progress().connection_ready == Time{} ? Stage::connect : Stage::wait);
  record_.endpoint = exchange_->progress().address;
  refuse(Reason::step_timeout, reached.detail);
}

}  // namespace sluice::call
