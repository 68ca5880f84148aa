// The data plane's side of the channels, in memory. Workers follow a published policy at once
// unless told to hold.
#pragma once

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>

#include "controlplane/control.h"

namespace sluice::control {

class FakeGateway : public Gateway {
 public:
  explicit FakeGateway(unsigned workers = 2)
      : counters(workers), commands(workers), events(workers) {
    generations.resize(workers);
  }
  void publish(std::unique_ptr<const policy::Snapshot> next) override {
    published.push_back(next->generation);
    snapshot = std::move(next);
    if (!hold) follow();
  }
  void follow() {
    for (auto& g : generations) g = snapshot->generation;
  }
  std::size_t reclaim() override { return 0; }
  std::vector<WorkerView> workers() const override {
    std::vector<WorkerView> out;
    for (unsigned i = 0; i < generations.size(); ++i) {
      WorkerView view;
      view.index = i;
      view.cpu = i + 1;
      view.running = true;
      view.busy_cycles = 250;
      view.total_cycles = 1000;
      view.connections = i;
      view.policy_generation = generations[i];
      view.counters = &counters[i];
      out.push_back(view);
    }
    return out;
  }
  std::vector<PortView> ports() const override { return port_views; }
  bool send(unsigned worker, const runtime::Command& command) override {
    if (mailbox_full) return false;
    commands[worker].push_back(command);
    return true;
  }
  std::vector<std::string> listeners() const override { return listener_names; }
  bool lend(unsigned worker, runtime::Command::Kind kind,
            std::shared_ptr<runtime::Loan> loan) override {
    if (mailbox_full) return false;
    runtime::Command command;
    command.kind = kind;
    command.loan = loan.get();
    commands[worker].push_back(command);
    loans.push_back(std::move(loan));
    return true;
  }
  std::optional<runtime::Event> next_event(unsigned worker) override {
    if (events[worker].empty()) return std::nullopt;
    auto event = events[worker].front();
    events[worker].pop_front();
    return event;
  }
  state::TaskTable& tasks() override { return table; }
  boost::json::object info() const override { return {{"ports", boost::json::array{}}}; }

  std::unique_ptr<const policy::Snapshot> snapshot;
  std::vector<std::uint64_t> published, generations;
  std::vector<telemetry::CounterBlock> counters;
  std::vector<std::vector<runtime::Command>> commands;
  std::vector<std::deque<runtime::Event>> events;
  std::vector<PortView> port_views;
  std::vector<std::string> listener_names;
  std::vector<std::shared_ptr<runtime::Loan>> loans;
  state::TaskTable table{256};
  bool hold = false, mailbox_full = false;
};

class FakeNames : public NameService {
 public:
  void want(const std::vector<std::string>& h, const std::vector<std::string>& s) override {
    hosts = h;
    services = s;
  }
  void refresh() override { ++refreshed; }
  bool pending() const override { return waiting; }
  bool asking() const override { return waiting; }
  boost::json::array view() const override { return items; }
  DnsFigures figures() const override { return figures_; }

  std::vector<std::string> hosts, services;
  boost::json::array items;
  DnsFigures figures_;
  int refreshed = 0;
  bool waiting = false;
};

class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/sluice-rest-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::filesystem::path path;
};

inline constexpr const char* kClass =
    R"({"kind":"agent-class","name":"research","spec":{"mode":"enforce","allow":["kb"]}})";
inline constexpr const char* kService =
    R"({"kind":"service","name":"kb","spec":{"protocol":"http","hosts":["kb.tools.example"],)"
    R"("endpoints":[{"host":"198.18.2.10","port":8080}]}})";

}  // namespace sluice::control
