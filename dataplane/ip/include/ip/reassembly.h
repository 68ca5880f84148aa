// Fragments of IPv4 (RFC 791, RFC 815, RFC 1858) and IPv6 (RFC 8200 section 4.5, RFC 5722, RFC
// 7112) put together, within bounds.
//
// Memory is a fixed arena of slots, one datagram each, allocated once. Any overlap kills the whole
// datagram (exact duplicates aside); a full arena forgets its oldest. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/time.h"
#include "packet/frame.h"

namespace sluice::ip {

struct ReassemblyLimits {
  std::size_t datagrams = 64;  // slots of 64 KiB: 4 MiB
  std::size_t fragments = 64;  // per datagram
  Micros timeout{30'000'000};  // from the first fragment; RFC 8200 allows 60 s
};

class Reassembler {
 public:
  using Limits = ReassemblyLimits;

  explicit Reassembler(const Limits& limits = {});

  enum class Verdict : std::uint8_t { incomplete, complete, duplicate, dropped };
  struct Result {
    Verdict verdict = Verdict::incomplete;
    // Complete: the payload behind the IP header (IPv6: behind the fragment header) of the first
    // fragment, valid until the next call of add() or expire().
    ByteSpan payload;
    std::uint8_t protocol = 0;  // what the payload begins with
    std::uint8_t ecn = 0;       // RFC 3168 section 5.3
  };

  // `parsed.fragment` is true; `data` is the fragment's own bytes.
  Result add(const packet::ParsedFrame& parsed, ByteSpan data, Time now);

  // An incomplete datagram whose time is over, for the error to its sender.
  struct Lost {
    IpAddress source, destination;
    std::uint32_t id = 0;
    std::uint8_t protocol = 0;  // what its payload begins with
    std::uint8_t ttl = 0;
    ByteSpan first;  // data of its first fragment; empty: that one is missing. For the call only
  };
  using OnLost = void (*)(void* context, const Lost& lost);

  // Forgets datagrams whose time is over; returns how many were incomplete.
  std::size_t expire(Time now, OnLost on_lost = nullptr, void* context = nullptr);
  Time next_deadline() const;
  std::size_t pending() const { return used_; }
  // Incomplete datagrams that had to make room since the last call.
  std::size_t take_evicted();

 private:
  static constexpr std::size_t kSlotBytes = 65536;
  static constexpr std::size_t kMaxPayload = 65535;

  struct Range {
    std::uint32_t begin, end;
  };
  struct Datagram {
    IpAddress source, destination;
    std::uint32_t id = 0;
    std::uint8_t protocol = 0;  // part of the key for IPv4 only
    std::uint8_t first_protocol = 0;
    std::uint8_t ttl = 0;           // of the first fragment
    std::uint32_t first_bytes = 0;  // 0: it has not come
    std::uint8_t ecn = 0;
    bool in_use = false;
    bool poisoned = false;  // overlapped: swallows the rest until its time is over
    bool ecn_mixed = false;
    Time deadline = kNever;
    std::uint32_t total = 0;  // 0 until the last fragment came
    std::uint32_t received = 0;
    std::uint16_t fragments = 0;
  };

  std::size_t find(const packet::ParsedFrame& parsed) const;
  std::size_t claim(const packet::ParsedFrame& parsed, Time now);
  enum class Placed : std::uint8_t { fresh, duplicate, impossible };
  Placed place(std::size_t slot, const packet::ParsedFrame& parsed, ByteSpan data);
  static void merge_ecn(Datagram& d, std::uint8_t ecn);
  void release(std::size_t slot);

  Limits limits_;
  std::vector<Datagram> datagrams_;
  std::vector<Range> ranges_;  // limits_.fragments for each slot
  std::unique_ptr<std::uint8_t[]> arena_;
  std::size_t used_ = 0;
  std::size_t finished_;  // slot handed out by the last add(), released at the next call
  std::size_t evicted_ = 0;
};

}  // namespace sluice::ip
