#include "policy/decide.h"

#include <algorithm>
#include <array>

namespace sluice::policy {

Classification classify(const Snapshot& snapshot, Scratch& scratch, std::string_view authority,
                        std::string_view method, std::string_view path) {
  std::array<char, 256> room;
  const auto host = canonical_host(authority, room);
  if (!host) return {};
  Classification found;
  found.service = snapshot.hosts.find(scratch, *host, path);
  if (found.service != kNone) {
    found.tool = snapshot.services[found.service].tool_matcher.find(scratch, method, path);
  }
  return found;
}

ServiceIndex classify_connect(const Snapshot& snapshot, Scratch& scratch,
                              std::string_view authority) {
  std::array<char, 256> room;
  const auto host = canonical_host(authority, room);
  return host ? snapshot.connect_hosts.find(scratch, *host, "/") : kNone;
}

ToolIndex find_tool(const Service& service, std::string_view name) {
  for (std::size_t i = 1; i < service.tools.size(); ++i) {
    if (service.tools[i].name == name) return static_cast<ToolIndex>(i);
  }
  return 0;
}

ClassIndex find_class(const Snapshot& snapshot, std::string_view name) {
  for (std::size_t i = 0; i < snapshot.classes.size(); ++i) {
    if (snapshot.classes[i].name == name) return static_cast<ClassIndex>(i);
  }
  return kNone;
}

const Issuer* find_issuer(const Snapshot& snapshot, std::string_view iss) {
  for (const Issuer& issuer : snapshot.issuers) {
    if (issuer.issuer == iss) return &issuer;
  }
  return nullptr;
}

bool source_allowed(const AgentClass& agent_class, const IpAddress& source) {
  return agent_class.sources.empty() ||
         std::any_of(agent_class.sources.begin(), agent_class.sources.end(),
                     [&](const IpPrefix& prefix) { return prefix.contains(source); });
}

bool class_allows(const AgentClass& agent_class, ServiceIndex service, ToolIndex tool) {
  if (service >= agent_class.allowed_tools.size()) return false;
  const std::vector<std::uint64_t>& bits = agent_class.allowed_tools[service];
  const std::size_t word = tool / 64u;
  return word < bits.size() && (bits[word] >> (tool % 64u) & 1u) != 0;
}

bool scope_allows(std::string_view scope, const Service& service, const Tool& tool) {
  bool any = false;
  while (!scope.empty()) {
    const std::size_t end = std::min(scope.find(' '), scope.size());
    std::string_view item = scope.substr(0, end);
    scope.remove_prefix(std::min(end + 1, scope.size()));
    if (item.empty()) continue;
    any = true;
    if (!item.starts_with(service.name)) continue;
    item.remove_prefix(service.name.size());
    if (item.empty() || item == "/*") return true;
    if (item[0] == '/' && item.substr(1) == tool.name) return true;
  }
  return !any;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_text = 0;
  while (t < text.size()) {
    // The star first: a text character may itself be '*'.
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      p++;
      t++;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') p++;
  return p == pattern.size();
}

std::optional<AllowRule> parse_allow_rule(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string_view service = text.substr(0, slash);
  if (service.empty() || text.size() > 256) return std::nullopt;
  const auto bad = [](char c) { return c <= ' ' || c >= 0x7f || c == '"' || c == '\\'; };
  if (std::any_of(text.begin(), text.end(), bad)) return std::nullopt;
  AllowRule rule{std::string(text), std::string(service), {}};
  if (slash != std::string_view::npos) {
    rule.tool = text.substr(slash + 1);
    if (rule.tool.empty()) return std::nullopt;
  }
  return rule;
}

std::vector<std::size_t> compile_allow_rules(AgentClass& agent_class,
                                             const std::vector<Service>& services) {
  std::vector<std::size_t> hits(agent_class.allow.size());
  agent_class.allowed_tools.assign(services.size(), {});
  for (std::size_t s = 0; s < services.size(); ++s) {
    const Service& service = services[s];
    std::vector<std::uint64_t>& bits = agent_class.allowed_tools[s];
    bits.assign((service.tools.size() + 63) / 64, 0);
    for (std::size_t r = 0; r < agent_class.allow.size(); ++r) {
      const AllowRule& rule = agent_class.allow[r];
      if (!glob_match(rule.service, service.name)) continue;
      for (std::size_t t = 0; t < service.tools.size(); ++t) {
        const bool allowed =
            rule.tool.empty() || (t != 0 && glob_match(rule.tool, service.tools[t].name));
        if (!allowed) continue;
        bits[t / 64] |= std::uint64_t{1} << (t % 64);
        hits[r]++;
      }
    }
  }
  return hits;
}

}  // namespace sluice::policy
