// TCP segments on the wire: parsing with options, and building (RFC 9293 section 3.1, RFC 7323,
// RFC 2018).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "packet/tcp.h"
#include "seq.h"
#include "tcp/stack.h"

namespace sluice::tcp {

inline constexpr std::size_t kHeader = packet::kTcpHeader;
inline constexpr std::size_t kMaxOptions = 40;
inline constexpr std::size_t kTimestampOption = 12;  // with its two leading NOPs

enum Flag : std::uint8_t {
  kFin = packet::kTcpFin,
  kSyn = packet::kTcpSyn,
  kRst = packet::kTcpRst,
  kPsh = packet::kTcpPsh,
  kAck = packet::kTcpAck,
};

struct SackBlock {
  Seq start, end;
  friend constexpr bool operator==(const SackBlock&, const SackBlock&) = default;
};

struct Options {
  bool has_mss = false;
  bool has_window_scale = false;
  bool sack_permitted = false;
  bool has_timestamps = false;
  std::uint8_t window_scale = 0;  // at most 14 (RFC 7323 section 2.3)
  std::uint8_t sack_count = 0;
  std::uint16_t mss = 0;
  std::uint32_t timestamp = 0;       // TSval
  std::uint32_t timestamp_echo = 0;  // TSecr
  std::array<SackBlock, 4> sack{};
};

// Reads what it understands and skips the rest. False if an option's length is impossible: what
// came before it is kept, nothing after it is read.
bool parse_options(ByteSpan bytes, Options& options);

struct Segment {
  FlowKey key;  // as our side sees it
  Seq seq, ack;
  std::uint16_t window = 0;  // as on the wire, not scaled
  std::uint8_t flags = 0;
  ByteSpan payload;
  Options options;

  bool has(Flag f) const { return (flags & f) != 0; }
  // SEG.LEN: SYN and FIN count.
  std::uint32_t length() const {
    return static_cast<std::uint32_t>(payload.size()) + (has(kSyn) ? 1u : 0u) +
           (has(kFin) ? 1u : 0u);
  }
};

// The header is taken as valid: TcpView::parse() has accepted it. False as in parse_options().
bool read_segment(const packet::TcpView& view, const IpAddress& source,
                  const IpAddress& destination, Segment& segment);

// A segment to be sent, without its payload.
struct Outgoing {
  FlowKey key;
  Seq seq, ack;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  bool fresh = true;      // it carries nothing that was sent before, or something more
  bool repeated = false;  // it carries something that was sent before
  Options options;

  std::size_t options_length() const;
  std::size_t header_length() const { return kHeader + options_length(); }
};

// Writes header_length() bytes; the checksum field is zero.
void write_header(const Outgoing& segment, MutByteSpan room);

}  // namespace sluice::tcp
