// A port's stack over a real port: what comes in reaches its flow, and no buffer stays behind.
#include "port_stack.h"

#include <rte_mbuf.h>

#include <optional>

#include "eal_environment.h"
#include "wire.h"

namespace sluice::worker {
namespace {

using ip::test::Bytes;
using ip::test::ip_frame;
using telemetry::Counter;

class PortStackTest : public port::WithPool {
 protected:
  void SetUp() override {
    WithPool::SetUp();
    join();
  }
  void join(std::uint16_t mtu = 1500) {
    ports = std::make_unique<JoinedPorts>(*pool, 1, mtu);
    ASSERT_NE(ports->gateway, nullptr);
    ASSERT_NE(ports->outside, nullptr);
    PortStack::Config config;
    config.tcp.mtu = mtu;
    config.packets = pool.get();
    config.tcp.secret[0] = 1;
    gateway.emplace(*ports->gateway, gateway_addresses(), now, config);
    config.tcp.secret[0] = 2;
    outside.emplace(*ports->outside, outside_addresses(), now, config);
    EXPECT_TRUE(gateway->stack.tcp().listen(443, 0));
  }
  void part() {
    gateway.reset();
    outside.reset();
    ports.reset();
  }
  void TearDown() override {
    part();
    WithPool::TearDown();
  }
  // From the outside, past its stack.
  void inject(Bytes frame) {
    send_frame(*ports->outside,
               addressed(std::move(frame), ports->outside->mac(), ports->gateway->mac()));
  }
  void run() {
    for (int quiet = 0; quiet < 5;) {
      const std::size_t did = gateway->turn(now) + outside->turn(now);
      quiet = did == 0 ? quiet + 1 : 0;
      now += Micros{50};
    }
  }
  test::Peer& accepted(std::size_t i) { return *gateway->accepted.peers.at(i); }
  void carry_both_ways(std::string_view gateway_address);

  Time now{Seconds{1000}};
  std::unique_ptr<JoinedPorts> ports;
  std::optional<Host> gateway, outside;
};

void PortStackTest::carry_both_ways(std::string_view gateway_address) {
  std::string up(300'000, '\0');
  for (std::size_t i = 0; i < up.size(); ++i) up[i] = static_cast<char>((i * 2654435761u) >> 9);
  const std::string down(up.rbegin(), up.rend());
  test::Peer& client = outside->connect(gateway_address, 443, now);
  run();
  ASSERT_EQ(gateway->accepted.peers.size(), 1u);
  client.say(up);
  accepted(0).say(down);
  client.connection->shutdown_write();
  accepted(0).connection->shutdown_write();
  run();
  EXPECT_TRUE(accepted(0).received == up) << accepted(0).received.size();
  EXPECT_TRUE(client.received == down) << client.received.size();
  EXPECT_EQ(client.reason, tcp::CloseReason::graceful);
  EXPECT_EQ(accepted(0).reason, tcp::CloseReason::graceful);
  EXPECT_EQ(gateway->stats().tcp_retrans_segs, 0u);
  EXPECT_EQ(outside->stats().tcp_retrans_segs, 0u);
  EXPECT_EQ(gateway->longest_frame, packet::kEthernetHeader + ports->gateway->mtu());
}

TEST_F(PortStackTest, CarriesAConnectionOverIpv4) { carry_both_ways("198.18.1.1"); }
TEST_F(PortStackTest, CarriesAConnectionOverIpv6) { carry_both_ways("2001:db8:1::1"); }

TEST_F(PortStackTest, CarriesJumboFrames) {
  part();
  pool.reset();
  make_pool(2048, 9000);
  join(9000);
  carry_both_ways("198.18.1.1");
}

TEST_F(PortStackTest, ASegmentTakenInLaterOutlivesItsPacket) {
  test::Peer& client = outside->connect("198.18.1.1", 443, now);
  run();
  accepted(0).reading = false;
  client.say("first");
  run();
  EXPECT_EQ(pool->in_use(), 0u) << "unread bytes are copied, packets are let go";
  accepted(0).reading = true;
  client.say(" second");
  run();
  EXPECT_EQ(accepted(0).received, "first second");
}

// An ICMP error about a packet of the gateway's, as the outside would send it.
Bytes error_about(ByteSpan sent, std::uint8_t type, std::uint8_t code, std::uint32_t field,
                  std::uint8_t quoted_protocol = packet::kProtocolTcp) {
  const packet::ParsedFrame parsed = packet::parse_frame(sent);
  EXPECT_TRUE(parsed.ok());
  Bytes icmp{type, code, 0, 0};
  icmp.resize(packet::kIcmpHeader);
  store_be32(&icmp[4], field);
  const ByteSpan l3 = parsed.l3(sent);
  const ByteSpan quoted = l3.first(std::min<std::size_t>(l3.size(), 520));
  icmp.insert(icmp.end(), quoted.begin(), quoted.end());
  icmp[packet::kIcmpHeader + (parsed.ipv6() ? 6u : 9u)] = quoted_protocol;
  return ip_frame(parsed.destination, parsed.source,
                  parsed.ipv6() ? packet::kProtocolIcmpv6 : packet::kProtocolIcmp, icmp);
}

struct ErrorCase {
  const char* name;
  const char* gateway;
  const char* outside;
  std::uint8_t unreachable_type, unreachable_code;
  std::uint8_t too_big_type, too_big_code;
};

class IcmpErrorTest : public PortStackTest, public testing::WithParamInterface<ErrorCase> {
 protected:
  // So that neighbours know each other before the outside's port is read past its stack.
  void meet() {
    test::Peer& first = gateway->connect(GetParam().outside, 9, now);
    run();
    EXPECT_EQ(first.reason, tcp::CloseReason::refused);
  }
};

TEST_P(IcmpErrorTest, PortUnreachableReachesTheFlowThatConnects) {
  meet();
  test::Peer& client = gateway->connect(GetParam().outside, 80, now);
  gateway->turn(now);
  const Bytes syn = next_frame(*ports->outside);
  ASSERT_FALSE(syn.empty());
  inject(error_about(syn, GetParam().unreachable_type, GetParam().unreachable_code, 0));
  gateway->turn(now);
  EXPECT_EQ(client.reason, tcp::CloseReason::unreachable);
  EXPECT_EQ(gateway->count(Counter::icmp_errors_received), 1u);
}

// RFC 1191, RFC 8201.
TEST_P(IcmpErrorTest, PacketTooBigReachesTheFlowThatSends) {
  meet();
  EXPECT_TRUE(outside->stack.tcp().listen(80, 0));
  test::Peer& client = gateway->connect(GetParam().outside, 80, now);
  run();
  ASSERT_EQ(outside->accepted.peers.size(), 1u);
  const std::string text(20'000, 'x');
  client.say(text);
  gateway->turn(now);
  Bytes data;
  std::size_t lost = 0;
  for (Bytes frame = next_frame(*ports->outside); !frame.empty(); ++lost) {
    if (data.empty()) data = frame;
    frame = next_frame(*ports->outside);
  }
  ASSERT_GT(lost, 1u);
  ASSERT_EQ(data.size(), packet::kEthernetHeader + 1500u);
  inject(error_about(data, GetParam().too_big_type, GetParam().too_big_code, 1300));
  outside->longest_frame = 0;
  for (int i = 0; i < 100; ++i) {
    run();
    now += Millis{50};
  }
  EXPECT_EQ(gateway->stats().tcp_path_mtu_lowered, 1u);
  EXPECT_EQ(outside->accepted.peers[0]->received.size(), text.size());
  EXPECT_EQ(outside->longest_frame, packet::kEthernetHeader + 1300);
}

TEST_P(IcmpErrorTest, AnErrorAboutADatagramWeNeverSentIsNoFlows) {
  meet();
  test::Peer& client = gateway->connect(GetParam().outside, 80, now);
  gateway->turn(now);
  const Bytes syn = next_frame(*ports->outside);
  ASSERT_FALSE(syn.empty());
  // Its addresses and ports are the flow's, but it is about UDP.
  inject(error_about(syn, GetParam().unreachable_type, GetParam().unreachable_code, 0,
                     packet::kProtocolUdp));
  gateway->turn(now);
  EXPECT_EQ(gateway->count(Counter::icmp_errors_received), 1u);
  EXPECT_EQ(client.reason, tcp::CloseReason::none);
}

INSTANTIATE_TEST_SUITE_P(PortStack, IcmpErrorTest,
                         testing::Values(ErrorCase{"ipv4", "198.18.1.1", "198.18.1.10", 3, 3, 3, 4},
                                         ErrorCase{"ipv6", "2001:db8:1::1", "2001:db8:1::10", 1, 4,
                                                   2, 0}),
                         [](const auto& each) { return std::string(each.param.name); });

// RFC 1122 section 4.1.3.1.
TEST_F(PortStackTest, UdpIsRefusedWithPortUnreachable) {
  for (const auto& [from, to] :
       {std::pair{"198.18.1.10", "198.18.1.1"}, std::pair{"2001:db8:1::10", "2001:db8:1::1"}}) {
    outside->connect(to, 443, now);  // neighbours meet
    run();
    const IpAddress source = ip::test::ip(from);
    inject(ip_frame(source, ip::test::ip(to), packet::kProtocolUdp, ip::test::udp_datagram(32)));
    gateway->turn(now);
    const Bytes answer = next_frame(*ports->outside);
    ASSERT_FALSE(answer.empty()) << from;
    const packet::ParsedFrame parsed = packet::parse_frame(answer);
    EXPECT_EQ(parsed.destination, source);
    EXPECT_EQ(parsed.icmp_type,
              source.is_v6() ? packet::kIcmpv6Unreachable : packet::kIcmpUnreachable);
    const auto error = packet::parse_icmp_error(source.is_v6(), parsed.l4(answer));
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->protocol, packet::kProtocolUdp);
    EXPECT_EQ(error->source_port, 40000);
    EXPECT_EQ(error->destination_port, 53);
    EXPECT_TRUE(error->hard);
  }
  EXPECT_EQ(gateway->count(Counter::icmp_errors_sent), 2u);
  EXPECT_EQ(gateway->count(Counter::drop_no_listener), 2u);
}

class ChecksumFlagTest : public PortStackTest {
 protected:
  // A SYN for the listener whose TCP checksum is wrong or right, as a NIC would hand it over.
  void receive(bool right, std::uint64_t says) {
    Bytes syn = ip::test::tcp_segment();
    syn[13] = packet::kTcpSyn;
    Bytes frame = ip_frame(ip::test::ip("198.18.1.10"), ip::test::ip("198.18.1.1"),
                           packet::kProtocolTcp, syn);
    if (!right) frame[packet::kEthernetHeader + packet::kIpv4Header + 17] ^= 1;
    rte_mbuf* mbuf =
        pool->copy_of(addressed(frame, ports->outside->mac(), ports->gateway->mac())).release();
    ASSERT_NE(mbuf, nullptr);
    mbuf->ol_flags |= says;
    const port::Packet packet = port::Packet::adopt(mbuf);
    gateway->stack.input(packet, PortStack::parse(packet), now);
    gateway->stack.end_turn();
  }
  std::uint64_t taken() { return gateway->stats().tcp_syn_cache_added; }
  std::uint64_t dropped() {
    return gateway->stats().drop_tcp_checksum + gateway->count(Counter::drop_l4_checksum);
  }
};

TEST_F(ChecksumFlagTest, WhatTheNicSaysIsPassedOn) {
  const auto flags = [&](std::uint64_t says) {
    rte_mbuf* mbuf = pool->copy_of(Bytes(64)).release();
    mbuf->ol_flags |= says;
    return PortStack::flags(port::Packet::adopt(mbuf));
  };
  using packet::ChecksumHint;
  EXPECT_EQ(flags(0).ip, ChecksumHint::unknown);
  EXPECT_EQ(flags(0).l4, ChecksumHint::unknown);
  EXPECT_EQ(flags(RTE_MBUF_F_RX_IP_CKSUM_GOOD).ip, ChecksumHint::good);
  EXPECT_EQ(flags(RTE_MBUF_F_RX_IP_CKSUM_GOOD).l4, ChecksumHint::unknown);
  EXPECT_EQ(flags(RTE_MBUF_F_RX_IP_CKSUM_BAD).ip, ChecksumHint::bad);
  EXPECT_EQ(flags(RTE_MBUF_F_RX_L4_CKSUM_GOOD).l4, ChecksumHint::good);
  EXPECT_EQ(flags(RTE_MBUF_F_RX_L4_CKSUM_BAD).l4, ChecksumHint::bad);
  EXPECT_EQ(flags(RTE_MBUF_F_RX_L4_CKSUM_BAD).ip, ChecksumHint::unknown);
}

TEST_F(ChecksumFlagTest, Bug50_UnknownIsVerifiedHere) {
  receive(false, 0);
  EXPECT_EQ(taken(), 0u);
  EXPECT_EQ(dropped(), 1u);
  receive(true, 0);
  EXPECT_EQ(taken(), 1u);
}

TEST_F(ChecksumFlagTest, GoodIsTrustedAndBadIsNot) {
  receive(true, RTE_MBUF_F_RX_L4_CKSUM_BAD);
  EXPECT_EQ(taken(), 0u);
  EXPECT_EQ(dropped(), 1u);
  receive(false, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  EXPECT_EQ(taken(), 1u);
  EXPECT_EQ(dropped(), 1u);
}

}  // namespace
}  // namespace sluice::worker
