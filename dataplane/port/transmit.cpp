// What a port sends: reservations, the backlog, and handing it to the device.
#include <rte_ether.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "offload.h"
#include "port/port.h"
#include "port_impl.h"

namespace sluice::port {
namespace {

using telemetry::Counter;

constexpr std::size_t kSmallestFrame = RTE_ETHER_MIN_LEN - RTE_ETHER_CRC_LEN;
// Of the backlog, kept for Priority::control.
constexpr std::size_t kControlShare = 16;

}  // namespace

// Of the backlog.
bool Port::Impl::has_room(PerWorker& worker, Priority priority) {
  const std::size_t all = worker.backlog.size();
  const std::size_t limit = priority == Priority::control ? all : all - all / kControlShare;
  if (worker.waiting < limit) return true;
  worker.counters->add(Counter::tx_backlog_full);
  worker.stats.tx_backlog_full.add(1);
  return false;
}

MutByteSpan Port::reserve(unsigned index, std::size_t frame_length, Priority priority) {
  Impl::PerWorker& worker = impl_->workers[index];
  if (!impl_->has_room(worker, priority)) return {};
  if (frame_length < kHeader || frame_length > kHeader + impl_->config.mtu) {
    worker.counters->add(Counter::tx_refused);
    return {};
  }
  if (worker.reserved != nullptr && worker.reserved->nb_segs == 1) {
    rte_pktmbuf_reset(worker.reserved);  // the last one was not committed: use it again
  } else {
    rte_pktmbuf_free(worker.reserved);
    worker.reserved = rte_pktmbuf_alloc(impl_->pool.raw());
  }
  if (worker.reserved == nullptr) {
    worker.counters->add(Counter::tx_no_buffer);
    worker.stats.no_buffer.add(1);
    return {};
  }
  char* room = rte_pktmbuf_append(worker.reserved, static_cast<std::uint16_t>(frame_length));
  return {reinterpret_cast<std::uint8_t*>(room), frame_length};
}

std::size_t Port::largest_text(unsigned index, bool ipv6) const {
  const Capabilities& can = impl_->capabilities;
  if (!(ipv6 ? can.tso_ipv6 : can.tso_ipv4) || !impl_->workers[index].cuts) return 0;
  return (can.tso_buffers - std::size_t{1}) * impl_->pool.data_room();
}

GatherRoom Port::reserve_large(unsigned index, std::size_t headers, std::size_t text) {
  Impl::PerWorker& worker = impl_->workers[index];
  if (!impl_->has_room(worker, Priority::normal)) return {};
  const std::size_t each = impl_->pool.data_room();
  const std::size_t buffers = 1 + (text + each - 1) / each;
  std::array<rte_mbuf*, kMostBuffers> mbufs;
  if (headers < kHeader || headers > each || buffers > impl_->capabilities.tso_buffers) {
    worker.counters->add(Counter::tx_refused);
    return {};
  }
  rte_pktmbuf_free(std::exchange(worker.reserved, nullptr));
  if (rte_pktmbuf_alloc_bulk(impl_->pool.raw(), mbufs.data(), static_cast<unsigned>(buffers)) !=
      0) {
    worker.counters->add(Counter::tx_no_buffer);
    worker.stats.no_buffer.add(1);
    return {};
  }
  rte_mbuf* first = worker.reserved = mbufs[0];
  auto* head = rte_pktmbuf_append(first, static_cast<std::uint16_t>(headers));
  worker.reserved_text.clear();
  rte_mbuf* last = first;
  for (std::size_t i = 1; i < buffers; ++i) {
    const std::size_t length = std::min(text - (i - 1) * each, each);
    auto* room = rte_pktmbuf_append(mbufs[i], static_cast<std::uint16_t>(length));
    worker.reserved_text.emplace_back(reinterpret_cast<std::uint8_t*>(room), length);
    last = last->next = mbufs[i];
  }
  first->nb_segs = static_cast<std::uint16_t>(buffers);
  first->pkt_len = static_cast<std::uint32_t>(headers + text);
  return {{reinterpret_cast<std::uint8_t*>(head), headers}, worker.reserved_text};
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
  const std::size_t now = rte_pktmbuf_pkt_len(mbuf);
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
  if (!fits) {
    worker.counters->add(Counter::tx_refused);
    worker.stats.tx_dropped.add(1);
    return false;
  }
  if (!impl_->has_room(worker, Priority::normal)) return false;
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

void Port::Impl::refuse(PerWorker& worker, rte_mbuf* mbuf) {
  if ((mbuf->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0) worker.cuts = false;
  rte_pktmbuf_free(mbuf);
  worker.counters->add(Counter::tx_refused);
  worker.stats.tx_dropped.add(1);
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
        refuse(worker, *first);
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
