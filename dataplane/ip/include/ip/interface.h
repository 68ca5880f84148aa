// The IP layer of one worker on one port, sans-I/O: ARP, neighbour discovery, ICMP, next hops.
//
// Frames and time come in as arguments; frames go out through a FrameSink. Payload for TCP and UDP
// is handed up, everything else is dealt with here. One thread calls everything. An unresolved
// neighbour never blocks: packets to it wait in a small bounded queue, then die with a count.
//
// Several workers share a port by having one Interface each. ARP and neighbour discovery reach the
// owner (packet::steer() says so); what it learns it passes on: pop_update() here, apply() there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/time.h"
#include "ip/reassembly.h"
#include "packet/drop.h"
#include "packet/ethernet.h"
#include "packet/frame.h"
#include "packet/icmp.h"
#include "telemetry/counters.h"

namespace sluice::ip {

// What a frame needs to have its checksums completed by the NIC.
struct L4Offload {
  std::uint8_t l2_length = 0;
  std::uint8_t l3_length = 0;
  std::uint8_t protocol = 0;
  bool ipv6 = false;
  bool l4_checksum = false;    // complete it; the field holds the pseudo header's sum
  bool ipv4_checksum = false;  // complete it; the field holds zero
  // Not 0: a large segment (TCP). Cut the text into pieces of so many octets, each with a copy of
  // the headers, their lengths, sequence number and checksums its own.
  std::uint16_t piece = 0;
  std::uint16_t l4_length = 0;  // of the header that is copied; with `piece`
};

// Where frames leave to.
class FrameSink {
 public:
  // Writable room for one frame of this length, or empty: no buffer now.
  virtual MutByteSpan reserve(std::size_t frame_length) = 0;
  // Sends what reserve() returned last. Follows each successful reserve().
  virtual void commit(std::size_t frame_length, const L4Offload& offload) = 0;
  // Constant over the sink's life.
  virtual bool offloads_l4(bool ipv6, std::uint8_t protocol) const {
    (void)ipv6;
    (void)protocol;
    return false;
  }
  virtual bool offloads_ipv4() const { return false; }
  // Room for a large segment: its headers, and `text` octets. Empty: not now, or never.
  virtual GatherRoom reserve_large(std::size_t headers, std::size_t text) {
    (void)headers;
    (void)text;
    return {};
  }

 protected:
  ~FrameSink() = default;
};

struct InterfaceConfig {
  packet::MacAddress mac;
  std::vector<IpPrefix> addresses;  // host bits are ours, the prefix is on-link
  std::vector<IpAddress> gateways;  // one per family; more are ignored
  std::uint16_t vlan = 0;           // 0: untagged
  std::uint16_t mtu = 1500;         // 1280..9000 where IPv6 is in use
  std::uint8_t hop_limit = 64;      // TTL of what is sent (RFC 9293 MUST-49, RFC 1122 3.2.1.7)
  std::uint64_t secret[2] = {};     // table hashing and jitter
  // How often everybody is asked for our addresses, a second apart, before they are used (RFC 4862
  // section 5.1, DupAddrDetectTransmits); 0: used at once.
  std::uint8_t duplicate_probes = 1;
  bool owner = true;              // checks and announces the addresses, publishes what it learns
  bool shared = false;            // other workers solicit from the same addresses
  bool router = true;             // the R flag of neighbour advertisements
  std::size_t neighbours = 1024;  // table capacity
  std::size_t held_packets = 64;  // all unresolved neighbours together
  std::uint32_t echo_per_second = 1000;
  std::uint32_t icmp_errors_per_second = 100;
  ReassemblyLimits reassembly;
};

// A datagram for somebody above. `bytes` runs from the upper-layer header to the end of the IP
// payload and lives as long as the frame (when `reassembled`: until the next input() or poll()).
struct LocalPacket {
  std::uint8_t protocol = 0;  // TCP or UDP
  std::uint8_t ecn = 0;
  std::uint8_t ttl = 0;
  bool checksum_verified = false;  // always true for UDP
  bool reassembled = false;        // may belong to another worker: steer again by the ports
  IpAddress source;
  IpAddress destination;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  ByteSpan bytes;
};

struct InputResult {
  enum class Kind : std::uint8_t {
    consumed,    // dealt with here
    dropped,     // `drop` says why; already counted
    packet,      // `packet` is for somebody above
    icmp_error,  // `error` is about a flow of ours: its source is local
  };
  Kind kind = Kind::consumed;
  packet::Drop drop = packet::kNoDrop;
  LocalPacket packet;
  packet::IcmpError error;
};

// What the owner learned. Small and flat: it travels through a ring.
struct NeighbourUpdate {
  IpAddress address;
  packet::MacAddress mac;
  bool router = false;
  bool reachable = false;  // confirmed just now, not merely heard of
};

// Of an address of ours. Only a usable one is answered for, received at, and sent from.
enum class AddressState : std::uint8_t {
  tentative,  // being asked for; not until start()
  usable,
  duplicate,  // another host has it; asked for again each minute
};

// The states of all, by bit; what is in neither set is tentative.
struct AddressMask {
  std::uint64_t usable = 0;
  std::uint64_t duplicate = 0;
  friend constexpr bool operator==(const AddressMask&, const AddressMask&) = default;
};

enum class NeighbourState : std::uint8_t { incomplete, reachable, stale, delay, probe, failed };

class Interface {
 public:
  Interface(const InterfaceConfig& config, FrameSink& sink, telemetry::CounterBlock& counters);
  ~Interface();
  Interface(const Interface&) = delete;
  Interface& operator=(const Interface&) = delete;

  // Begins to check our addresses; announces them if they have been. At start, and when the link
  // comes back.
  void start(Time now);

  InputResult input(ByteSpan frame, const packet::RxFlags& flags, Time now);
  // The same for a frame the caller has already parsed in order to steer it.
  InputResult input(ByteSpan frame, const packet::ParsedFrame& parsed, const packet::RxFlags& flags,
                    Time now);

  // Tells a sender that nobody takes its UDP datagram. Rate-limited.
  void refuse_udp(const LocalPacket& packet, Time now);

  // Room for `length` bytes of upper-layer header and payload. Empty: no buffer, or more than the
  // MTU holds; try again next turn. A packet that cannot go out for another reason (no route, a
  // dead neighbour) is taken and dropped, as a network would. The checksum field of what is written
  // must hold zero. Time is that of the last poll() or input().
  MutByteSpan begin_l4(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                       std::size_t length, std::uint8_t ecn = 0);
  // Room for a TCP header of `header` bytes and `pieces` times `piece` octets of text, which the
  // sink cuts. Empty when the sink cannot, or the packet cannot go out at once: try begin_l4().
  GatherRoom begin_large(const IpAddress& source, const IpAddress& destination, std::size_t header,
                         std::size_t piece, std::size_t pieces);
  // Sends it. Must follow each successful begin_l4() or begin_large().
  void end_l4();

  // TCP made forward progress with this address: its neighbour needs no probe (RFC 4861 section
  // 7.3.1). Cheap when it is said often.
  void confirm(const IpAddress& remote, Time now);
  // TCP gets no answers from this address: its neighbour is probed (RFC 9293 section 3.8.3).
  void doubt(const IpAddress& remote, Time now);

  // Timers. Call once per turn; cheap when nothing is due.
  void poll(Time now);
  Time next_deadline() const;

  // Between workers.
  std::optional<NeighbourUpdate> pop_update();
  void apply(const NeighbourUpdate& update, Time now);

  // Our addresses: the configured ones in their order, then the link-local one if it was made here.
  // At most 64.
  std::size_t address_count() const;
  const IpPrefix& address(std::size_t index) const;
  AddressMask address_mask() const;
  // Where `owner` is false: what the owner's mask says holds here too.
  void follow(const AddressMask& owner);

  // A usable address of ours.
  bool is_local(const IpAddress& address) const;
  // The address to speak from (longest common on-link prefix, else any of the family but
  // link-local); nothing if the family is not configured.
  std::optional<IpAddress> source_for(const IpAddress& destination) const;
  // Multicast MACs the NIC must let in: without them no solicitation is ever seen.
  const std::vector<packet::MacAddress>& multicast_macs() const;
  const InterfaceConfig& config() const;

  std::optional<NeighbourState> neighbour_state(const IpAddress& address) const;
  std::size_t neighbour_count() const;
  std::size_t held_count() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::ip
