// The packet paths of a port.
#include "port/port.h"

#include <rte_epoll.h>
#include <rte_ether.h>
#include <rte_interrupts.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <cstring>

#include "device.h"
#include "offload.h"
#include "port_impl.h"

namespace sluice::port {
namespace {

using telemetry::Counter;

constexpr std::size_t kHeader = RTE_ETHER_HDR_LEN;
constexpr std::size_t kAddresses = std::size_t{2} * RTE_ETHER_ADDR_LEN;
constexpr std::size_t kTag = 4;
constexpr std::size_t kSmallestFrame = RTE_ETHER_MIN_LEN - RTE_ETHER_CRC_LEN;
// While frames wait that the device did not take, try again so often.
constexpr Micros kBacklogRetry{50};
// Of the backlog, kept for Priority::control.
constexpr std::size_t kControlShare = 16;

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

MutByteSpan Port::reserve(unsigned index, std::size_t frame_length, Priority priority) {
  Impl::PerWorker& worker = impl_->workers[index];
  const std::size_t all = worker.backlog.size();
  const std::size_t limit = priority == Priority::control ? all : all - all / kControlShare;
  if (worker.waiting >= limit) {
    worker.counters->add(Counter::tx_backlog_full);
    worker.stats.tx_backlog_full.add(1);
    return {};
  }
  if (frame_length < kHeader || frame_length > kHeader + impl_->config.mtu) {
    worker.counters->add(Counter::tx_refused);
    return {};
  }
  if (worker.reserved != nullptr) {
    rte_pktmbuf_reset(worker.reserved);  // the last one was not committed: use it again
  } else {
    worker.reserved = rte_pktmbuf_alloc(impl_->pool.raw());
  }
  if (worker.reserved == nullptr) {
    worker.counters->add(Counter::tx_no_buffer);
    worker.stats.no_buffer.add(1);
    return {};
  }
  char* room = rte_pktmbuf_append(worker.reserved, static_cast<std::uint16_t>(frame_length));
  worker.reserved_length = frame_length;
  return {reinterpret_cast<std::uint8_t*>(room), frame_length};
}

// Checksums, tag, and the smallest frame Ethernet allows; then to the end of the backlog.
void Port::Impl::finish(PerWorker& worker, rte_mbuf* mbuf, const TxOffload& offload) {
  mbuf->ol_flags = 0;
  mbuf->tx_offload = 0;
  const std::size_t length = rte_pktmbuf_data_len(mbuf);
  const bool wanted = offload.ipv4_checksum || offload.l4_checksum;
  if (wanted && std::size_t{offload.l2_length} + offload.l3_length <= length &&
      offload.l3_length >= sizeof(rte_ipv4_hdr)) {
    worker.prepare |= fill_checksums(mbuf, offload, capabilities);
  }
  if (config.vlan != 0 && (tx_offloads & RTE_ETH_TX_OFFLOAD_VLAN_INSERT) != 0) {
    mbuf->ol_flags |= RTE_MBUF_F_TX_VLAN;
    mbuf->vlan_tci = config.vlan;
    worker.prepare = true;
  } else if (config.vlan != 0) {
    auto* data = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_prepend(mbuf, kTag));
    if (data != nullptr) {
      std::memmove(data, data + kTag, kAddresses);
      store_be16(data + kAddresses, RTE_ETHER_TYPE_VLAN);
      store_be16(data + kHeader, config.vlan);
      if (mbuf->ol_flags != 0) mbuf->l2_len = (mbuf->l2_len + kTag) & 0x7f;
    }
  }
  const std::size_t now = rte_pktmbuf_data_len(mbuf);
  if (now < kSmallestFrame) {
    char* padding = rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(kSmallestFrame - now));
    if (padding != nullptr) std::memset(padding, 0, kSmallestFrame - now);
  }
  worker.backlog[worker.waiting++] = mbuf;
}

void Port::commit(unsigned index, const TxOffload& offload) {
  Impl::PerWorker& worker = impl_->workers[index];
  if (worker.reserved == nullptr) return;
  impl_->finish(worker, std::exchange(worker.reserved, nullptr), offload);
}

bool Port::send(unsigned index, Packet packet, const TxOffload& offload) {
  Impl::PerWorker& worker = impl_->workers[index];
  const std::size_t length = packet.data().size();
  const bool fits = packet && length >= kHeader && length <= kHeader + impl_->config.mtu;
  const std::size_t all = worker.backlog.size();
  if (!fits || worker.waiting >= all - all / kControlShare) {
    worker.counters->add(fits ? Counter::tx_backlog_full : Counter::tx_refused);
    (fits ? worker.stats.tx_backlog_full : worker.stats.tx_dropped).add(1);
    return false;
  }
  impl_->finish(worker, packet.release(), offload);
  return true;
}

// Takes over what workers without a queue left here.
void Port::Impl::collect(PerWorker& worker) {
  for (rte_ring* inbox : worker.inboxes) {
    const std::size_t room = worker.backlog.size() - worker.waiting;
    const unsigned n = rte_ring_sc_dequeue_burst(
        inbox, reinterpret_cast<void**>(worker.backlog.data() + worker.waiting),
        static_cast<unsigned>(room), nullptr);
    for (unsigned i = 0; i < n; ++i) {
      worker.prepare |= worker.backlog[worker.waiting + i]->ol_flags != 0;
    }
    worker.waiting += n;
  }
}

// To the device, or into the outbox. Returns how many of the backlog's first went; those the driver
// refused for good are among them.
std::size_t Port::Impl::transmit(PerWorker& worker) {
  const std::size_t waiting = worker.waiting;
  if (worker.tx_queue == kNoQueue) {
    return rte_ring_sp_enqueue_burst(worker.outbox, reinterpret_cast<void**>(worker.backlog.data()),
                                     static_cast<unsigned>(waiting), nullptr);
  }
  const auto queue = static_cast<std::uint16_t>(worker.tx_queue);
  std::size_t done = 0;
  while (done < waiting) {
    rte_mbuf** first = worker.backlog.data() + done;
    auto count = static_cast<std::uint16_t>(std::min<std::size_t>(waiting - done, 256));
    if (worker.prepare) {
      const std::uint16_t good = rte_eth_tx_prepare(id, queue, first, count);
      if (good == 0) {  // the first one can never go
        rte_pktmbuf_free(*first);
        worker.counters->add(Counter::tx_refused);
        worker.stats.tx_dropped.add(1);
        ++done;
        continue;
      }
      count = good;
    }
    if (worker.tap != nullptr) [[unlikely]] {
      show_sent(worker, done, count);
    }
    // The driver frees what it sent: sizes are read before.
    std::array<std::uint32_t, 256> sizes;
    for (std::uint16_t i = 0; i < count; ++i) sizes[i] = rte_pktmbuf_pkt_len(first[i]);
    const std::uint16_t sent = rte_eth_tx_burst(id, queue, first, count);
    std::uint64_t bytes = 0;
    for (std::uint16_t i = 0; i < sent; ++i) bytes += sizes[i];
    worker.counters->add(Counter::tx_packets, sent);
    worker.counters->add(Counter::tx_bytes, bytes);
    worker.stats.tx_packets.add(sent);
    worker.stats.tx_bytes.add(bytes);
    done += sent;
    if (sent < count) break;
  }
  return done;
}

std::size_t Port::flush(unsigned index) {
  Impl::PerWorker& worker = impl_->workers[index];
  if (worker.reserved != nullptr) rte_pktmbuf_free(std::exchange(worker.reserved, nullptr));
  if (!worker.inboxes.empty()) impl_->collect(worker);
  if (worker.waiting == 0) return 0;
  const std::size_t done = impl_->transmit(worker);
  worker.waiting -= done;
  std::copy_n(worker.backlog.begin() + static_cast<std::ptrdiff_t>(done), worker.waiting,
              worker.backlog.begin());
  worker.tapped -= std::min(worker.tapped, done);
  if (worker.waiting == 0) worker.prepare = false;
  if (worker.tx_queue == Impl::kNoQueue && done > 0) {
    runtime::Waker* owner = impl_->workers[worker.tx_owner].waker;
    if (owner != nullptr) owner->wake();
  }
  return done;
}

std::size_t Port::backlog(unsigned worker) const { return impl_->workers[worker].waiting; }

}  // namespace sluice::port
