// The data plane of the process, started from the boot file: EAL, ports, workers.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/boot_config.h"
#include "controlplane/file_stamp.h"
#include "controlplane/gateway.h"
#include "runtime/eal.h"
#include "runtime/preflight.h"
#include "worker/worker.h"

namespace sluice::control {

runtime::EalConfig eal_config(const BootConfig& boot);

class DataPlane final : public Gateway {
 public:
  // A refusal says why in plain words.
  static std::expected<std::unique_ptr<DataPlane>, std::string> open(const BootConfig& boot);
  ~DataPlane() override;

  // After the first snapshot was published.
  std::expected<void, std::string> run_workers();
  std::expected<void, std::string> reload_certificates() {
    if (!shared_.certificates) return {};
    return shared_.certificates->reload();
  }
  void every_second();

  void publish(std::unique_ptr<const policy::Snapshot> snapshot) override;
  std::size_t reclaim() override;
  std::vector<WorkerView> workers() const override;
  std::vector<PortView> ports() const override;
  std::vector<std::string> listeners() const override;
  bool send(unsigned worker, const runtime::Command& command) override;
  bool lend(unsigned worker, runtime::Command::Kind kind,
            std::shared_ptr<runtime::Loan> loan) override;
  std::optional<runtime::Event> next_event(unsigned worker) override;
  state::TaskTable& tasks() override { return *shared_.tasks; }
  boost::json::object info() const override;

 private:
  explicit DataPlane(const BootConfig& boot) : boot_(boot) {}
  std::expected<void, std::string> start();
  std::expected<void, std::string> open_ports();
  std::expected<void, std::string> make_listeners();
  void watch_certificates();
  void watch_spreading();
  void watch_addresses();
  ip::AddressMask address_mask(std::size_t port) const;
  std::vector<AddressView> addresses(std::size_t port) const;

  BootConfig boot_;
  std::string crypto_line_;
  std::uint64_t seconds_ = 0;                 // ticks of every_second()
  std::vector<FileStamp> certificate_files_;  // as last loaded, or last found wanting
  std::unique_ptr<runtime::Eal> eal_;
  worker::Shared shared_;
  std::vector<port::Spreading> spreading_;  // by port, as last logged
  std::vector<std::uint64_t> duplicates_;   // by port, as last logged
  std::vector<std::unique_ptr<worker::Worker>> workers_;
  // With workers; freed once they are back, or their borrower has ended.
  std::vector<std::shared_ptr<runtime::Loan>> loans_;
  bool running_ = false;
};

}  // namespace sluice::control
