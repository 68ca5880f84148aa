#include "api.h"

#include <algorithm>
#include <charconv>
#include <map>

namespace sluice::control {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxApply = 10000;

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

}  // namespace

const Document* Api::find() const {
  const auto found = control_.documents().find(std::pair(kind_, name_));
  return found == control_.documents().end() ? nullptr : &found->second;
}

json::object Api::view(const Document& document) const {
  json::object out = to_json(document);
  out["generation"] = document.generation;
  out["status"] = json::object{{"applied", true}, {"in_use", control_.in_use(document.generation)}};
  return out;
}

RestResponse Api::missing() {
  return to_response(
      not_found(std::string(to_string(kind_)) + " \"" + name_ + "\" does not exist"));
}

RestResponse Api::list() {
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

RestResponse Api::get() {
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
std::optional<RestResponse> Api::condition() {
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

RestResponse Api::applied(const std::expected<Applied, Problem>& result, bool dry_run) {
  if (!result) return to_response(result.error());
  RestResponse response = reply(200, changes_json(*result, dry_run));
  if (!dry_run) {
    response.wait_generation = result->generation;
    response.wait_names = RestResponse::Names::fresh;
  }
  return response;
}

RestResponse Api::put() {
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
  auto result =
      control_.apply({{Change::Action::put, std::move(*document)}}, request_.uid, "rest", dry_run);
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
void Api::elsewhere(ProblemItem& item) {
  if (!item.document.empty()) item.detail = item.document + item.pointer + ": " + item.detail;
  item.pointer.clear();
}

RestResponse Api::remove() {
  const bool dry_run = flag("dry_run");
  if (!error_.empty()) return {};
  if (find() == nullptr) return missing();
  if (auto refused = condition()) return std::move(*refused);
  Change change{Change::Action::remove, {}};
  change.document.kind = kind_;
  change.document.name = name_;
  return applied(control_.apply({std::move(change)}, request_.uid, "rest", dry_run), dry_run);
}

RestResponse Api::apply() {
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

RestResponse Api::apply_list(const json::array& items, const std::string& base, bool dry_run) {
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

json::object Api::version_json(const Version& version) {
  json::object out;
  out["generation"] = version.generation;
  out["applied_at"] = rfc3339(version.applied_at);
  out["uid"] = static_cast<std::int32_t>(version.uid);
  out["source"] = version.source;
  out["changes"] = changes_json({0, true, version.changes}, false)["changes"];
  return out;
}

RestResponse Api::versions() {
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

bool Api::number(std::string_view text, std::uint64_t& value) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() &&
         value <= static_cast<std::uint64_t>(INT64_MAX);
}

RestResponse Api::get_version() {
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

RestResponse Api::rollback() {
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
  return applied(
      control_.rollback(static_cast<std::uint64_t>(generation->get_int64()), request_.uid, dry_run),
      dry_run);
}

}  // namespace sluice::control
