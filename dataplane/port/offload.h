// What a device does for us: which of its promises are taken, and software for the rest.
#pragma once

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <cstdint>

#include "port/port.h"

namespace sluice::port {

// Buffers of one large segment, whatever the device takes.
inline constexpr std::size_t kMostBuffers = 32;

// What the device claims, less what `offloads` does not allow for its driver. The large segments of
// a port with this MTU.
Capabilities usable_capabilities(const rte_eth_dev_info& info, Offloads offloads,
                                 std::uint16_t mtu = 1500, bool tagged = false);
// The part of DPDK's flags that stands for the checksums, and on transmission for large segments.
std::uint64_t rx_checksum_offloads(const Capabilities& c);
std::uint64_t tx_packet_offloads(const Capabilities& c);
// Of a received packet's flags, those that may be believed: some drivers set others, too.
std::uint64_t trusted_rx_flags(const Capabilities& c);

// Fills checksums in, or prepares them for the NIC: true when it has something to do. The headers
// lie within the first segment.
bool fill_checksums(rte_mbuf* mbuf, const TxOffload& offload, const Capabilities& can);

}  // namespace sluice::port
