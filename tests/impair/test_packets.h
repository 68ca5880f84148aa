// IP packets with TCP segments in them, for the tests of this folder.
#pragma once

#include "packet_view.h"
#include "path_mtu.h"

namespace sluice::impair {

// From 198.18.0.1:1000 to 198.18.0.2:443, DF set, or the same in IPv6.
inline Bytes make_segment(std::uint32_t seq, std::uint8_t flags, std::size_t payload,
                          unsigned version = 4) {
  const std::size_t header = version == 4 ? 20 : 40;
  Bytes p(header + 20 + payload, 0);
  if (version == 4) {
    p[0] = 0x45;
    store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
    p[6] = 0x40;
    p[8] = 64;
    p[9] = 6;
    store_be32(&p[12], 0xc6120001);
    store_be32(&p[16], 0xc6120002);
    store_be16(&p[10], internet_checksum(ByteSpan{p}.first(20)));
  } else {
    p[0] = 0x60;
    store_be16(&p[4], static_cast<std::uint16_t>(20 + payload));
    p[6] = 6;
    p[7] = 64;
    p[8] = p[24] = 0xfd;
    p[23] = 1;
    p[39] = 2;
  }
  store_be16(&p[header], 1000);
  store_be16(&p[header + 2], 443);
  store_be32(&p[header + 4], seq);
  p[header + 12] = 0x50;
  p[header + 13] = flags;
  for (std::size_t i = 0; i < payload; ++i) {
    p[header + 20 + i] = static_cast<std::uint8_t>(seq + i);
  }
  return p;
}

}  // namespace sluice::impair
