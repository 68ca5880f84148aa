#include "ip/reassembly.h"

#include <algorithm>
#include <cstring>

namespace sluice::ip {
namespace {

constexpr std::size_t kNone = ~std::size_t{0};

}  // namespace

Reassembler::Reassembler(const Limits& limits)
    : limits_(limits),
      datagrams_(limits.datagrams),
      ranges_(limits.datagrams * limits.fragments),
      // Left uninitialised: pages nobody's fragments touch are never backed by memory.
      arena_(new std::uint8_t[limits.datagrams * kSlotBytes]),
      finished_(kNone) {}

std::size_t Reassembler::find(const packet::ParsedFrame& parsed) const {
  for (std::size_t i = 0; i < datagrams_.size(); ++i) {
    const Datagram& d = datagrams_[i];
    if (d.in_use && d.id == parsed.fragment_id && d.source == parsed.source &&
        d.destination == parsed.destination && (parsed.ipv6() || d.protocol == parsed.protocol)) {
      return i;
    }
  }
  return kNone;
}

std::size_t Reassembler::claim(const packet::ParsedFrame& parsed, Time now) {
  std::size_t slot = 0;
  for (std::size_t i = 0; i < datagrams_.size(); ++i) {
    if (!datagrams_[i].in_use) {
      slot = i;
      break;
    }
    if (datagrams_[i].deadline < datagrams_[slot].deadline) slot = i;
  }
  if (datagrams_[slot].in_use) {
    if (!datagrams_[slot].poisoned) ++evicted_;
    release(slot);
  }
  Datagram& d = datagrams_[slot];
  d = Datagram{};
  d.source = parsed.source;
  d.destination = parsed.destination;
  d.id = parsed.fragment_id;
  d.protocol = parsed.protocol;
  d.ecn = parsed.ecn();
  d.in_use = true;
  d.deadline = now + limits_.timeout;
  ++used_;
  return slot;
}

void Reassembler::release(std::size_t slot) {
  if (!datagrams_[slot].in_use) return;
  datagrams_[slot].in_use = false;
  --used_;
}

// RFC 3168 section 5.3: a CE mark survives, unless other fragments came as not ECN-capable.
void Reassembler::merge_ecn(Datagram& d, std::uint8_t ecn) {
  constexpr std::uint8_t kCongested = 3;
  if ((d.ecn == 0) != (ecn == 0)) d.ecn_mixed = true;
  if (ecn == kCongested) d.ecn = kCongested;
}

// Copies the fragment in. Impossible: the datagram must die.
Reassembler::Placed Reassembler::place(std::size_t slot, const packet::ParsedFrame& parsed,
                                       ByteSpan data) {
  Datagram& d = datagrams_[slot];
  const std::uint32_t begin = parsed.fragment_offset;
  const std::uint32_t end = begin + static_cast<std::uint32_t>(data.size());
  if (end > kMaxPayload) return Placed::impossible;
  Range* const first = &ranges_[slot * limits_.fragments];
  Range* const last = first + d.fragments;
  for (const Range* r = first; r != last; ++r) {
    // RFC 8200 section 4.5.
    if (r->begin == begin && r->end == end) return Placed::duplicate;
    if (r->begin < end && begin < r->end) return Placed::impossible;  // RFC 5722
  }
  if (d.fragments == limits_.fragments) return Placed::impossible;
  if (!parsed.more_fragments) {
    if (d.total != 0) return Placed::impossible;  // two different ends
    d.total = end;
  }
  *last = {begin, end};
  ++d.fragments;
  if (d.total != 0 &&
      std::any_of(first, last + 1, [&](const Range& r) { return r.end > d.total; })) {
    return Placed::impossible;
  }
  if (begin == 0) {
    d.first_protocol = parsed.protocol;
    d.ttl = parsed.ttl;
    d.first_bytes = end;
  }
  std::memcpy(&arena_[slot * kSlotBytes + begin], data.data(), data.size());
  d.received += static_cast<std::uint32_t>(data.size());
  merge_ecn(d, parsed.ecn());
  return Placed::fresh;
}

Reassembler::Result Reassembler::add(const packet::ParsedFrame& parsed, ByteSpan data, Time now) {
  if (finished_ != kNone) {
    release(finished_);
    finished_ = kNone;
  }
  // RFC 8200 section 4.5: all but the last carry a multiple of 8 bytes. None may be empty.
  if (data.empty() || (parsed.more_fragments && data.size() % 8 != 0)) {
    return {.verdict = Verdict::dropped, .payload = {}};
  }
  std::size_t slot = find(parsed);
  if (slot != kNone && datagrams_[slot].deadline <= now) {
    if (!datagrams_[slot].poisoned) ++evicted_;
    release(slot);
    slot = kNone;
  }
  if (slot == kNone) slot = claim(parsed, now);
  Datagram& d = datagrams_[slot];
  const Placed placed = d.poisoned ? Placed::impossible : place(slot, parsed, data);
  if (placed == Placed::impossible) {
    d.poisoned = true;
    return {.verdict = Verdict::dropped, .payload = {}};
  }
  if (placed == Placed::duplicate) return {.verdict = Verdict::duplicate, .payload = {}};
  if (d.total == 0 || d.received < d.total) return {};
  finished_ = slot;
  if (d.ecn == 3 && d.ecn_mixed) return {.verdict = Verdict::dropped, .payload = {}};
  return {.verdict = Verdict::complete,
          .payload = ByteSpan{&arena_[slot * kSlotBytes], d.total},
          .protocol = d.first_protocol,
          .ecn = d.ecn};
}

std::size_t Reassembler::expire(Time now, OnLost on_lost, void* context) {
  if (finished_ != kNone) {
    release(finished_);
    finished_ = kNone;
  }
  std::size_t count = 0;
  for (std::size_t i = 0; used_ > 0 && i < datagrams_.size(); ++i) {
    const Datagram& d = datagrams_[i];
    if (!d.in_use || d.deadline > now) continue;
    if (!d.poisoned) {
      ++count;
      if (on_lost != nullptr) {
        on_lost(context, {d.source, d.destination, d.id, d.first_protocol, d.ttl,
                          ByteSpan{&arena_[i * kSlotBytes], d.first_bytes}});
      }
    }
    release(i);
  }
  return count;
}

Time Reassembler::next_deadline() const {
  Time next = kNever;
  for (std::size_t i = 0; used_ > 0 && i < datagrams_.size(); ++i) {
    if (datagrams_[i].in_use && i != finished_) next = std::min(next, datagrams_[i].deadline);
  }
  return next;
}

std::size_t Reassembler::take_evicted() {
  const std::size_t n = evicted_;
  evicted_ = 0;
  return n;
}

}  // namespace sluice::ip
