#include "data_plane.h"

#include "crypto/jose.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>

namespace sluice::control {

namespace {

constexpr std::size_t kTasks = 65536;
constexpr std::size_t kNeighbourNews = 1024;
// As long as a ticket lives: a key seals for one period and opens for two.
constexpr std::uint64_t kTicketKeySeconds = 3600;

std::vector<FileStamp> stamps_of(const std::map<std::string, CertificateConfig>& certificates) {
  std::vector<FileStamp> stamps;
  for (const auto& [name, certificate] : certificates) {
    for (const std::string& file : {certificate.chain, certificate.key}) {
      stamps.push_back(stamp_of(file));
    }
  }
  return stamps;
}

}  // namespace

runtime::EalConfig eal_config(const BootConfig& boot) {
  runtime::EalConfig c;
  c.worker_cpus = boot.workers;
  std::uint16_t mtu = 1500;
  for (const auto& port : boot.ports) {
    c.devices.push_back(port.device);
    mtu = std::max(mtu, port.mtu);
  }
  c.hugepages = boot.hugepages == "never"     ? runtime::Hugepages::never
                : boot.hugepages == "require" ? runtime::Hugepages::require
                                              : runtime::Hugepages::automatic;
  c.memory_mb =
      runtime::memory_needed_mb(boot.packet_buffers, mtu, static_cast<unsigned>(boot.ports.size()),
                                static_cast<unsigned>(boot.workers.size()));
  return c;
}

std::expected<std::unique_ptr<DataPlane>, std::string> DataPlane::open(const BootConfig& boot) {
  std::unique_ptr<DataPlane> plane(new DataPlane(boot));
  if (auto started = plane->start(); !started) return std::unexpected(started.error());
  return plane;
}

std::expected<void, std::string> DataPlane::start() {
  auto eal = runtime::Eal::start(eal_config(boot_));
  if (!eal) return std::unexpected(eal.error());
  eal_ = std::move(*eal);
  shared_.clock = std::make_unique<runtime::Clock>();
  crypto::random_bytes({reinterpret_cast<std::uint8_t*>(shared_.secret), sizeof shared_.secret});
  crypto_line_ = crypto::initialise();
  spdlog::info("{}", crypto_line_);
  const auto count = static_cast<unsigned>(boot_.workers.size());
  shared_.qsbr = std::make_unique<runtime::Qsbr>(count);
  shared_.snapshot = std::make_unique<runtime::SnapshotSlot<policy::Snapshot>>(*shared_.qsbr);
  shared_.tasks = std::make_unique<state::TaskTable>(kTasks, shared_.secret[1]);
  for (unsigned i = 0; i < count; ++i) {
    shared_.wakers.push_back(std::make_unique<runtime::Waker>());
    shared_.neighbour_news.push_back(
        i == 0 ? nullptr
               : std::make_unique<runtime::SpscRing<worker::NeighbourNews>>(kNeighbourNews));
  }
  if (auto opened = open_ports(); !opened) return opened;
  if (count > 1) shared_.redirect = std::make_unique<port::Redirect>(count);
  return make_listeners();
}

std::expected<void, std::string> DataPlane::open_ports() {
  port::PacketPool::Config pool;
  pool.buffers = boot_.packet_buffers;
  for (const auto& p : boot_.ports) pool.largest_mtu = std::max(pool.largest_mtu, p.mtu);
  auto packets = port::PacketPool::make(pool);
  if (!packets) return std::unexpected(packets.error());
  shared_.packets = std::move(*packets);
  for (const auto& p : boot_.ports) {
    port::PortConfig c;
    c.name = p.name;
    c.device = p.device;
    c.index = static_cast<std::uint16_t>(shared_.ports.size());
    c.mtu = p.mtu;
    c.vlan = p.vlan;
    c.workers = static_cast<unsigned>(boot_.workers.size());
    std::copy_n(shared_.secret, 2, c.secret);
    crypto::random_bytes(c.rss_key);
    auto opened = port::Port::open(c, *shared_.packets);
    if (!opened) return std::unexpected("port " + p.name + ": " + opened.error());
    for (unsigned w = 0; w < c.workers; ++w) (*opened)->set_waker(w, *shared_.wakers[w]);
    spreading_.push_back((*opened)->spreading());
    duplicates_.push_back(0);
    shared_.ports.push_back(std::move(*opened));
    shared_.addresses.push_back({p.addresses, p.gateways, p.duplicate_probes, p.hop_limit});
    shared_.address_boards.push_back(std::make_unique<worker::AddressBoard>());
  }
  return {};
}

std::expected<void, std::string> DataPlane::make_listeners() {
  std::vector<crypto::CertificateFiles> files;
  files.reserve(boot_.certificates.size());
  for (const auto& [name, c] : boot_.certificates) files.push_back({name, c.chain, c.key});
  certificate_files_ = stamps_of(boot_.certificates);  // before they are read
  if (!files.empty()) {
    auto contexts = crypto::ServerContexts::load(files);
    if (!contexts) return std::unexpected(contexts.error());
    shared_.certificates = std::move(*contexts);
  }
  const auto port_index = [&](const std::string& name) {
    for (std::size_t i = 0; i < boot_.ports.size(); ++i) {
      if (boot_.ports[i].name == name) return static_cast<std::uint16_t>(i);
    }
    return std::uint16_t{0};
  };
  for (const auto& l : boot_.listeners) {
    if (l.protocol == ListenerProtocol::connect) {
      spdlog::warn("listener {}: protocol connect is not served by this version", l.name);
      continue;
    }
    shared_.listeners.push_back({l.name, port_index(l.port), l.listen,
                                 l.protocol == ListenerProtocol::https
                                     ? worker::ListenerProtocol::https
                                     : worker::ListenerProtocol::http,
                                 l.certificate});
  }
  // Calls leave by the port named "tools"; with one port, by that one.
  for (std::size_t i = 0; i < boot_.ports.size(); ++i) {
    if (boot_.ports[i].name == "agents") shared_.agents_port = static_cast<std::uint16_t>(i);
    if (boot_.ports[i].name == "tools") shared_.tools_port = static_cast<std::uint16_t>(i);
  }
  return {};
}

std::expected<void, std::string> DataPlane::run_workers() {
  const auto count = static_cast<unsigned>(boot_.workers.size());
  for (unsigned i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<worker::Worker>(shared_, i, boot_.workers[i], count));
  }
  running_ = true;
  for (unsigned i = 0; i < count; ++i) {
    const bool ok = eal_->launch(
        i, [](void* w) { return static_cast<worker::Worker*>(w)->run(); }, workers_[i].get());
    if (!ok) return std::unexpected("worker " + std::to_string(i) + " could not be started");
  }
  return {};
}

DataPlane::~DataPlane() {
  if (running_) {
    for (unsigned i = 0; i < workers_.size(); ++i) {
      while (!send(i, {runtime::Command::Kind::stop, {}})) std::this_thread::yield();
    }
    for (unsigned i = 0; i < workers_.size(); ++i) eal_->join(i);
  }
  workers_.clear();
  shared_.redirect.reset();
  shared_.ports.clear();
  if (shared_.packets) {
    if (const unsigned left = shared_.packets->in_use(); left > 0) {
      spdlog::error("{} packet buffers were not given back", left);
    }
  }
  shared_.packets.reset();
  shared_.snapshot.reset();
  shared_.qsbr.reset();
  eal_.reset();
}

void DataPlane::every_second() {
  shared_.clock->refine();
  watch_certificates();
  watch_spreading();
  watch_addresses();
  if (++seconds_ % kTicketKeySeconds == 0 && shared_.certificates) {
    shared_.certificates->rotate_ticket_keys();
  }
}

// Chain and key are two files and change one after the other: what does not fit together yet is
// tried again when either has changed once more, and the old pair serves until then.
void DataPlane::watch_certificates() {
  std::vector<FileStamp> now = stamps_of(boot_.certificates);
  if (now == certificate_files_) return;
  certificate_files_ = std::move(now);
  if (auto loaded = reload_certificates(); !loaded) {
    spdlog::error("changed certificate files are not used: {}", loaded.error());
  } else {
    spdlog::info("certificates reloaded: their files changed");
  }
}

// A worker that finds the NIC's hash wrong has no way to log.
void DataPlane::watch_spreading() {
  for (std::size_t i = 0; i < shared_.ports.size(); ++i) {
    const port::Port& port = *shared_.ports[i];
    const port::Spreading now = port.spreading();
    if (now == spreading_[i]) continue;
    spreading_[i] = now;
    spdlog::warn("port {}: {}; frames are handed to their workers in software from now on",
                 port.name(), port.spreading_note());
  }
}

ip::AddressMask DataPlane::address_mask(std::size_t port) const {
  const worker::AddressBoard& board = *shared_.address_boards[port];
  return {board.usable.load(std::memory_order_relaxed),
          board.duplicate.load(std::memory_order_relaxed)};
}

std::vector<AddressView> DataPlane::addresses(std::size_t port) const {
  const ip::AddressMask mask = address_mask(port);
  std::vector<AddressView> views;
  const auto& configured = shared_.addresses[port].addresses;
  for (std::size_t i = 0; i < configured.size(); ++i) {
    const bool usable = (mask.usable >> i & 1) != 0;
    const bool duplicate = (mask.duplicate >> i & 1) != 0;
    views.push_back({configured[i].to_string(), usable      ? "usable"
                                                : duplicate ? "duplicate"
                                                            : "tentative"});
  }
  return views;
}

void DataPlane::watch_addresses() {
  for (std::size_t i = 0; i < shared_.ports.size(); ++i) {
    const std::uint64_t duplicate = address_mask(i).duplicate;
    const std::uint64_t fresh = duplicate & ~duplicates_[i];
    const std::uint64_t healed = duplicates_[i] & ~duplicate;
    duplicates_[i] = duplicate;
    const auto& configured = shared_.addresses[i].addresses;
    for (std::size_t a = 0; a < configured.size(); ++a) {
      const std::string text = configured[a].address.to_string();
      if ((fresh >> a & 1) != 0) {
        spdlog::error("port {}: another host has {}; it is not used", shared_.ports[i]->name(),
                      text);
      } else if ((healed >> a & 1) != 0) {
        spdlog::info("port {}: {} is asked for again", shared_.ports[i]->name(), text);
      }
    }
  }
}

void DataPlane::publish(std::unique_ptr<const policy::Snapshot> snapshot) {
  shared_.snapshot->publish(std::move(snapshot));
  for (auto& waker : shared_.wakers) waker->wake();
}

std::vector<WorkerView> DataPlane::workers() const {
  std::vector<WorkerView> views;
  for (const auto& w : workers_) {
    const auto& s = w->status();
    views.push_back({w->index(), w->cpu(), s.running.load(std::memory_order_acquire),
                     s.busy_cycles.load(std::memory_order_relaxed),
                     s.total_cycles.load(std::memory_order_relaxed),
                     s.connections.load(std::memory_order_relaxed),
                     s.policy_generation.load(std::memory_order_acquire), &w->counters()});
  }
  return views;
}

std::vector<PortView> DataPlane::ports() const {
  std::vector<PortView> views;
  for (std::size_t i = 0; i < shared_.ports.size(); ++i) {
    const port::Port& p = *shared_.ports[i];
    const port::PortStats stats = p.stats();
    views.push_back({p.name(), p.link_up(), std::string(port::to_string(p.spreading())),
                     p.spreading_note(), addresses(i), stats.rx_missed, stats.rx_errors,
                     stats.rx_nombuf, stats.tx_errors, p.vlan()});
  }
  return views;
}

bool DataPlane::send(unsigned worker, const runtime::Command& command) {
  if (worker >= workers_.size()) return true;
  const bool sent = workers_[worker]->mailbox().push(command);
  shared_.wakers[worker]->wake();
  return sent;
}

bool DataPlane::lend(unsigned worker, runtime::Command::Kind kind,
                     std::shared_ptr<runtime::Loan> loan) {
  runtime::Command command;
  command.kind = kind;
  command.loan = loan.get();
  if (worker >= workers_.size() || !send(worker, command)) return false;
  loans_.push_back(std::move(loan));
  return true;
}

std::size_t DataPlane::reclaim() {
  std::erase_if(loans_, [](const auto& loan) { return loan->is_back(); });
  return shared_.qsbr->poll();
}

std::vector<std::string> DataPlane::listeners() const {
  std::vector<std::string> names;
  names.reserve(shared_.listeners.size());
  for (const auto& l : shared_.listeners) names.push_back(l.name);
  return names;
}

std::optional<runtime::Event> DataPlane::next_event(unsigned worker) {
  if (worker >= workers_.size()) return std::nullopt;
  return workers_[worker]->events().pop();
}

boost::json::object DataPlane::info() const {
  boost::json::array ports;
  for (std::size_t i = 0; i < shared_.ports.size(); ++i) {
    const auto& p = *shared_.ports[i];
    boost::json::array addresses;
    boost::json::object states;
    for (const auto& a : this->addresses(i)) {
      addresses.emplace_back(a.address);
      states[a.address] = a.state;
    }
    ports.push_back({{"name", p.name()},
                     {"driver", p.capabilities().driver},
                     {"mtu", p.mtu()},
                     {"vlan", p.vlan()},
                     {"link_up", p.link_up()},
                     {"receive_queues", p.rx_queues()},
                     {"spreading", std::string(port::to_string(p.spreading()))},
                     {"spreading_note", p.spreading_note()},
                     {"addresses", std::move(addresses)},
                     {"address_states", std::move(states)}});
  }
  return {{"ports", std::move(ports)},
          {"crypto", crypto_line_},
          {"hugepages", eal_->uses_hugepages()},
          {"memory",
           {{"hugepages", eal_->uses_hugepages()},
            {"packet_buffers", shared_.packets->size()},
            {"packet_buffers_in_use", shared_.packets->in_use()}}}};
}

}  // namespace sluice::control
