// What the gateway says about itself: stats, info, OpenMetrics 1.0.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "controlplane/control.h"

namespace sluice::control {
namespace json = boost::json;
namespace {

using telemetry::Counter;

std::string label_text(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

class Exposition {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(to(), "# TYPE sluice_{} {}\n# HELP sluice_{} {}\n", name, type, name, help);
  }
  template <typename V>
  void sample(std::string_view name, const std::string& labels, V value) {
    if (labels.empty()) {
      fmt::format_to(to(), "sluice_{} {}\n", name, value);
    } else {
      fmt::format_to(to(), "sluice_{}{{{}}} {}\n", name, labels, value);
    }
  }
  std::string text;

 private:
  std::back_insert_iterator<std::string> to() { return std::back_inserter(text); }
};

void write_counters(Exposition& out, const std::vector<WorkerView>& workers) {
  // A family's samples must stand together; rows of one metric may be apart in the table.
  std::vector<std::pair<std::string_view, std::vector<Counter>>> families;
  for (std::size_t i = 0; i < telemetry::kCounterCount; ++i) {
    const auto counter = static_cast<Counter>(i);
    const auto metric = telemetry::info(counter).metric;
    auto found = std::ranges::find(families, metric, [](const auto& f) { return f.first; });
    if (found == families.end()) found = families.insert(families.end(), {metric, {}});
    found->second.push_back(counter);
  }
  for (const auto& [metric, counters] : families) {
    const bool gauge = telemetry::info(counters.front()).gauge;
    out.family(metric, gauge ? "gauge" : "counter", telemetry::info(counters.front()).help);
    const std::string name = std::string(metric) + (gauge ? "" : "_total");
    for (const Counter counter : counters) {
      for (const auto& worker : workers) {
        if (worker.counters == nullptr) continue;
        std::string labels(telemetry::info(counter).labels);
        if (!labels.empty()) labels += ',';
        labels += fmt::format("worker=\"{}\"", worker.index);
        out.sample(name, labels, worker.counters->get(counter));
      }
    }
  }
}

void write_durations(Exposition& out, const CallLog& calls) {
  out.family("call_duration_seconds", "histogram", "Time from first byte in to last byte out");
  for (const auto& [key, series] : calls.series()) {
    const std::string labels =
        fmt::format("service=\"{}\",tool=\"{}\",code=\"{}\"", label_text(key.service),
                    label_text(key.tool), label_text(key.code));
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < CallLog::kBuckets.size(); ++i) {
      below += series.counts[i];
      out.sample("call_duration_seconds_bucket",
                 labels + fmt::format(",le=\"{}\"", CallLog::kBuckets[i]), below);
    }
    out.sample("call_duration_seconds_bucket", labels + ",le=\"+Inf\"", series.count);
    out.sample("call_duration_seconds_count", labels, series.count);
    out.sample("call_duration_seconds_sum", labels, series.sum);
  }
}

// RFC 4022, under its own names.
json::object mib(const std::vector<WorkerView>& workers) {
  constexpr std::pair<const char*, Counter> kObjects[] = {
      {"tcpActiveOpens", Counter::tcp_active_opens},
      {"tcpPassiveOpens", Counter::tcp_passive_opens},
      {"tcpAttemptFails", Counter::tcp_attempt_fails},
      {"tcpEstabResets", Counter::tcp_estab_resets},
      {"tcpCurrEstab", Counter::tcp_curr_estab},
      {"tcpInSegs", Counter::tcp_in_segs},
      {"tcpOutSegs", Counter::tcp_out_segs},
      {"tcpRetransSegs", Counter::tcp_retrans_segs},
      {"tcpInErrs", Counter::tcp_in_errs},
      {"tcpOutRsts", Counter::tcp_out_rsts}};
  json::object out;
  for (const auto& [name, counter] : kObjects) {
    std::uint64_t sum = 0;
    for (const auto& w : workers) sum += w.counters != nullptr ? w.counters->get(counter) : 0;
    out[name] = sum;
  }
  return out;
}

}  // namespace

std::string Control::open_metrics() const {
  Exposition out;
  const auto workers = gateway_.workers();
  write_counters(out, workers);
  const auto per_worker = [&](std::string_view family, std::string_view type, std::string_view help,
                              auto value) {
    out.family(family, type, help);
    const std::string name = std::string(family) + (type == "counter" ? "_total" : "");
    for (std::size_t i = 0; i < workers.size(); ++i) {
      out.sample(name, fmt::format("worker=\"{}\"", workers[i].index), value(i));
    }
  };
  per_worker("worker_connections", "gauge", "Connections open",
             [&](std::size_t i) { return workers[i].connections; });
  per_worker("worker_policy_generation", "gauge", "Policy generation in use",
             [&](std::size_t i) { return workers[i].policy_generation; });
  per_worker("worker_up", "gauge", "1 while the worker runs",
             [&](std::size_t i) { return workers[i].running ? 1 : 0; });
  per_worker("worker_busy_ratio", "gauge", "Share of the last second spent working",
             [&](std::size_t i) { return i < busy_.size() ? busy_[i].ratio : 0.0; });
  per_worker("worker_busy_cycles", "counter", "TSC cycles of turns that did work",
             [&](std::size_t i) { return workers[i].busy_cycles; });
  per_worker("worker_cycles", "counter", "TSC cycles since start",
             [&](std::size_t i) { return workers[i].total_cycles; });
  const auto ports = gateway_.ports();
  out.family("port_up", "gauge", "1 while the port has a link");
  for (const auto& port : ports) {
    out.sample("port_up", fmt::format("port=\"{}\"", label_text(port.name)), port.link_up ? 1 : 0);
  }
  out.family("port_driver_drops", "counter", "Frames lost in the device or its driver");
  for (const auto& port : ports) {
    for (const auto& [reason, count] : {std::pair("receive_queue_full", port.missed),
                                        std::pair("receive_error", port.receive_errors),
                                        std::pair("receive_no_buffer", port.receive_no_buffer),
                                        std::pair("transmit_error", port.transmit_errors)}) {
      out.sample("port_driver_drops_total",
                 fmt::format("port=\"{}\",reason=\"{}\"", label_text(port.name), reason), count);
    }
  }
  out.family("port_spreading", "gauge", "1 for the way flows reach their workers now");
  for (const auto& port : ports) {
    for (const char* mode : {"single", "redirect", "rss"}) {
      out.sample("port_spreading",
                 fmt::format("port=\"{}\",mode=\"{}\"", label_text(port.name), mode),
                 port.spreading == mode ? 1 : 0);
    }
  }
  out.family("port_address", "gauge", "1 for the state of an address of ours now");
  for (const auto& port : ports) {
    for (const auto& address : port.addresses) {
      for (const char* state : {"tentative", "usable", "duplicate"}) {
        out.sample("port_address",
                   fmt::format("port=\"{}\",address=\"{}\",state=\"{}\"", label_text(port.name),
                               label_text(address.address), state),
                   address.state == state ? 1 : 0);
      }
    }
  }
  write_durations(out, calls_);
  out.family("policy_generation", "gauge", "Policy generation published last");
  out.sample("policy_generation", "", generation_);
  out.family("documents", "gauge", "Resource documents held");
  out.sample("documents", "", documents_.size());
  out.family("tasks", "gauge", "Slots used in the task table");
  out.sample("tasks", "", gateway_.tasks().size());
  out.family("call_records_skipped", "counter", "Call records not written to file: over the rate");
  out.sample("call_records_skipped_total", "", calls_.lines_skipped());
  out.family("call_record_write_errors", "counter", "Failed writes of call records");
  out.sample("call_record_write_errors_total", "", calls_.write_errors());
  if (names_ != nullptr) {
    const DnsFigures dns = names_->figures();
    out.family("dns_queries", "counter", "Questions asked about endpoint names");
    out.sample("dns_queries_total", "", dns.queries);
    out.family("dns_failures", "counter", "Questions without an answer");
    out.sample("dns_failures_total", "", dns.failures);
    out.family("dns_names", "gauge", "Names and record types that are asked for");
    out.sample("dns_names", "", dns.names);
    out.family("dns_names_stale", "gauge", "Of these served past their TTL because DNS fails");
    out.sample("dns_names_stale", "", dns.stale);
    out.family("dns_names_unresolved", "gauge", "Names without any address");
    out.sample("dns_names_unresolved", "", dns.unresolved);
  }
  out.family("build", "info", "Version of the program");
  out.sample("build_info", fmt::format("version=\"{}\"", label_text(options_.version)), 1);
  out.text += "# EOF\n";
  return std::move(out.text);
}

json::object Control::stats() const {
  json::object out;
  const auto workers = gateway_.workers();
  json::array rows;
  for (std::size_t i = 0; i < workers.size(); ++i) {
    const auto& w = workers[i];
    rows.push_back(json::object{{"index", w.index},
                                {"cpu", w.cpu},
                                {"running", w.running},
                                {"connections", w.connections},
                                {"policy_generation", w.policy_generation},
                                {"busy_cycles", w.busy_cycles},
                                {"total_cycles", w.total_cycles},
                                {"busy_ratio", i < busy_.size() ? busy_[i].ratio : 0.0}});
  }
  out["workers"] = std::move(rows);
  out["policy_generation"] = generation_;
  out["documents"] = documents_.size();
  out["tasks"] = json::object{{"in_table", gateway_.tasks().size()},
                              {"capacity", gateway_.tasks().capacity()},
                              {"minted", tasks_.size()}};
  if (names_ != nullptr) {
    const DnsFigures dns = names_->figures();
    out["dns"] = json::object{{"queries", dns.queries},
                              {"failures", dns.failures},
                              {"names", dns.names},
                              {"stale", dns.stale},
                              {"unresolved", dns.unresolved}};
  }
  out["tcp"] = mib(workers);
  json::object counters;
  for (std::size_t i = 0; i < telemetry::kCounterCount; ++i) {
    const auto counter = static_cast<Counter>(i);
    const auto& facts = telemetry::info(counter);
    std::uint64_t sum = 0;
    json::array each;
    for (const auto& w : workers) {
      const std::uint64_t value = w.counters != nullptr ? w.counters->get(counter) : 0;
      sum += value;
      each.push_back(value);
    }
    counters[facts.id] = json::object{
        {"value", sum},
        {"workers", std::move(each)},
        {"metric", fmt::format("sluice_{}{}", facts.metric, facts.gauge ? "" : "_total")},
        {"labels", facts.labels},
        {"help", facts.help}};
  }
  out["counters"] = std::move(counters);
  return out;
}

json::object Control::info() const {
  json::object out = gateway_.info();
  out["version"] = options_.version;
  out["pid"] = ::getpid();
  out["state"] = options_.state.string();
  out["policy_generation"] = generation_;
  out["issuer"] =
      json::object{{"issuer", "sluice"},
                   {"kid", key_.public_key().kid},
                   {"jwks", json::object{{"keys", json::array{json::parse(key_.public_jwk())}}}}};
  return out;
}

}  // namespace sluice::control
