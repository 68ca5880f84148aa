// Minting, listing and revoking tasks.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "controlplane/control.h"

namespace sluice::control {
namespace json = boost::json;
namespace {

constexpr std::int64_t kDefaultLife = 300, kMaxLife = 900, kSkew = 30;
constexpr std::size_t kMaxScopes = 64, kMaxLabels = 32;
constexpr std::string_view kMembers[] = {"agent_class", "subject", "ttl_s",       "allow",
                                         "limits",      "labels",  "bind_address"};

state::TaskId random_uuid() {
  state::TaskId id{};
  crypto::random_bytes(id);
  id[6] = static_cast<std::uint8_t>((id[6] & 0x0f) | 0x40);  // RFC 9562 section 5.4
  id[8] = static_cast<std::uint8_t>((id[8] & 0x3f) | 0x80);
  return id;
}

bool printable(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

bool scope_text(std::string_view text) {
  if (text.empty() || text.size() > 129) return false;
  const auto word = [](std::string_view part) {
    if (part.empty()) return false;
    for (const char c : part) {
      const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
      if (!good) return false;
    }
    return true;
  };
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return word(text);
  const std::string_view tool = text.substr(slash + 1);
  return word(text.substr(0, slash)) && (tool == "*" || word(tool));
}

struct LimitRule {
  std::string_view name;
  double most;
  bool whole;
};
constexpr LimitRule kLimits[] = {{"calls_per_second", 1e6, false}, {"burst", 1e6, true},
                                 {"concurrency", 1e6, true},       {"calls", 1e12, true},
                                 {"retries", 1e9, true},           {"bytes_per_second", 1e12, true},
                                 {"wall_s", 86400, true}};

class MintReader {
 public:
  explicit MintReader(const json::object& object) : object_(object) {}

  void fail(std::string pointer, std::string text) {
    ConfigError error;
    error.pointer = std::move(pointer);
    error.message = std::move(text);
    errors.push_back(std::move(error));
  }
  void unknown_members() {
    for (const auto& member : object_) {
      if (std::ranges::find(kMembers, std::string_view(member.key())) == std::end(kMembers)) {
        fail(pointer_to("", member.key()),
             "unknown member; known are agent_class, subject, ttl_s, allow, limits, labels, "
             "bind_address");
      }
    }
  }
  std::string text(std::string_view name, std::size_t longest, bool required) {
    const auto* value = object_.if_contains(name);
    if (value == nullptr) {
      if (required) fail(pointer_to("", name), std::string(name) + ": required");
      return {};
    }
    const bool good = value->is_string() && !value->get_string().empty() &&
                      value->get_string().size() <= longest && printable(value->get_string());
    if (!good) {
      fail(pointer_to("", name), std::string(name) + ": expected a text of 1 to " +
                                     std::to_string(longest) + " characters");
      return {};
    }
    return std::string(value->get_string());
  }
  std::int64_t life() {
    const auto* value = object_.if_contains("ttl_s");
    if (value == nullptr) return kDefaultLife;
    json::error_code error;
    const auto seconds = value->is_number() ? value->to_number<std::int64_t>(error) : 0;
    if (!value->is_number() || error || seconds < 1 || seconds > kMaxLife) {
      fail("/ttl_s", "ttl_s: expected a whole number from 1 to 900");
      return kDefaultLife;
    }
    return seconds;
  }
  std::string scope() {
    std::string out;
    const auto* value = object_.if_contains("allow");
    if (value == nullptr) return out;
    if (!value->is_array() || value->get_array().empty() ||
        value->get_array().size() > kMaxScopes) {
      fail("/allow",
           "allow: expected a list of 1 to 64 \"service\", \"service/tool\" or "
           "\"service/*\"");
      return out;
    }
    std::size_t index = 0;
    for (const auto& entry : value->get_array()) {
      if (!entry.is_string() || !scope_text(entry.get_string())) {
        fail("/allow/" + std::to_string(index),
             "expected \"service\", \"service/tool\" or \"service/*\"");
      } else {
        if (!out.empty()) out += ' ';
        out += std::string_view(entry.get_string());
      }
      ++index;
    }
    return out;
  }
  json::object limits() {
    json::object out;
    const auto* value = object_.if_contains("limits");
    if (value == nullptr) return out;
    if (!value->is_object()) {
      fail("/limits", "limits: expected an object");
      return out;
    }
    for (const auto& member : value->get_object()) {
      const auto* rule =
          std::ranges::find(kLimits, std::string_view(member.key()), &LimitRule::name);
      const std::string pointer = pointer_to("/limits", member.key());
      if (rule == std::end(kLimits)) {
        fail(pointer,
             "unknown limit; known are calls_per_second, burst, concurrency, calls, "
             "retries, bytes_per_second, wall_s");
        continue;
      }
      const double number = member.value().is_number() ? member.value().to_number<double>() : -1;
      if (number < 0 || number > rule->most || (rule->whole && std::floor(number) != number)) {
        fail(pointer, std::string(rule->name) + ": expected a " +
                          (rule->whole ? "whole number" : "number") + " from 0 to " +
                          std::to_string(static_cast<std::int64_t>(rule->most)));
        continue;
      }
      out[member.key()] = member.value();
    }
    return out;
  }
  json::object labels() {
    json::object out;
    const auto* value = object_.if_contains("labels");
    if (value == nullptr) return out;
    if (!value->is_object() || value->get_object().size() > kMaxLabels) {
      fail("/labels", "labels: expected an object of at most 32 texts");
      return out;
    }
    for (const auto& member : value->get_object()) {
      if (!member.value().is_string() || member.value().get_string().size() > 256 ||
          member.key().size() > 128) {
        fail(pointer_to("/labels", member.key()), "expected a text of at most 256 characters");
        continue;
      }
      out[member.key()] = member.value();
    }
    return out;
  }
  std::string address() {
    std::string out = text("bind_address", 64, false);
    if (out.empty()) return out;
    const auto parsed = IpAddress::parse(out);
    if (!parsed || parsed->is_unspecified() || parsed->is_multicast()) {
      fail("/bind_address", "bind_address: expected one IPv4 or IPv6 address");
      return {};
    }
    return parsed->to_string();
  }

  std::vector<ConfigError> errors;

 private:
  const json::object& object_;
};

std::string claims_json(const TaskRow& task) {
  json::object claims;
  claims["iss"] = "sluice";
  claims["aud"] = "sluice";
  claims["iat"] = task.issued_at;
  claims["exp"] = task.expires_at;
  claims["jti"] = task.jti;
  claims["txn"] = uuid_text(task.id);
  claims["sub"] = task.subject;
  if (!task.scope.empty()) claims["scope"] = task.scope;
  json::object context;
  context["agent_class"] = task.agent_class;
  if (!task.limits.empty()) context["limits"] = task.limits;
  claims["tctx"] = std::move(context);
  return json::serialize(claims);
}

}  // namespace

std::expected<json::object, Problem> Control::mint(const json::value& request, std::uint32_t uid) {
  if (!request.is_object()) return std::unexpected(invalid("", "expected a JSON object"));
  MintReader reader(request.get_object());
  TaskRow task;
  reader.unknown_members();
  task.agent_class = reader.text("agent_class", 64, true);
  task.subject = reader.text("subject", 256, true);
  const std::int64_t life = reader.life();
  task.scope = reader.scope();
  task.limits = reader.limits();
  task.labels = reader.labels();
  task.bind_address = reader.address();
  if (!task.agent_class.empty() &&
      !documents_.contains(std::pair(Kind::agent_class, task.agent_class))) {
    reader.fail("/agent_class",
                "agent_class: there is no agent class \"" + task.agent_class + "\"");
  }
  if (!reader.errors.empty()) return std::unexpected(invalid(reader.errors));

  task.id = random_uuid();
  task.jti = uuid_text(random_uuid());
  task.issued_at = now();
  task.expires_at = task.issued_at + life;
  auto token = key_.sign(claims_json(task), "txntoken+jwt");
  if (!token) return std::unexpected(internal_error("signing failed: " + token.error()));
  if (token->size() > crypto::kMaxToken) {
    return std::unexpected(invalid("", "the token would exceed 8 KiB; allow or limit less"));
  }
  if (!gateway_.tasks().acquire(task.id, task.expires_at)) {
    return std::unexpected(unavailable("the task table is full", 30));
  }
  try {
    store_->put_task(task);
  } catch (const StoreError& failure) {
    return std::unexpected(internal_error(failure.what()));
  }
  const std::string txn = uuid_text(task.id);
  spdlog::info(
      "audit uid={} source=rest action=mint task={} agent_class={} subject=\"{}\" ttl_s={}",
      static_cast<std::int32_t>(uid), txn, task.agent_class, task.subject, life);
  emit("task", {{"action", "minted"}, {"task", txn}, {"agent_class", task.agent_class}});
  json::object out;
  out["txn"] = txn;
  out["token"] = *token;
  out["expires_at"] = rfc3339(task.expires_at);
  out["trace_id"] = hex(task.id);
  tasks_.emplace(task.id, std::move(task));
  return out;
}

json::object Control::task_json(const TaskRow& row) const {
  json::object out;
  const std::int64_t at = now();
  out["txn"] = uuid_text(row.id);
  out["state"] = row.revoked_at != 0 ? "revoked" : row.expires_at <= at ? "expired" : "live";
  out["agent_class"] = row.agent_class;
  out["subject"] = row.subject;
  json::array allow;
  for (std::size_t begin = 0; begin < row.scope.size();) {
    const auto end = std::min(row.scope.find(' ', begin), row.scope.size());
    allow.push_back(json::string(std::string_view(row.scope).substr(begin, end - begin)));
    begin = end + 1;
  }
  out["allow"] = std::move(allow);
  out["limits"] = row.limits;
  out["labels"] = row.labels;
  if (!row.bind_address.empty()) out["bind_address"] = row.bind_address;
  out["issued_at"] = rfc3339(row.issued_at);
  out["expires_at"] = rfc3339(row.expires_at);
  if (row.revoked_at != 0) out["revoked_at"] = rfc3339(row.revoked_at);
  out["trace_id"] = hex(row.id);
  json::object used{{"calls", 0}, {"bytes_in", 0}, {"bytes_out", 0}, {"in_flight", 0}};
  if (const auto view = gateway_.tasks().view(row.id)) {
    used["calls"] = view->calls;
    used["bytes_in"] = view->bytes_in;
    used["bytes_out"] = view->bytes_out;
    used["in_flight"] = view->in_flight;
  }
  json::object left{{"wall_ms_left", std::max<std::int64_t>(0, row.expires_at - at) * 1000}};
  if (const auto* calls = row.limits.if_contains("calls"); calls && calls->is_number()) {
    const auto most = calls->to_number<double>();
    const auto done = used["calls"].to_number<double>();
    left["calls_left"] = static_cast<std::int64_t>(std::max(0.0, most - done));
  }
  out["used"] = std::move(used);
  out["budget"] = std::move(left);
  return out;
}

std::expected<json::object, Problem> Control::task(std::string_view txn) const {
  const auto id = parse_uuid(txn);
  if (!id) return std::unexpected(not_found("a task is named by its UUID"));
  if (const auto found = tasks_.find(*id); found != tasks_.end()) return task_json(found->second);
  // Of another issuer: known by use only.
  if (const auto view = gateway_.tasks().view(*id)) {
    TaskRow row;
    row.id = *id;
    row.expires_at = view->expires_at;
    row.revoked_at = view->revoked ? view->expires_at : 0;
    json::object out = task_json(row);
    out.erase("revoked_at");
    out.erase("issued_at");
    return out;
  }
  return std::unexpected(not_found("no task " + std::string(txn) + " is known"));
}

std::expected<void, Problem> Control::revoke_task(std::string_view txn, std::uint32_t uid) {
  const auto id = parse_uuid(txn);
  if (!id) return std::unexpected(not_found("a task is named by its UUID"));
  const auto found = tasks_.find(*id);
  const auto view = gateway_.tasks().view(*id);
  if (found == tasks_.end() && !view) {
    return std::unexpected(not_found("no task " + std::string(txn) + " is known"));
  }
  const std::int64_t at = now();
  const std::int64_t expires =
      std::max(found != tasks_.end() ? found->second.expires_at : 0, view ? view->expires_at : 0);
  // No token of the task can outlive this.
  const std::int64_t until = std::max(expires, at + kMaxLife) + kSkew;
  if (found != tasks_.end() && found->second.revoked_at != 0) return {};
  try {
    store_->revoke(*id, at, until);
  } catch (const StoreError& failure) {
    return std::unexpected(internal_error(failure.what()));
  }
  if (found != tasks_.end()) found->second.revoked_at = at;
  if (!gateway_.tasks().revoke(*id, until)) {
    return std::unexpected(unavailable("the task table is full; the revocation is stored", 30));
  }
  runtime::Command cancel;
  cancel.kind = runtime::Command::Kind::cancel_task;
  cancel.id = *id;
  send_all(cancel);
  spdlog::info("audit uid={} source=rest action=revoke task={}", static_cast<std::int32_t>(uid),
               uuid_text(*id));
  emit("task", {{"action", "revoked"}, {"task", uuid_text(*id)}});
  return {};
}

std::vector<json::object> Control::tasks(std::string_view agent_class, std::string_view state,
                                         std::string_view after, std::size_t limit) const {
  std::vector<json::object> out;
  auto at = tasks_.begin();
  if (const auto id = parse_uuid(after)) at = tasks_.upper_bound(*id);
  for (; at != tasks_.end() && out.size() < limit; ++at) {
    if (!agent_class.empty() && at->second.agent_class != agent_class) continue;
    json::object task = task_json(at->second);
    if (!state.empty() && std::string_view(task["state"].get_string()) != state) continue;
    out.push_back(std::move(task));
  }
  return out;
}

}  // namespace sluice::control
