// Host and path-prefix to service index, by Hyperscan. Built on the control thread, read by
// workers.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "match/scratch.h"

namespace sluice::match {

struct HostRule {
  std::string host;  // lower case; "*.example" matches one or more labels before ".example"
  std::string path;  // prefix, "/" for all
  std::uint16_t service;
};

class HostMatcher {
 public:
  static std::expected<HostMatcher, std::string> build(const std::vector<HostRule>& rules);
  HostMatcher();  // matches nothing
  ~HostMatcher();
  HostMatcher(HostMatcher&&) noexcept;
  HostMatcher& operator=(HostMatcher&&) noexcept;

  static constexpr std::uint16_t kNoMatch = 0xffff;
  // `host` without port, lower case; `path` canonical. Exact host before wildcard (longest suffix),
  // then the longest path prefix (on segment boundaries) of that host: a host that is listed takes
  // its whole name, and paths it does not list do not fall back to a wildcard.
  std::uint16_t find(Scratch& scratch, std::string_view host, std::string_view path) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::match
