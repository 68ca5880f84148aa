// Documents to a policy snapshot: the checks that need more than one document, and the matchers.
#include <algorithm>
#include <cmath>
#include <set>

#include "controlplane/documents.h"
#include "document_schemas.h"
#include "formats.h"
#include "issuer_keys.h"
#include "policy/decide.h"

namespace sluice::control {
namespace {

using policy::Snapshot;

// A document's spec with its defaults, ready to be read.
struct Source {
  const Document* document;
  Node spec;
  std::string label;
};

std::uint64_t fnv1a(std::uint64_t h, std::string_view text) {
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return (h ^ 0xff) * 0x100000001b3;  // a separator no text contains
}

std::uint64_t endpoint_id(std::string_view service, std::string_view host, std::uint16_t port) {
  std::uint64_t h = fnv1a(0xcbf29ce484222325, service);
  h = fnv1a(h, host);
  return fnv1a(h, std::to_string(port));
}

std::int64_t whole_at(const Node& node, std::string_view key) {
  return get_whole(node, key).value_or(0);
}
std::string text_at(const Node& node, std::string_view key) {
  return get_text(node, key).value_or("");
}

policy::Issuer make_issuer(const Source& source, Errors& errors) {
  policy::Issuer issuer;
  issuer.name = source.document->name;
  issuer.issuer = text_at(source.spec, "issuer");
  issuer.audiences = get_texts(source.spec, "audiences");
  issuer.algorithms = algorithm_bits(source.spec);
  issuer.keys = import_keys(source.spec, "/spec", errors);
  issuer.max_life = Seconds{whole_at(source.spec, "max_life_s")};
  return issuer;
}

policy::Limits make_limits(const Node& spec) {
  policy::Limits limits;
  limits.calls_per_second = get_number(spec, "calls_per_second").value_or(0);
  const auto second = static_cast<std::int64_t>(std::ceil(limits.calls_per_second));
  limits.burst = static_cast<std::uint32_t>(get_whole(spec, "burst").value_or(second));
  limits.concurrency = static_cast<std::uint32_t>(whole_at(spec, "concurrency"));
  limits.calls = static_cast<std::uint64_t>(whole_at(spec, "calls"));
  limits.retries = static_cast<std::uint64_t>(whole_at(spec, "retries"));
  limits.bytes_per_second = static_cast<std::uint64_t>(whole_at(spec, "bytes_per_second"));
  limits.wall = Seconds{whole_at(spec, "wall_s")};
  return limits;
}

policy::AgentClass make_class(const Source& source, const Snapshot& snapshot) {
  policy::AgentClass c;
  c.name = source.document->name;
  const std::string mode = text_at(source.spec, "mode");
  c.mode = mode == "observe" ? policy::Mode::observe
           : mode == "audit" ? policy::Mode::audit
                             : policy::Mode::enforce;
  for (const std::string& prefix : get_texts(source.spec, "sources")) {
    c.sources.push_back(*IpPrefix::parse(prefix));
  }
  for (const std::string& rule : get_texts(source.spec, "allow")) {
    c.allow.push_back(*policy::parse_allow_rule(rule));
  }
  c.limits = make_limits(get_map(source.spec, "limits"));
  c.hold = Millis{whole_at(source.spec, "hold_ms")};
  policy::compile_allow_rules(c, snapshot.services);
  return c;
}

void read_timeouts(const Node& spec, policy::Timeouts& t) {
  const auto set = [&](std::string_view key, Millis& value) {
    if (const auto ms = get_whole(spec, key)) value = Millis{*ms};
  };
  set("connect_ms", t.connect);
  set("tls_ms", t.tls);
  set("first_byte_ms", t.first_byte);
  set("idle_ms", t.idle);
  set("step_ms", t.step);
  set("hard_ms", t.hard);
}

policy::ServiceEndpoint make_endpoint(std::string host, std::uint16_t port,
                                      const std::string& service, const CompileInput& input) {
  policy::ServiceEndpoint e;
  e.host = std::move(host);
  e.port = port;
  e.id = endpoint_id(service, e.host, e.port);
  if (const auto literal = IpAddress::parse(e.host)) {
    e.addresses.push_back(*literal);
  } else if (const auto found = input.resolved.find(e.host); found != input.resolved.end()) {
    e.addresses = found->second;
  }
  return e;
}

// One that is listed may also be an SRV record's target.
void add_endpoint(policy::Service& service, policy::ServiceEndpoint endpoint) {
  for (const policy::ServiceEndpoint& other : service.endpoints) {
    if (other.id == endpoint.id) return;
  }
  service.endpoints.push_back(std::move(endpoint));
}

// RFC 2782: the lowest priority of which an address is known. Without any the name itself stands
// for the endpoint, so that its calls fail for want of an address.
void add_srv_endpoints(const std::string& name, policy::Service& service,
                       const CompileInput& input) {
  std::vector<policy::ServiceEndpoint> found;
  std::uint16_t priority = 0;
  if (input.services != nullptr) {
    if (const auto targets = input.services->find(name); targets != input.services->end()) {
      for (const SrvTarget& target : targets->second) {
        auto e = make_endpoint(target.host, target.port, service.name, input);
        if (e.addresses.empty()) continue;
        if (found.empty() || target.priority < priority) {
          found.clear();
          priority = target.priority;
        }
        if (target.priority == priority) found.push_back(std::move(e));
      }
    }
  }
  if (found.empty()) found.push_back(make_endpoint(name, 0, service.name, input));
  for (auto& e : found) add_endpoint(service, std::move(e));
}

void make_tools(const Source& source, policy::Service& service, Errors& errors) {
  policy::Tool unlisted;
  unlisted.name = "*";
  unlisted.timeouts = service.timeouts;
  service.tools.push_back(std::move(unlisted));
  std::vector<match::ToolRule> rules;
  for (const Node& spec : get_list(source.spec, "tools")) {
    policy::Tool tool;
    tool.name = text_at(spec, "name");
    tool.idempotent = get_boolean(spec, "idempotent").value_or(false);
    tool.owner = text_at(spec, "owner");
    tool.permissions = get_texts(spec, "permissions");
    tool.timeouts = service.timeouts;
    read_timeouts(get_map(spec, "timeouts"), tool.timeouts);
    if (service.protocol == policy::Protocol::http) {
      const Node& match = get_map(spec, "match");
      rules.push_back({get_texts(match, "methods"), text_at(match, "path"),
                       static_cast<std::uint16_t>(service.tools.size())});
    }
    service.tools.push_back(std::move(tool));
  }
  auto matcher = match::ToolMatcher::build(rules);
  if (matcher) {
    service.tool_matcher = std::move(*matcher);
  } else {
    errors.add(0, 0, "/spec/tools", matcher.error());
  }
}

policy::Service make_service(const Source& source, const CompileInput& input, Errors& errors) {
  const Node& spec = source.spec;
  policy::Service s;
  s.name = source.document->name;
  const std::string protocol = text_at(spec, "protocol");
  s.protocol = protocol == "mcp"   ? policy::Protocol::mcp
               : protocol == "tcp" ? policy::Protocol::tcp
                                   : policy::Protocol::http;
  const std::string http = text_at(spec, "http");
  s.http = http == "h1"   ? policy::HttpVersion::h1
           : http == "h2" ? policy::HttpVersion::h2
                          : policy::HttpVersion::automatic;
  for (const std::string& host : get_texts(spec, "hosts")) s.hosts.push_back(lower(host));
  s.path = text_at(spec, "path");
  for (const Node& e : get_list(spec, "endpoints")) {
    if (const auto srv = get_text(e, "srv")) {
      add_srv_endpoints(lower(*srv), s, input);
      continue;
    }
    const auto port = static_cast<std::uint16_t>(whole_at(e, "port"));
    add_endpoint(s, make_endpoint(lower(text_at(e, "host")), port, s.name, input));
  }
  const Node& tls = get_map(spec, "tls");
  s.tls.enabled = get_boolean(tls, "enabled").value_or(false);
  s.tls.ca_file = text_at(tls, "ca");
  s.tls.server_name = lower(text_at(tls, "server_name"));
  s.tls.certificate = text_at(tls, "certificate");
  read_timeouts(get_map(spec, "timeouts"), s.timeouts);
  const Node& degrade = get_map(spec, "degrade");
  s.degrade.message = text_at(degrade, "message");
  s.degrade.hint = text_at(degrade, "hint");
  s.degrade.alternatives = get_texts(degrade, "alternatives");
  make_tools(source, s, errors);
  return s;
}

// Checks and defaults once more: what the store kept may have been written by an older version.
std::vector<Source> read_sources(const CompileInput& input, std::vector<ConfigError>& problems) {
  std::vector<Source> sources;
  std::set<std::string> labels;
  for (const Document& d : input.documents) {
    const std::string label = std::string(to_string(d.kind)) + "/" + d.name;
    Errors errors("", label);
    const std::string at = "/spec";
    Node spec = from_json(d.spec, errors);
    validate(spec, spec_value(d.kind), at, errors);
    apply_defaults(spec, spec_value(d.kind));
    if (errors.empty()) check_combinations(d.kind, spec, at, errors);
    if (!labels.insert(label).second) errors.add(0, 0, "/name", "given twice");
    if (errors.empty()) {
      sources.push_back({&d, std::move(spec), label});
    } else {
      for (ConfigError& e : errors.take()) problems.push_back(std::move(e));
    }
  }
  return sources;
}

struct Builder {
  const CompileInput& input;
  std::vector<ConfigError> problems;
  Snapshot& snapshot;

  void report(const std::string& label, const std::string& pointer, const std::string& message) {
    Errors errors("", label);
    errors.add(0, 0, pointer, message);
    collect(errors);
  }
  void collect(Errors& errors) {
    for (ConfigError& e : errors.take()) problems.push_back(std::move(e));
  }

  void add_issuer(const Source& source) {
    Errors errors("", source.label);
    policy::Issuer issuer = make_issuer(source, errors);
    collect(errors);
    for (const policy::Issuer& other : snapshot.issuers) {
      if (other.issuer == issuer.issuer) {
        report(source.label, "/spec/issuer",
               "issuer " + other.name + " has the same iss claim, \"" + issuer.issuer + "\"");
      }
    }
    snapshot.issuers.push_back(std::move(issuer));
  }

  void add_service(const Source& source) {
    Errors errors("", source.label);
    policy::Service service = make_service(source, input, errors);
    if (service.tls.enabled && input.contexts != nullptr && errors.empty()) {
      load_tls(source, service.tls, errors);
    }
    snapshot.services.push_back(std::move(service));
    collect(errors);
  }

  void load_tls(const Source& source, policy::UpstreamTls& tls, Errors& errors) const {
    auto context = input.contexts->get(tls);
    if (context) {
      tls.context = std::move(*context);
      return;
    }
    const TlsComplaint& complaint = context.error();
    const std::string pointer = "/spec/tls/" + complaint.field;
    if (source.document->generation >= input.strict_from) {
      errors.add(0, 0, pointer, complaint.message);
      return;
    }
    tls.context = input.contexts->in_use(tls);
    input.contexts->note(tls, source.label + ": " + pointer + ": " + complaint.message +
                                  (tls.context ? "; what was read before stays in use"
                                               : "; its calls fail until this is put right"));
  }

  void build_hosts() {
    std::vector<match::HostRule> http, connect;
    std::map<std::pair<std::string, std::string>, std::string> http_owner, connect_owner;
    for (std::size_t i = 0; i < snapshot.services.size(); ++i) {
      const policy::Service& s = snapshot.services[i];
      const bool tcp = s.protocol == policy::Protocol::tcp;
      std::string path = s.path;
      while (path.size() > 1 && path.ends_with('/')) path.pop_back();
      for (std::size_t h = 0; h < s.hosts.size(); ++h) {
        auto& owner = tcp ? connect_owner : http_owner;
        const auto [at, fresh] = owner.try_emplace({s.hosts[h], path}, s.name);
        if (!fresh) {
          report("service/" + s.name, "/spec/hosts/" + std::to_string(h),
                 (at->second == s.name ? "stands in this list twice: "
                                       : "service " + at->second + " already has ") +
                     s.hosts[h] + (tcp ? "" : " with path " + path));
          continue;
        }
        (tcp ? connect : http).push_back({s.hosts[h], path, static_cast<std::uint16_t>(i)});
      }
    }
    take(match::HostMatcher::build(http), snapshot.hosts);
    take(match::HostMatcher::build(connect), snapshot.connect_hosts);
  }

  void take(std::expected<match::HostMatcher, std::string> built, match::HostMatcher& into) {
    if (built) {
      into = std::move(*built);
    } else {
      report("", "", "hosts cannot be compiled: " + built.error());
    }
  }

  // A tool or service that an error may name to an agent must exist.
  void check_reference(const std::string& label, const std::string& pointer,
                       const std::string& text) {
    const std::size_t slash = text.find('/');
    const std::string service = text.substr(0, slash);
    std::vector<std::string> names;
    for (const policy::Service& s : snapshot.services) {
      names.push_back(s.name);
      if (s.name != service) continue;
      if (slash == std::string::npos || policy::find_tool(s, text.substr(slash + 1)) != 0) return;
      names.clear();
      for (std::size_t t = 1; t < s.tools.size(); ++t)
        names.push_back(service + "/" + s.tools[t].name);
      const auto near = near_miss(text, names);
      return report(label, pointer,
                    "service " + service + " lists no tool \"" + text.substr(slash + 1) + "\"" +
                        (near ? "; did you mean \"" + *near + "\"?" : ""));
    }
    const auto near = near_miss(service, names);
    report(label, pointer,
           "there is no service \"" + service + "\"" +
               (near ? "; did you mean \"" + *near + "\"?" : ""));
  }

  void check_alternatives(const Source& source) {
    const auto check = [&](const Node& degrade, const std::string& at) {
      const auto names = get_texts(degrade, "alternatives");
      for (std::size_t i = 0; i < names.size(); ++i) {
        check_reference(source.label, child(at + "/degrade/alternatives", i), names[i]);
      }
    };
    check(get_map(source.spec, "degrade"), "/spec");
    const auto& tools = get_list(source.spec, "tools");
    for (std::size_t i = 0; i < tools.size(); ++i) {
      check(get_map(tools[i], "degrade"), child("/spec/tools", i));
    }
  }
};

constexpr std::size_t kMaxPerKind = 16384;

void check_counts(const std::vector<Source>& sources, Builder& builder) {
  std::size_t counts[4] = {};
  for (const Source& s : sources) counts[static_cast<std::size_t>(s.document->kind)]++;
  for (std::size_t k = 0; k < 4; ++k) {
    if (counts[k] > kMaxPerKind) {
      builder.report(
          "", "",
          "more than 16384 documents of kind " + std::string(to_string(static_cast<Kind>(k))));
    }
  }
}

}  // namespace

std::expected<std::unique_ptr<policy::Snapshot>, std::vector<ConfigError>> compile(
    const CompileInput& input) {
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->generation = input.generation;
  Builder builder{input, {}, *snapshot};
  const std::vector<Source> sources = read_sources(input, builder.problems);
  check_counts(sources, builder);
  const auto each = [&](Kind kind, auto&& act) {
    for (const Source& s : sources) {
      if (s.document->kind == kind) act(s);
    }
  };

  snapshot->issuers.push_back(input.builtin_issuer);
  each(Kind::issuer, [&](const Source& s) { builder.add_issuer(s); });
  each(Kind::service, [&](const Source& s) { builder.add_service(s); });
  builder.build_hosts();
  each(Kind::service, [&](const Source& s) { builder.check_alternatives(s); });
  each(Kind::agent_class,
       [&](const Source& s) { snapshot->classes.push_back(make_class(s, *snapshot)); });
  std::map<IpAddress, std::string> bound;
  each(Kind::binding, [&](const Source& s) {
    const auto address = IpAddress::parse(text_at(s.spec, "address"));
    const auto [at, fresh] = bound.try_emplace(*address, s.document->name);
    if (!fresh) {
      builder.report(s.label, "/spec/address",
                     "binding " + at->second + " already has " + address->to_string());
    }
  });
  if (!builder.problems.empty()) return std::unexpected(std::move(builder.problems));
  return snapshot;
}

std::vector<std::string> remarks(const policy::Snapshot& snapshot) {
  std::vector<std::string> out;
  for (const policy::AgentClass& c : snapshot.classes) {
    policy::AgentClass copy = c;
    const auto hits = policy::compile_allow_rules(copy, snapshot.services);
    for (std::size_t i = 0; i < hits.size(); ++i) {
      if (hits[i] == 0) {
        out.push_back("agent-class/" + c.name + ": allow \"" + c.allow[i].text +
                      "\" matches no service and no listed tool");
      }
    }
  }
  return out;
}

namespace {

// Of every endpoint, in lower case.
std::set<std::string> endpoint_texts(const std::vector<Document>& documents, std::string_view key) {
  std::set<std::string> names;
  for (const Document& d : documents) {
    if (d.kind != Kind::service) continue;
    Errors ignored("");
    const Node spec = from_json(d.spec, ignored);
    for (const Node& e : get_list(spec, "endpoints")) {
      if (const auto text = get_text(e, key)) names.insert(lower(*text));
    }
  }
  return names;
}

}  // namespace

std::vector<std::string> names_to_resolve(const std::vector<Document>& documents) {
  auto names = endpoint_texts(documents, "host");
  std::erase_if(names, [](const std::string& name) { return IpAddress::parse(name).has_value(); });
  return {names.begin(), names.end()};
}

std::vector<std::string> services_to_resolve(const std::vector<Document>& documents) {
  const auto names = endpoint_texts(documents, "srv");
  return {names.begin(), names.end()};
}

}  // namespace sluice::control
