#include "http/problem.h"

#include "base/utf8.h"
#include "telemetry/reasons.h"

namespace sluice::http {

using telemetry::Reason;

namespace {

void append_json_text(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  while (!text.empty()) {
    const std::size_t length = utf8_length(text, 0);
    const char c = text.front();
    const auto u = static_cast<unsigned char>(c);
    if (length != 1) {
      out.append(length == 0 ? "\xef\xbf\xbd" : text.substr(0, length));
      text.remove_prefix(length == 0 ? 1 : length);
      continue;
    }
    text.remove_prefix(1);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (u < 0x20 || u == 0x7f) {
      out += "\\u00";
      out.push_back(kHex[u >> 4]);
      out.push_back(kHex[u & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

void member(std::string& out, std::string_view name, std::string_view text) {
  out.push_back(',');
  append_json_text(out, name);
  out.push_back(':');
  append_json_text(out, text);
}

void number(std::string& out, std::string_view name, std::uint64_t n) {
  out.push_back(',');
  append_json_text(out, name);
  out += ":" + std::to_string(n);
}

// RFC 9209 section 2.3.
std::string_view proxy_error(Reason reason) {
  switch (reason) {
    case Reason::dns_failed:
      return "dns_error";
    case Reason::dns_timeout:
      return "dns_timeout";
    case Reason::connect_failed:
      return "connection_refused";
    case Reason::connect_timeout:
      return "connection_timeout";
    case Reason::upstream_tls_failed:
      return "tls_protocol_error";
    case Reason::upstream_reset:
      return "connection_terminated";
    case Reason::upstream_protocol:
      return "http_protocol_error";
    case Reason::response_too_large:
      return "http_response_header_section_size";
    case Reason::step_timeout:
    case Reason::deadline_unreachable:
      return "http_response_timeout";
    case Reason::breaker_open:
    case Reason::endpoint_decommissioned:
      return "destination_unavailable";
    case Reason::queue_full:
    case Reason::queue_timeout:
      return "connection_limit_reached";
    case Reason::service_unknown:
    case Reason::tool_unknown:
      return "destination_not_found";
    case Reason::request_invalid:
    case Reason::header_mismatch:
    case Reason::request_too_large:
      return "http_request_error";
    case Reason::overload_shed:
      return "proxy_internal_error";
    default:
      return "http_request_denied";
  }
}

}  // namespace

std::string problem_json(const Problem& p) {
  const auto& info = telemetry::info(p.reason);
  const bool retryable = info.retry != telemetry::Retry::no;
  std::string out = "{\"type\":\"urn:sluice:error:";
  out.append(info.code).push_back('"');
  member(out, "title", info.title);
  number(out, "status", p.connect && info.status == 401 ? 407 : info.status);
  member(out, "detail", p.detail);
  member(out, "code", info.code);
  out += std::string(",\"retryable\":") + (retryable ? "true" : "false");
  out += ",\"retry_after_ms\":";
  out += retryable && p.retry_after_ms > 0 ? std::to_string(p.retry_after_ms) : "null";
  member(out, "hint", p.hint);
  out += ",\"alternatives\":[";
  for (std::size_t i = 0; i < p.alternatives.size(); ++i) {
    if (i > 0) out.push_back(',');
    append_json_text(out, p.alternatives[i]);
  }
  out.push_back(']');
  member(out, "service", p.service);
  member(out, "tool", p.tool);
  number(out, "attempts", p.attempts);
  if (p.budget) {
    out += ",\"budget\":{\"calls_left\":" + std::to_string(p.budget->calls_left) +
           ",\"retries_left\":" + std::to_string(p.budget->retries_left) +
           ",\"wall_ms_left\":" + std::to_string(p.budget->wall_ms_left) + "}";
  } else {
    out += ",\"budget\":null";
  }
  member(out, "task", p.task);
  member(out, "trace_id", p.trace_id);
  member(out, "fault", to_string(info.fault));
  out.push_back('}');
  return out;
}

Response problem_response(const Problem& p) {
  const auto& info = telemetry::info(p.reason);
  const bool challenge_proxy = p.connect && info.status == 401;
  Response r;
  r.status = challenge_proxy ? 407 : info.status;
  r.fields.add("content-type", "application/problem+json");
  r.fields.add("cache-control", "no-store");
  r.fields.add("proxy-status", "sluice;error=" + std::string(proxy_error(p.reason)) +
                                   ";details=\"" + std::string(info.code) + "\"");
  if (info.retry != telemetry::Retry::no && p.retry_after_ms > 0) {
    r.fields.add("retry-after", std::to_string((p.retry_after_ms + 999) / 1000));
  }
  std::string challenge = "Bearer realm=\"sluice\"";
  if (info.status == 401) {
    if (p.reason != Reason::token_missing) {
      challenge +=
          ", error=\"invalid_token\", error_description=\"" + std::string(info.title) + "\"";
    }
    r.fields.add(challenge_proxy ? "proxy-authenticate" : "www-authenticate", challenge);
  } else if (p.reason == Reason::scope_insufficient) {
    r.fields.add(p.connect ? "proxy-authenticate" : "www-authenticate",
                 challenge + ", error=\"insufficient_scope\"");
  }
  return r;
}

}  // namespace sluice::http
