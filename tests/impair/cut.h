// What a NIC does with a large segment (TCP segmentation offload).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "path_mtu.h"

namespace sluice::impair {

// The segments into which a TCP header and the text behind it are cut, `piece` octets each but the
// last. Checksums are left as they are.
std::vector<Bytes> cut_segment(const Bytes& header, const Bytes& text, std::size_t piece);

// The same for a frame: `headers` are Ethernet's (`l2` bytes), IP's (`l3`) and TCP's. The pieces
// are whole, with lengths and checksums of their own.
std::vector<Bytes> cut_frame(const Bytes& headers, std::size_t l2, std::size_t l3,
                             const Bytes& text, std::size_t piece);

}  // namespace sluice::impair
