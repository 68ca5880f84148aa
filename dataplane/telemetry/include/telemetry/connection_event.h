// The ring of events each TCP connection carries, always on: eight bytes an event, the latest ones
// kept. What each means is told by connection_events.def.
//
// Written and read by the worker that owns the connection; others get copies.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/time.h"

namespace sluice::telemetry {

enum class ConnectionEvent : std::uint8_t {
#define X(id, value, unusual, help) id,
#include "telemetry/connection_events.def"
#undef X
  count_,
};

struct ConnectionEventInfo {
  std::string_view id, value;  // `value` is empty when the event has none
  bool unusual;
  std::string_view help;
};
const ConnectionEventInfo& info(ConnectionEvent event);

// A duration in 24 bits: 19 bits of mantissa, 5 of exponent. Exact below half a second, then off by
// less than one part in 2^18, up to 35 years.
class PackedMicros {
 public:
  constexpr PackedMicros() = default;
  explicit constexpr PackedMicros(Micros time) {
    const auto us = time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0;
    const auto bits = static_cast<int>(std::bit_width(us));
    const int shift = bits > kMantissa ? bits - kMantissa : 0;
    bits_ = shift > kMaxShift ? kAll
                              : static_cast<std::uint32_t>(shift) << kMantissa |
                                    static_cast<std::uint32_t>(us >> shift);
  }
  static constexpr PackedMicros from_bits(std::uint32_t bits) {
    PackedMicros p;
    p.bits_ = bits & kAll;
    return p;
  }
  constexpr std::uint32_t bits() const { return bits_; }
  constexpr Micros time() const {
    return Micros{static_cast<std::int64_t>(std::uint64_t{bits_ & kLow} << (bits_ >> kMantissa))};
  }

 private:
  static constexpr int kMantissa = 19, kMaxShift = 31;
  static constexpr std::uint32_t kAll = (1u << 24) - 1, kLow = (1u << kMantissa) - 1;
  std::uint32_t bits_ = 0;
};

struct ConnectionEventRecord {
  std::uint32_t kind_and_delta = 0;  // kind << 24 | PackedMicros since the event before
  std::uint32_t value = 0;

  ConnectionEvent kind() const { return static_cast<ConnectionEvent>(kind_and_delta >> 24); }
  Micros since_last() const { return PackedMicros::from_bits(kind_and_delta).time(); }
};
static_assert(sizeof(ConnectionEventRecord) == 8);

class ConnectionEvents {
 public:
  static constexpr std::size_t kCapacity = 16;

  void add(ConnectionEvent event, std::uint32_t value, Time now) {
    const PackedMicros delta(total_ == 0 ? Micros{0} : now - last_);
    ring_[total_ % kCapacity] = {static_cast<std::uint32_t>(event) << 24 | delta.bits(), value};
    last_ = now;
    ++total_;
  }
  std::size_t size() const { return total_ < kCapacity ? total_ : kCapacity; }
  // 0 is the oldest that is still there.
  const ConnectionEventRecord& operator[](std::size_t i) const {
    return ring_[(total_ - size() + i) % kCapacity];
  }
  std::uint32_t total() const { return total_; }  // so many were added, those overwritten included
  Time last() const { return last_; }             // of the newest

 private:
  std::array<ConnectionEventRecord, kCapacity> ring_{};
  Time last_{};
  std::uint32_t total_ = 0;
};

}  // namespace sluice::telemetry
