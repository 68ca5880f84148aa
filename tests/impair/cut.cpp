#include "cut.h"

#include <algorithm>
#include <span>

#include "base/bytes.h"

namespace sluice::impair {
namespace {

constexpr std::uint8_t kFin = 1, kPsh = 8;

// RFC 1071, with what was summed before.
std::uint32_t sum(std::span<const std::uint8_t> bytes, std::uint32_t before = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    before += std::uint32_t{bytes[i]} << (i % 2 == 0 ? 8 : 0);
    before = (before & 0xffff) + (before >> 16);
  }
  return before;
}

void finish(Bytes& frame, std::size_t l2, std::size_t l3) {
  const std::span all(frame);
  const auto ip = all.subspan(l2, l3), tcp = all.subspan(l2 + l3);
  std::uint32_t pseudo = 6 + static_cast<std::uint32_t>(tcp.size());
  if (ip[0] >> 4 == 4) {
    store_be16(&ip[2], static_cast<std::uint16_t>(l3 + tcp.size()));
    store_be16(&ip[10], 0);
    store_be16(&ip[10], static_cast<std::uint16_t>(~sum(ip)));
    pseudo = sum(ip.subspan(12, 8), pseudo);
  } else {
    store_be16(&ip[4], static_cast<std::uint16_t>(tcp.size()));
    pseudo = sum(ip.subspan(8, 32), pseudo);
  }
  store_be16(&tcp[16], 0);
  store_be16(&tcp[16], static_cast<std::uint16_t>(~sum(tcp, pseudo)));
}

}  // namespace

std::vector<Bytes> cut_segment(const Bytes& header, const Bytes& text, std::size_t piece) {
  std::vector<Bytes> pieces;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    const std::size_t length = std::min(piece, text.size() - at);
    Bytes segment = header;
    store_be32(&segment[4], load_be32(&header[4]) + static_cast<std::uint32_t>(at));
    if (at + length < text.size()) {
      segment[13] = static_cast<std::uint8_t>(segment[13] & ~(kFin | kPsh));
    }
    const auto from = text.begin() + static_cast<std::ptrdiff_t>(at);
    segment.insert(segment.end(), from, from + static_cast<std::ptrdiff_t>(length));
    pieces.push_back(std::move(segment));
  }
  return pieces;
}

std::vector<Bytes> cut_frame(const Bytes& headers, std::size_t l2, std::size_t l3,
                             const Bytes& text, std::size_t piece) {
  const auto tcp = headers.begin() + static_cast<std::ptrdiff_t>(l2 + l3);
  std::vector<Bytes> frames = cut_segment(Bytes(tcp, headers.end()), text, piece);
  for (Bytes& frame : frames) {
    frame.insert(frame.begin(), headers.begin(), tcp);
    finish(frame, l2, l3);
  }
  return frames;
}

}  // namespace sluice::impair
