#include "wire.h"

#include <algorithm>
#include <cstring>

namespace sluice::tcp {
namespace {

// Option kinds (IANA "TCP Parameters").
enum Kind : std::uint8_t {
  kEnd = 0,
  kNop = 1,
  kMss = 2,
  kWindowScale = 3,
  kSackPermitted = 4,
  kSack = 5,
  kTimestamps = 8,
};

void read_option(std::uint8_t kind, ByteSpan body, Options& o) {
  switch (kind) {
    case kMss:
      if (body.size() != 2) return;
      o.has_mss = true;
      o.mss = load_be16(body.data());
      return;
    case kWindowScale:
      if (body.size() != 1) return;
      o.has_window_scale = true;
      o.window_scale = std::min<std::uint8_t>(body[0], 14);
      return;
    case kSackPermitted:
      if (body.empty()) o.sack_permitted = true;
      return;
    case kSack:
      if (body.size() % 8 != 0 || body.size() > 32) return;
      o.sack_count = static_cast<std::uint8_t>(body.size() / 8);
      for (std::size_t i = 0; i < o.sack_count; ++i) {
        o.sack[i] = {Seq(load_be32(&body[i * 8])), Seq(load_be32(&body[i * 8 + 4]))};
      }
      return;
    case kTimestamps:
      if (body.size() != 8) return;
      o.has_timestamps = true;
      o.timestamp = load_be32(&body[0]);
      o.timestamp_echo = load_be32(&body[4]);
      return;
    default:
      return;
  }
}

}  // namespace

bool parse_options(ByteSpan bytes, Options& options) {
  // The shape nearly every segment has: NOP NOP timestamps, and nothing else.
  if (bytes.size() == kTimestampOption && load_be32(bytes.data()) == 0x0101080a) {
    options.has_timestamps = true;
    options.timestamp = load_be32(&bytes[4]);
    options.timestamp_echo = load_be32(&bytes[8]);
    return true;
  }
  for (std::size_t at = 0; at < bytes.size();) {
    const std::uint8_t kind = bytes[at];
    if (kind == kEnd) return true;
    if (kind == kNop) {
      ++at;
      continue;
    }
    if (at + 1 >= bytes.size()) return false;
    const std::size_t length = bytes[at + 1];
    if (length < 2 || length > bytes.size() - at) return false;
    read_option(kind, bytes.subspan(at + 2, length - 2), options);
    at += length;
  }
  return true;
}

bool read_segment(const packet::TcpView& view, const IpAddress& source,
                  const IpAddress& destination, Segment& segment) {
  segment.key = {destination, source, view.destination_port(), view.source_port()};
  segment.seq = Seq(view.sequence());
  segment.ack = Seq(view.acknowledgment());
  segment.window = view.window();
  // ECE and CWR are not ours to judge: a SYN with ECN bits is a SYN (RFC 3168 section 6.1.1).
  segment.flags = view.flags();
  segment.payload = view.payload();
  return parse_options(view.options(), segment.options);
}

std::size_t Outgoing::options_length() const {
  std::size_t n = 0;
  if (options.has_mss) n += 4;
  if (options.has_window_scale) n += 4;
  if (options.sack_permitted) n += options.has_timestamps ? 0 : 4;
  if (options.has_timestamps) n += kTimestampOption;
  if (options.sack_count > 0) n += 4 + std::size_t{8} * options.sack_count;
  return n;
}

void write_header(const Outgoing& s, MutByteSpan room) {
  ByteWriter w(room);
  w.be16(s.key.local_port);
  w.be16(s.key.remote_port);
  w.be32(s.seq.raw());
  w.be32(s.ack.raw());
  w.u8(static_cast<std::uint8_t>(s.header_length() / 4 << 4));
  w.u8(s.flags);
  w.be16(s.window);
  w.zeros(4);  // checksum, urgent pointer
  const Options& o = s.options;
  if (o.has_mss) {
    w.be16(0x0204);
    w.be16(o.mss);
  }
  if (o.has_timestamps) {
    // SACK-permitted takes the place of the padding.
    w.be16(o.sack_permitted ? 0x0402 : 0x0101);
    w.be16(0x080a);
    w.be32(o.timestamp);
    w.be32(o.timestamp_echo);
  } else if (o.sack_permitted) {
    w.be32(0x01010402);
  }
  if (o.has_window_scale) {
    w.be16(0x0103);
    w.u8(3);
    w.u8(o.window_scale);
  }
  if (o.sack_count > 0) {
    w.be16(0x0101);
    w.u8(5);
    w.u8(static_cast<std::uint8_t>(2 + 8 * o.sack_count));
    for (std::size_t i = 0; i < o.sack_count; ++i) {
      w.be32(o.sack[i].start.raw());
      w.be32(o.sack[i].end.raw());
    }
  }
}

}  // namespace sluice::tcp
