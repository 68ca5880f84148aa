#include "connections.h"

#include <cstdio>
#include <iostream>

#include "output.h"

namespace sluice::control {

namespace json = boost::json;

namespace {

std::string with_query(std::string target, const ConnectionArguments& given, bool paged) {
  char before = '?';
  const auto add = [&](const char* name, const std::string& value) {
    if (value.empty()) return;
    target += before + std::string(name) + "=" + escape(value);
    before = '&';
  };
  add("state", given.state);
  add("local", given.local);
  add("remote", given.remote);
  add("listener", given.listener);
  add("side", given.side);
  if (!paged) add("limit", std::to_string(given.limit));
  return target;
}

std::string endpoint(const json::value& value) {
  const std::string address(value.at("address").get_string());
  const std::string port = std::to_string(value.at("port").to_number<unsigned>());
  return address.find(':') == std::string::npos ? address + ":" + port
                                                : "[" + address + "]:" + port;
}

std::string fixed(const json::value& number, double unit) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", number.to_number<double>() / unit);
  return text;
}

// Endpoints as text, and times in the units of the table's heads.
json::array rows_of(const json::array& items) {
  json::array rows;
  for (const auto& item : items) {
    json::object row = item.get_object();
    row["local"] = endpoint(item.at("local"));
    row["remote"] = endpoint(item.at("remote"));
    if (const auto* us = row.if_contains("age_us")) row["age_s"] = fixed(*us, 1e6);
    if (const auto* us = row.if_contains("rtt_us")) row["rtt_ms"] = fixed(*us, 1e3);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

void connections(const Options& options, const ConnectionArguments& given) {
  json::array items;
  bool more = false;
  if (given.all) {
    items = call_list(options, with_query("/v1/connections", given, true));
  } else {
    const json::value page = call(options, "GET", with_query("/v1/connections", given, false));
    items = page.at("items").get_array();
    more = page.get_object().contains("next_page_token");
  }
  if (options.output != "table") return print(options.output, items);
  print_table(rows_of(items), {"local", "remote", "side", "listener", "state", "age_s", "rtt_ms",
                               "cwnd", "in_flight", "bytes_in", "bytes_out", "retransmits"});
  if (more) std::cout << "more: --limit N (at most 1000) or --all\n";
}

void connection_events(const Options& options, const ConnectionArguments& given) {
  const json::value got = call(options, "GET", with_query("/v1/connections/events", given, false));
  const json::array& items = got.at("items").get_array();
  if (options.output != "table") return print(options.output, items);
  for (const auto& item : items) {
    std::cout << endpoint(item.at("local")) << " " << endpoint(item.at("remote")) << "  "
              << item.at("state").get_string().c_str()
              << (item.at("live").get_bool() ? ", live" : ", kept") << "\n";
    for (const auto& event : item.at("events").get_array()) {
      const json::object& members = event.get_object();
      const double ago = members.at("ago_us").to_number<double>() / 1e6;
      char text[32];
      std::snprintf(text, sizeof text, "%14.6f", -ago);
      std::cout << text << "  " << members.at("event").get_string().c_str();
      for (const auto& member : members) {
        if (member.key() == "event" || member.key() == "ago_us") continue;
        std::cout << " " << std::string(member.key()) << "=";
        if (member.value().is_string()) {
          std::cout << member.value().get_string().c_str();
        } else {
          std::cout << json::serialize(member.value());
        }
      }
      std::cout << "\n";
    }
  }
  if (items.empty()) std::cout << "no events kept of such a connection\n";
}

}  // namespace sluice::control
