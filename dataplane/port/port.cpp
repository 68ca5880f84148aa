// A port: what it is, and what it receives.
#include "port/port.h"

#include <rte_epoll.h>
#include <rte_ether.h>
#include <rte_interrupts.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <cstring>

#include "device.h"
#include "port_impl.h"

namespace sluice::port {
namespace {

using telemetry::Counter;

// While frames wait that the device did not take, try again so often.
constexpr Micros kBacklogRetry{50};

}  // namespace

Port::Port(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Port::~Port() = default;

const std::string& Port::name() const { return impl_->config.name; }
std::uint16_t Port::index() const { return impl_->config.index; }
std::uint16_t Port::mtu() const { return impl_->config.mtu; }
std::uint16_t Port::vlan() const { return impl_->config.vlan; }
const MacBytes& Port::mac() const { return impl_->mac; }
const Capabilities& Port::capabilities() const { return impl_->capabilities; }
unsigned Port::rx_queues() const { return impl_->rx_queues; }
unsigned Port::tx_queues() const { return impl_->tx_queues; }

bool Port::link_up() const {
  if (!impl_->interface.empty()) return interface_running(impl_->interface);
  rte_eth_link link{};
  return rte_eth_link_get_nowait(impl_->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

PortStats Port::stats() const {
  PortStats sum;
  for (const auto& worker : impl_->workers) {
    sum.rx_packets += worker.stats.rx_packets.get();
    sum.rx_bytes += worker.stats.rx_bytes.get();
    sum.tx_packets += worker.stats.tx_packets.get();
    sum.tx_bytes += worker.stats.tx_bytes.get();
    sum.rx_dropped_here += worker.stats.rx_dropped.get();
    sum.tx_dropped_here += worker.stats.tx_dropped.get();
    sum.tx_backlog_full += worker.stats.tx_backlog_full.get();
    sum.rx_no_buffer += worker.stats.no_buffer.get();
    sum.rss_checked += worker.stats.rss_checked.get();
    sum.rss_mispredicted += worker.stats.rss_mispredicted.get();
  }
  rte_eth_stats driver{};
  if (rte_eth_stats_get(impl_->id, &driver) == 0) {
    sum.rx_missed = driver.imissed;
    sum.rx_errors = driver.ierrors;
    sum.tx_errors = driver.oerrors;
    sum.rx_nombuf = driver.rx_nombuf;
    sum.rx_no_buffer += driver.rx_nombuf;
  }
  return sum;
}

void Port::attach(unsigned worker, telemetry::CounterBlock& counters) {
  impl_->workers[worker].counters = &counters;
}

void Port::set_waker(unsigned worker, runtime::Waker& waker) {
  impl_->workers[worker].waker = &waker;
}

bool Port::polls(unsigned worker) const {
  return impl_->workers[worker].rx_queue != Impl::kNoQueue;
}

Micros Port::Impl::PerWorker::arm(void* context) {
  auto& worker = *static_cast<PerWorker*>(context);
  for (rte_ring* inbox : worker.inboxes) {
    if (rte_ring_empty(inbox) == 0) return Micros{0};
  }
  if (worker.interrupt) {
    const auto queue = static_cast<std::uint16_t>(worker.rx_queue);
    rte_eth_dev_rx_intr_enable(worker.port->id, queue);
    // What came just before it was enabled rings no bell.
    if (rte_eth_rx_queue_count(worker.port->id, queue) > 0) return Micros{0};
  }
  return worker.waiting > 0 ? kBacklogRetry : Micros::max();
}

void Port::Impl::PerWorker::disarm(void* context) {
  auto& worker = *static_cast<PerWorker*>(context);
  if (!worker.interrupt) return;
  rte_epoll_event event{};
  rte_epoll_wait(worker.wait_fd, &event, 1, 0);
  rte_eth_dev_rx_intr_disable(worker.port->id, static_cast<std::uint16_t>(worker.rx_queue));
}

runtime::WaitSource Port::wait_source(unsigned worker) {
  Impl::PerWorker& state = impl_->workers[worker];
  return {.fd = state.wait_fd,
          .arm = Impl::PerWorker::arm,
          .disarm = Impl::PerWorker::disarm,
          .context = &state};
}

void Port::Impl::drop(PerWorker& worker, rte_mbuf* mbuf, Counter reason) {
  rte_pktmbuf_free(mbuf);
  worker.counters->add(reason);
  worker.stats.rx_dropped.add(1);
}

// False when the frame is not of this port's VLAN.
bool Port::Impl::strip_vlan(rte_mbuf* mbuf) const {
  std::uint16_t vlan = 0;
  if ((mbuf->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0) {
    vlan = mbuf->vlan_tci & 0x0fff;
  } else {
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    if (load_be16(data + kAddresses) == RTE_ETHER_TYPE_VLAN) {
      if (rte_pktmbuf_data_len(mbuf) < kHeader + kTag) return false;
      vlan = load_be16(data + kHeader) & 0x0fff;
      std::memmove(data + kTag, data, kAddresses);
      rte_pktmbuf_adj(mbuf, kTag);
    }
  }
  return vlan == config.vlan;
}

rte_mbuf* Port::Impl::accept(PerWorker& worker, rte_mbuf* mbuf) {
  if (mbuf->nb_segs > 1 && rte_pktmbuf_linearize(mbuf) != 0) {
    drop(worker, mbuf, Counter::drop_frame_too_long);
    return nullptr;
  }
  if (rte_pktmbuf_data_len(mbuf) < kHeader) {
    drop(worker, mbuf, Counter::drop_frame_truncated);
    return nullptr;
  }
  if (!strip_vlan(mbuf)) {
    drop(worker, mbuf, Counter::drop_vlan);
    return nullptr;
  }
  const auto* data = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
  const bool multicast = (data[0] & 1) != 0;
  if (!multicast && std::memcmp(data, mac.data(), mac.size()) != 0) {
    drop(worker, mbuf, Counter::drop_link_destination);
    return nullptr;
  }
  if (std::memcmp(data + mac.size(), mac.data(), mac.size()) == 0) {
    drop(worker, mbuf, Counter::drop_own_frame);
    return nullptr;
  }
  mbuf->ol_flags &= trusted_flags;
  mbuf->port = config.index;  // travels with the packet through redirect rings
  return mbuf;
}

std::size_t Port::rx_burst(unsigned index, std::span<Packet> out) {
  Impl::PerWorker& worker = impl_->workers[index];
  if (worker.rx_queue == Impl::kNoQueue) return 0;
  std::array<rte_mbuf*, 2 * kBurst> mbufs;
  const auto room = static_cast<std::uint16_t>(std::min(out.size(), mbufs.size()));
  const std::uint16_t n =
      rte_eth_rx_burst(impl_->id, static_cast<std::uint16_t>(worker.rx_queue), mbufs.data(), room);
  if (n == 0) return 0;
  if (worker.tap != nullptr) [[unlikely]] {
    impl_->show_received(worker, {mbufs.data(), n});
  }
  constexpr std::size_t kAhead = 3;
  for (std::size_t i = 0; i < std::min<std::size_t>(n, kAhead); ++i) {
    rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
  }
  std::size_t kept = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + kAhead], void*));
    bytes += rte_pktmbuf_pkt_len(mbufs[i]);
    rte_mbuf* mbuf = impl_->accept(worker, mbufs[i]);
    if (mbuf != nullptr) out[kept++] = Packet::adopt(mbuf);
  }
  worker.counters->add(Counter::rx_packets, n);
  worker.counters->add(Counter::rx_bytes, bytes);
  worker.stats.rx_packets.add(n);
  worker.stats.rx_bytes.add(bytes);
  return kept;
}

}  // namespace sluice::port
