#include "document_schemas.h"

#include <algorithm>
#include <array>

#include "formats.h"
#include "issuer_keys.h"

namespace sluice::control {
namespace {

constexpr std::int64_t kMany = 1'000'000'000;
constexpr std::int64_t kDayMs = 86'400'000;

const Schema& jwks_schema() {
  static const Schema s{
      "jwks",
      {{"keys", list_of(anything("a JWK"), 1, 64), "public keys, RFC 7517 section 4", true, {}}}};
  return s;
}

const Schema& issuer_schema() {
  static const Schema s{
      "issuer",
      {
          {"issuer",
           text_as(check_printable, "the iss claim, 1 to 512 characters without spaces", "uri"),
           "the iss claim of its tokens, compared byte for byte", true},
          {"audiences",
           distinct(list_of(text_as(check_printable, "1 to 512 characters without spaces"), 1, 16)),
           "accepted aud claims; one of them must be in the token", false, R"(["sluice"])"},
          {"algorithms", distinct(list_of(one_of({"ES256", "EdDSA", "RS256", "PS256"}), 1, 4)),
           "accepted signature algorithms", false, R"(["ES256","EdDSA"])"},
          {"jwks", object(jwks_schema), "its public keys"},
          {"jwks_uri", text_as(check_https_url, "an https URL", "uri"), "where its keys are"},
          {"refresh_s", whole(30, 86400), "how often jwks_uri is read"},
          {"max_life_s", whole(1, 900), "longest accepted life of a token, exp - iat", false,
           "300"},
      }};
  return s;
}

const Schema& limits_schema() {
  static const Schema s{
      "limits",
      {
          {"calls_per_second", number(0, 1'000'000), "mean rate of calls; 0: no limit", false, "0"},
          {"burst", whole(1, 1'000'000),
           "calls at once before the rate holds; default: one second's worth"},
          {"concurrency", whole(0, 1'000'000), "calls in flight; 0: no limit", false, "0"},
          {"calls", whole(0, kMany), "calls in the task's life; 0: no limit", false, "0"},
          {"retries", whole(0, kMany), "retries in the task's life; 0: no limit", false, "0"},
          {"bytes_per_second", whole(0, 1'000'000'000'000), "both directions; 0: no limit", false,
           "0"},
          {"wall_s", whole(0, 30 * kDayMs / 1000), "the task's life in seconds; 0: no limit", false,
           "0"},
      }};
  return s;
}

const Schema& agent_class_schema() {
  static const Schema s{
      "agent-class",
      {
          {"mode", one_of({"observe", "audit", "enforce"}),
           "observe: record only; audit: decide, record, let pass; enforce", false, R"("enforce")"},
          {"sources",
           distinct(list_of(
               text_as(check_source_prefix, "a prefix such as 198.18.1.0/24 or 2001:db8:1::/64"), 0,
               256)),
           "where this class may come from; empty: anywhere", false, "[]"},
          {"allow",
           distinct(
               list_of(text_as(check_allow_rule,
                               "\"service\" or \"service/tool\", with \"*\" and \"?\" as globs"),
                       0, 1024)),
           "services and tools this class may use; a bare service includes its unlisted tools",
           false, "[]"},
          {"limits", object(limits_schema), "limits of each task", false, "{}"},
          {"hold_ms", whole(0, 60'000), "longest shaping delay before a call is refused", false,
           "250"},
      }};
  return s;
}

const Schema& endpoint_schema() {
  static const Schema s{
      "endpoint",
      {
          {"host",
           text_as(check_endpoint_host, "a host name, or an IPv4 or IPv6 address", "hostname"),
           "name or address; names are resolved again and again"},
          {"port", whole(1, 65535), "TCP port"},
          {"srv", text_as(check_host, "a name such as _kb._tcp.example"),
           "SRV record, instead of host and port"},
      }};
  return s;
}

const Schema& upstream_tls_schema() {
  static const Schema s{
      "tls",
      {
          {"enabled", boolean(), "speak TLS to the endpoints", false, "false"},
          {"ca", file_value(), "PEM file of accepted authorities; default: the system's"},
          {"server_name", host_value(), "name in the certificate; default: the endpoint's host"},
          {"certificate", name_value(), "client certificate, by its name in the boot file"},
      }};
  return s;
}

std::vector<Field> timeout_fields(bool defaults) {
  std::vector<Field> fields = {
      {"connect_ms", whole(1, 600'000), "until connected", false, "1000"},
      {"tls_ms", whole(1, 600'000), "TLS handshake", false, "3000"},
      {"first_byte_ms", whole(1, kDayMs), "request sent until the first byte", false, "10000"},
      {"idle_ms", whole(1, kDayMs), "between two bytes", false, "300000"},
      {"step_ms", whole(1, kDayMs), "one call with its retries, streams excepted", false, "30000"},
      {"hard_ms", whole(1, kDayMs), "one call, streams included", false, "3600000"},
  };
  if (!defaults) {
    for (Field& f : fields) f.fallback = {};
  }
  return fields;
}

std::vector<Field> retry_fields(bool defaults) {
  std::vector<Field> fields = {
      {"attempts", whole(1, 10), "tries of one call, the first included", false, "3"},
      {"base_ms", whole(1, 60'000), "back-off when nothing was sent", false, "25"},
      {"cap_ms", whole(1, 600'000), "its longest", false, "250"},
      {"sent_base_ms", whole(1, 60'000), "back-off when the request was sent", false, "100"},
      {"sent_cap_ms", whole(1, 600'000), "its longest", false, "2000"},
      {"budget_percent", whole(0, 100), "retries per 100 calls of the service", false, "20"},
      {"min_per_second", whole(0, 1'000'000), "retries allowed at any rate of calls", false, "10"},
  };
  if (!defaults) {
    for (Field& f : fields) f.fallback = {};
  }
  return fields;
}

std::vector<Field> breaker_fields(bool defaults) {
  std::vector<Field> fields = {
      {"failure_percent", whole(1, 100), "share of failures that opens", false, "50"},
      {"min_calls", whole(1, 1'000'000), "calls in the window before the share counts", false,
       "10"},
      {"window_ms", whole(100, 600'000), "how far back outcomes count", false, "10000"},
      {"consecutive", whole(0, 1'000'000), "failures in a row that open; 0: off", false, "5"},
      {"open_ms", whole(1, 3'600'000), "first time open", false, "1000"},
      {"open_max_ms", whole(1, 3'600'000), "longest time open", false, "60000"},
      {"probes", whole(1, 1000), "calls let through while half open", false, "1"},
      {"close_after", whole(1, 1000), "successes that close", false, "3"},
  };
  if (!defaults) {
    for (Field& f : fields) f.fallback = {};
  }
  return fields;
}

const Schema& timeouts_schema() {
  static const Schema s{"timeouts", timeout_fields(true)};
  return s;
}
const Schema& tool_timeouts_schema() {
  static const Schema s{"timeouts", timeout_fields(false)};
  return s;
}
const Schema& retry_schema() {
  static const Schema s{"retry", retry_fields(true)};
  return s;
}
const Schema& tool_retry_schema() {
  static const Schema s{"retry", retry_fields(false)};
  return s;
}
const Schema& breaker_schema() {
  static const Schema s{"breaker", breaker_fields(true)};
  return s;
}
const Schema& tool_breaker_schema() {
  static const Schema s{"breaker", breaker_fields(false)};
  return s;
}

const Schema& admission_schema() {
  static const Schema s{
      "admission",
      {
          {"in_flight", whole(1, 1'000'000), "calls at the service at once", false, "128"},
          {"queue", whole(0, 1'000'000), "calls waiting for a place", false, "64"},
          {"queue_wait_ms", whole(0, 600'000), "longest wait", false, "1000"},
      }};
  return s;
}

const Schema& degrade_schema() {
  static const Schema s{
      "degrade",
      {
          {"message", text_as(check_one_line, "one line of text"), "what the agent is told", false,
           R"("")"},
          {"hint", text_as(check_one_line, "one line of text"), "what it could do instead", false,
           R"("")"},
          {"alternatives",
           distinct(
               list_of(text_as(check_tool_reference, "\"service\" or \"service/tool\""), 0, 32)),
           "tools to use instead; named only to tasks that may use them", false, "[]"},
      }};
  return s;
}

const Schema& match_schema() {
  static const Schema s{
      "match",
      {
          {"methods", distinct(list_of(text_as(check_method, "an HTTP method such as GET"), 1, 32)),
           "methods; absent: any"},
          {"path",
           text_as(check_path_pattern, "a regular expression over the path, such as \"^/docs/\"",
                   "regex"),
           "pattern over the path without its query; absent: any"},
      }};
  return s;
}

const Schema& tool_schema() {
  static const Schema s{
      "tool",
      {
          {"name",
           text_as(check_tool_name,
                   "a tool name of 1 to 128 characters from letters, digits and \"_-./:\""),
           "for protocol mcp the MCP tool name", true},
          {"match", object(match_schema), "which requests mean this tool (protocol http)"},
          {"idempotent", boolean(), "may be repeated after it was sent", false, "false"},
          {"owner", text_as(check_one_line, "one line of text"), "whom to ask", false, R"("")"},
          {"permissions",
           distinct(list_of(text_as(check_permission, "a permission such as kb:read"), 0, 64)),
           "what a task needs", false, "[]"},
          {"timeouts", object(tool_timeouts_schema), "instead of the service's"},
          {"retry", object(tool_retry_schema), "instead of the service's"},
          {"breaker", object(tool_breaker_schema), "instead of the service's"},
          {"degrade", object(degrade_schema), "instead of the service's"},
      }};
  return s;
}

const Schema& service_schema() {
  static const Schema s{
      "service",
      {
          {"protocol", one_of({"http", "mcp", "tcp"}), "what the tool server speaks", false,
           R"("http")"},
          {"hosts",
           distinct(list_of(text_as(check_host_pattern,
                                    "a host such as kb.tools.example or \"*.tools.example\""),
                            1, 64)),
           "Host, :authority or SNI; CONNECT targets for protocol tcp", true},
          {"path", text_as(check_path_prefix, "a path prefix such as /v1"), "path prefix", false,
           R"("/")"},
          {"endpoints", list_of(object(endpoint_schema), 1, 64), "where it runs", true},
          {"http", one_of({"auto", "h1", "h2"}), "HTTP version to the endpoints; auto: by ALPN",
           false, R"("auto")"},
          {"tls", object(upstream_tls_schema), "TLS to the endpoints", false, "{}"},
          {"timeouts", object(timeouts_schema), "limits of one call", false, "{}"},
          {"retry", object(retry_schema), "when a call is tried again", false, "{}"},
          {"breaker", object(breaker_schema), "when the service is left alone", false, "{}"},
          {"admission", object(admission_schema), "how many calls at once", false, "{}"},
          {"degrade", object(degrade_schema), "what an agent is told when it fails", false, "{}"},
          {"tools", list_of(object(tool_schema), 0, 1024), "its tools, the first match counts",
           false, "[]"},
      }};
  return s;
}

const Schema& binding_schema() {
  static const Schema s{
      "binding",
      {
          {"address", address_value(), "source address", true},
          {"task", text_as(check_uuid, "a task id, a UUID", "uuid"), "whom it speaks for", true},
      }};
  return s;
}

const Schema& envelope_schema() {
  static const Schema s{
      "document",
      {
          {"kind", one_of({"issuer", "agent-class", "service", "binding"}), "what it is", true},
          {"name", name_value(), "distinct within its kind", true},
          {"labels",
           map_of(check_label_key,
                  "a label of 1 to 128 characters from letters, digits and \"-_./\"", text(0, 256),
                  0, 64),
           "free text for people and tools"},
          {"spec", anything("a mapping of what the kind has"), "its settings", true},
          {"generation", anything("anything"), "set by the server, ignored"},
          {"status", anything("anything"), "set by the server, ignored"},
      }};
  return s;
}

void at_most(const Node& where, std::string_view less, std::string_view more,
             const std::string& pointer, Errors& errors) {
  const auto a = get_whole(where, less);
  const auto b = get_whole(where, more);
  if (!a || !b || *a <= *b) return;
  errors.add(
      *where.find(less), child(pointer, less),
      std::to_string(*a) + " is more than " + std::string(more) + " (" + std::to_string(*b) + ")");
}

void check_issuer(const Node& spec, const std::string& pointer, Errors& errors) {
  import_keys(spec, pointer, errors);
  const Node* jwks = spec.find("jwks");
  const Node* uri = spec.find("jwks_uri");
  if (uri != nullptr) {
    errors.add(*uri, child(pointer, "jwks_uri"),
               "not available in this version; give the keys in jwks");
  }
  if (jwks == nullptr && uri == nullptr) {
    errors.add(spec, child(pointer, "jwks"), "missing; expected {keys: [...]}, its public keys");
  }
  if (const Node* refresh = spec.find("refresh_s"); refresh != nullptr && uri == nullptr) {
    errors.add(*refresh, child(pointer, "refresh_s"), "has no meaning without jwks_uri");
  }
}

void check_agent_class(const Node& spec, const std::string& pointer, Errors& errors) {
  const Node& limits = get_map(spec, "limits");
  const Node* burst = limits.find("burst");
  if (burst != nullptr && get_number(limits, "calls_per_second").value_or(1) == 0) {
    errors.add(*burst, child(child(pointer, "limits"), "burst"),
               "has no meaning without calls_per_second");
  }
}

void check_endpoints(const Node& spec, const std::string& pointer, Errors& errors) {
  const std::vector<Node>& endpoints = get_list(spec, "endpoints");
  const bool tls = get_boolean(get_map(spec, "tls"), "enabled").value_or(false);
  const bool named = get_map(spec, "tls").find("server_name") != nullptr;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const Node& e = endpoints[i];
    const std::string at = child(child(pointer, "endpoints"), i);
    if (e.type != Node::Type::map) continue;
    if (const Node* srv = e.find("srv")) {
      for (const char* key : {"host", "port"}) {
        if (const Node* n = e.find(key)) {
          errors.add(*n, child(at, key), "has no meaning beside srv, whose records say it");
        }
      }
      for (std::size_t j = 0; j < i; ++j) {
        const auto other = get_text(endpoints[j], "srv");
        if (other && srv->type == Node::Type::text && lower(*other) == lower(srv->text)) {
          errors.add(e, at, "the same endpoint as " + child(child(pointer, "endpoints"), j));
        }
      }
      continue;
    }
    for (const char* key : {"host", "port"}) {
      if (e.find(key) == nullptr) {
        errors.add(e, child(at, key),
                   "missing; an endpoint is {host: name or address, port: number} or "
                   "{srv: name}");
      }
    }
    const auto host = get_text(e, "host");
    if (tls && !named && host && IpAddress::parse(*host)) {
      errors.add(e, child(child(pointer, "tls"), "server_name"),
                 "missing; with TLS to the address " + *host +
                     " the name in its certificate must be given");
    }
    for (std::size_t j = 0; j < i; ++j) {
      const auto other = get_text(endpoints[j], "host");
      if (host && other && lower(*host) == lower(*other) && get_whole(e, "port") &&
          get_whole(e, "port") == get_whole(endpoints[j], "port")) {
        errors.add(e, at, "the same endpoint as " + child(child(pointer, "endpoints"), j));
      }
    }
  }
}

void check_upstream_tls(const Node& spec, const std::string& pointer, Errors& errors) {
  const Node& tls = get_map(spec, "tls");
  if (get_boolean(tls, "enabled").value_or(true)) return;
  for (const char* key : {"ca", "server_name", "certificate"}) {
    if (const Node* n = tls.find(key)) {
      errors.add(*n, child(child(pointer, "tls"), key), "has no meaning without enabled: true");
    }
  }
}

void check_timing(const Node& where, const std::string& pointer, Errors& errors) {
  at_most(get_map(where, "timeouts"), "step_ms", "hard_ms", child(pointer, "timeouts"), errors);
  const std::string retry = child(pointer, "retry");
  at_most(get_map(where, "retry"), "base_ms", "cap_ms", retry, errors);
  at_most(get_map(where, "retry"), "sent_base_ms", "sent_cap_ms", retry, errors);
  at_most(get_map(where, "breaker"), "open_ms", "open_max_ms", child(pointer, "breaker"), errors);
}

void check_tool(const Node& tool, const std::string& protocol, const std::string& pointer,
                Errors& errors) {
  const Node* match = tool.find("match");
  if (protocol == "http" && match == nullptr) {
    errors.add(tool, child(pointer, "match"),
               "missing; a tool of protocol http needs methods, path or both");
  }
  if (protocol == "http" && match != nullptr && match->type == Node::Type::map &&
      match->entries.empty()) {
    errors.add(*match, child(pointer, "match"), "empty; give methods, path or both");
  }
  if (protocol == "mcp" && match != nullptr) {
    errors.add(*match, child(pointer, "match"),
               "has no meaning for protocol mcp, where the name is the MCP tool name");
  }
}

// The service's settings with the tool's laid over them.
Node merged(const Node& service, const Node& tool) {
  Node out = service;
  for (const char* group : {"timeouts", "retry", "breaker"}) {
    Node* base = out.find(group);
    const Node& over = get_map(tool, group);
    if (base == nullptr) continue;
    for (const Entry& e : over.entries) {
      if (Node* n = base->find(e.key)) *n = e.value;
    }
  }
  return out;
}

bool overrides_timing(const Node& tool) {
  return tool.find("timeouts") != nullptr || tool.find("retry") != nullptr ||
         tool.find("breaker") != nullptr;
}

void check_tools(const Node& spec, const std::string& protocol, const std::string& pointer,
                 Errors& errors) {
  const std::string at = child(pointer, "tools");
  std::vector<std::string> names;
  const std::vector<Node>& tools = get_list(spec, "tools");
  Node service;
  service.type = Node::Type::map;
  for (const char* group : {"timeouts", "retry", "breaker"}) {
    if (const Node* n = spec.find(group)) service.entries.push_back({group, 0, 0, *n});
  }
  for (std::size_t i = 0; i < tools.size() && !errors.full(); ++i) {
    if (tools[i].type != Node::Type::map) continue;
    check_tool(tools[i], protocol, child(at, i), errors);
    if (overrides_timing(tools[i])) {
      check_timing(merged(service, tools[i]), child(at, i), errors);
    }
    const auto name = get_text(tools[i], "name");
    if (!name) continue;
    if (std::find(names.begin(), names.end(), *name) != names.end()) {
      errors.add(*tools[i].find("name"), child(child(at, i), "name"),
                 "the service has a tool \"" + *name + "\" already");
    }
    names.push_back(*name);
  }
}

void check_service(const Node& spec, const std::string& pointer, Errors& errors) {
  const std::string protocol = get_text(spec, "protocol").value_or("");
  check_endpoints(spec, pointer, errors);
  check_upstream_tls(spec, pointer, errors);
  check_timing(spec, pointer, errors);
  check_tools(spec, protocol, pointer, errors);
  if (protocol != "tcp") return;
  const auto useless = [&](std::string_view key, bool set) {
    if (set) {
      errors.add(*spec.find(key), child(pointer, key), "has no meaning for protocol tcp");
    }
  };
  useless("path", get_text(spec, "path").value_or("/") != "/");
  useless("http", get_text(spec, "http").value_or("auto") != "auto");
  useless("tools", !get_list(spec, "tools").empty());
}

}  // namespace

const Value& spec_value(Kind kind) {
  static const std::array<Value, 4> values = {object(issuer_schema), object(agent_class_schema),
                                              object(service_schema), object(binding_schema)};
  return values[static_cast<std::size_t>(kind)];
}

const Value& envelope_value() {
  static const Value value = object(envelope_schema);
  return value;
}

void check_combinations(Kind kind, const Node& spec, const std::string& pointer, Errors& errors) {
  switch (kind) {
    case Kind::issuer:
      return check_issuer(spec, pointer, errors);
    case Kind::agent_class:
      return check_agent_class(spec, pointer, errors);
    case Kind::service:
      return check_service(spec, pointer, errors);
    case Kind::binding:
      return;
  }
}

}  // namespace sluice::control
