// Spans of bytes, and bounded big-endian reading and writing over them.
//
// Neither class allocates or throws. Running past the end sets a sticky failure: later reads give
// zero, later writes do nothing, and ok() tells. Check once at the end instead of at each field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace sluice {

using ByteSpan = std::span<const std::uint8_t>;
using MutByteSpan = std::span<std::uint8_t>;

inline ByteSpan as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Room for one message that does not lie in one place: its beginning, and the rest in order.
struct GatherRoom {
  MutByteSpan head;
  std::span<const MutByteSpan> rest;
  explicit operator bool() const { return !head.empty(); }
};

// Unaligned big-endian ("network order") loads and stores.
inline std::uint16_t load_be16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>((p[0] << 8) | p[1]);
}
inline std::uint32_t load_be32(const std::uint8_t* p) {
  return (std::uint32_t{p[0]} << 24) | (std::uint32_t{p[1]} << 16) | (std::uint32_t{p[2]} << 8) |
         std::uint32_t{p[3]};
}
inline std::uint64_t load_be64(const std::uint8_t* p) {
  return (std::uint64_t{load_be32(p)} << 32) | load_be32(p + 4);
}
inline void store_be16(std::uint8_t* p, std::uint16_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 8);
  p[1] = static_cast<std::uint8_t>(v);
}
inline void store_be32(std::uint8_t* p, std::uint32_t v) {
  store_be16(p, static_cast<std::uint16_t>(v >> 16));
  store_be16(p + 2, static_cast<std::uint16_t>(v));
}
inline void store_be64(std::uint8_t* p, std::uint64_t v) {
  store_be32(p, static_cast<std::uint32_t>(v >> 32));
  store_be32(p + 4, static_cast<std::uint32_t>(v));
}

class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) : bytes_(bytes) {}

  std::uint8_t u8() { return take(1) ? bytes_[at_ - 1] : std::uint8_t{0}; }
  std::uint16_t be16() { return take(2) ? load_be16(&bytes_[at_ - 2]) : std::uint16_t{0}; }
  std::uint32_t be32() { return take(4) ? load_be32(&bytes_[at_ - 4]) : 0u; }
  std::uint64_t be64() { return take(8) ? load_be64(&bytes_[at_ - 8]) : 0u; }
  // The next n bytes in place; empty after a failure.
  ByteSpan bytes(std::size_t n) { return take(n) ? bytes_.subspan(at_ - n, n) : ByteSpan{}; }
  void skip(std::size_t n) { take(n); }

  std::size_t remaining() const { return ok_ ? bytes_.size() - at_ : 0; }
  ByteSpan rest() const { return ok_ ? bytes_.subspan(at_) : ByteSpan{}; }
  bool ok() const { return ok_; }

 private:
  bool take(std::size_t n) {
    if (!ok_ || n > bytes_.size() - at_) {
      ok_ = false;
      return false;
    }
    at_ += n;
    return true;
  }

  ByteSpan bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

class ByteWriter {
 public:
  explicit ByteWriter(MutByteSpan room) : room_(room) {}

  void u8(std::uint8_t v) {
    if (take(1)) room_[at_ - 1] = v;
  }
  void be16(std::uint16_t v) {
    if (take(2)) store_be16(&room_[at_ - 2], v);
  }
  void be32(std::uint32_t v) {
    if (take(4)) store_be32(&room_[at_ - 4], v);
  }
  void be64(std::uint64_t v) {
    if (take(8)) store_be64(&room_[at_ - 8], v);
  }
  void bytes(ByteSpan v) {
    if (take(v.size()) && !v.empty()) std::memcpy(&room_[at_ - v.size()], v.data(), v.size());
  }
  void text(std::string_view v) { bytes(as_bytes(v)); }
  void zeros(std::size_t n) {
    if (take(n) && n > 0) std::memset(&room_[at_ - n], 0, n);
  }

  std::size_t written() const { return at_; }
  MutByteSpan done() const { return room_.first(at_); }
  bool ok() const { return ok_; }

 private:
  bool take(std::size_t n) {
    if (!ok_ || n > room_.size() - at_) {
      ok_ = false;
      return false;
    }
    at_ += n;
    return true;
  }

  MutByteSpan room_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace sluice
