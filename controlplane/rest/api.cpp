#include "api.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <map>

namespace sluice::control {

namespace json = boost::json;

namespace {

RestResponse guarded(const auto& work) {
  try {
    return work();
  } catch (const std::exception& failure) {
    spdlog::error("rest: {}", failure.what());
    return to_response(internal_error(failure.what()));
  }
}

}  // namespace

RestResponse reply(unsigned status, const json::value& body) {
  RestResponse response;
  response.status = status;
  response.body = json::serialize(body) + "\n";
  return response;
}

RestResponse Api::run() {
  RestResponse response = route();
  if (!error_.empty()) return to_response(invalid(error_pointer_, error_));
  return response;
}

RestResponse Api::route() {
  const auto& path = target_.path;
  if (path.size() == 1 && path[0] == "metrics") return methods({{"GET", &Api::metrics}});
  if (path.size() < 2 || path[0] != "v1") return unknown();
  const std::string& what = path[1];
  if (path.size() == 2) {
    if (what == "livez") return methods({{"GET", &Api::livez}});
    if (what == "readyz") return methods({{"GET", &Api::readyz}});
    if (what == "version") return methods({{"GET", &Api::version}});
    if (what == "info") return methods({{"GET", &Api::info}});
    if (what == "openapi.json") return methods({{"GET", &Api::openapi}});
    if (what == "stats") return methods({{"GET", &Api::stats}});
    if (what == "calls") return methods({{"GET", &Api::calls, {"limit", "task", "service"}}});
    if (what == "dns") return methods({{"GET", &Api::dns, {"limit", "page_token"}}});
    if (what == "connections") {
      return methods({{"GET",
                       &Api::connections,
                       {"state", "local", "remote", "listener", "side", "limit", "page_token"}}});
    }
    if (what == "capture") return methods({{"POST", &Api::capture}});
    if (what == "dns:refresh") return methods({{"POST", &Api::refresh_dns}});
    if (what == "events") return methods({{"GET", &Api::events, {"follow", "type"}}});
    if (what == "apply") return methods({{"POST", &Api::apply, {"dry_run"}}});
    if (what == "config:rollback") return methods({{"POST", &Api::rollback, {"dry_run"}}});
    if (what == "drain") return methods({{"POST", &Api::drain}});
    if (what == "undrain") return methods({{"POST", &Api::undrain}});
    if (what == "tasks") {
      return methods({{"GET", &Api::list_tasks, {"class", "state", "limit", "page_token"}},
                      {"POST", &Api::mint}});
    }
  }
  if (what == "connections" && path.size() == 3 && path[2] == "events") {
    return methods({{"GET", &Api::connection_events, {"local", "remote", "limit"}}});
  }
  if (what == "tasks" && path.size() == 3) {
    return methods({{"GET", &Api::get_task}, {"DELETE", &Api::delete_task}});
  }
  if (what == "config" && path.size() >= 3 && path[2] == "versions") {
    if (path.size() == 3) return methods({{"GET", &Api::versions, {"limit", "page_token"}}});
    if (path.size() == 4) return methods({{"GET", &Api::get_version}});
  }
  return resources();
}

RestResponse Api::resources() {
  static const std::map<std::string, Kind, std::less<>> kinds = {
      {"issuers", Kind::issuer},
      {"agent-classes", Kind::agent_class},
      {"services", Kind::service},
      {"bindings", Kind::binding}};
  const auto kind = kinds.find(target_.path[1]);
  if (kind == kinds.end() || target_.path.size() > 3) return unknown();
  kind_ = kind->second;
  if (target_.path.size() == 2) return methods({{"GET", &Api::list, {"limit", "page_token"}}});
  name_ = target_.path[2];
  return methods(
      {{"GET", &Api::get}, {"PUT", &Api::put, {"dry_run"}}, {"DELETE", &Api::remove, {"dry_run"}}});
}

RestResponse Api::unknown() {
  return to_response(not_found("no such path; GET /v1/openapi.json describes this API"));
}

RestResponse Api::methods(std::initializer_list<Method> allowed) {
  const bool head = request_.method == "HEAD";
  for (const auto& method : allowed) {
    if (request_.method != method.name && !(head && std::string_view(method.name) == "GET")) {
      continue;
    }
    for (const auto& [name, value] : target_.query) {
      if (std::ranges::find(method.query, std::string_view(name)) == method.query.end()) {
        return to_response(invalid("", "query: unknown parameter \"" + name + "\""));
      }
    }
    if (!request_.body.empty() && std::string_view(method.name) == "GET") {
      return to_response(invalid("", "body: GET takes none"));
    }
    return (this->*method.handler)();
  }
  Problem problem;
  problem.status = 405;
  problem.code = "method_not_allowed";
  problem.title = "Method not allowed";
  std::string allow;
  for (const auto& method : allowed) {
    if (!allow.empty()) allow += ", ";
    allow += method.name;
    if (std::string_view(method.name) == "GET") allow += ", HEAD";
  }
  problem.detail = request_.method + " is not possible here; allowed: " + allow;
  problem.headers.emplace_back("Allow", allow);
  return to_response(problem);
}

void Api::refuse(std::string text, std::string pointer) {
  if (error_.empty()) {
    error_ = std::move(text);
    error_pointer_ = std::move(pointer);
  }
}

std::string Api::query(const std::string& name) const {
  const auto found = target_.query.find(name);
  return found == target_.query.end() ? std::string() : found->second;
}

std::size_t Api::limit(std::size_t fallback, std::size_t most) {
  if (!target_.query.contains("limit")) return fallback;
  const std::string text = query("limit");
  std::size_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < 1 ||
      value > most) {
    refuse("limit: expected a whole number from 1 to " + std::to_string(most));
    return fallback;
  }
  return value;
}

bool Api::flag(const std::string& name) {
  const std::string value = query(name);
  if (!target_.query.contains(name) || value == "0" || value == "false") return false;
  if (value != "1" && value != "true") refuse(name + ": expected 1 or 0");
  return true;
}

RestResponse to_response(const Problem& problem) {
  RestResponse response;
  response.status = problem.status;
  response.content_type = "application/problem+json";
  response.body = json::serialize(to_json(problem)) + "\n";
  response.headers = problem.headers;
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

RestResponse handle(Control& control, const RestRequest& request) {
  return guarded([&]() -> RestResponse {
    if (request.body.size() > kMaxRestBody) {
      Problem problem;
      problem.status = 413;
      problem.code = "request_too_large";
      problem.title = "Request too large";
      problem.detail = "a body may have 4 MiB";
      problem.errors.push_back({"", problem.detail, ""});
      return to_response(problem);
    }
    auto target = split_target(request.target);
    if (!target) return to_response(target.error());
    return Api(control, request, std::move(*target)).run();
  });
}

RestResponse handle_metrics(Control& control, const RestRequest& request) {
  const std::string_view target = request.target;
  if (target.substr(0, target.find('?')) != "/metrics") {
    return to_response(not_found("only /metrics is here"));
  }
  RestRequest plain = request;
  plain.target = "/metrics";
  return handle(control, plain);
}

}  // namespace sluice::control
