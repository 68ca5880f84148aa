#include "port/packet.h"

#include <rte_mbuf.h>

namespace sluice::port {
namespace {

ChecksumState ip_state(std::uint64_t flags) {
  switch (flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) {
    case RTE_MBUF_F_RX_IP_CKSUM_GOOD:
      return ChecksumState::good;
    case RTE_MBUF_F_RX_IP_CKSUM_BAD:
      return ChecksumState::bad;
    default:  // "none" (data said to be whole, checksum not filled in) is not proof
      return ChecksumState::unknown;
  }
}

ChecksumState l4_state(std::uint64_t flags) {
  switch (flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
    case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
      return ChecksumState::good;
    case RTE_MBUF_F_RX_L4_CKSUM_BAD:
      return ChecksumState::bad;
    default:
      return ChecksumState::unknown;
  }
}

}  // namespace

Packet Packet::adopt(rte_mbuf* mbuf) {
  Packet packet;
  packet.mbuf_ = mbuf;
  packet.data_ = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  packet.length_ = rte_pktmbuf_data_len(mbuf);
  packet.nic_hash_ = mbuf->hash.rss;
  packet.has_nic_hash_ = (mbuf->ol_flags & RTE_MBUF_F_RX_RSS_HASH) != 0;
  packet.port_index_ = mbuf->port;
  packet.ip_checksum_ = ip_state(mbuf->ol_flags);
  packet.l4_checksum_ = l4_state(mbuf->ol_flags);
  return packet;
}

void Packet::free_buffer() { rte_pktmbuf_free(std::exchange(mbuf_, nullptr)); }

}  // namespace sluice::port
