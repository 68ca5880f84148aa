#include "offload.h"

#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/bytes.h"
#include "port_impl.h"

namespace sluice::port {
namespace {

// Drivers whose offloads this product's tests have seen right, on the wire.
constexpr std::array<std::string_view, 1> kProven = {"net_tap"};

// Without it net_tap drops what it cuts (the frame of DPDK 22.11's net_tap is compared with the MTU
// link header and all), and never gets past a large segment of IPv6, which its library cannot cut.
constexpr std::string_view kCutsLess = "net_tap";

// Fills checksums in, or prepares them for the NIC. Lengths were checked by the caller.
class ChecksumWork {
 public:
  ChecksumWork(rte_mbuf* mbuf, const TxOffload& offload, const Capabilities& can)
      : mbuf_(mbuf), offload_(offload), can_(can) {
    l3_ = rte_pktmbuf_mtod_offset(mbuf, std::uint8_t*, offload.l2_length);
    l4_ = l3_ + offload.l3_length;
    ipv4_ = (l3_[0] >> 4) == 4;
  }

  // True when the NIC has something to do.
  bool run() {
    if (offload_.piece > 0) {
      large();
    } else if (offload_.l4_checksum) {
      l4();
    }
    if (offload_.ipv4_checksum && ipv4_) ipv4();
    if (mbuf_->ol_flags == 0) return false;
    mbuf_->l2_len = offload_.l2_length & 0x7f;
    mbuf_->l3_len = offload_.l3_length & 0x1ff;
    mbuf_->ol_flags |= ipv4_ ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
    return true;
  }

 private:
  void ipv4() {
    auto* header = reinterpret_cast<rte_ipv4_hdr*>(l3_);
    header->hdr_checksum = 0;
    if (can_.tx_checksum_ipv4) {
      mbuf_->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
    } else {
      header->hdr_checksum = rte_ipv4_cksum(header);
    }
  }

  // The NIC makes each piece's checksum from the sum of a pseudo header without a length.
  void large() {
    mbuf_->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
    mbuf_->tso_segsz = offload_.piece;
    mbuf_->l4_len = offload_.l4_length & 0xff;
    store_sum(16, pseudo_header_sum());
  }

  std::uint16_t pseudo_header_sum() const {
    return ipv4_ ? rte_ipv4_phdr_cksum(reinterpret_cast<const rte_ipv4_hdr*>(l3_),
                                       mbuf_->ol_flags | RTE_MBUF_F_TX_IPV4)
                 : rte_ipv6_phdr_cksum(reinterpret_cast<const rte_ipv6_hdr*>(l3_),
                                       mbuf_->ol_flags | RTE_MBUF_F_TX_IPV6);
  }

  void store_sum(std::size_t at, std::uint16_t sum) { std::memcpy(l4_ + at, &sum, sizeof sum); }

  // Where the checksum is from the L4 header on; 0 for what is neither TCP nor UDP.
  std::size_t field() const {
    const std::uint8_t protocol = ipv4_ ? l3_[9] : l3_[6];
    if (protocol == IPPROTO_TCP) return 16;
    return protocol == IPPROTO_UDP ? 6 : 0;
  }

  void l4() {
    const std::size_t at = field();
    const std::size_t header = at == 16 ? sizeof(rte_tcp_hdr) : sizeof(rte_udp_hdr);
    const std::size_t length = l4_length();
    if (at == 0 || length < header) return;
    store_sum(at, 0);
    if (can_.tx_checksum_l4) {
      mbuf_->ol_flags |= at == 16 ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
      store_sum(at, pseudo_header_sum());
    } else {
      store_sum(at, ipv4_ ? rte_ipv4_udptcp_cksum(reinterpret_cast<rte_ipv4_hdr*>(l3_), l4_)
                          : rte_ipv6_udptcp_cksum(reinterpret_cast<rte_ipv6_hdr*>(l3_), l4_));
    }
  }

  // From the IP header; zero when it exceeds the frame.
  std::size_t l4_length() const {
    const std::size_t stated =
        ipv4_ ? load_be16(l3_ + 2) : load_be16(l3_ + 4) + sizeof(rte_ipv6_hdr);
    const std::size_t there = rte_pktmbuf_data_len(mbuf_) - offload_.l2_length;
    return stated > there || stated < offload_.l3_length ? 0 : stated - offload_.l3_length;
  }

  rte_mbuf* mbuf_;
  const TxOffload& offload_;
  const Capabilities& can_;
  std::uint8_t* l3_;
  std::uint8_t* l4_;
  bool ipv4_;
};

}  // namespace

Capabilities usable_capabilities(const rte_eth_dev_info& info, Offloads offloads, std::uint16_t mtu,
                                 bool tagged) {
  const auto can = [](std::uint64_t claimed, std::uint64_t all) { return (claimed & all) == all; };
  const std::uint64_t rx = info.rx_offload_capa;
  const std::uint64_t tx = info.tx_offload_capa;
  Capabilities c;
  c.driver = info.driver_name == nullptr ? "" : info.driver_name;
  c.vlan_strip = can(rx, RTE_ETH_RX_OFFLOAD_VLAN_STRIP);
  c.vlan_insert = can(tx, RTE_ETH_TX_OFFLOAD_VLAN_INSERT);
  c.max_rx_queues = info.max_rx_queues;
  c.max_tx_queues = info.max_tx_queues;
  c.rss_key_bytes = info.hash_key_size;
  c.rss_table_entries = info.reta_size;
  const bool proven = std::ranges::find(kProven, c.driver) != kProven.end();
  if (offloads == Offloads::none || (offloads == Offloads::proven && !proven)) return c;
  c.rx_checksum_ipv4 = can(rx, RTE_ETH_RX_OFFLOAD_IPV4_CKSUM);
  c.rx_checksum_l4 = can(rx, RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
  c.tx_checksum_ipv4 = can(tx, RTE_ETH_TX_OFFLOAD_IPV4_CKSUM);
  c.tx_checksum_l4 = can(tx, RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
  c.multi_segment = can(tx, RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
  // Large segments are chains of buffers whose every piece needs its checksums.
  c.tso_ipv4 = c.multi_segment && c.tx_checksum_l4 && c.tx_checksum_ipv4 &&
               can(tx, RTE_ETH_TX_OFFLOAD_TCP_TSO);
  c.tso_ipv6 = c.tso_ipv4 && c.driver != kCutsLess;
  if (c.tso_ipv4) {
    const std::size_t most = info.tx_desc_lim.nb_seg_max;  // 0: the driver says nothing
    c.tso_buffers =
        static_cast<std::uint16_t>(most == 0 ? kMostBuffers : std::min(most, kMostBuffers));
    const std::size_t less = c.driver == kCutsLess ? kHeader + (tagged ? kTag : 0) : 0;
    c.tso_frame = static_cast<std::uint16_t>(kHeader + mtu - less);
  }
  return c;
}

std::uint64_t rx_checksum_offloads(const Capabilities& c) {
  return (c.rx_checksum_ipv4 ? RTE_ETH_RX_OFFLOAD_IPV4_CKSUM : 0) |
         (c.rx_checksum_l4 ? RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM : 0);
}

std::uint64_t tx_packet_offloads(const Capabilities& c) {
  return (c.tx_checksum_ipv4 ? RTE_ETH_TX_OFFLOAD_IPV4_CKSUM : 0) |
         (c.tso_ipv4 ? RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS : 0) |
         (c.tx_checksum_l4 ? RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM : 0);
}

std::uint64_t trusted_rx_flags(const Capabilities& c) {
  return ~((c.rx_checksum_ipv4 ? 0 : RTE_MBUF_F_RX_IP_CKSUM_MASK) |
           (c.rx_checksum_l4 ? 0 : RTE_MBUF_F_RX_L4_CKSUM_MASK));
}

bool fill_checksums(rte_mbuf* mbuf, const TxOffload& offload, const Capabilities& can) {
  return ChecksumWork(mbuf, offload, can).run();
}

}  // namespace sluice::port
