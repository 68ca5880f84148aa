// TCP connections and what happened to them.
#include <charconv>

#include "api.h"
#include "controlplane/connections.h"

namespace sluice::control {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxTraces = 256;

// "198.18.1.1:443", "[2001:db8::1]:443", an address or a prefix alone, ":443".
std::optional<telemetry::EndpointFilter> parse_endpoint(std::string_view text) {
  telemetry::EndpointFilter filter;
  std::string_view address = text, port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == text.npos) return std::nullopt;
    address = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && (rest[0] != ':' || rest.size() == 1)) return std::nullopt;
    if (!rest.empty()) port = rest.substr(1);
  } else if (const auto colon = text.find(':'); colon != text.npos && colon == text.rfind(':')) {
    address = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) return std::nullopt;
  }
  if (!address.empty()) {
    filter.address = IpPrefix::parse(address);
    if (!filter.address) return std::nullopt;
  }
  if (!port.empty()) {
    const auto parsed = std::from_chars(port.data(), port.data() + port.size(), filter.port);
    if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || filter.port == 0) {
      return std::nullopt;
    }
  }
  if (address.empty() && port.empty()) return std::nullopt;
  return filter;
}

std::string state_names() {
  std::string all;
  for (std::size_t i = 1; i < static_cast<std::size_t>(telemetry::TcpState::count_); ++i) {
    all += (all.empty() ? "" : ", ");
    all += telemetry::to_string(static_cast<telemetry::TcpState>(i));
  }
  return all;
}

RestResponse busy() {
  return to_response(unavailable("a worker has too many such questions waiting", 1));
}

}  // namespace

telemetry::ConnectionFilter Api::connection_filter() {
  telemetry::ConnectionFilter filter;
  for (const auto& [name, endpoint] :
       {std::pair("local", &filter.local), std::pair("remote", &filter.remote)}) {
    if (!target_.query.contains(name)) continue;
    const auto parsed = parse_endpoint(query(name));
    if (parsed) {
      *endpoint = *parsed;
    } else {
      refuse(std::string(name) + ": expected ADDRESS:PORT, [IPV6]:PORT, an address or prefix, or " +
             ":PORT");
    }
  }
  if (const std::string state = query("state"); target_.query.contains("state")) {
    for (std::size_t i = 1; i < static_cast<std::size_t>(telemetry::TcpState::count_); ++i) {
      const auto known = static_cast<telemetry::TcpState>(i);
      if (telemetry::to_string(known) == state) filter.state = known;
    }
    if (!filter.state) refuse("state: expected one of " + state_names());
  }
  if (const std::string side = query("side"); target_.query.contains("side")) {
    if (side != "agent" && side != "tool") refuse("side: expected agent or tool");
    filter.passive = side == "agent";
  }
  if (const std::string listener = query("listener"); target_.query.contains("listener")) {
    const auto names = control_.gateway().listeners();
    const auto found = std::ranges::find(names, listener);
    if (found == names.end()) refuse("listener: no listener of the boot file has this name");
    filter.listener_id = static_cast<std::uint32_t>(found - names.begin());
  }
  return filter;
}

RestResponse Api::connections() {
  const telemetry::ConnectionFilter filter = connection_filter();
  const std::size_t most = limit(kDefaultPage, kMaxPage);
  ConnectionPosition from;
  if (const std::string token = query("page_token"); !token.empty()) {
    const auto parsed = ConnectionPosition::parse(token);
    if (!parsed) refuse("page_token: not one of ours");
    from = parsed.value_or(from);
  }
  if (!error_.empty()) return {};
  RestResponse response;
  const auto search = std::make_shared<ConnectionSearch>(control_.gateway(), filter, most, from);
  response.later = [search, &control = control_](RestResponse& answer) {
    if (!search->step()) return false;
    if (search->refused()) {
      answer = busy();
      return true;
    }
    const ConnectionText text(control.gateway());
    json::object out;
    json::array items;
    for (const auto& record : search->found()) items.push_back(text.to_json(record));
    out["items"] = std::move(items);
    if (const auto next = search->next()) out["next_page_token"] = next->to_string();
    answer = reply(200, out);
    return true;
  };
  return response;
}

RestResponse Api::connection_events() {
  const telemetry::ConnectionFilter filter = connection_filter();
  const std::size_t most = limit(20, kMaxTraces);
  if (!error_.empty()) return {};
  RestResponse response;
  const auto search = std::make_shared<TraceSearch>(control_.gateway(), filter, most);
  response.later = [search, &control = control_](RestResponse& answer) {
    if (!search->step()) return false;
    if (search->refused()) {
      answer = busy();
      return true;
    }
    const ConnectionText text(control.gateway());
    json::array items;
    for (const auto& trace : search->found()) items.push_back(text.to_json(trace));
    answer = reply(200, json::object{{"items", std::move(items)}});
    return true;
  };
  return response;
}

RestResponse Api::capture() {
  const auto body = parse_json(request_.body);
  if (!body) return to_response(body.error());
  const auto wanted = parse_capture(*body);
  if (!wanted) return to_response(wanted.error());
  auto run = control_.start_capture(*wanted, request_.uid);
  if (!run) return to_response(run.error());
  RestResponse response;
  response.content_type = "application/x-pcapng";
  response.pieces = [run = std::move(*run)](bool enough) {
    if (enough) run->finish();
    return run->next(std::chrono::steady_clock::now());
  };
  return response;
}

}  // namespace sluice::control
