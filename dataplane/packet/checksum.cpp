#include "packet/checksum.h"

#include <bit>
#include <cstring>

#include "packet/ipv4.h"

namespace sluice::packet {
namespace {

template <typename Word>
Word load(const std::uint8_t* p) {
  Word v = 0;
  std::memcpy(&v, p, sizeof v);
  return v;
}
std::uint64_t load64(const std::uint8_t* p) { return load<std::uint64_t>(p); }

// Halves of a word, so that no carry is lost for 2^32 additions.
std::uint64_t halves(std::uint64_t word) { return (word & 0xffffffff) + (word >> 32); }

constexpr std::uint16_t machine_order(std::uint16_t value) {
  if constexpr (std::endian::native == std::endian::little) {
    return static_cast<std::uint16_t>((value << 8) | (value >> 8));
  } else {
    return value;
  }
}

}  // namespace

ChecksumSum sum_bytes(ByteSpan bytes, ChecksumSum sum) {
  const std::uint8_t* p = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  std::uint64_t c = 0;
  std::uint64_t d = 0;
  for (; left >= 32; left -= 32, p += 32) {
    a += halves(load64(p));
    b += halves(load64(p + 8));
    c += halves(load64(p + 16));
    d += halves(load64(p + 24));
  }
  for (; left >= 8; left -= 8, p += 8) a += halves(load64(p));
  // The tail by fixed sizes: a header's checksum should not cost a call of memcpy().
  if (left >= 4) {
    c += load<std::uint32_t>(p);
    left -= 4;
    p += 4;
  }
  if (left >= 2) {
    d += load<std::uint16_t>(p);
    left -= 2;
    p += 2;
  }
  if (left != 0) d += machine_order(static_cast<std::uint16_t>(*p << 8));
  return sum + a + b + c + d;
}

std::uint16_t fold(ChecksumSum sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return machine_order(static_cast<std::uint16_t>(sum));
}

std::uint16_t finish(ChecksumSum sum) { return static_cast<std::uint16_t>(~fold(sum)); }

ChecksumSum pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                              std::uint8_t protocol, std::size_t length) {
  ChecksumSum sum = sum_bytes(source.mapped());
  sum = sum_bytes(destination.mapped(), sum);
  return sum + machine_order(static_cast<std::uint16_t>(length)) +
         machine_order(static_cast<std::uint16_t>(length >> 16)) + machine_order(protocol);
}

std::uint16_t checksum(ByteSpan bytes) { return finish(sum_bytes(bytes)); }

bool checksum_ok(ByteSpan bytes) { return fold(sum_bytes(bytes)) == 0xffff; }

std::uint16_t l4_checksum(const IpAddress& source, const IpAddress& destination,
                          std::uint8_t protocol, ByteSpan bytes) {
  const std::uint16_t value =
      finish(sum_bytes(bytes, pseudo_header_sum(source, destination, protocol, bytes.size())));
  return value == 0 && protocol == kProtocolUdp ? std::uint16_t{0xffff} : value;
}

bool l4_checksum_ok(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                    ByteSpan bytes) {
  return fold(sum_bytes(bytes, pseudo_header_sum(source, destination, protocol, bytes.size()))) ==
         0xffff;
}

std::uint16_t checksum_update16(std::uint16_t old_checksum, std::uint16_t old_value,
                                std::uint16_t new_value) {
  // HC' = ~(~HC + ~m + m')
  std::uint32_t sum = static_cast<std::uint16_t>(~old_checksum);
  sum += static_cast<std::uint16_t>(~old_value);
  sum += new_value;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::uint16_t checksum_update32(std::uint16_t old_checksum, std::uint32_t old_value,
                                std::uint32_t new_value) {
  const std::uint16_t high =
      checksum_update16(old_checksum, static_cast<std::uint16_t>(old_value >> 16),
                        static_cast<std::uint16_t>(new_value >> 16));
  return checksum_update16(high, static_cast<std::uint16_t>(old_value),
                           static_cast<std::uint16_t>(new_value));
}

}  // namespace sluice::packet
