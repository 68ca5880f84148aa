// Which worker a frame belongs to.
//
// A flow is named by its receive tuple (remote address, local address, remote port, local port); a
// transmitted packet's tuple is the same one swapped. Two hashes over it: a keyed software hash for
// ports without usable RSS, and Toeplitz exactly as NICs compute it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "packet/frame.h"
#include "packet/icmp.h"
#include "packet/ipv4.h"

namespace sluice::packet {

// Keyed, so that a peer who may choose its ports cannot choose its worker.
class FlowHash {
 public:
  explicit FlowHash(const std::uint64_t (&secret)[2]) : key_{secret[0], secret[1]} {}
  std::uint32_t operator()(const IpAddress& source, const IpAddress& destination,
                           std::uint16_t source_port, std::uint16_t destination_port) const;

 private:
  std::array<std::uint64_t, 2> key_;
};

// Toeplitz over the tuple, as the RSS specification and DPDK's rte_softrss define it.
class Toeplitz {
 public:
  static constexpr std::size_t kTupleMax = 36;           // IPv6 with ports
  static constexpr std::size_t kKeyMin = kTupleMax + 4;  // 40; longer keys are cut
  // A key shorter than kKeyMin is taken as followed by zeros.
  explicit Toeplitz(ByteSpan key);

  std::uint32_t operator()(const IpAddress& source, const IpAddress& destination,
                           std::uint16_t source_port, std::uint16_t destination_port) const;
  // L3 only, for packets a NIC hashes without ports.
  std::uint32_t addresses(const IpAddress& source, const IpAddress& destination) const;

  // Toeplitz is linear over GF(2): hash(tuple) == without_local_port(...) ^ local_port(...), which
  // makes choosing a source port that returns to this worker a table look-up per candidate.
  std::uint32_t without_local_port(const IpAddress& remote, const IpAddress& local,
                                   std::uint16_t remote_port) const;
  std::uint32_t local_port(bool ipv4, std::uint16_t port) const;

 private:
  std::uint32_t bytes_at(std::size_t position, ByteSpan bytes) const;
  // By position of the nibble in the tuple and its value.
  std::array<std::array<std::uint32_t, 16>, kTupleMax * 2> table_{};
};

enum class SteerTo : std::uint8_t {
  worker,           // the owner of its flow
  neighbour_owner,  // ARP and neighbour discovery: the worker that owns the port's neighbour table
  anyone,           // no state behind it: whoever has the frame
};

struct Steering {
  SteerTo to = SteerTo::anyone;
  unsigned worker = 0;
};

// `owner(source, destination, source_port, destination_port)` names the worker that owns a receive
// tuple. ICMP errors follow the flow they quote; fragments gather at one worker by (source,
// destination, id), which hands the reassembled datagram on.
template <typename Owner>
Steering steer(ByteSpan frame, const ParsedFrame& parsed, const Owner& owner) {
  if (!parsed.ok()) return {};
  if (parsed.network == Network::arp) return {SteerTo::neighbour_owner, 0};
  if (parsed.network == Network::none) return {};
  if (parsed.fragment) {
    return {SteerTo::worker, owner(parsed.source, parsed.destination,
                                   static_cast<std::uint16_t>(parsed.fragment_id >> 16),
                                   static_cast<std::uint16_t>(parsed.fragment_id))};
  }
  if (parsed.protocol == kProtocolTcp || parsed.protocol == kProtocolUdp) {
    return {SteerTo::worker,
            owner(parsed.source, parsed.destination, parsed.source_port, parsed.destination_port)};
  }
  const bool icmp6 = parsed.ipv6() && parsed.protocol == kProtocolIcmpv6;
  const bool icmp4 = !parsed.ipv6() && parsed.protocol == kProtocolIcmp;
  if (!icmp4 && !icmp6) return {};
  if (icmp6 && is_neighbour_discovery(parsed.icmp_type)) return {SteerTo::neighbour_owner, 0};
  if (!is_icmp_error(icmp6, parsed.icmp_type)) return {};
  const auto error = parse_icmp_error(icmp6, parsed.l4(frame));
  if (!error) return {};
  // The quoted packet is one of ours going out: swap it into its receive tuple.
  return {SteerTo::worker,
          owner(error->destination, error->source, error->destination_port, error->source_port)};
}

}  // namespace sluice::packet
