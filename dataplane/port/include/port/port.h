// One network port: any DPDK device, opened with what it can do and software for what it cannot.
//
// Frames have no VLAN tag on this side: a port with a VLAN strips and checks it on receipt and adds
// it on transmission. What is not addressed to the port (other VLAN, other unicast MAC, our own
// frames coming back) is dropped and counted before the caller sees it.
//
// Each worker has its own transmit state; the functions marked [worker] may be called for one
// worker index by one thread only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "packet/flow_owner.h"
#include "port/packet.h"
#include "port/packet_pool.h"
#include "port/tap.h"
#include "runtime/idle.h"
#include "telemetry/counters.h"

namespace sluice::port {

using MacBytes = std::array<std::uint8_t, 6>;

// Whether what a device claims to do itself is believed.
enum class Offloads : std::uint8_t {
  none,
  proven,  // with drivers whose offloads were tested; everything else is done in software
  all,
};

struct PortConfig {
  std::string name{};        // "agents"
  std::string device{};      // DPDK's: "net_af_packet0,iface=sl-agents", "0000:3b:02.1"
  std::uint16_t index = 0;   // the caller's number; comes back in Packet::port_index()
  std::uint16_t mtu = 1500;  // 576 (with IPv6: 1280) to 9000
  std::uint16_t vlan = 0;    // 0: untagged
  unsigned workers = 1;
  unsigned rx_descriptors = 1024;  // wishes; adjusted to what the device takes
  unsigned tx_descriptors = 1024;
  unsigned tx_backlog = 2048;            // frames a worker may have waiting for this port
  Offloads offloads = Offloads::proven;  // checksums, several buffers, TSO
  unsigned max_queues = 0;               // use no more than so many each way; 0: all the device has
  std::uint64_t secret[2] = {};          // of the software hash that spreads flows
  std::array<std::uint8_t, 64> rss_key{};  // random; as much of it as the device's hash takes
};

// What the device does itself, as far as it is believed. Whatever is false here is done in
// software.
struct Capabilities {
  bool rx_checksum_ipv4 = false;
  bool rx_checksum_l4 = false;
  bool tx_checksum_ipv4 = false;
  bool tx_checksum_l4 = false;
  bool multi_segment = false;  // frames may lie in several buffers
  // Large segments (TCP segmentation offload), with IPv4 and with IPv6.
  bool tso_ipv4 = false;
  bool tso_ipv6 = false;
  std::uint16_t tso_frame = 0;    // the largest that is cut, from the Ethernet header, without tag
  std::uint16_t tso_buffers = 0;  // of one large segment
  bool vlan_strip = false;
  bool vlan_insert = false;
  bool rss = false;  // hashes TCP flows; key and table could be set and read back
  bool rx_interrupt = false;
  unsigned max_rx_queues = 1;
  unsigned max_tx_queues = 1;
  unsigned rss_key_bytes = 0;
  unsigned rss_table_entries = 0;
  std::string driver;  // "net_af_packet"
};

// How packets reach the worker that owns their flow. Who the owner is does not depend on it: a port
// that falls back from `rss` to `redirect` keeps its connections.
enum class Spreading : std::uint8_t {
  single,    // one worker: nothing to do
  redirect,  // whoever receives computes the owner, and hands over through port/redirect.h
  rss,       // the NIC's hash brings each flow to its owner's queue; checked as frames come
};
std::string_view to_string(Spreading spreading);

// Checksums the caller leaves to the port. Fields must hold zero. The port has the NIC fill them
// in, or computes them itself.
struct TxOffload {
  bool ipv4_checksum = false;
  bool l4_checksum = false;  // TCP or UDP, by the IP header's protocol; no extension headers
  std::uint8_t l2_length = 14;
  std::uint8_t l3_length = 20;
  // Of what reserve_large() gave: octets of text in each piece, and the TCP header's length.
  std::uint16_t piece = 0;
  std::uint16_t l4_length = 0;
};

enum class Priority : std::uint8_t {
  normal,
  control,  // ARP, ND, RST, pure ACK: may use the last part of the backlog
};

struct PortStats {
  std::uint64_t rx_packets = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t tx_packets = 0;
  std::uint64_t tx_bytes = 0;
  std::uint64_t rx_dropped_here = 0;   // other VLAN or MAC, own frames, malformed
  std::uint64_t tx_dropped_here = 0;   // refused by the driver
  std::uint64_t tx_backlog_full = 0;   // reserve() found no room
  std::uint64_t rss_checked = 0;       // frames whose queue and hash were the predicted ones
  std::uint64_t rss_mispredicted = 0;  // and those where one was not
  std::uint64_t rx_no_buffer = 0;      // reserve() or the driver found the pool empty
  std::uint64_t rx_nombuf = 0;         // of these the driver's
  std::uint64_t rx_missed = 0;         // the driver's: queue was full
  std::uint64_t rx_errors = 0;         // the driver's
  std::uint64_t tx_errors = 0;         // the driver's
};

class Port {
 public:
  static constexpr std::size_t kBurst = 32;

  // [control] Attaches, configures and starts the device. A refusal says why in plain words.
  static std::expected<std::unique_ptr<Port>, std::string> open(const PortConfig& config,
                                                                PacketPool& pool);
  // [control] Workers no longer use it. Frees what was waiting, stops and detaches.
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  const std::string& name() const;
  std::uint16_t index() const;
  std::uint16_t mtu() const;
  std::uint16_t vlan() const;
  const MacBytes& mac() const;
  const Capabilities& capabilities() const;
  Spreading spreading() const;  // [any thread]
  // [any thread] Why packets are not spread by the NIC although there are several workers; else
  // empty.
  std::string spreading_note() const;
  unsigned rx_queues() const;
  unsigned tx_queues() const;

  // [control] May ask the driver.
  bool link_up() const;
  PortStats stats() const;

  // [control, before the worker runs] Where this worker's counters are.
  void attach(unsigned worker, telemetry::CounterBlock& counters);
  // [control, before the worker runs] Who must wake to transmit for workers without a queue.
  void set_waker(unsigned worker, runtime::Waker& waker);

  // [worker] Who looks at the frames that this worker takes from the device and gives to it; null:
  // nobody. Frames that wait for the device are shown when it is offered them for the first time.
  void set_tap(unsigned worker, Tap* tap);

  // [worker] Does this worker poll a receive queue here?
  bool polls(unsigned worker) const;
  // [worker] Up to out.size() packets into the front of `out`; old contents are let go. Zero for a
  // worker without a receive queue.
  std::size_t rx_burst(unsigned worker, std::span<Packet> out);
  // Who owns a flow: the receive tuple's worker. For choosing source ports.
  const packet::FlowOwner& flow_owner() const;
  // [worker] Who is to get a packet that rx_burst() gave to this worker. With Spreading::rss it
  // also checks the NIC: frames that came where the prediction did not say end that for good.
  packet::Steering steer(unsigned worker, const Packet& packet, const packet::ParsedFrame& parsed);
  // [worker] How this worker may sleep as far as this port goes; also for workers that poll nothing
  // here. Ask from the worker's own thread.
  runtime::WaitSource wait_source(unsigned worker);

  // [worker] Room for one frame of `frame_length` bytes, from the Ethernet header on. Empty when
  // the backlog or the pool is exhausted or the frame exceeds the MTU: try again next turn.
  MutByteSpan reserve(unsigned worker, std::size_t frame_length,
                      Priority priority = Priority::normal);
  // [worker] How many octets of text reserve_large() may give; 0: this port does not cut.
  std::size_t largest_text(unsigned worker, bool ipv6) const;
  // [worker] Room for the headers, from the Ethernet header on, and the text of a large segment.
  // Empty as with reserve().
  GatherRoom reserve_large(unsigned worker, std::size_t headers, std::size_t text);
  // [worker] Queues what reserve() or reserve_large() gave last. Not calling it before the next
  // reservation or flush() takes the reservation back.
  void commit(unsigned worker, const TxOffload& offload = {});
  // [worker] Queues a whole packet, e.g. one received elsewhere. False: dropped, counted.
  bool send(unsigned worker, Packet packet, const TxOffload& offload = {});
  // [worker] End of turn: hands what is queued to the device. What it does not take stays queued.
  // Returns how many went.
  std::size_t flush(unsigned worker);
  // [worker] Frames queued and not yet taken.
  std::size_t backlog(unsigned worker) const;

 private:
  struct Impl;
  explicit Port(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Pure, for tests: the device string with the arguments this product needs added ("qdisc_bypass=1",
// queue pairs and frame sizes of net_af_packet) unless the user gave them.
std::string complete_device_arguments(const std::string& device, std::uint16_t mtu,
                                      unsigned workers);

}  // namespace sluice::port
