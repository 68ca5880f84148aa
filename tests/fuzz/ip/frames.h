// What the frame targets share: where frames leave to, and the repair of checksums.
#pragma once

#include <cstdlib>
#include <functional>
#include <memory>

#include "ip/interface.h"
#include "packet/checksum.h"
#include "packet/frame.h"
#include "packet/icmp.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"
#include "packet/tcp.h"
#include "packet/udp.h"

namespace sluice::fuzz {

inline void require(bool holds) {
  if (!holds) std::abort();
}

class Sink final : public ip::FrameSink {
 public:
  MutByteSpan reserve(std::size_t length) override {
    require(!open_ && length <= 9018);
    if (starved) return {};
    open_ = true;
    room_ = std::make_unique<std::uint8_t[]>(length);
    length_ = length;
    return {room_.get(), length};
  }
  // Whatever the input, what leaves is well-formed.
  void commit(std::size_t length, const ip::L4Offload&) override {
    require(open_ && length == length_);
    open_ = false;
    const ByteSpan frame{room_.get(), length};
    const packet::ParsedFrame p = packet::parse_frame(frame);
    require(p.ok());
    if (p.network == packet::Network::arp) return;
    require(p.l3_offset + p.l3_length == length);
    if (p.protocol == packet::kProtocolIcmp) require(packet::checksum_ok(p.l4(frame)));
    if (p.protocol == packet::kProtocolIcmpv6 || p.protocol == packet::kProtocolTcp) {
      require(packet::l4_checksum_ok(p.source, p.destination, p.protocol, p.l4(frame)));
    }
    if (p.protocol == packet::kProtocolTcp && !p.fragment && on_segment) on_segment(frame, p);
  }
  bool starved = false;
  std::function<void(ByteSpan, const packet::ParsedFrame&)> on_segment;  // TCP that left

 private:
  std::unique_ptr<std::uint8_t[]> room_;
  std::size_t length_ = 0;
  bool open_ = false;
};

// Fills in the checksums of a frame, so that the code behind them is reached.
inline void repair(MutByteSpan frame) {
  const packet::ParsedFrame p = packet::parse_frame(frame, {.ip = packet::ChecksumHint::good});
  if (!p.ok() || p.network == packet::Network::arp) return;
  if (p.network == packet::Network::ipv4) {
    const MutByteSpan header =
        frame.subspan(p.l3_offset, static_cast<std::size_t>(p.l4_offset - p.l3_offset));
    store_be16(&header[10], 0);
    store_be16(&header[10], packet::checksum(header));
  }
  if (p.fragment) return;
  const MutByteSpan l4 = frame.subspan(p.l4_offset, p.l4_length);
  const std::size_t field = p.protocol == packet::kProtocolTcp   ? packet::kTcpChecksumOffset
                            : p.protocol == packet::kProtocolUdp ? packet::kUdpChecksumOffset
                                                                 : std::size_t{2};
  if (l4.size() < field + 2) return;
  store_be16(&l4[field], 0);
  store_be16(&l4[field], p.protocol == packet::kProtocolIcmp
                             ? packet::checksum(l4)
                             : packet::l4_checksum(p.source, p.destination, p.protocol, l4));
}

}  // namespace sluice::fuzz
