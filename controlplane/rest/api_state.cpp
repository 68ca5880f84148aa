#include "api.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace sluice::control {

namespace json = boost::json;

RestResponse Api::livez() { return reply(200, json::object{{"status", "ok"}}); }

RestResponse Api::readyz() {
  if (control_.ready()) return reply(200, json::object{{"status", "ok"}});
  return to_response(unavailable("not every worker runs with the current policy", 1));
}

RestResponse Api::version() {
  return reply(200, json::object{{"name", "sluice"}, {"version", control_.version()}});
}

RestResponse Api::info() { return reply(200, control_.info()); }

RestResponse Api::stats() { return reply(200, control_.stats()); }

RestResponse Api::openapi() {
  RestResponse response;
  response.body = openapi_document();
  return response;
}

RestResponse Api::metrics() {
  RestResponse response;
  response.content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
  response.body = control_.open_metrics();
  return response;
}

RestResponse Api::dns() {
  const std::size_t most = limit(kDefaultPage, kMaxPage);
  const std::string after = query("page_token");
  // A page ends between two names and record types.
  const auto token = [](const json::value& item) {
    return std::string(item.at("name").get_string()) + "/" +
           std::string(item.at("record").get_string());
  };
  json::object out;
  json::array items;
  bool skip = !after.empty();
  for (auto& item : control_.names() != nullptr ? control_.names()->view() : json::array{}) {
    if (skip) {
      skip = token(item) != after;
      continue;
    }
    if (items.size() == most) {
      out["next_page_token"] = token(items.back());
      break;
    }
    items.push_back(std::move(item));
  }
  if (skip) refuse("page_token: not one of ours, or its name has gone");
  out["items"] = std::move(items);
  return reply(200, out);
}

RestResponse Api::refresh_dns() {
  if (control_.names() == nullptr) return to_response(unavailable("names are not resolved", 1));
  control_.names()->refresh();
  spdlog::info("audit uid={} source=rest action=dns-refresh",
               static_cast<std::int32_t>(request_.uid));
  RestResponse response;
  response.wait_names = RestResponse::Names::all;
  response.late_body = [&control = control_] {
    const NameService* names = control.names();
    return json::serialize(
               json::object{{"items", names != nullptr ? names->view() : json::array{}}}) +
           "\n";
  };
  return response;
}

RestResponse Api::calls() {
  const std::size_t most = limit(100, CallLog::kRecent);
  const std::string task = query("task"), service = query("service");
  std::string body = "{\"items\":[";
  std::size_t count = 0;
  for (const auto* record : control_.calls().latest(CallLog::kRecent)) {
    if (count == most) break;
    if (!task.empty() && uuid_text(record->task) != task) continue;
    if (!service.empty() && record->service.view() != service) continue;
    if (count++ > 0) body += ',';
    append_json(body, *record);
  }
  RestResponse response;
  response.body = std::move(body) + "]}\n";
  return response;
}

RestResponse Api::events() {
  static constexpr std::string_view kTypes[] = {"call", "policy", "task", "dns"};
  const std::string type = query("type");
  if (!type.empty() && std::ranges::find(kTypes, type) == std::end(kTypes)) {
    refuse("type: expected call, policy, task or dns");
    return {};
  }
  const bool follow = flag("follow");
  if (!error_.empty()) return {};
  RestResponse response;
  response.content_type = "application/jsonl";
  if (follow) {
    response.follow = control_.subscribe(type);
    return response;
  }
  for (const auto& line : control_.recent_events()) {
    if (type.empty() || line.starts_with("{\"type\":\"" + type + "\""))
      response.body += line + "\n";
  }
  if (type.empty() || type == "call") {
    const auto latest = control_.calls().latest(100);
    for (auto at = latest.rbegin(); at != latest.rend(); ++at) {
      append_json(response.body, **at);
      response.body += '\n';
    }
  }
  return response;
}

RestResponse Api::send(runtime::Command::Kind kind, const char* state) {
  runtime::Command command;
  command.kind = kind;
  control_.send_all(command);
  spdlog::info("audit uid={} source=rest action={}", static_cast<std::int32_t>(request_.uid),
               state);
  return reply(202, json::object{{"status", state}});
}

RestResponse Api::drain() { return send(runtime::Command::Kind::drain, "drain"); }

RestResponse Api::undrain() { return send(runtime::Command::Kind::undrain, "undrain"); }

}  // namespace sluice::control
