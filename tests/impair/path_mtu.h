// What a router does with a packet that is too big for the next link.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace sluice::impair {

using Bytes = std::vector<std::uint8_t>;

// May not be fragmented: IPv6, or IPv4 with DF.
bool dont_fragment(ByteSpan packet);

// The ICMP error that a router sends to the packet's source: RFC 792 type 3 code 4 with the MTU of
// RFC 1191, or RFC 4443 type 2. It comes from the packet's own destination, which is always
// routable. Empty for what must not be answered (RFC 1122 section 3.2.2: later fragments, ICMP).
Bytes packet_too_big(ByteSpan packet, std::uint16_t mtu);

// The IPv4 packet in pieces of at most `mtu` bytes (RFC 791 section 2.3).
std::vector<Bytes> fragment(ByteSpan packet, std::uint16_t mtu);

}  // namespace sluice::impair
