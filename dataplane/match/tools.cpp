#include "match/tools.h"

#include <algorithm>

#include "database.h"

namespace sluice::match {

struct ToolMatcher::Impl {
  std::vector<ToolRule> rules;       // in document order
  std::vector<std::size_t> no_path;  // rules without a pattern, ascending
  Database paths;                    // id = position in rules
};

namespace {

bool method_fits(const ToolRule& rule, std::string_view method) {
  return rule.methods.empty() ||
         std::find(rule.methods.begin(), rule.methods.end(), method) != rule.methods.end();
}

}  // namespace

ToolMatcher::ToolMatcher() = default;
ToolMatcher::~ToolMatcher() = default;
ToolMatcher::ToolMatcher(ToolMatcher&&) noexcept = default;
ToolMatcher& ToolMatcher::operator=(ToolMatcher&&) noexcept = default;

std::expected<ToolMatcher, std::string> ToolMatcher::build(const std::vector<ToolRule>& rules) {
  ToolMatcher matcher;
  if (rules.empty()) return matcher;
  matcher.impl_ = std::make_unique<Impl>();
  std::vector<Pattern> patterns;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (rules[i].path_pattern.empty()) {
      matcher.impl_->no_path.push_back(i);
    } else {
      patterns.push_back({rules[i].path_pattern, static_cast<unsigned>(i)});
    }
  }
  if (!patterns.empty()) {
    int failed = -1;
    auto database = Database::build(patterns, &failed);
    if (!database) {
      const std::string which =
          failed >= 0
              ? "pattern \"" + patterns[static_cast<std::size_t>(failed)].expression + "\": "
              : std::string{};
      return std::unexpected(which + database.error());
    }
    matcher.impl_->paths = std::move(*database);
  }
  matcher.impl_->rules = rules;
  return matcher;
}

std::uint16_t ToolMatcher::find(Scratch& scratch, std::string_view method,
                                std::string_view path) const {
  if (!impl_) return 0;
  const std::vector<ToolRule>& rules = impl_->rules;
  std::size_t best = rules.size();
  for (const std::size_t i : impl_->no_path) {
    if (method_fits(rules[i], method)) {
      best = i;
      break;
    }
  }
  if (!path.empty()) {
    impl_->paths.scan(scratch, path, [&](unsigned id) {
      if (id < best && method_fits(rules[id], method)) best = id;
      return best != 0;
    });
  }
  return best == rules.size() ? std::uint16_t{0} : rules[best].tool;
}

}  // namespace sluice::match
