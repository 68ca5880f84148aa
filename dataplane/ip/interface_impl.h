// Inside of Interface. Split over interface.cpp (set-up, input), output.cpp (next hops, headers,
// waiting frames), fragment.cpp, addresses.cpp, arp.cpp, nd.cpp and icmp.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "hold_queue.h"
#include "ip/interface.h"
#include "ip/reassembly.h"
#include "neighbour_table.h"
#include "packet/arp.h"
#include "packet/icmp.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"
#include "rate_limit.h"

namespace sluice::ip {

struct Interface::Impl final : NeighbourEvents {
  using Drop = packet::Drop;
  using Counter = telemetry::Counter;

  static constexpr std::uint8_t kHeldPerNeighbour = 3;
  static constexpr std::size_t kLargestPacket = 65535;
  static constexpr Micros kHeldRetry{1'000};
  static constexpr std::size_t kUpdates = 256;
  static constexpr Micros kConfirmInterval{1'000'000};
  static constexpr Micros kAnnounceStep{1'000'000};
  static constexpr int kAnnounceRounds = 3;
  static constexpr Micros kCheckStep{333'334};  // three to a RetransTimer
  static constexpr Micros kRecheckInterval{
      60'000'000};                                      // RFC 5227 section 1.1, RATE_LIMIT_INTERVAL
  static constexpr Micros kDefendInterval{10'000'000};  // RFC 5227 section 1.1

  struct OwnAddress : IpPrefix {
    AddressState state = AddressState::usable;
  };

  // Whom confirm() was told of last, by the last octet of the address.
  struct Confirmed {
    IpAddress remote;
    Time at = Time::min();
  };

  // The packet between begin_l4() and end_l4().
  struct Pending {
    enum class Where : std::uint8_t { none, sink, hold, discard };
    Where where = Where::none;
    std::uint8_t l2 = 0;
    std::uint8_t l3 = 0;
    std::uint8_t protocol = 0;
    bool ipv6 = false;
    bool fragment = false;  // a piece: its message was summed as a whole
    std::int32_t slot = -1;
    std::uint16_t piece = 0;  // of a large segment; else 0
    MutByteSpan frame;        // of a large segment the headers
    IpAddress source, destination, next_hop;
  };

  // What the IP header says besides the addresses.
  struct Fields {
    std::uint8_t protocol = 0;
    std::uint8_t hop_limit = 0;  // 0: the configured one
    std::uint8_t ecn = 0;
    bool is_fragment = false;
    std::uint16_t id = 0;                            // IPv4
    std::uint16_t fragment = packet::kDontFragment;  // IPv4: flags and offset
  };

  Impl(const InterfaceConfig& c, FrameSink& s, telemetry::CounterBlock& b);

  // -- interface.cpp
  InputResult input(ByteSpan frame, const packet::ParsedFrame& parsed,
                    const packet::RxFlags& flags);
  Drop check_link(const packet::ParsedFrame& parsed) const;
  Drop check_addresses(const packet::ParsedFrame& parsed) const;
  InputResult reassemble(ByteSpan frame, const packet::ParsedFrame& parsed);
  InputResult deliver(const packet::ParsedFrame& parsed, ByteSpan l3, ByteSpan l4,
                      packet::ChecksumHint hint, bool reassembled);
  InputResult deliver_tcp(const packet::ParsedFrame& parsed, ByteSpan l4,
                          packet::ChecksumHint hint) const;
  InputResult deliver_udp(const packet::ParsedFrame& parsed, ByteSpan l4,
                          packet::ChecksumHint hint) const;
  static InputResult dropped(Drop drop);
  static InputResult local_packet(const packet::ParsedFrame& parsed, ByteSpan l4, bool verified);
  void publish(const Neighbour& neighbour, bool reachable);

  // -- addresses.cpp
  OwnAddress* own(const IpAddress& address);
  AddressMask mask() const;
  void note_states();
  void begin_check();
  void check();
  void claimed(OwnAddress& address);
  void announce_address(const IpAddress& address);
  void announce();
  void poll_addresses();

  // -- output.cpp
  bool is_local(const IpAddress& address) const;
  bool on_link(const IpAddress& address) const;
  bool is_subnet_broadcast(const IpAddress& address) const;
  std::optional<IpAddress> source_for(const IpAddress& destination) const;
  std::optional<IpAddress> next_hop(const IpAddress& destination) const;
  MutByteSpan begin(const IpAddress& source, const IpAddress& destination, const Fields& fields,
                    std::size_t length);
  // To a MAC already known.
  MutByteSpan begin_to(const packet::MacAddress& mac, const IpAddress& source,
                       const IpAddress& destination, const Fields& fields, std::size_t length);
  // begin(), for packets nobody will try again.
  MutByteSpan begin_counted(const IpAddress& source, const IpAddress& destination,
                            const Fields& fields, std::size_t length);
  GatherRoom begin_large(const IpAddress& source, const IpAddress& destination, std::size_t header,
                         std::size_t piece, std::size_t pieces);
  void end_large();
  MutByteSpan open(const packet::MacAddress& mac, const IpAddress& source,
                   const IpAddress& destination, const Fields& fields, std::size_t length);
  MutByteSpan discard(std::size_t length, Drop why);
  MutByteSpan begin_held(Neighbour& neighbour, const IpAddress& source,
                         const IpAddress& destination, const Fields& fields, std::size_t length);
  void end();
  // One upper-layer message, `head` (of even length) before `rest`, in as many fragments as the MTU
  // asks for. The checksum is in place. Best effort: what finds no buffer is counted and lost.
  void send_fragmented(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                       ByteSpan head, ByteSpan rest);
  void drop_held(Neighbour& neighbour, Drop why);
  void on_solicit(Neighbour& neighbour, bool unicast) override;
  void on_resolved(Neighbour& neighbour) override;
  void on_lost(Neighbour& neighbour, bool evicted) override;
  std::size_t l2_length() const {
    return packet::kEthernetHeader + (config.vlan != 0 ? packet::kVlanTag : 0);
  }

  // -- arp.cpp
  InputResult arp_input(ByteSpan bytes, const packet::ParsedFrame& parsed);
  bool arp_learn(const packet::ArpPacket& arp, bool for_us, bool unicast);
  void send_arp(const packet::MacAddress& to, const packet::ArpPacket& arp);
  void solicit_arp(const Neighbour& neighbour, bool unicast);

  // -- nd.cpp
  InputResult nd_input(const packet::ParsedFrame& parsed, ByteSpan icmp);
  InputResult solicitation(const packet::ParsedFrame& parsed, ByteSpan icmp);
  InputResult advertisement(const packet::ParsedFrame& parsed, ByteSpan icmp);
  void solicit_nd(const Neighbour& neighbour, bool unicast);
  void send_advertisement(const packet::MacAddress& mac, const IpAddress& destination,
                          const IpAddress& target, bool solicited);
  void send_duplicate_probe(const IpAddress& target);
  void send_group_report();

  // -- icmp.cpp
  InputResult icmp_input(const packet::ParsedFrame& parsed, ByteSpan icmp);
  InputResult echo(const packet::ParsedFrame& parsed, ByteSpan icmp);
  void echo_large(const packet::ParsedFrame& parsed, std::uint8_t protocol, ByteSpan icmp);
  InputResult icmp_error(const packet::ParsedFrame& parsed, ByteSpan icmp);
  void refuse_udp(const LocalPacket& packet);
  void refuse_protocol(const packet::ParsedFrame& parsed, ByteSpan l3);
  void report_problem(const packet::ParsedFrame& parsed, ByteSpan l3,
                      const packet::HeaderProblem& problem);
  void report_fragment(const packet::ParsedFrame& parsed, ByteSpan l3);
  void expire_fragments();
  void report_lost(const Reassembler::Lost& lost);
  struct ErrorKind {
    std::uint8_t type, code;
    std::uint32_t field;
  };
  void send_error(const IpAddress& local, const IpAddress& remote, ErrorKind kind,
                  ByteSpan quoted_header, ByteSpan quoted_payload);

  InterfaceConfig config;
  FrameSink& sink;
  telemetry::CounterBlock& counters;
  std::vector<OwnAddress> addresses;  // configured, and the link-local one
  bool made_link_local = false;       // the last one, from our MAC
  bool all_usable = false;
  std::optional<IpAddress> gateway4, gateway6;
  std::vector<IpAddress> groups;  // IPv6 multicast groups we are in
  std::vector<packet::MacAddress> group_macs;
  NeighbourTable neighbours;
  std::array<Confirmed, 64> confirmed;
  HoldQueue held;
  Reassembler reassembler;
  RateLimit echo_limit, error_limit, solicit_limit, report_limit;
  Time now{};
  Time check_at = kNever;
  Time recheck_at = kNever;  // of duplicates
  int check_round = 0;
  Time announce_at = kNever;
  int announce_round = 0;
  Time defended = Time::min();
  Pending pending;
  std::uint64_t fragment_ids = 0;  // of those sent so far
  std::vector<std::uint8_t> scratch;
  std::array<NeighbourUpdate, kUpdates> updates;
  std::size_t updates_head = 0;
  std::size_t updates_count = 0;
};

}  // namespace sluice::ip
