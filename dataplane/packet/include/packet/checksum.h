// The internet checksum (RFC 1071), its pseudo headers (RFC 9293 section 3.1, RFC 8200 section 8.1)
// and its incremental update (RFC 1624).
//
// Sums are carried in 64 bits in the machine's byte order and folded once at the end; the result of
// finish() is a host-order value to be stored with store_be16(). A sum is made of pieces of even
// length, except the last.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/ip_address.h"

namespace sluice::packet {

using ChecksumSum = std::uint64_t;

// Adds bytes to a running sum. Up to 2^31 bytes may be summed before the fold.
ChecksumSum sum_bytes(ByteSpan bytes, ChecksumSum sum = 0);

// The one's complement of the folded sum.
std::uint16_t finish(ChecksumSum sum);
// The folded sum itself: what a NIC that completes the checksum wants to find in the field.
std::uint16_t fold(ChecksumSum sum);

// Addresses, protocol and upper-layer length. One formula for both families: the ffff of a mapped
// IPv4 address is zero in one's complement arithmetic.
ChecksumSum pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                              std::uint8_t protocol, std::size_t length);

// Checksum of bytes whose checksum field holds zero.
std::uint16_t checksum(ByteSpan bytes);
// True if the bytes, checksum field included, sum up. Accepts 0000 and ffff alike.
bool checksum_ok(ByteSpan bytes);

// The same for TCP, UDP and ICMPv6: `bytes` runs from the upper-layer header to its end. A UDP
// checksum that comes out as zero is given as ffff (RFC 768).
std::uint16_t l4_checksum(const IpAddress& source, const IpAddress& destination,
                          std::uint8_t protocol, ByteSpan bytes);
bool l4_checksum_ok(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                    ByteSpan bytes);

// The checksum after a 16- or 32-bit field, aligned to 16 bits, changed (RFC 1624 equation 3).
std::uint16_t checksum_update16(std::uint16_t old_checksum, std::uint16_t old_value,
                                std::uint16_t new_value);
std::uint16_t checksum_update32(std::uint16_t old_checksum, std::uint32_t old_value,
                                std::uint32_t new_value);

}  // namespace sluice::packet
