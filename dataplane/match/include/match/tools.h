// Method and path to tool index within one service, by Hyperscan.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "match/scratch.h"

namespace sluice::match {

struct ToolRule {
  std::vector<std::string> methods;  // empty: any
  std::string path_pattern;          // regular expression over the path without query; empty: any
  std::uint16_t tool;
};

class ToolMatcher {
 public:
  // Error text: which rule, and Hyperscan's own words.
  static std::expected<ToolMatcher, std::string> build(const std::vector<ToolRule>& rules);
  ToolMatcher();  // matches nothing
  ~ToolMatcher();
  ToolMatcher(ToolMatcher&&) noexcept;
  ToolMatcher& operator=(ToolMatcher&&) noexcept;

  // The first rule in document order that matches, or 0 ("*").
  std::uint16_t find(Scratch& scratch, std::string_view method, std::string_view path) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::match
