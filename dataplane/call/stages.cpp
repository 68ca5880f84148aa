#include "stages.h"

#include <charconv>

#include "fields.h"

namespace sluice::call {

using telemetry::Reason;

namespace {

// Agent-Step-Timeout, milliseconds. 0: absent; negative: not valid.
std::int64_t agent_step_timeout(const http::FieldBlock& fields) {
  const auto value = fields.find("agent-step-timeout");
  if (!value) return 0;
  std::int64_t ms = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), ms);
  if (error != std::errc{} || end != value->data() + value->size() || ms <= 0) return -1;
  return ms;
}

bool idempotent(const policy::Tool& tool, const http::Request& request) {
  return tool.idempotent || idempotent_method(request.method) ||
         request.fields.find("idempotency-key").has_value();
}

}  // namespace

Verdict Stages::identify(Call& call, const policy::Snapshot& snapshot) {
  Context& context = call.context_;
  const FoundToken found = find_token(call.request_.fields);
  if (found.ambiguous) {
    return Verdict::reject(Reason::token_invalid, "more than one task token was sent");
  }
  if (found.token.empty()) {
    return Verdict::reject(Reason::token_missing,
                           "send the task token as Txn-Token or as Authorization: Bearer");
  }
  const auto key = context.identities.key_of(found.token, call.agent_.token_memo);
  const Identity* identity = context.identities.find(key, snapshot.generation);
  call.record_.cached_identity = identity != nullptr;
  if (identity == nullptr) {
    context.counters->add(telemetry::Counter::identity_cache_misses);
    identity = &context.identities.insert(
        key, snapshot.generation,
        verify_token(found.token, snapshot, *context.tasks, context.now.wall));
  } else {
    context.counters->add(telemetry::Counter::identity_cache_hits);
  }
  call.record_.task = identity->id;
  call.record_.trace_id = identity->id;
  call.record_.subject = identity->subject;
  if (identity->agent_class != policy::kNone) {
    call.record_.agent_class.assign(snapshot.classes[identity->agent_class].name);
  }
  const Reason reason = recheck(*identity, *context.tasks, context.now.wall);
  if (reason != Reason::ok) {
    std::string_view detail = identity->detail;
    if (reason == Reason::token_revoked) detail = "the task was ended by its owner";
    if (reason == Reason::token_expired) detail = "the task token has expired";
    if (detail.empty()) detail = "the task token is not valid yet";
    return Verdict::reject(reason, detail);
  }
  call.class_ = identity->agent_class;
  call.task_ = identity->task;
  call.scope_ = identity->scope;
  call.token_field_ = found.field;
  if (identity->step_timeout_ms > 0) call.agent_step_ = Millis{identity->step_timeout_ms};
  call.counted_ = context.tasks->call_started(call.task_);
  return Verdict::next();
}

Verdict Stages::classify(Call& call, const policy::Snapshot& snapshot) {
  const http::Request& request = call.request_;
  if (request.method == "CONNECT") {
    return Verdict::reject(Reason::request_invalid, "CONNECT is not served on this listener");
  }
  std::array<char, 4096> room;
  const auto path = policy::canonical_path(request.path, room);
  if (!path) {
    return Verdict::reject(Reason::request_invalid,
                           "the path has dot segments or encodings that tools read differently");
  }
  const policy::Classification found =
      policy::classify(snapshot, call.context_.scratch, request.authority, request.method, *path);
  if (found.service == policy::kNone ||
      snapshot.services[found.service].protocol == policy::Protocol::tcp) {
    return Verdict::reject(Reason::service_unknown, "no service is configured for this host");
  }
  const policy::Service& service = snapshot.services[found.service];
  const policy::Tool& tool = service.tools[found.tool];
  call.service_ = found.service;
  call.tool_ = found.tool;
  call.record_.service.assign(service.name);
  call.record_.tool.assign(tool.name);
  call.timeouts_ = tool.timeouts;
  const std::int64_t agent_step = agent_step_timeout(request.fields);
  if (agent_step < 0) {
    return Verdict::reject(Reason::request_invalid,
                           "Agent-Step-Timeout: expected milliseconds, a whole number above 0");
  }
  // Agent and token may only lower the tool's limit (contract section 5).
  if (agent_step > 0 && (call.agent_step_.count() == 0 || agent_step < call.agent_step_.count())) {
    call.agent_step_ = Millis{agent_step};
  }
  if (call.agent_step_.count() > 0 && call.agent_step_ < call.timeouts_.step) {
    call.timeouts_.step = call.agent_step_;
  }
  return Verdict::next();
}

Verdict Stages::authorize(Call& call, const policy::Snapshot& snapshot) {
  const policy::AgentClass& agent_class = snapshot.classes[call.class_];
  const policy::Service& service = snapshot.services[call.service_];
  const policy::Tool& tool = service.tools[call.tool_];
  Verdict verdict = Verdict::next();
  if (!policy::source_allowed(agent_class, call.agent_.peer().address)) {
    verdict = Verdict::reject(Reason::segment_forbidden,
                              "this agent class may not call from this source address");
  } else if (!policy::class_allows(agent_class, call.service_, call.tool_)) {
    verdict = Verdict::reject(Reason::segment_forbidden,
                              "this agent class may not use this service or tool");
  } else if (!policy::scope_allows(call.scope_, service, tool)) {
    verdict = Verdict::reject(Reason::scope_insufficient,
                              "the task token's scope does not include this service or tool");
  }
  if (verdict.kind == Verdict::Kind::reject && agent_class.mode != policy::Mode::enforce) {
    if (agent_class.mode == policy::Mode::audit) call.audit_ = verdict.reason;
    return Verdict::next();
  }
  return verdict;
}

Verdict Stages::forward(Call& call, const policy::Snapshot& snapshot) {
  Context& context = call.context_;
  const policy::Service& service = snapshot.services[call.service_];
  const policy::Tool& tool = service.tools[call.tool_];
  if (service.endpoints.empty()) {
    return Verdict::reject(Reason::endpoint_decommissioned, "the service has no endpoint");
  }
  // Any endpoint with a known address, starting at random: least-loaded choice comes with breakers.
  const std::uint64_t start = context.host->random();
  const policy::ServiceEndpoint* endpoint = nullptr;
  for (std::size_t i = 0; i < service.endpoints.size(); ++i) {
    const auto& candidate = service.endpoints[(start + i) % service.endpoints.size()];
    if (!candidate.addresses.empty()) {
      endpoint = &candidate;
      break;
    }
  }
  if (endpoint == nullptr) {
    return Verdict::reject(Reason::dns_failed, "no address is known for the service's endpoints");
  }
  const IpAddress& address = endpoint->addresses[(start >> 32) % endpoint->addresses.size()];
  const std::uint64_t span = context.host->random() | 1;  // never all zero (W3C Trace Context)
  store_be64(call.record_.span_id.data(), span);
  const bool repeatable = idempotent(tool, call.request_);
  if (call.request_.expect_continue) {
    // Decided to forward: the agent may send its body. The tool sees no Expect.
    call.agent_.http().send_continue(call.id_);
    call.agent_.schedule();
    call.request_.expect_continue = false;
  }
  clean_request(call.request_.fields, call.token_field_);
  call.request_.fields.add("traceparent", traceparent(call.record_.trace_id, call.record_.span_id));
  call.request_.fields.add(
      "via", call.request_.version == http::Version::http_2 ? "2 sluice" : "1.1 sluice");
  call.record_.attempts = 1;
  call.step_from_ = call.last_progress_ = context.now.mono;
  call.hard_until_ = context.now.mono + call.timeouts_.hard;
  if (!call.has_body_) call.first_byte_from_ = context.now.mono;
  call.exchange_ = std::make_unique<upstream::Exchange>(*context.pools, call, call.request_,
                                                        call.has_body_, repeatable);
  call.exchange_->start(upstream::make_target(service, *endpoint, address), context.now.mono);
  return Verdict::next();
}

}  // namespace sluice::call
