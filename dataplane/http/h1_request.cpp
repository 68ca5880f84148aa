#include "h1_request.h"

#include "grammar.h"

namespace sluice::http {

namespace {

// RFC 9112 section 2.3. 0, or the status that refuses it.
std::uint16_t parse_version(std::string_view text, Version& version) {
  if (text == "HTTP/1.1") {
    version = Version::http_1_1;
    return 0;
  }
  if (text == "HTTP/1.0") {
    version = Version::http_1_0;
    return 0;
  }
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool well_formed = text.size() == 8 && text.starts_with("HTTP/") && digit(text[5]) &&
                           text[6] == '.' && digit(text[7]);
  return well_formed ? 505 : 400;
}

// RFC 9112 section 3. 0, or the status that refuses it. `target` points into `line`.
std::uint16_t parse_request_line(std::string_view line, const ConnectionLimits& limits,
                                 Request& request, std::string_view& target) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return 400;
  const std::string_view method = line.substr(0, first);
  target = line.substr(first + 1, last - first - 1);
  if (!is_token(method) || !is_target(target)) return 400;
  if (target.size() > limits.max_uri) return 414;
  request.method = method;
  return parse_version(line.substr(last + 1), request.version);
}

// RFC 9112 section 3.2.3: the target says where to, with a port; Host may only repeat it.
bool set_connect_target(std::string_view target, const H1Control& control, Request& request) {
  std::string_view port;
  if (!is_authority(target, &port) || port.empty()) return false;
  request.authority = lowered(target);
  if (control.hosts == 0) return true;
  const std::string_view name(request.authority.data(), target.size() - port.size() - 1);
  return control.host == request.authority || control.host == name;
}

// RFC 9112 section 3.2.2. The two authorities must agree: somebody downstream may look at the
// other.
bool set_absolute_target(std::string_view target, std::string_view scheme, const H1Control& control,
                         Request& request) {
  const std::size_t scheme_end = target.find("://");
  if (scheme_end == std::string_view::npos) return false;
  if (!equal_ci(target.substr(0, scheme_end), scheme)) return false;
  const std::string_view rest = target.substr(scheme_end + 3);
  const std::size_t path = rest.find_first_of("/?");
  std::string authority = lowered(rest.substr(0, path));
  if (!is_authority(authority)) return false;
  if (control.hosts == 1 && authority != control.host) return false;
  request.authority = std::move(authority);
  if (path == std::string_view::npos) {
    request.path = request.method == "OPTIONS" ? "*" : "/";
  } else {
    if (rest[path] == '?') request.path = "/";
    request.path += rest.substr(path);
  }
  return true;
}

bool set_target(std::string_view target, std::string_view scheme, H1Control& control,
                Request& request) {
  if (control.hosts > 1) return false;
  if (control.hosts == 0 && request.version == Version::http_1_1) return false;
  if (control.hosts == 1 && !is_authority(control.host)) return false;
  if (request.method == "CONNECT") return set_connect_target(target, control, request);
  if (target.front() != '/' && target != "*") {
    return set_absolute_target(target, scheme, control, request);
  }
  if (target == "*" && request.method != "OPTIONS") return false;
  request.authority = std::move(control.host);
  request.path = target;
  return true;
}

}  // namespace

Error make_request(H1Head& head, std::string_view scheme, const ConnectionLimits& limits,
                   Request& request, H1Control& control, std::uint16_t& status) {
  std::string_view target;
  status = parse_request_line(head.start_line, limits, request, target);
  if (status != 0) return status == 414 ? Error::too_large : Error::protocol;
  if (take_control(head.fields, Role::server, control, status) != Error::none) {
    return Error::protocol;
  }
  status = 400;
  if (!set_target(target, scheme, control, request)) return Error::protocol;
  // HTTP/1.0 knows no transfer codings (RFC 9112 section 6.1) and no expectations (RFC
  // 9110 10.1.1).
  const bool http10 = request.version == Version::http_1_0;
  if (control.chunked && http10) return Error::protocol;
  request.scheme = scheme;
  request.fields = std::move(head.fields);
  request.content_length = control.content_length;
  request.expect_continue = control.expect_continue && !http10;
  return Error::none;
}

}  // namespace sluice::http
