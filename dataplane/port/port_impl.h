// Inside of port::Port.
#pragma once

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "port/port.h"

namespace sluice::port {

// Of an Ethernet header: all of it, its addresses, and a VLAN tag behind those.
inline constexpr std::size_t kHeader = 14, kAddresses = 12, kTag = 4;

// One writer, any reader.
class StatCell {
 public:
  void add(std::uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct Port::Impl {
  static constexpr unsigned kNoQueue = ~0u;

  // What one worker needs here. Only it touches this, but for `stats` and `outbox`.
  struct alignas(64) PerWorker {
    Impl* port = nullptr;
    unsigned index = 0;
    unsigned rx_queue = kNoQueue;
    unsigned tx_queue = kNoQueue;  // kNoQueue: `outbox` goes to `tx_owner`
    unsigned tx_owner = 0;
    telemetry::CounterBlock* counters = nullptr;
    runtime::Waker* waker = nullptr;  // this worker's own
    std::vector<rte_mbuf*> backlog;   // [0, waiting)
    std::size_t waiting = 0;
    bool prepare = false;  // something waiting asks the NIC for work
    rte_mbuf* reserved = nullptr;
    std::vector<MutByteSpan> reserved_text;  // behind the headers of a large segment
    bool cuts = true;            // until the driver refuses a large segment that it said it takes
    rte_ring* outbox = nullptr;  // this worker: writes; tx_owner: reads
    std::vector<rte_ring*> inboxes;  // outboxes of workers this one transmits for
    int wait_fd = runtime::WaitSource::kCannot;
    bool interrupt = false;  // wait_fd is an epoll instance over the queue's interrupt
    Tap* tap = nullptr;
    std::size_t tapped = 0;    // of the backlog: what the tap has seen
    unsigned until_check = 0;  // frames whose hash is taken from the NIC before one is computed
    struct {
      StatCell rx_packets, rx_bytes, tx_packets, tx_bytes, rx_dropped, tx_dropped, tx_backlog_full,
          no_buffer, rss_checked, rss_mispredicted;
    } stats;  // worker: writes; any thread: reads

    // Hooks of the idle ladder; the context is this.
    static Micros arm(void* context);
    static void disarm(void* context);
  };

  Impl(const PortConfig& wanted, PacketPool& buffers);
  ~Impl();

  // Set-up, in this order (port_setup.cpp). A text is a refusal.
  using Refusal = std::string;
  Refusal attach_device();
  Refusal probe();
  Refusal configure();
  Refusal start();
  void find_wait_descriptors(const std::vector<int>& before);

  // rss.cpp. Whether the NIC can be made to spread predictably; the texts say why not.
  bool plan_rss();
  void start_rss();
  std::string try_rss();
  void check_rss(PerWorker& worker, const Packet& packet, std::uint32_t predicted);

  // Makes a received frame what callers see; nullptr when it was dropped (and counted).
  rte_mbuf* accept(PerWorker& worker, rte_mbuf* mbuf);
  bool strip_vlan(rte_mbuf* mbuf) const;
  bool has_room(PerWorker& worker, Priority priority);
  void refuse(PerWorker& worker, rte_mbuf* mbuf);
  void finish(PerWorker& worker, rte_mbuf* mbuf, const TxOffload& offload);
  void collect(PerWorker& worker);
  std::size_t transmit(PerWorker& worker);
  void drop(PerWorker& worker, rte_mbuf* mbuf, telemetry::Counter reason);
  // tap.cpp: shows frames; of those to send each once.
  void show_received(PerWorker& worker, std::span<rte_mbuf* const> frames) const;
  void show_sent(PerWorker& worker, std::size_t first, std::size_t count) const;

  PortConfig config;
  PacketPool& pool;
  std::uint16_t id = RTE_MAX_ETHPORTS;
  bool attached = false;
  bool started = false;
  bool promiscuous = false;
  std::string interface;  // the kernel's, under the driver; may be empty
  MacBytes mac{};
  Capabilities capabilities;
  rte_eth_dev_info info{};
  std::uint64_t rx_offloads = 0;
  std::uint64_t tx_offloads = 0;
  std::uint64_t trusted_flags = 0;  // of what the driver says of received packets
  unsigned rx_queues = 1;
  unsigned tx_queues = 1;
  std::vector<PerWorker> workers;
  std::vector<std::uint8_t> rss_key;
  std::uint64_t rss_types = 0;  // what the device was asked to hash
  packet::FlowOwner owner;
  std::string no_rss;  // why not; empty with one worker or with RSS
  // Set to rss by control before workers run; any worker: rss -> redirect; any thread: reads.
  std::atomic<Spreading> spreading{Spreading::single};
  enum class RssFault : std::uint8_t { none, hash, queue };
  std::atomic<RssFault> rss_fault{RssFault::none};  // written before `spreading`, by the same
  telemetry::CounterBlock unattached;
};

}  // namespace sluice::port
