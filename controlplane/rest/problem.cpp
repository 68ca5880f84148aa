#include "controlplane/problem.h"

#include <set>

#include "base/utf8.h"

namespace sluice::control {
namespace {

Problem make(unsigned status, const char* code, const char* title, std::string detail) {
  Problem problem;
  problem.status = status;
  problem.code = code;
  problem.title = title;
  problem.detail = std::move(detail);
  return problem;
}

// Boost.JSON keeps the last of two members with one name. A reader before it could have decided
// from the first, so both are refused. The text is known to be valid JSON here.
class DuplicateFinder {
 public:
  explicit DuplicateFinder(std::string_view text) : text_(text) {}

  // Pointer of the first duplicate; empty if there is none.
  std::string find() {
    value("");
    return found_;
  }

 private:
  void space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").contains(text_[at_])) ++at_;
  }
  std::string string() {
    const std::size_t begin = at_++;
    bool escaped = false;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\') {
        escaped = true;
        ++at_;
      }
      ++at_;
    }
    ++at_;
    const std::string_view raw = text_.substr(begin, at_ - begin);
    if (!escaped) return std::string(raw.substr(1, raw.size() - 2));
    boost::json::error_code error;
    const auto parsed = boost::json::parse(raw, error);
    return error || !parsed.is_string() ? std::string(raw) : std::string(parsed.get_string());
  }
  void object(const std::string& here) {
    std::set<std::string> names;
    for (++at_, space(); at_ < text_.size() && text_[at_] != '}'; space()) {
      if (text_[at_] == ',') {
        ++at_;
        continue;
      }
      const std::string name = string();
      const std::string there = pointer_to(here, name);
      if (!names.insert(name).second && found_.empty()) found_ = there;
      space();
      ++at_;  // the colon
      value(there);
    }
    ++at_;
  }
  void array(const std::string& here) {
    std::size_t index = 0;
    for (++at_, space(); at_ < text_.size() && text_[at_] != ']'; space()) {
      if (text_[at_] == ',') {
        ++at_;
        continue;
      }
      value(here + "/" + std::to_string(index++));
    }
    ++at_;
  }
  void value(const std::string& here) {
    space();
    if (at_ >= text_.size()) return;
    if (text_[at_] == '{') return object(here);
    if (text_[at_] == '[') return array(here);
    if (text_[at_] == '"') {
      string();
      return;
    }
    while (at_ < text_.size() && !std::string_view(",]} \t\r\n").contains(text_[at_])) ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string found_;
};

}  // namespace

boost::json::object to_json(const Problem& problem) {
  boost::json::object out;
  out["type"] = "urn:sluice:error:" + problem.code;
  out["title"] = problem.title;
  out["status"] = problem.status;
  out["detail"] = replace_not_utf8(problem.detail);  // may quote the request
  out["code"] = problem.code;
  if (!problem.errors.empty()) {
    out["pointer"] = replace_not_utf8(problem.errors.front().pointer);
    boost::json::array errors;
    for (const auto& item : problem.errors) {
      boost::json::object error{{"pointer", replace_not_utf8(item.pointer)},
                                {"detail", replace_not_utf8(item.detail)}};
      if (!item.document.empty()) error["document"] = replace_not_utf8(item.document);
      errors.push_back(std::move(error));
    }
    out["errors"] = std::move(errors);
  }
  return out;
}

Problem invalid(std::string pointer, std::string detail) {
  Problem problem = make(400, "request_invalid", "Request not valid", detail);
  problem.errors.push_back({std::move(pointer), std::move(detail), ""});
  return problem;
}

Problem invalid(const std::vector<ConfigError>& errors) {
  Problem problem = make(400, "request_invalid", "Request not valid", "");
  for (const auto& error : errors) {
    if (problem.errors.size() == 100) break;
    problem.errors.push_back({error.pointer, error.message, error.document});
  }
  if (problem.errors.empty()) problem.errors.push_back({"", "not valid", ""});
  problem.detail = problem.errors.front().detail;
  if (errors.size() > 1) problem.detail += " (and " + std::to_string(errors.size() - 1) + " more)";
  return problem;
}

Problem not_found(std::string detail) {
  return make(404, "not_found", "Not found", std::move(detail));
}
Problem precondition_failed(std::string detail) {
  return make(412, "precondition_failed", "Changed in the meantime", std::move(detail));
}
Problem unavailable(std::string detail, unsigned retry_after_s) {
  Problem problem = make(503, "unavailable", "Not possible now", std::move(detail));
  problem.headers.emplace_back("Retry-After", std::to_string(retry_after_s));
  return problem;
}
Problem internal_error(std::string detail) {
  return make(500, "internal_error", "The gateway failed", std::move(detail));
}

std::string pointer_to(std::string_view base, std::string_view member) {
  std::string out(base);
  out += '/';
  for (const char c : member) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

std::expected<boost::json::value, Problem> parse_json(std::string_view text) {
  boost::json::parse_options options;
  options.max_depth = 32;
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(text, error, {}, options);
  if (error) return std::unexpected(invalid("", "body: not JSON: " + error.message()));
  if (std::string twice = DuplicateFinder(text).find(); !twice.empty()) {
    return std::unexpected(invalid(twice, "member appears more than once"));
  }
  return value;
}

}  // namespace sluice::control
