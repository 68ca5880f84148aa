// Spreading by the NIC's hash. net_null takes key and table like a NIC and shows them again; what
// it "receives" is put there by a receive callback, which plays the hash function: an honest one by
// DPDK's own Toeplitz code, or one that lies.
#include <gtest/gtest.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <rte_thash.h>

#include <array>
#include <cstring>
#include <deque>
#include <random>

#include "base/ip_address.h"
#include "eal_environment.h"
#include "packet/checksum.h"
#include "packet/ethernet.h"
#include "packet/frame.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"
#include "packet/tcp.h"
#include "packet/udp.h"
#include "port/port.h"

namespace sluice::port {
namespace {

using packet::SteerTo;
using telemetry::Counter;
using telemetry::CounterBlock;

constexpr std::size_t kKey = 40;

struct Flow {
  IpAddress source, destination;
  std::uint16_t source_port = 0, destination_port = 0;
};

// The hash as DPDK computes it; tuples are in host order there.
std::uint32_t softrss(const Flow& flow, const std::uint8_t* key) {
  if (flow.source.is_v4()) {
    rte_ipv4_tuple tuple{};
    tuple.src_addr = flow.source.v4_host_order();
    tuple.dst_addr = flow.destination.v4_host_order();
    tuple.sport = flow.source_port;
    tuple.dport = flow.destination_port;
    return rte_softrss(reinterpret_cast<std::uint32_t*>(&tuple), RTE_THASH_V4_L4_LEN, key);
  }
  std::array<std::uint32_t, RTE_THASH_V6_L4_LEN> tuple{};
  for (std::size_t i = 0; i < 4; ++i) {
    tuple[i] = load_be32(&flow.source.mapped()[i * 4]);
    tuple[4 + i] = load_be32(&flow.destination.mapped()[i * 4]);
  }
  tuple[8] = (std::uint32_t{flow.source_port} << 16) | flow.destination_port;
  return rte_softrss(tuple.data(), RTE_THASH_V6_L4_LEN, key);
}

IpAddress random_address(std::mt19937& random, bool ipv4) {
  std::array<std::uint8_t, 16> raw{};
  for (auto& byte : raw) byte = static_cast<std::uint8_t>(random());
  raw[0] = 0x20;
  return ipv4 ? IpAddress::v4(load_be32(raw.data())) : IpAddress::v6(raw);
}

TEST(Toeplitz, AgreesWithDpdk) {
  std::mt19937 random(17);
  for (int i = 0; i < 4000; ++i) {
    std::array<std::uint8_t, 52> key{};
    for (auto& byte : key) byte = static_cast<std::uint8_t>(random());
    const bool ipv4 = i % 2 == 0;
    const Flow flow{random_address(random, ipv4), random_address(random, ipv4),
                    static_cast<std::uint16_t>(random()), static_cast<std::uint16_t>(random())};
    ASSERT_EQ(packet::Toeplitz(key)(flow.source, flow.destination, flow.source_port,
                                    flow.destination_port),
              softrss(flow, key.data()));
  }
}

// What arrives at a queue, in place of what net_null makes up.
struct Wire {
  struct Arrival {
    std::vector<std::uint8_t> frame;
    std::optional<std::uint32_t> hash;
  };
  std::deque<Arrival> queue;
};

std::uint16_t deliver(std::uint16_t, std::uint16_t, rte_mbuf** mbufs, std::uint16_t count,
                      std::uint16_t, void* context) {
  auto& wire = *static_cast<Wire*>(context);
  std::uint16_t kept = 0;
  for (; kept < count && !wire.queue.empty(); ++kept) {
    const Wire::Arrival& arrival = wire.queue.front();
    rte_mbuf* mbuf = mbufs[kept];
    rte_pktmbuf_reset(mbuf);
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(arrival.frame.size())),
                arrival.frame.data(), arrival.frame.size());
    if (arrival.hash) {
      mbuf->hash.rss = *arrival.hash;
      mbuf->ol_flags = RTE_MBUF_F_RX_RSS_HASH;
    }
    wire.queue.pop_front();
  }
  for (std::uint16_t i = kept; i < count; ++i) rte_pktmbuf_free(mbufs[i]);
  return kept;
}

class RssTest : public WithPool {
 protected:
  static constexpr unsigned kWorkers = 2;

  void open(unsigned workers = kWorkers, unsigned max_queues = 0,
            const char* device = "net_null0,copy=1") {
    PortConfig config{.name = "nic", .device = device, .workers = workers};
    config.max_queues = max_queues;
    config.secret[0] = 3;
    config.secret[1] = 4;
    std::mt19937 random(5);
    for (auto& byte : config.rss_key) byte = static_cast<std::uint8_t>(random());
    auto opened = Port::open(config, *pool);
    ASSERT_TRUE(opened) << opened.error();
    port = std::move(*opened);
    for (unsigned w = 0; w < workers; ++w) port->attach(w, counters.at(w));
    ASSERT_EQ(rte_eth_dev_get_port_by_name("net_null0", &id), 0);
    for (std::uint16_t q = 0; q < port->rx_queues(); ++q) {
      callbacks.at(q) = rte_eth_add_rx_callback(id, q, deliver, &wires.at(q));
      ASSERT_NE(callbacks.at(q), nullptr);
    }
  }
  void TearDown() override {
    for (auto& packet : packets) packet.reset();
    // DPDK leaves a callback's memory to whoever added it, and its list to the next device.
    for (std::uint16_t q = 0; q < callbacks.size(); ++q) {
      if (callbacks[q] == nullptr) continue;
      EXPECT_EQ(rte_eth_remove_rx_callback(id, q, callbacks[q]), 0);
      rte_free(const_cast<void*>(static_cast<const void*>(callbacks[q])));
    }
    port.reset();
    WithPool::TearDown();
  }

  std::vector<std::uint8_t> frame(const Flow& flow, std::uint8_t protocol = 6) const {
    const bool ipv6 = flow.source.is_v6();
    const std::size_t l3 = ipv6 ? packet::kIpv6Header : packet::kIpv4Header;
    std::vector<std::uint8_t> bytes(14 + l3 + packet::kTcpHeader);
    packet::write_ethernet(bytes, packet::MacAddress{port->mac()}, {{2, 0, 0, 0, 0, 9}},
                           ipv6 ? packet::kEtherTypeIpv6 : packet::kEtherTypeIpv4);
    const MutByteSpan rest = MutByteSpan{bytes}.subspan(14);
    if (ipv6) {
      packet::write_ipv6(rest, {.source = flow.source,
                                .destination = flow.destination,
                                .next_header = protocol,
                                .payload = packet::kTcpHeader});
    } else {
      packet::write_ipv4(rest, {.source = flow.source,
                                .destination = flow.destination,
                                .protocol = protocol,
                                .payload = packet::kTcpHeader});
    }
    store_be16(&rest[l3], flow.source_port);
    store_be16(&rest[l3 + 2], flow.destination_port);
    if (protocol == 17) {
      store_be16(&rest[l3 + 4], packet::kTcpHeader);
    } else {
      rest[l3 + 12] = 0x50;
    }
    return bytes;
  }

  // The NIC's own view: its key and table, asked back from the device.
  unsigned queue_by_device(std::uint32_t hash) const {
    rte_eth_dev_info info{};
    EXPECT_EQ(rte_eth_dev_info_get(id, &info), 0);
    std::array<rte_eth_rss_reta_entry64, 32> reta{};
    for (auto& group : reta) group.mask = ~std::uint64_t{0};
    EXPECT_EQ(rte_eth_dev_rss_reta_query(id, reta.data(), info.reta_size), 0);
    const std::uint32_t index = hash % info.reta_size;
    return reta.at(index / RTE_ETH_RETA_GROUP_SIZE).reta[index % RTE_ETH_RETA_GROUP_SIZE];
  }
  std::uint32_t hash_by_device(const Flow& flow) const {
    std::array<std::uint8_t, kKey> key{};
    rte_eth_rss_conf conf{};
    conf.rss_key = key.data();
    conf.rss_key_len = kKey;
    EXPECT_EQ(rte_eth_dev_rss_hash_conf_get(id, &conf), 0);
    return softrss(flow, key.data());
  }
  void put(unsigned queue, const Flow& flow, std::optional<std::uint32_t> hash) {
    wires.at(queue).queue.push_back({frame(flow), hash});
  }
  void put_honestly(const Flow& flow, bool with_hash = true) {
    const std::uint32_t hash = hash_by_device(flow);
    put(queue_by_device(hash), flow, with_hash ? std::optional{hash} : std::nullopt);
  }
  // Receives all there is; the owner of each frame by the port, and the queue it came to.
  std::vector<std::pair<unsigned, unsigned>> receive() {
    std::vector<std::pair<unsigned, unsigned>> result;
    for (unsigned w = 0; w < port->rx_queues(); ++w) {
      for (std::size_t n = port->rx_burst(w, packets); n > 0; n = port->rx_burst(w, packets)) {
        for (std::size_t i = 0; i < n; ++i) {
          const auto parsed = packet::parse_frame(std::as_const(packets[i]).data());
          const auto steering = port->steer(w, packets[i], parsed);
          EXPECT_EQ(steering.to, SteerTo::worker);
          result.emplace_back(steering.worker, w);
        }
      }
    }
    return result;
  }
  static Flow flow(std::uint16_t port, bool ipv6 = false) {
    if (ipv6) {
      return {*IpAddress::parse("2001:db8::9"), *IpAddress::parse("2001:db8::1"), 443, port};
    }
    return {*IpAddress::parse("198.18.2.2"), *IpAddress::parse("198.18.2.1"), 443, port};
  }
  std::uint64_t count(Counter c) const {
    std::uint64_t sum = 0;
    for (const auto& block : counters) sum += block.get(c);
    return sum;
  }

  std::unique_ptr<Port> port;
  std::uint16_t id = 0;
  std::array<CounterBlock, 4> counters;
  std::array<Wire, 4> wires;
  std::array<const rte_eth_rxtx_callback*, 4> callbacks{};
  std::array<Packet, Port::kBurst> packets;
};

TEST_F(RssTest, AnHonestNicBringsEveryFlowToItsOwner) {
  open();
  ASSERT_EQ(port->spreading(), Spreading::rss) << port->spreading_note();
  EXPECT_TRUE(port->capabilities().rss);
  EXPECT_EQ(port->spreading_note(), "");
  std::array<int, kWorkers> at{};
  for (std::uint16_t p = 1000; p < 2000; ++p) put_honestly(flow(p, p % 2 == 0));
  for (const auto& [owner, queue] : receive()) {
    EXPECT_EQ(owner, queue);
    ++at.at(queue);
  }
  EXPECT_GT(at[0], 300);
  EXPECT_GT(at[1], 300);
  EXPECT_EQ(port->spreading(), Spreading::rss);
  EXPECT_EQ(count(Counter::rss_mispredicted), 0u);
  // Once a queue is trusted, one frame in 64 is still looked at.
  EXPECT_GE(port->stats().rss_checked, 512u);
  EXPECT_LT(port->stats().rss_checked, 560u);
}

// A worker that chooses source ports by the table gets the answers.
TEST_F(RssTest, SourcePortsComeBackToTheirWorker) {
  open();
  const Endpoint remote{flow(0).source, 443};
  const packet::SourcePorts ports(port->flow_owner(), flow(0).destination, remote);
  for (std::uint16_t p = 20000; p < 20200; ++p) {
    EXPECT_EQ(ports.owner(p), queue_by_device(hash_by_device(flow(p))));
  }
}

TEST_F(RssTest, WithoutAHashInTheFrameEveryOneIsChecked) {
  open();
  for (std::uint16_t p = 1000; p < 2000; ++p) put_honestly(flow(p), false);
  for (const auto& [owner, queue] : receive()) EXPECT_EQ(owner, queue);
  EXPECT_EQ(port->stats().rss_checked, 1000u);
  EXPECT_EQ(port->spreading(), Spreading::rss);
}

// Seen with NICs that take a key and go on with their own.
TEST_F(RssTest, Bug42_ANicThatPutsFramesElsewhereIsFoundOut) {
  open();
  const auto right = queue_by_device(hash_by_device(flow(1000)));
  put(1 - right, flow(1000), std::nullopt);
  const auto got = receive();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].first, right) << "the frame still finds its owner";
  EXPECT_EQ(port->spreading(), Spreading::redirect);
  EXPECT_EQ(port->spreading_note(), "a frame came to another queue than predicted");
  EXPECT_EQ(count(Counter::rss_mispredicted), 1u);
  EXPECT_EQ(port->stats().rss_mispredicted, 1u);
}

TEST_F(RssTest, Bug42_ANicWithAnotherHashFunctionIsFoundOut) {
  open();
  const std::uint32_t hash = hash_by_device(flow(1000));
  put(queue_by_device(hash), flow(1000), hash ^ 0x10000);  // the right queue by chance
  receive();
  EXPECT_EQ(port->spreading(), Spreading::redirect);
  EXPECT_EQ(port->spreading_note(), "the device's hash of a frame was not the predicted one");
}

// The owner of a flow does not change when the port stops believing: no connection is lost.
TEST_F(RssTest, OwnersStayWhenThePortRedirects) {
  open();
  std::vector<unsigned> before;
  for (std::uint16_t p = 1000; p < 1100; ++p) {
    const Flow f = flow(p);
    before.push_back(
        port->flow_owner()(f.source, f.destination, f.source_port, f.destination_port));
  }
  put(1 - before[0], flow(1000), std::nullopt);
  receive();
  ASSERT_EQ(port->spreading(), Spreading::redirect);
  for (std::uint16_t p = 1000; p < 1100; ++p) {
    put(p % 2, flow(p), 0xdeadbeef);
    const auto got = receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].first, before[p - 1000u]);
  }
  // For good: honest frames do not bring it back, and nothing is compared any more.
  const auto checked = port->stats().rss_checked;
  for (std::uint16_t p = 1000; p < 1500; ++p) put_honestly(flow(p));
  receive();
  EXPECT_EQ(port->spreading(), Spreading::redirect);
  EXPECT_EQ(port->stats().rss_checked, checked);
  EXPECT_EQ(count(Counter::rss_mispredicted), 1u);
}

// The table of a device may be changed under us, by its physical function for example.
TEST_F(RssTest, ANicThatChangesItsMindLaterIsFoundOut) {
  open();
  for (std::uint16_t p = 1000; p < 3000; ++p) put_honestly(flow(p));
  receive();
  ASSERT_EQ(port->spreading(), Spreading::rss);
  for (std::uint16_t p = 1000; p < 1200; ++p) {
    const std::uint32_t hash = hash_by_device(flow(p));
    put(1 - queue_by_device(hash), flow(p), hash);
  }
  for (const auto& [owner, queue] : receive()) EXPECT_EQ(owner, 1 - queue);
  EXPECT_EQ(port->spreading(), Spreading::redirect);
}

// NICs differ over what lies behind options and extension headers, so nothing is concluded from
// such frames: else a stranger could talk the port out of RSS.
TEST_F(RssTest, OddFramesProveNothing) {
  open();
  const Flow f = flow(1000);
  const auto right = port->flow_owner()(f.source, f.destination, f.source_port, f.destination_port);
  auto with_options = frame(f);
  with_options.insert(with_options.begin() + 34, 4, 0);  // four octets of end-of-options
  const MutByteSpan header = MutByteSpan{with_options}.subspan(14, 24);
  header[0] = 0x46;
  store_be16(&header[2], 44);
  store_be16(&header[10], 0);
  store_be16(&header[10], packet::checksum(header));
  wires.at(1 - right).queue.push_back({with_options, 1});
  auto datagram = frame(f, 17);
  wires.at(1 - right).queue.push_back({datagram, 1});
  const auto got = receive();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].first, right);
  EXPECT_EQ(got[1].first, right);
  EXPECT_EQ(port->spreading(), Spreading::rss);
  EXPECT_EQ(count(Counter::rss_matched), 0u);
}

TEST_F(RssTest, FewerQueuesThanWorkersRedirect) {
  open(3, 2);
  EXPECT_EQ(port->spreading(), Spreading::redirect);
  EXPECT_EQ(port->spreading_note(), "receive queues are fewer than workers: 2 of 3");
  EXPECT_FALSE(port->capabilities().rss);
  EXPECT_FALSE(port->flow_owner().predicts_nic());
}

TEST_F(RssTest, OneWorkerHasNothingToSpread) {
  open(1);
  EXPECT_EQ(port->spreading(), Spreading::single);
  EXPECT_EQ(port->spreading_note(), "");
}

TEST_F(WithPool, Bug49_ADeviceWithoutRssSaysSo) {
  auto port = Port::open({.name = "loop", .device = "net_ring0", .workers = 2}, *pool);
  ASSERT_TRUE(port) << port.error();
  EXPECT_EQ((*port)->spreading(), Spreading::redirect);
  EXPECT_EQ((*port)->spreading_note(), "the device has no hash over the ports of TCP (RSS)");
}

}  // namespace
}  // namespace sluice::port
