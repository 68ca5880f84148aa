#include "controlplane/rest.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

namespace sluice::control {
namespace json = boost::json;
namespace {

constexpr std::size_t kDefaultPage = 100, kMaxPage = 1000, kMaxApply = 10000;

struct Target {
  std::vector<std::string> path;  // decoded segments, "v1" first
  std::map<std::string, std::string> query;
};

// RFC 3986 section 2.1; a bad escape refuses the whole target.
std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] == '%') {
      unsigned value = 0;
      if (i + 2 >= text.size()) return std::nullopt;
      const char* end = text.data() + i + 3;
      const auto parsed = std::from_chars(text.data() + i + 1, end, value, 16);
      if (parsed.ec != std::errc() || parsed.ptr != end || value == 0) return std::nullopt;
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::expected<Target, Problem> split_target(std::string_view target) {
  Target out;
  const auto bad = [](const char* text) { return std::unexpected(invalid("", text)); };
  if (target.empty() || target[0] != '/') return bad("target: expected an absolute path");
  const auto question = target.find('?');
  std::string_view path = target.substr(1, question == target.npos ? target.npos : question - 1);
  while (true) {
    const auto slash = path.find('/');
    auto segment = decode(path.substr(0, slash), false);
    if (!segment) return bad("target: bad percent escape");
    out.path.push_back(std::move(*segment));
    if (slash == path.npos) break;
    path.remove_prefix(slash + 1);
  }
  if (question == target.npos) return out;
  std::string_view query = target.substr(question + 1);
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    auto name = decode(pair.substr(0, equals), true);
    auto value = decode(equals == pair.npos ? "" : pair.substr(equals + 1), true);
    if (!name || !value) return bad("query: bad percent escape");
    if (!out.query.emplace(*name, *value).second) return bad("query: a parameter appears twice");
  }
  return out;
}

RestResponse reply(unsigned status, const json::value& body) {
  RestResponse response;
  response.status = status;
  response.body = json::serialize(body) + "\n";
  return response;
}

std::string etag(std::uint64_t generation) { return "\"g" + std::to_string(generation) + "\""; }

json::object changes_json(const Applied& applied, bool dry_run) {
  json::object out;
  out["generation"] = applied.generation;
  out["changed"] = applied.changed;
  if (dry_run) out["dry_run"] = true;
  json::array changes;
  for (const auto& change : applied.changes) {
    changes.push_back(
        json::object{{"action", change.action == Change::Action::put ? "put" : "remove"},
                     {"kind", std::string(to_string(change.document.kind))},
                     {"name", change.document.name}});
  }
  out["changes"] = std::move(changes);
  return out;
}

// If-Match and If-None-Match lists; strong comparison (RFC 9110 section 8.8.3.2).
bool list_has(std::string_view list, std::string_view tag) {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    std::string_view entry = list.substr(0, comma);
    while (!entry.empty() && entry.front() == ' ') entry.remove_prefix(1);
    while (!entry.empty() && entry.back() == ' ') entry.remove_suffix(1);
    if (entry == tag || (entry == "*" && !tag.empty())) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

class Api {
 public:
  Api(Control& control, const RestRequest& request, Target target)
      : control_(control), request_(request), target_(std::move(target)) {}

  RestResponse run() {
    RestResponse response = route();
    if (!error_.empty()) return to_response(invalid(error_pointer_, error_));
    return response;
  }

 private:
  using Handler = RestResponse (Api::*)();
  struct Method {
    const char* name;
    Handler handler;
    std::initializer_list<const char*> query = {};
  };

  RestResponse route() {
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
    if (what == "tasks" && path.size() == 3) {
      return methods({{"GET", &Api::get_task}, {"DELETE", &Api::delete_task}});
    }
    if (what == "config" && path.size() >= 3 && path[2] == "versions") {
      if (path.size() == 3) return methods({{"GET", &Api::versions, {"limit", "page_token"}}});
      if (path.size() == 4) return methods({{"GET", &Api::get_version}});
    }
    return resources();
  }

  RestResponse resources() {
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
    return methods({{"GET", &Api::get},
                    {"PUT", &Api::put, {"dry_run"}},
                    {"DELETE", &Api::remove, {"dry_run"}}});
  }

  RestResponse unknown() {
    return to_response(not_found("no such path; GET /v1/openapi.json describes this API"));
  }

  RestResponse methods(std::initializer_list<Method> allowed) {
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

  // -- query parameters; a bad one ends in a 400 after the handler returns
  void refuse(std::string text, std::string pointer = {}) {
    if (error_.empty()) {
      error_ = std::move(text);
      error_pointer_ = std::move(pointer);
    }
  }
  std::string query(const std::string& name) const {
    const auto found = target_.query.find(name);
    return found == target_.query.end() ? std::string() : found->second;
  }
  std::size_t limit(std::size_t fallback, std::size_t most) {
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
  bool flag(const std::string& name) {
    const std::string value = query(name);
    if (!target_.query.contains(name) || value == "0" || value == "false") return false;
    if (value != "1" && value != "true") refuse(name + ": expected 1 or 0");
    return true;
  }

  // -- health and description
  RestResponse livez() { return reply(200, json::object{{"status", "ok"}}); }
  RestResponse readyz() {
    if (control_.ready()) return reply(200, json::object{{"status", "ok"}});
    return to_response(unavailable("not every worker runs with the current policy", 1));
  }
  RestResponse version() {
    return reply(200, json::object{{"name", "sluice"}, {"version", control_.version()}});
  }
  RestResponse info() { return reply(200, control_.info()); }
  RestResponse stats() { return reply(200, control_.stats()); }
  RestResponse openapi() {
    RestResponse response;
    response.body = openapi_document();
    return response;
  }
  RestResponse metrics() {
    RestResponse response;
    response.content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.body = control_.open_metrics();
    return response;
  }
  RestResponse dns() {
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
  RestResponse refresh_dns() {
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
  RestResponse calls() {
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
  RestResponse events() {
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
  RestResponse send(runtime::Command::Kind kind, const char* state) {
    runtime::Command command;
    command.kind = kind;
    control_.send_all(command);
    spdlog::info("audit uid={} source=rest action={}", static_cast<std::int32_t>(request_.uid),
                 state);
    return reply(202, json::object{{"status", state}});
  }
  RestResponse drain() { return send(runtime::Command::Kind::drain, "drain"); }
  RestResponse undrain() { return send(runtime::Command::Kind::undrain, "undrain"); }

  // -- resources
  const Document* find() const {
    const auto found = control_.documents().find(std::pair(kind_, name_));
    return found == control_.documents().end() ? nullptr : &found->second;
  }
  json::object view(const Document& document) const {
    json::object out = to_json(document);
    out["generation"] = document.generation;
    out["status"] =
        json::object{{"applied", true}, {"in_use", control_.in_use(document.generation)}};
    return out;
  }
  RestResponse missing() {
    return to_response(
        not_found(std::string(to_string(kind_)) + " \"" + name_ + "\" does not exist"));
  }
  RestResponse list() {
    const std::size_t most = limit(kDefaultPage, kMaxPage);
    auto at = control_.documents().lower_bound(std::pair(kind_, std::string()));
    if (const auto after = query("page_token"); !after.empty()) {
      at = control_.documents().upper_bound(std::pair(kind_, after));
    }
    json::object out;
    json::array items;
    for (; at != control_.documents().end() && at->first.first == kind_; ++at) {
      if (items.size() == most) {
        out["next_page_token"] = items.back().get_object()["name"];
        break;
      }
      items.push_back(view(at->second));
    }
    out["items"] = std::move(items);
    return reply(200, out);
  }
  RestResponse get() {
    const Document* document = find();
    if (document == nullptr) return missing();
    const std::string tag = etag(document->generation);
    RestResponse response;
    if (list_has(request_.if_none_match, tag)) {
      response.status = 304;
    } else {
      response = reply(200, view(*document));
    }
    response.headers.emplace_back("ETag", tag);
    return response;
  }
  // Empty when the request's conditions hold (RFC 9110 section 13.2.2).
  std::optional<RestResponse> condition() {
    const Document* document = find();
    const std::string tag = document != nullptr ? etag(document->generation) : std::string();
    if (!request_.if_match.empty() && !list_has(request_.if_match, tag)) {
      return to_response(precondition_failed(document == nullptr ? "If-Match: it does not exist"
                                                                 : "If-Match: it is now " + tag));
    }
    if (!request_.if_none_match.empty() && list_has(request_.if_none_match, tag)) {
      return to_response(precondition_failed("If-None-Match: it exists as " + tag));
    }
    return std::nullopt;
  }
  RestResponse applied(const std::expected<Applied, Problem>& result, bool dry_run) {
    if (!result) return to_response(result.error());
    RestResponse response = reply(200, changes_json(*result, dry_run));
    if (!dry_run) {
      response.wait_generation = result->generation;
      response.wait_names = RestResponse::Names::fresh;
    }
    return response;
  }
  RestResponse put() {
    const bool dry_run = flag("dry_run");
    if (!error_.empty()) return {};
    auto body = parse_json(request_.body);
    if (!body) return to_response(body.error());
    if (!body->is_object()) return to_response(invalid("", "expected a JSON object"));
    auto& object = body->get_object();
    if (const auto* kind = object.if_contains("kind");
        kind != nullptr && *kind != json::value(json::string(std::string(to_string(kind_))))) {
      return to_response(invalid("/kind", "kind: the path says " + std::string(to_string(kind_))));
    }
    if (const auto* name = object.if_contains("name");
        name != nullptr && *name != json::value(json::string(name_))) {
      return to_response(invalid("/name", "name: the path says \"" + name_ + "\""));
    }
    object["kind"] = std::string(to_string(kind_));
    object["name"] = name_;
    auto document = parse_document(*body);
    if (!document) return to_response(invalid(document.error()));
    if (auto refused = condition()) return std::move(*refused);
    const bool created = find() == nullptr;
    auto result = control_.apply({{Change::Action::put, std::move(*document)}}, request_.uid,
                                 "rest", dry_run);
    if (!result) {
      const std::string own = std::string(to_string(kind_)) + "/" + name_;
      for (auto& item : result.error().errors) {
        if (item.document != own) elsewhere(item);
      }
    }
    if (!result || dry_run) return applied(result, dry_run);
    const Document* now = find();
    RestResponse response = reply(created ? 201 : 200, to_json(*now));
    json::object out = view(*now);
    out["status"].get_object()["in_use"] = true;  // it answers only when that is so
    response.body = json::serialize(out) + "\n";
    response.headers.emplace_back("ETag", etag(now->generation));
    response.wait_generation = result->generation;
    response.wait_names = RestResponse::Names::fresh;
    return response;
  }
  // What is wrong lies in a document that is not in this request: no pointer of ours leads there.
  static void elsewhere(ProblemItem& item) {
    if (!item.document.empty()) item.detail = item.document + item.pointer + ": " + item.detail;
    item.pointer.clear();
  }
  RestResponse remove() {
    const bool dry_run = flag("dry_run");
    if (!error_.empty()) return {};
    if (find() == nullptr) return missing();
    if (auto refused = condition()) return std::move(*refused);
    Change change{Change::Action::remove, {}};
    change.document.kind = kind_;
    change.document.name = name_;
    return applied(control_.apply({std::move(change)}, request_.uid, "rest", dry_run), dry_run);
  }
  RestResponse apply() {
    const bool dry_run = flag("dry_run");
    if (!error_.empty()) return {};
    auto body = parse_json(request_.body);
    if (!body) return to_response(body.error());
    std::string base;
    const json::array* items = body->if_array();
    json::array one;
    if (const auto* object = body->if_object(); object != nullptr) {
      if (const auto* listed = object->if_contains("documents")) {
        for (const auto& member : *object) {
          if (member.key() != "documents") {
            return to_response(invalid(pointer_to("", member.key()), "unknown member"));
          }
        }
        items = listed->if_array();
        base = "/documents";
        if (items == nullptr) return to_response(invalid(base, "expected a list of documents"));
      } else {
        one.push_back(*body);
        items = &one;
        base = "-";
      }
    }
    if (items == nullptr || items->size() > kMaxApply) {
      return to_response(invalid("",
                                 "expected a document, a list of at most 10000 documents, or "
                                 "{\"documents\": [...]}"));
    }
    return apply_list(*items, base, dry_run);
  }
  RestResponse apply_list(const json::array& items, const std::string& base, bool dry_run) {
    std::vector<Change> changes;
    std::vector<ConfigError> errors;
    std::map<std::pair<Kind, std::string>, std::size_t> seen;
    std::size_t index = 0;
    const auto at = [&](std::size_t i) {
      return base == "-" ? std::string() : base + "/" + std::to_string(i);
    };
    for (const auto& item : items) {
      auto document = parse_document(item);
      if (!document) {
        for (auto& error : document.error()) {
          error.pointer = at(index) + error.pointer;
          errors.push_back(std::move(error));
        }
      } else {
        if (!seen.emplace(std::pair(document->kind, document->name), index).second) {
          ConfigError error;
          error.pointer = at(index) + "/name";
          error.message = "this kind and name is in the request twice";
          errors.push_back(std::move(error));
        }
        changes.push_back({Change::Action::put, std::move(*document)});
      }
      ++index;
    }
    if (!errors.empty()) return to_response(invalid(errors));
    auto result = control_.apply(std::move(changes), request_.uid, "rest", dry_run);
    if (!result) {
      for (auto& item : result.error().errors) {
        const auto slash = item.document.find('/');
        const auto kind = parse_kind(item.document.substr(0, slash));
        const auto ours = kind && slash != std::string::npos
                              ? seen.find(std::pair(*kind, item.document.substr(slash + 1)))
                              : seen.end();
        if (ours != seen.end()) {
          item.pointer = at(ours->second) + item.pointer;
        } else {
          elsewhere(item);
        }
      }
    }
    return applied(result, dry_run);
  }

  // -- history
  static json::object version_json(const Version& version) {
    json::object out;
    out["generation"] = version.generation;
    out["applied_at"] = rfc3339(version.applied_at);
    out["uid"] = static_cast<std::int32_t>(version.uid);
    out["source"] = version.source;
    out["changes"] = changes_json({0, true, version.changes}, false)["changes"];
    return out;
  }
  RestResponse versions() {
    const std::size_t most = limit(kDefaultPage, kMaxPage);
    const std::string token = query("page_token");
    std::uint64_t before = 0;
    if (!token.empty() && !number(token, before)) refuse("page_token: not one of ours");
    if (!error_.empty()) return {};
    json::array items;
    json::object out;
    for (const auto& version : control_.store().versions(before, most + 1)) {
      if (items.size() == most) {
        out["next_page_token"] =
            std::to_string(items.back().get_object()["generation"].to_number<std::uint64_t>());
        break;
      }
      items.push_back(version_json(version));
    }
    out["items"] = std::move(items);
    return reply(200, out);
  }
  static bool number(std::string_view text, std::uint64_t& value) {
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() &&
           value <= static_cast<std::uint64_t>(INT64_MAX);
  }
  RestResponse get_version() {
    std::uint64_t wanted = 0;
    if (!number(target_.path[3], wanted)) return to_response(not_found("versions have numbers"));
    const auto documents = control_.store().documents_at(wanted);
    if (!documents) return to_response(not_found("no such version is known"));
    json::object out;
    out["generation"] = wanted;
    json::array items;
    for (const auto& document : *documents) {
      json::object one = to_json(document);
      one["generation"] = document.generation;
      items.push_back(std::move(one));
    }
    out["documents"] = std::move(items);
    return reply(200, out);
  }
  RestResponse rollback() {
    const bool dry_run = flag("dry_run");
    if (!error_.empty()) return {};
    auto body = parse_json(request_.body);
    if (!body) return to_response(body.error());
    if (!body->is_object()) return to_response(invalid("", "expected {\"generation\": n}"));
    for (const auto& member : body->get_object()) {
      if (member.key() != "generation") {
        return to_response(invalid(pointer_to("", member.key()), "unknown member"));
      }
    }
    const auto* generation = body->get_object().if_contains("generation");
    if (generation == nullptr || !generation->is_int64() || generation->get_int64() < 1) {
      return to_response(invalid("/generation", "generation: expected the number of a version"));
    }
    return applied(control_.rollback(static_cast<std::uint64_t>(generation->get_int64()),
                                     request_.uid, dry_run),
                   dry_run);
  }

  // -- tasks
  RestResponse mint() {
    auto body = parse_json(request_.body);
    if (!body) return to_response(body.error());
    auto minted = control_.mint(*body, request_.uid);
    if (!minted) return to_response(minted.error());
    RestResponse response = reply(201, *minted);
    response.headers.emplace_back("Location",
                                  "/v1/tasks/" + std::string(minted->at("txn").get_string()));
    response.headers.emplace_back("Cache-Control", "no-store");
    return response;
  }
  RestResponse list_tasks() {
    const std::size_t most = limit(kDefaultPage, kMaxPage);
    const std::string state = query("state"), after = query("page_token");
    if (!state.empty() && state != "live" && state != "expired" && state != "revoked") {
      refuse("state: expected live, expired or revoked");
    }
    if (!after.empty() && !parse_uuid(after)) refuse("page_token: not one of ours");
    if (!error_.empty()) return {};
    auto found = control_.tasks(query("class"), state, after, most + 1);
    json::object out;
    if (found.size() > most) {
      found.resize(most);
      out["next_page_token"] = found.back()["txn"];
    }
    json::array items;
    for (auto& task : found) items.push_back(std::move(task));
    out["items"] = std::move(items);
    return reply(200, out);
  }
  RestResponse get_task() {
    auto task = control_.task(target_.path[2]);
    return task ? reply(200, *task) : to_response(task.error());
  }
  RestResponse delete_task() {
    if (auto done = control_.revoke_task(target_.path[2], request_.uid); !done) {
      return to_response(done.error());
    }
    auto task = control_.task(target_.path[2]);
    return task ? reply(200, *task) : to_response(task.error());
  }

  Control& control_;
  const RestRequest& request_;
  Target target_;
  Kind kind_ = Kind::service;
  std::string name_;
  std::string error_, error_pointer_;
};

RestResponse guarded(const auto& work) {
  try {
    return work();
  } catch (const std::exception& failure) {
    spdlog::error("rest: {}", failure.what());
    return to_response(internal_error(failure.what()));
  }
}

}  // namespace

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
