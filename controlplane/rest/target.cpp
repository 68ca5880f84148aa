#include "target.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace sluice::control {

namespace {

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

}  // namespace

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

}  // namespace sluice::control
