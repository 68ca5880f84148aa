// The fixed TCP header (RFC 9293 section 3.1), read in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>

#include "base/bytes.h"
#include "packet/drop.h"

namespace sluice::packet {

inline constexpr std::size_t kTcpHeader = 20;
inline constexpr std::size_t kTcpChecksumOffset = 16;

enum TcpFlag : std::uint8_t {
  kTcpFin = 0x01,
  kTcpSyn = 0x02,
  kTcpRst = 0x04,
  kTcpPsh = 0x08,
  kTcpAck = 0x10,
  kTcpUrg = 0x20,
  kTcpEce = 0x40,
  kTcpCwr = 0x80,
};

// Valid as long as the bytes it was made from.
class TcpView {
 public:
  // `segment` runs from the TCP header to the end of the IP payload.
  static std::expected<TcpView, Drop> parse(ByteSpan segment) {
    if (segment.size() < kTcpHeader) return std::unexpected(Drop::drop_l4_truncated);
    const std::size_t header = (segment[12] >> 4u) * std::size_t{4};
    if (header < kTcpHeader || header > segment.size()) {
      return std::unexpected(Drop::drop_tcp_header_length);
    }
    return TcpView(segment);
  }

  std::uint16_t source_port() const { return load_be16(&segment_[0]); }
  std::uint16_t destination_port() const { return load_be16(&segment_[2]); }
  std::uint32_t sequence() const { return load_be32(&segment_[4]); }
  std::uint32_t acknowledgment() const { return load_be32(&segment_[8]); }
  std::size_t header_length() const { return (segment_[12] >> 4u) * std::size_t{4}; }
  std::uint8_t flags() const { return segment_[13]; }
  bool has(TcpFlag flag) const { return (flags() & flag) != 0; }
  std::uint16_t window() const { return load_be16(&segment_[14]); }
  std::uint16_t urgent_pointer() const { return load_be16(&segment_[18]); }
  ByteSpan options() const { return segment_.subspan(kTcpHeader, header_length() - kTcpHeader); }
  ByteSpan payload() const { return segment_.subspan(header_length()); }

 private:
  explicit TcpView(ByteSpan segment) : segment_(segment) {}
  ByteSpan segment_;
};

}  // namespace sluice::packet
