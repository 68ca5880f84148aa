// sluiced: the gateway daemon.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>

#include "controlplane/control.h"
#include "controlplane/documents.h"
#include "controlplane/resolver.h"
#include "controlplane/server.h"
#include "controlplane/upstream_tls.h"
#include "crypto/contexts.h"
#include "data_plane.h"

namespace sluice::control {
namespace {

int refuse(const std::string& why) {
  std::fprintf(stderr, "sluiced: %s\n", why.c_str());
  return 1;
}

int refuse(const std::vector<ConfigError>& errors) {
  for (const auto& e : errors) std::fprintf(stderr, "sluiced: %s\n", e.to_string().c_str());
  return 1;
}

// Calls leave by the port named "tools", or by the first one: only addresses of its families are of
// use.
ResolverOptions resolver_options(const BootConfig& boot) {
  ResolverOptions o;
  o.servers = boot.dns_servers;
  o.limits.max_ttl = Seconds{boot.dns_max_ttl_s};
  o.limits.stale = Seconds{boot.dns_stale_s};
  const auto named =
      std::ranges::find(boot.ports, "tools", [](const PortConfig& p) { return p.name; });
  const PortConfig& port = named != boot.ports.end() ? *named : boot.ports.front();
  const auto has = [&](bool v4) {
    return std::ranges::any_of(port.addresses,
                               [v4](const IpPrefix& a) { return a.address.is_v4() == v4; });
  };
  o.limits.ipv4 = has(true);
  o.limits.ipv6 = has(false);
  return o;
}

// Longer than agents linger after a GOAWAY, shorter than supervisors wait.
constexpr std::chrono::seconds kStopTime{5};

struct Daemon {
  boost::asio::io_context io{1};
  boost::asio::signal_set signals{io, SIGTERM, SIGINT, SIGHUP};
  boost::asio::steady_timer second{io};
  boost::asio::steady_timer quiet{io};
  std::chrono::steady_clock::time_point stop_by = std::chrono::steady_clock::time_point::max();
  DataPlane& plane;

  explicit Daemon(DataPlane& data_plane) : plane(data_plane) {}

  void wait_signal() {
    signals.async_wait([this](const boost::system::error_code& ec, int number) {
      if (ec) return;
      if (number != SIGHUP) {
        begin_stop();
        return wait_signal();
      }
      if (auto ok = plane.reload_certificates(); !ok)
        spdlog::error("{}", ok.error());
      else
        spdlog::info("certificates reloaded");
      wait_signal();
    });
  }
  // Agents are told to go, and what runs may finish; the rest is cut off when the time is up or the
  // signal comes again.
  void begin_stop() {
    if (stop_by != std::chrono::steady_clock::time_point::max()) return io.stop();
    stop_by = std::chrono::steady_clock::now() + kStopTime;
    sd_notify(0, "STOPPING=1");
    spdlog::info("stopping: {} s for what runs", kStopTime.count());
    for (const WorkerView& worker : plane.workers()) {
      plane.send(worker.index, {runtime::Command::Kind::drain, {}});
    }
    await_quiet();
  }
  void await_quiet() {
    quiet.expires_after(std::chrono::milliseconds(20));
    quiet.async_wait([this](const boost::system::error_code& ec) {
      if (ec) return;
      const bool busy = std::ranges::any_of(
          plane.workers(), [](const WorkerView& worker) { return worker.connections > 0; });
      if (!busy || std::chrono::steady_clock::now() >= stop_by) return io.stop();
      await_quiet();
    });
  }
  void tick() {
    second.expires_after(std::chrono::seconds(1));
    second.async_wait([this](const boost::system::error_code& ec) {
      if (ec) return;
      plane.every_second();
      sd_notify(0, "WATCHDOG=1");
      tick();
    });
  }
};

// The documents beside the boot file; none without the folder.
std::expected<std::vector<Document>, std::vector<ConfigError>> conf_d_documents(
    const BootConfig& boot) {
  const auto folder = boot.file.parent_path() / "conf.d";
  if (!std::filesystem::is_directory(folder)) return std::vector<Document>{};
  return load_documents(folder);
}

// conf.d as it would be used by a gateway that has no documents yet.
int check_documents(const BootConfig& boot) {
  const auto documents = conf_d_documents(boot);
  if (!documents) return refuse(documents.error());
  crypto::initialise();
  UpstreamContexts contexts(boot.certificates);
  const std::map<std::string, std::vector<IpAddress>> no_names;
  const CompileInput input{*documents, 1, {}, no_names, &contexts};
  if (const auto snapshot = compile(input); !snapshot) return refuse(snapshot.error());
  std::printf("%s: ok; documents in conf.d: %zu\n", boot.file.c_str(), documents->size());
  return 0;
}

int serve(const BootConfig& boot) {
  auto plane = DataPlane::open(boot);
  if (!plane) return refuse(plane.error());
  ControlOptions options;
  options.state = boot.state;
  options.version = SLUICE_VERSION;
  options.certificates = boot.certificates;
  auto control = Control::open(options, **plane);
  if (!control) return refuse(control.error());
  auto documents = conf_d_documents(boot);
  if (!documents) return refuse(documents.error());
  if (!documents->empty()) {
    if (auto applied = (*control)->apply_files(*documents); !applied) {
      return refuse("conf.d: " + applied.error().detail);
    }
  }
  if (auto ran = (*plane)->run_workers(); !ran) return refuse(ran.error());
  Daemon daemon(**plane);
  std::error_code ec;
  std::filesystem::create_directories(boot.control_socket.parent_path(), ec);
  ServerOptions server_options;
  server_options.socket = boot.control_socket;
  server_options.metrics_listen = boot.metrics_listen;
  auto resolver = Resolver::start(daemon.io, **control, resolver_options(boot));
  if (!resolver) return refuse(resolver.error());
  auto server = Server::start(daemon.io, **control, server_options);
  if (!server) return refuse(server.error());
  {
    Ticker ticker(daemon.io, **control);
    daemon.wait_signal();
    daemon.tick();
    sd_notify(0, "READY=1");
    spdlog::info("ready: {} workers, {} ports", boot.workers.size(), boot.ports.size());
    daemon.io.run();
  }
  server->reset();
  resolver->reset();
  control->reset();
  plane->reset();
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app{"Sluice gateway daemon"};
  std::string config = "/etc/sluice/sluice.yaml";
  bool check = false;
  app.add_option("--config", config, "boot file");
  app.add_flag("--check", check, "validate the boot file and conf.d, and exit");
  app.set_version_flag("--version", "sluiced " SLUICE_VERSION);
  CLI11_PARSE(app, argc, argv);
  spdlog::set_default_logger(spdlog::stderr_logger_mt("sluiced"));
  auto boot = load_boot_config(config);
  if (!boot) return refuse(boot.error());
  if (check) return check_documents(*boot);
  const auto findings = runtime::preflight(eal_config(*boot));
  for (const auto& f : findings)
    std::fprintf(stderr, "sluiced: %s\n", runtime::to_string(f).c_str());
  if (!runtime::can_start(findings)) return 1;
  return serve(*boot);
}

}  // namespace
}  // namespace sluice::control

int main(int argc, char** argv) {
  try {
    return sluice::control::run(argc, argv);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "sluiced: %s\n", failure.what());
    return 1;
  }
}
