// sluicectl: the control socket from the command line.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include "capture.h"
#include "command.h"
#include "connections.h"
#include "controlplane/client.h"
#include "controlplane/documents.h"
#include "output.h"

namespace sluice::control {
namespace json = boost::json;
namespace {

std::string collection(const std::string& kind) {
  static const std::map<std::string, std::string> kNames = {{"issuer", "issuers"},
                                                            {"issuers", "issuers"},
                                                            {"agent-class", "agent-classes"},
                                                            {"agent-classes", "agent-classes"},
                                                            {"service", "services"},
                                                            {"services", "services"},
                                                            {"binding", "bindings"},
                                                            {"bindings", "bindings"}};
  const auto found = kNames.find(kind);
  if (found != kNames.end()) return found->second;
  std::cerr << "sluicectl: unknown kind \"" << kind
            << "\"; known are issuer, agent-class, service, binding\n";
  throw Exit{kWrongUse};
}

std::string read_input(const std::string& file) {
  std::ostringstream text;
  if (file == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    std::cerr << "sluicectl: " << file << ": cannot be read\n";
    throw Exit{kWrongUse};
  }
  text << in.rdbuf();
  return text.str();
}

// One JSON value, or a stream of YAML documents. JSON is YAML too, but its own parser is stricter
// and quicker, and several JSON documents in a row need YAML's separators.
json::array read_documents(const std::string& file) {
  const std::string text = read_input(file);
  json::array out;
  json::error_code error;
  json::value value = json::parse(text, error);
  if (!error) {
    if (value.is_array()) return value.get_array();
    if (value.is_object() && value.get_object().contains("documents") &&
        value.at("documents").is_array()) {
      return value.at("documents").get_array();
    }
    out.push_back(std::move(value));
    return out;
  }
  if (file.ends_with(".json")) {
    std::cerr << "sluicectl: " << file << ": not JSON: " << error.message() << "\n";
    throw Exit{kWrongUse};
  }
  auto documents = yaml_to_json(text, file);
  if (!documents) {
    for (const auto& wrong : documents.error()) {
      std::cerr << "sluicectl: " << wrong.to_string() << "\n";
    }
    throw Exit{kWrongUse};
  }
  for (auto& document : *documents) out.push_back(std::move(document));
  return out;
}

void apply(const Options& options, const std::vector<std::string>& files, bool dry_run) {
  json::array all;
  for (const auto& file : files) {
    for (auto& document : read_documents(file)) all.push_back(std::move(document));
  }
  const json::value done = call(options, "POST", dry_run ? "/v1/apply?dry_run=1" : "/v1/apply",
                                json::serialize(json::object{{"documents", all}}));
  if (options.output != "table") return print(options.output, done);
  const auto& changes = done.at("changes").get_array();
  for (const auto& change : changes) {
    std::cout << change.at("kind").get_string().c_str() << "/"
              << change.at("name").get_string().c_str()
              << (dry_run ? " would change\n" : " applied\n");
  }
  if (changes.empty()) std::cout << "nothing to change\n";
  std::cout << "generation " << done.at("generation").to_number<std::uint64_t>() << "\n";
}

void status(const Options& options) {
  const json::value info = call(options, "GET", "/v1/info");
  const json::value stats = call(options, "GET", "/v1/stats");
  if (options.output != "table") {
    return print(options.output, json::object{{"info", info}, {"stats", stats}});
  }
  std::cout << "sluice " << info.at("version").get_string().c_str() << ", policy generation "
            << info.at("policy_generation").to_number<std::uint64_t>() << ", "
            << stats.at("documents").to_number<std::uint64_t>() << " documents, "
            << stats.at("tasks").at("in_table").to_number<std::uint64_t>() << " tasks\n\n";
  print_table(stats.at("workers").get_array(),
              {"index", "cpu", "running", "connections", "policy_generation", "busy_ratio"});
  if (const auto* ports = info.get_object().if_contains("ports"); ports && ports->is_array()) {
    std::cout << "\n";
    print_table(ports->get_array(),
                {"name", "driver", "mtu", "vlan", "addresses", "link_up", "spreading"});
  }
}

void get(const Options& options, const std::string& kind, const std::string& name) {
  const std::string path = "/v1/" + collection(kind);
  if (!name.empty()) {
    const json::value one = call(options, "GET", path + "/" + escape(name));
    return print(options.output == "table" ? "yaml" : options.output, one);
  }
  const json::array all = call_list(options, path);
  if (options.output != "table") return print(options.output, all);
  json::array rows;
  for (const auto& item : all) {
    json::object row{{"name", item.at("name")}, {"generation", item.at("generation")}};
    row["in_use"] = item.at("status").at("in_use");
    rows.push_back(std::move(row));
  }
  print_table(rows, {"name", "generation", "in_use"});
}

void calls(const Options& options, unsigned limit, bool follow) {
  if (follow) {
    const auto done = stream(options.socket, {.target = "/v1/events?follow=1&type=call"},
                             [](std::string_view text) {
                               if (text != "\n") std::cout << text << std::flush;
                               return static_cast<bool>(std::cout);
                             });
    if (!done) {
      std::cerr << "sluicectl: " << done.error() << "\n";
      throw Exit{kUnreachable};
    }
    return;
  }
  const json::value got = call(options, "GET", "/v1/calls?limit=" + std::to_string(limit));
  if (options.output != "table") return print(options.output, got.at("items"));
  print_table(got.at("items").get_array(),
              {"started", "service", "tool", "method", "path", "status", "code", "total_us"});
}

void dns(const Options& options, bool refresh) {
  const json::array items = refresh
                                ? call(options, "POST", "/v1/dns:refresh").at("items").get_array()
                                : call_list(options, "/v1/dns");
  if (options.output != "table") return print(options.output, items);
  json::array rows;
  for (const auto& item : items) {
    json::object row = item.get_object();
    std::string found;
    const auto list = [&](const char* key, auto&& text) {
      const auto* values = row.if_contains(key);
      if (values == nullptr) return;
      for (const auto& v : values->get_array()) found += (found.empty() ? "" : " ") + text(v);
    };
    list("addresses", [](const json::value& v) { return std::string(v.get_string()); });
    list("targets", [](const json::value& v) {
      return std::string(v.at("host").get_string()) + ":" +
             std::to_string(v.at("port").to_number<unsigned>());
    });
    row["addresses"] = found;
    rows.push_back(std::move(row));
  }
  print_table(rows, {"name", "record", "state", "addresses", "ttl_left_s", "age_s", "last_error"});
}

struct TaskArguments {
  std::string agent_class, subject, bind_address, txn, state;
  std::vector<std::string> allow;
  std::vector<std::string> limits, labels;
  int ttl_s = 0;
};

// NAME=VALUE
std::pair<std::string, std::string> assignment(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    std::cerr << "sluicectl: \"" << text << "\": expected NAME=VALUE\n";
    throw Exit{kWrongUse};
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

void create_task(const Options& options, const TaskArguments& given) {
  json::object body{{"agent_class", given.agent_class}, {"subject", given.subject}};
  if (given.ttl_s != 0) body["ttl_s"] = given.ttl_s;
  if (!given.allow.empty()) body["allow"] = json::value_from(given.allow);
  if (!given.bind_address.empty()) body["bind_address"] = given.bind_address;
  for (const auto& text : given.limits) {
    const auto [name, value] = assignment(text);
    json::error_code error;
    json::value number = json::parse(value, error);
    if (!body.contains("limits")) body["limits"] = json::object{};
    body["limits"].get_object()[name] = error ? json::value(json::string(value)) : number;
  }
  for (const auto& text : given.labels) {
    const auto [name, value] = assignment(text);
    if (!body.contains("labels")) body["labels"] = json::object{};
    body["labels"].get_object()[name] = value;
  }
  const json::value minted = call(options, "POST", "/v1/tasks", json::serialize(body));
  if (options.output != "table") return print(options.output, minted);
  for (const char* name : {"txn", "expires_at", "trace_id", "token"}) {
    std::cout << name << ": " << minted.at(name).get_string().c_str() << "\n";
  }
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app{"Talks to sluiced over its control socket."};
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--socket", options.socket, "Control socket")
      ->envname("SLUICE_SOCKET")
      ->capture_default_str();
  app.add_option("-o,--output", options.output, "Form of the output")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  app.set_version_flag("--version", SLUICE_VERSION);

  app.add_subcommand("status", "Version, workers, ports")->callback([&] { status(options); });

  std::vector<std::string> files;
  bool dry_run = false;
  auto* apply_command = app.add_subcommand("apply", "Apply documents, all or nothing");
  apply_command->add_option("-f,--file", files, "YAML or JSON; - is standard input")->required();
  apply_command->add_flag("--dry-run", dry_run, "Validate only");
  apply_command->callback([&] { apply(options, files, dry_run); });

  std::string kind, name;
  auto* get_command = app.add_subcommand("get", "Show documents");
  get_command->add_option("kind", kind, "issuer, agent-class, service, binding or connections")
      ->required();
  get_command->add_option("name", name, "One document");
  get_command->callback([&] {
    if (kind == "connections" && name.empty()) return connections(options, {});
    get(options, kind, name);
  });

  auto* delete_command = app.add_subcommand("delete", "Remove a document");
  delete_command->add_option("kind", kind)->required();
  delete_command->add_option("name", name)->required();
  delete_command->callback([&] {
    const json::value done =
        call(options, "DELETE", "/v1/" + collection(kind) + "/" + escape(name));
    if (options.output != "table") return print(options.output, done);
    std::cout << kind << "/" << name << " removed\n";
  });

  TaskArguments task;
  auto* task_command = app.add_subcommand("task", "Mint, show and revoke tasks");
  task_command->require_subcommand(1);
  auto* create = task_command->add_subcommand("create", "Mint a task and its token");
  create->add_option("--class", task.agent_class, "Agent class")->required();
  create->add_option("--subject", task.subject, "For whom")->required();
  create->add_option("--ttl", task.ttl_s, "Seconds, 1 to 900");
  create->add_option("--allow", task.allow, "service, service/tool or service/*");
  create->add_option("--limit", task.limits, "NAME=NUMBER, e.g. calls=100");
  create->add_option("--label", task.labels, "NAME=TEXT");
  create->add_option("--bind-address", task.bind_address, "Source address that speaks for it");
  create->callback([&] { create_task(options, task); });
  auto* list = task_command->add_subcommand("list", "Tasks, live and recently ended");
  list->add_option("--class", task.agent_class);
  list->add_option("--state", task.state, "live, expired or revoked");
  list->callback([&] {
    std::string target = "/v1/tasks?class=" + escape(task.agent_class);
    if (!task.state.empty()) target += "&state=" + escape(task.state);
    const json::array all = call_list(options, target);
    if (options.output != "table") return print(options.output, all);
    print_table(all, {"txn", "state", "agent_class", "subject", "expires_at"});
  });
  auto* show = task_command->add_subcommand("get", "One task");
  show->add_option("txn", task.txn)->required();
  show->callback([&] {
    print(options.output == "table" ? "yaml" : options.output,
          call(options, "GET", "/v1/tasks/" + escape(task.txn)));
  });
  auto* revoke = task_command->add_subcommand("delete", "Revoke a task and cancel its calls");
  revoke->add_option("txn", task.txn)->required();
  revoke->callback([&] {
    const json::value done = call(options, "DELETE", "/v1/tasks/" + escape(task.txn));
    if (options.output != "table") return print(options.output, done);
    std::cout << task.txn << " revoked\n";
  });

  auto* dns_command = app.add_subcommand("dns", "Endpoint names and their addresses");
  auto* dns_refresh = dns_command->add_subcommand("refresh", "Ask for all of them now");
  dns_command->callback([&] { dns(options, dns_refresh->parsed()); });

  ConnectionArguments sought;
  auto* connections_command = app.add_subcommand("connections", "TCP connections");
  const auto endpoints = [&](CLI::App* command) {
    command->add_option("--local", sought.local, "ADDRESS:PORT, an address, a prefix, or :PORT");
    command->add_option("--remote", sought.remote, "Likewise");
    command->add_option("--limit", sought.limit)->check(CLI::Range(1, 1000))->capture_default_str();
  };
  endpoints(connections_command);
  connections_command->add_option("--state", sought.state, "established, close_wait, …");
  connections_command->add_option("--listener", sought.listener, "Name of a listener");
  connections_command->add_option("--side", sought.side, "agent or tool");
  connections_command->add_flag("--all", sought.all, "All of them, however many");
  auto* events_command = connections_command->add_subcommand(
      "events", "What happened to connections of late, those in trouble above all");
  endpoints(events_command);
  connections_command->callback([&] {
    if (!events_command->parsed()) return connections(options, sought);
    sought.limit = std::min(sought.limit, 256u);
    connection_events(options, sought);
  });

  CaptureArguments wanted;
  auto* capture_command = app.add_subcommand(
      "capture", "Frames as they are at the ports, into a pcapng file; until a bound or Ctrl-C");
  capture_command
      ->add_option("filter", wanted.filter,
                   "As for tcpdump, with addresses and numbers: tcp port 443")
      ->expected(0, -1);
  capture_command->add_option("-w,--write", wanted.file, "The file; - is standard output")
      ->required();
  capture_command->add_option("--port", wanted.ports, "Name of a port; may be repeated")
      ->allow_extra_args(false);
  capture_command->add_option("--packets", wanted.packets, "Most frames [100000]");
  capture_command->add_option("--bytes", wanted.bytes, "Most bytes of the file [67108864]");
  capture_command->add_option("--seconds", wanted.seconds, "Longest time [60]");
  capture_command->add_option("--snap", wanted.snap_bytes, "Most bytes of each frame [all]");
  capture_command->callback([&] { capture(options, wanted); });

  unsigned limit = 20;
  bool follow = false;
  auto* calls_command = app.add_subcommand("calls", "The latest calls");
  calls_command->add_option("--limit", limit)->check(CLI::Range(1, 1024))->capture_default_str();
  calls_command->add_flag("--follow", follow, "JSON lines as calls end, until interrupted");
  calls_command->callback([&] { calls(options, limit, follow); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 misses the verb before it looks at what there is instead.
    if (const auto rest = app.remaining(); app.get_subcommands().empty() && !rest.empty()) {
      std::cerr << "sluicectl: unknown verb \"" << rest.front() << "\"; --help shows all\n";
      return kWrongUse;
    }
    return app.exit(error) == 0 ? 0 : kWrongUse;
  }
  return 0;
}

}  // namespace
}  // namespace sluice::control

int main(int argc, char** argv) {
  try {
    return sluice::control::run(argc, argv);
  } catch (const sluice::control::Exit& exit) {
    return exit.code;
  } catch (const std::exception& error) {
    std::cerr << "sluicectl: " << error.what() << "\n";
    return sluice::control::kRefused;
  }
}
