// Opening and closing a device: what it can, what it refused, and how many queues we got.
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "device.h"
#include "offload.h"
#include "port_impl.h"
#include "runtime/eal.h"

namespace sluice::port {
namespace {

constexpr std::uint16_t kSmallestMtu = 576;
constexpr std::uint16_t kLargestMtu = 9000;
constexpr std::uint16_t kLargestVlan = 4094;
constexpr unsigned kLargestWorkers = 128;

std::string driver_said(int error) {
  std::string text = rte_strerror(std::abs(error));
  const auto lines = runtime::Eal::log_tail(3);
  for (const std::string& line : lines) text += "\n  DPDK: " + line;
  return text;
}

std::string canonical_name(const std::string& device) {
  std::string name = device_name(device);
  if (runtime::is_pci_address(name) && std::count(name.begin(), name.end(), ':') == 1) {
    name.insert(0, "0000:");
  }
  return name;
}

rte_ring* make_outbox(std::size_t size) {
  const auto slots = static_cast<unsigned>(std::bit_ceil(size + 1));
  const auto bytes =
      (static_cast<std::size_t>(rte_ring_get_memsize(slots)) + 63) & ~std::size_t{63};
  auto* ring = static_cast<rte_ring*>(std::aligned_alloc(64, bytes));
  if (ring == nullptr || rte_ring_init(ring, "outbox", slots, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
    std::abort();
  }
  return ring;
}

void free_outbox(rte_ring* ring) {
  void* mbuf = nullptr;
  while (rte_ring_sc_dequeue(ring, &mbuf) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
  std::free(ring);
}

}  // namespace

Port::Impl::Impl(const PortConfig& wanted, PacketPool& buffers)
    : config(wanted),
      pool(buffers),
      workers(std::max(wanted.workers, 1u)),
      owner(wanted.secret, std::max(wanted.workers, 1u)) {
  for (unsigned i = 0; i < workers.size(); ++i) {
    PerWorker& worker = workers[i];
    worker.port = this;
    worker.index = i;
    worker.counters = &unattached;
    worker.backlog.resize(std::max(wanted.tx_backlog, 64u));
  }
}

Port::Impl::~Impl() {
  for (PerWorker& worker : workers) {
    rte_pktmbuf_free(worker.reserved);
    rte_pktmbuf_free_bulk(worker.backlog.data(), static_cast<unsigned>(worker.waiting));
    if (worker.outbox != nullptr) free_outbox(worker.outbox);
    if (worker.interrupt) ::close(worker.wait_fd);
  }
  if (!attached) return;
  rte_device* device = info.device;
  if (promiscuous) rte_eth_promiscuous_disable(id);
  if (started) rte_eth_dev_stop(id);
  rte_eth_dev_close(id);
  if (device != nullptr) rte_dev_remove(device);
}

Port::Impl::Refusal Port::Impl::attach_device() {
  const std::string name = canonical_name(config.device);
  const bool pci = runtime::is_pci_address(name);
  const bool known = rte_eth_dev_get_port_by_name(name.c_str(), &id) == 0;
  if (known && !pci) return "device name '" + name + "' is used by another port already";
  if (!known) {
    const std::string full =
        pci ? config.device
            : complete_device_arguments(config.device, config.mtu,
                                        config.max_queues == 0
                                            ? config.workers
                                            : std::min(config.workers, config.max_queues));
    const int error = rte_dev_probe(full.c_str());
    if (error != 0 || rte_eth_dev_get_port_by_name(name.c_str(), &id) != 0) {
      return "device '" + config.device +
             "' cannot be attached: " + driver_said(error == 0 ? ENODEV : error);
    }
  }
  attached = true;
  interface = device_argument(config.device, "iface");
  return {};
}

Port::Impl::Refusal Port::Impl::probe() {
  const int error = rte_eth_dev_info_get(id, &info);
  if (error != 0) return "the device does not tell what it can: " + driver_said(error);
  capabilities = usable_capabilities(info, config.offloads, config.mtu, config.vlan != 0);
  trusted_flags = trusted_rx_flags(capabilities);

  const unsigned most = config.max_queues == 0 ? config.workers : config.max_queues;
  rx_queues = std::min({config.workers, most, std::max(unsigned{info.max_rx_queues}, 1u)});
  tx_queues = std::min({config.workers, most, std::max(unsigned{info.max_tx_queues}, 1u)});

  rx_offloads =
      rx_checksum_offloads(capabilities) | (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH);
  tx_offloads = tx_packet_offloads(capabilities);
  if (config.vlan != 0) {
    rx_offloads |= info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
    tx_offloads |= info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
  }
  return {};
}

Port::Impl::Refusal Port::Impl::configure() {
  rte_eth_conf conf{};
  conf.rxmode.mtu = config.mtu;
  conf.rxmode.offloads = rx_offloads;
  conf.txmode.offloads = tx_offloads;
  rss_types =
      info.flow_type_rss_offloads &
      (RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |
       RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP);
  if (rx_queues > 1 && rss_types != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = rss_types;
    if (plan_rss()) {
      conf.rx_adv_conf.rss_conf.rss_key = rss_key.data();
      conf.rx_adv_conf.rss_conf.rss_key_len = static_cast<std::uint8_t>(rss_key.size());
    }
  } else {
    plan_rss();
    conf.rxmode.offloads &= ~RTE_ETH_RX_OFFLOAD_RSS_HASH;
  }
  const bool kernel_driver = !interface.empty();
  conf.intr_conf.rxq = kernel_driver || capabilities.driver == "net_ring" ? 0 : 1;

  const auto rxq = static_cast<std::uint16_t>(rx_queues);
  const auto txq = static_cast<std::uint16_t>(tx_queues);
  int error = rte_eth_dev_configure(id, rxq, txq, &conf);
  if (error != 0 && conf.rxmode.mq_mode != RTE_ETH_MQ_RX_NONE) {
    // Some devices promise hashing and refuse it; the redirect spreads without.
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
    conf.rxmode.offloads &= ~RTE_ETH_RX_OFFLOAD_RSS_HASH;
    conf.rx_adv_conf.rss_conf = {};
    if (!rss_key.empty()) no_rss = "the device refuses to hash: " + driver_said(error);
    rss_key.clear();
    error = rte_eth_dev_configure(id, rxq, txq, &conf);
  }
  if (error != 0 && conf.intr_conf.rxq != 0) {
    conf.intr_conf.rxq = 0;
    error = rte_eth_dev_configure(id, rxq, txq, &conf);
  }
  if (error != 0 && kernel_driver) {
    // net_af_packet claims 1514 bytes whatever its frames hold; the interface has the last word.
    conf.rxmode.mtu = std::min<std::uint16_t>(config.mtu, 1500);
    error = rte_eth_dev_configure(id, rxq, txq, &conf);
  }
  if (error != 0) return "the device refuses its configuration: " + driver_said(error);
  capabilities.rx_interrupt = conf.intr_conf.rxq != 0;

  const int mtu_error = rte_eth_dev_set_mtu(id, config.mtu);
  const bool mtu_set = mtu_error == 0 || mtu_error == -ENOTSUP ||
                       (kernel_driver && set_interface_mtu(interface, config.mtu));
  if (!mtu_set) {
    return "the device refuses an MTU of " + std::to_string(config.mtu) + ": " +
           driver_said(mtu_error);
  }

  auto rx_descriptors = static_cast<std::uint16_t>(std::clamp(config.rx_descriptors, 32u, 8192u));
  auto tx_descriptors = static_cast<std::uint16_t>(std::clamp(config.tx_descriptors, 32u, 8192u));
  rte_eth_dev_adjust_nb_rx_tx_desc(id, &rx_descriptors, &tx_descriptors);
  // net_tap takes the number of descriptors for the number of pieces of one frame.
  if (capabilities.driver == "net_tap")
    rx_descriptors = std::min<std::uint16_t>(rx_descriptors, 256);
  const int socket = rte_eth_dev_socket_id(id);
  const auto socket_id =
      socket < 0 ? static_cast<unsigned>(SOCKET_ID_ANY) : static_cast<unsigned>(socket);
  rte_eth_rxconf rx_conf = info.default_rxconf;
  rx_conf.offloads = conf.rxmode.offloads;
  for (std::uint16_t q = 0; q < rxq && error == 0; ++q) {
    error = rte_eth_rx_queue_setup(id, q, rx_descriptors, socket_id, &rx_conf, pool.raw());
  }
  if (error != 0) return "the device refuses its receive queues: " + driver_said(error);
  rte_eth_txconf tx_conf = info.default_txconf;
  tx_conf.offloads = conf.txmode.offloads;  // never fast-free: buffers may be shared
  for (std::uint16_t q = 0; q < txq && error == 0; ++q) {
    error = rte_eth_tx_queue_setup(id, q, tx_descriptors, socket_id, &tx_conf);
  }
  if (error != 0) return "the device refuses its transmit queues: " + driver_said(error);
  return {};
}

Port::Impl::Refusal Port::Impl::start() {
  const int error = rte_eth_dev_start(id);
  if (error != 0) return "the device does not start: " + driver_said(error);
  started = true;
  rte_ether_addr address{};
  const int mac_error = rte_eth_macaddr_get(id, &address);
  if (mac_error != 0) return "the device has no MAC address: " + driver_said(mac_error);
  // A device of memory alone (net_ring) has none; two on one link must not share it.
  if (rte_is_zero_ether_addr(&address) != 0) rte_eth_random_addr(address.addr_bytes);
  std::memcpy(mac.data(), address.addr_bytes, mac.size());
  if (!rss_key.empty() && no_rss.empty()) start_rss();
  // Neighbour discovery comes by multicast.
  if (rte_eth_allmulticast_enable(id) != 0) promiscuous = rte_eth_promiscuous_enable(id) == 0;

  for (PerWorker& worker : workers) {
    if (worker.index < rx_queues) worker.rx_queue = worker.index;
    if (worker.index < tx_queues) {
      worker.tx_queue = worker.index;
    } else {
      worker.tx_owner = worker.index % tx_queues;
      worker.outbox = make_outbox(worker.backlog.size());
      workers[worker.tx_owner].inboxes.push_back(worker.outbox);
    }
  }
  return {};
}

void Port::Impl::find_wait_descriptors(const std::vector<int>& before) {
  const std::vector<int> sockets = new_packet_sockets(before, open_descriptors());
  for (PerWorker& worker : workers) {
    if (worker.rx_queue == kNoQueue) {
      worker.wait_fd = runtime::WaitSource::kNothing;
    } else if (sockets.size() == rx_queues) {
      worker.wait_fd = sockets[worker.rx_queue];
    } else if (capabilities.rx_interrupt) {
      const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
      const auto queue = static_cast<std::uint16_t>(worker.rx_queue);
      if (epoll >= 0 &&
          rte_eth_dev_rx_intr_ctl_q(id, queue, epoll, RTE_INTR_EVENT_ADD, nullptr) == 0) {
        worker.wait_fd = epoll;
        worker.interrupt = true;
      } else {
        if (epoll >= 0) ::close(epoll);
        capabilities.rx_interrupt = false;
      }
    }
  }
}

std::expected<std::unique_ptr<Port>, std::string> Port::open(const PortConfig& config,
                                                             PacketPool& pool) {
  const auto refuse = [&](const std::string& why) {
    return std::unexpected("port '" + config.name + "': " + why);
  };
  if (config.device.empty()) return refuse("no device is configured");
  if (config.mtu < kSmallestMtu || config.mtu > kLargestMtu) {
    return refuse("an MTU of " + std::to_string(config.mtu) + " is not between 576 and 9000");
  }
  if (config.vlan > kLargestVlan) {
    return refuse("VLAN " + std::to_string(config.vlan) + " is not between 1 and 4094");
  }
  if (config.workers == 0 || config.workers > kLargestWorkers) {
    return refuse(std::to_string(config.workers) + " workers are not between 1 and 128");
  }
  if (runtime::packet_data_room(config.mtu) > pool.data_room()) {
    return refuse("packet buffers of " + std::to_string(pool.data_room()) +
                  " bytes do not hold frames of MTU " + std::to_string(config.mtu));
  }
  const std::vector<int> before = open_descriptors();
  auto impl = std::make_unique<Impl>(config, pool);
  using Step = Impl::Refusal (Impl::*)();
  for (const Step step : {&Impl::attach_device, &Impl::probe, &Impl::configure, &Impl::start}) {
    const std::string why = (impl.get()->*step)();
    if (!why.empty()) return refuse(why);
  }
  impl->find_wait_descriptors(before);
  return std::unique_ptr<Port>(new Port(std::move(impl)));
}

}  // namespace sluice::port
