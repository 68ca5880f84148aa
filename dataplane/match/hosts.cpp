#include "match/hosts.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "database.h"

namespace sluice::match {
namespace {

struct PathRule {
  std::string prefix;  // without a trailing slash: "" for all paths
  std::uint16_t service;
};

// The paths of one host, longest first, so that the smallest index that matches is the answer.
struct Group {
  std::vector<PathRule> paths;
  Database database;  // only where a look at each path would be too slow
};

constexpr std::size_t kLookAtEach = 4;

bool under(std::string_view path, std::string_view prefix) {
  return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

bool is_wildcard(std::string_view host) { return host.starts_with("*."); }

std::string host_pattern(std::string_view host) {
  if (is_wildcard(host)) return "^.+" + quote(host.substr(1)) + "\\z";
  return "^" + quote(host) + "\\z";
}

std::expected<Group, std::string> build_group(std::vector<PathRule> paths) {
  std::sort(paths.begin(), paths.end(), [](const PathRule& a, const PathRule& b) {
    return std::pair(b.prefix.size(), a.prefix) < std::pair(a.prefix.size(), b.prefix);
  });
  Group group;
  if (paths.size() > kLookAtEach) {
    std::vector<Pattern> patterns;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const auto id = static_cast<unsigned>(i);
      const std::string start = "^" + quote(paths[i].prefix);
      patterns.push_back({start + "\\z", id});
      patterns.push_back({start + "/", id});
    }
    auto database = Database::build(patterns);
    if (!database) return std::unexpected(std::move(database.error()));
    group.database = std::move(*database);
  }
  group.paths = std::move(paths);
  return group;
}

}  // namespace

struct HostMatcher::Impl {
  // Exact hosts, then wildcards from the longest: the smallest index that matches is the answer.
  std::vector<Group> groups;
  Database hosts;
};

HostMatcher::HostMatcher() = default;
HostMatcher::~HostMatcher() = default;
HostMatcher::HostMatcher(HostMatcher&&) noexcept = default;
HostMatcher& HostMatcher::operator=(HostMatcher&&) noexcept = default;

std::expected<HostMatcher, std::string> HostMatcher::build(const std::vector<HostRule>& rules) {
  HostMatcher matcher;
  if (rules.empty()) return matcher;
  std::map<std::string, std::vector<PathRule>> by_host;
  for (const HostRule& rule : rules) {
    std::string prefix = rule.path;
    while (prefix.ends_with('/')) prefix.pop_back();
    auto& paths = by_host[rule.host];
    const auto same = [&](const PathRule& p) { return p.prefix == prefix; };
    if (std::any_of(paths.begin(), paths.end(), same)) {
      return std::unexpected("host " + rule.host + " has path " + rule.path + " twice");
    }
    paths.push_back({std::move(prefix), rule.service});
  }

  std::vector<std::string> order;
  order.reserve(by_host.size());
  for (const auto& [host, paths] : by_host) order.push_back(host);
  const auto rank = [](const std::string& host) {
    return std::tuple(is_wildcard(host), ~host.size(), std::string_view(host));
  };
  std::sort(order.begin(), order.end(),
            [&](const std::string& a, const std::string& b) { return rank(a) < rank(b); });

  matcher.impl_ = std::make_unique<Impl>();
  std::vector<Pattern> patterns;
  for (const std::string& host : order) {
    patterns.push_back({host_pattern(host), static_cast<unsigned>(matcher.impl_->groups.size())});
    auto group = build_group(std::move(by_host[host]));
    if (!group) return std::unexpected("host " + host + ": " + group.error());
    matcher.impl_->groups.push_back(std::move(*group));
  }
  int failed = -1;
  auto database = Database::build(patterns, &failed);
  if (!database) {
    const std::string which =
        failed >= 0 ? "host " + order[static_cast<std::size_t>(failed)] + ": " : std::string{};
    return std::unexpected(which + database.error());
  }
  matcher.impl_->hosts = std::move(*database);
  return matcher;
}

std::uint16_t HostMatcher::find(Scratch& scratch, std::string_view host,
                                std::string_view path) const {
  if (!impl_ || host.empty()) return kNoMatch;
  std::size_t best = impl_->groups.size();
  const auto keep_smallest = [&best](unsigned id) {
    best = std::min<std::size_t>(best, id);
    return true;
  };
  impl_->hosts.scan(scratch, host, keep_smallest);
  if (best == impl_->groups.size()) return kNoMatch;

  const Group& group = impl_->groups[best];
  if (!group.database) {
    for (const PathRule& p : group.paths) {
      if (under(path, p.prefix)) return p.service;
    }
    return kNoMatch;
  }
  best = group.paths.size();
  if (path.empty() || !group.database.scan(scratch, path, keep_smallest)) return kNoMatch;
  return best == group.paths.size() ? kNoMatch : group.paths[best].service;
}

}  // namespace sluice::match
