// Our addresses before and while they are used: RFC 4862 section 5.4, RFC 5227.

#include "fixture.h"

namespace sluice::ip::test {
namespace {

using packet::ArpOperation;
using packet::ArpPacket;

const MacAddress kAllNodesMac{{0x33, 0x33, 0, 0, 0, 1}};
constexpr std::string_view kUs4 = "198.18.1.1";
constexpr std::string_view kUs6 = "2001:db8:1::1";
constexpr std::string_view kLinkLocal = "fe80::ff:fe00:1";

class AddressTest : public InterfaceTest {
 protected:
  void SetUp() override {
    remake(checked());
    net->start(at(1));
  }
  static InterfaceConfig checked() {
    InterfaceConfig c = config();
    c.duplicate_probes = 1;
    return c;
  }
  // By the order of address(): IPv4, IPv6, link-local.
  AddressState state(std::size_t index) const {
    const AddressMask mask = net->address_mask();
    if ((mask.usable >> index & 1) != 0) return AddressState::usable;
    return (mask.duplicate >> index & 1) != 0 ? AddressState::duplicate : AddressState::tentative;
  }
  // Lets the check of a second pass.
  void pass(double from = 1) {
    for (int step = 1; step <= 3; ++step) net->poll(at(from + step * 0.34));
  }
  static Bytes nd(std::uint8_t type, std::uint8_t flags, std::string_view target,
                  std::string_view from, std::string_view to, const MacAddress& mac,
                  bool option = true) {
    Bytes icmp(24);
    icmp[0] = type;
    icmp[4] = flags;
    const IpAddress about = ip(target);
    std::copy(about.mapped().begin(), about.mapped().end(), icmp.begin() + 8);
    if (option) {
      icmp.push_back(type == packet::kIcmpv6NeighbourSolicitation ? 1 : 2);
      icmp.push_back(1);
      icmp.insert(icmp.end(), kPeerMac.octets.begin(), kPeerMac.octets.end());
    }
    return ip_frame(ip(from), ip(to), 58, icmp, mac, 255);
  }
  static Bytes solicitation(std::string_view target, std::string_view from) {
    const IpAddress group = packet::solicited_node_multicast(ip(target));
    return nd(packet::kIcmpv6NeighbourSolicitation, 0, target, from, group.to_string(),
              packet::multicast_mac(group), from != "::");
  }
  static Bytes advertisement(std::string_view target) {
    return nd(packet::kIcmpv6NeighbourAdvertisement, 0x20, target, target, "ff02::1", kAllNodesMac);
  }
  // What was sent since the last call, by kind.
  struct Sent {
    std::vector<ArpPacket> arps;
    std::vector<Bytes> solicitations, advertisements, others;
  };
  Sent sent() {
    Sent result;
    for (const auto& frame : sink.sent) {
      const packet::ParsedFrame p = check(frame.bytes);
      if (p.network == packet::Network::arp) {
        result.arps.push_back(
            *packet::parse_arp(ByteSpan{frame.bytes}.subspan(packet::kEthernetHeader)));
      } else if (p.icmp_type == packet::kIcmpv6NeighbourSolicitation) {
        result.solicitations.push_back(frame.bytes);
      } else if (p.icmp_type == packet::kIcmpv6NeighbourAdvertisement) {
        result.advertisements.push_back(frame.bytes);
      } else {
        result.others.push_back(frame.bytes);
      }
    }
    sink.sent.clear();
    return result;
  }
};

TEST_F(AddressTest, ProbesOfRfc4862Section5_4_2) {
  const Sent first = sent();
  ASSERT_EQ(first.solicitations.size(), 2u);  // the address and the link-local one
  for (const Bytes& frame : first.solicitations) {
    const packet::ParsedFrame p = check(frame);
    const IpAddress target = IpAddress::v6(p.l4(frame).subspan<8, 16>());
    EXPECT_EQ(p.source, ip("::"));
    EXPECT_EQ(p.destination, packet::solicited_node_multicast(target));
    EXPECT_EQ(p.ttl, 255);
    EXPECT_EQ(p.l4_length, 24);  // no link-layer option from the unspecified address
  }
  // Membership is told first (RFC 3810 section 6.1), from the unspecified address as there is no
  // other yet (section 5.2.13).
  ASSERT_EQ(first.others.size(), 1u);
  const packet::ParsedFrame report = check(first.others[0]);
  EXPECT_EQ(report.source, ip("::"));
  EXPECT_EQ(report.icmp_type, packet::kIcmpv6MldReportV2);
  net->poll(at(1.34));
  net->poll(at(1.68));
  EXPECT_TRUE(sent().solicitations.empty());  // once, as configured
  EXPECT_EQ(state(1), AddressState::tentative);
  net->poll(at(2.02));
  EXPECT_EQ(state(1), AddressState::usable);
  EXPECT_EQ(state(2), AddressState::usable);
}

TEST_F(AddressTest, ProbesAsOftenAsConfiguredRfc4862Section5_1) {
  InterfaceConfig c = checked();
  c.duplicate_probes = 3;
  remake(c);
  sink.sent.clear();
  net->start(at(1));
  EXPECT_EQ(sent().solicitations.size(), 2u);
  net->poll(at(1.34));
  net->poll(at(1.68));
  EXPECT_TRUE(sent().solicitations.empty());
  net->poll(at(2.02));  // RetransTimer later
  EXPECT_EQ(sent().solicitations.size(), 2u);
  for (double when = 2.36; when < 4; when += 0.34) net->poll(at(when));
  EXPECT_EQ(sent().solicitations.size(), 2u);
  EXPECT_EQ(state(1), AddressState::tentative);
  net->poll(at(4.1));
  EXPECT_EQ(state(1), AddressState::usable);
}

TEST_F(AddressTest, ProbesOfRfc5227Section2_1_1) {
  std::vector<ArpPacket> probes = sent().arps;
  net->poll(at(1.34));
  for (const ArpPacket& arp : sent().arps) probes.push_back(arp);
  net->poll(at(1.68));
  for (const ArpPacket& arp : sent().arps) probes.push_back(arp);
  ASSERT_EQ(probes.size(), 3u);  // PROBE_NUM
  for (const ArpPacket& arp : probes) {
    EXPECT_EQ(arp.operation, ArpOperation::request);
    EXPECT_TRUE(arp.sender.is_unspecified());
    EXPECT_EQ(arp.sender_mac, kOurMac);
    EXPECT_TRUE(arp.target_mac.is_zero());
    EXPECT_EQ(arp.target, ip(kUs4));
  }
  net->poll(at(2.02));
  const Sent announced = sent();
  ASSERT_EQ(announced.arps.size(), 1u);
  EXPECT_EQ(announced.arps[0].sender, ip(kUs4));
  EXPECT_EQ(announced.arps[0].target, ip(kUs4));
  EXPECT_EQ(announced.advertisements.size(), 2u);  // RFC 4861 section 7.2.6
  net->poll(at(3.03));
  EXPECT_TRUE(sent().arps.empty());
  net->poll(at(4.04));
  EXPECT_EQ(sent().arps.size(), 1u);  // ANNOUNCE_INTERVAL
  net->poll(at(100));
  EXPECT_TRUE(sent().arps.empty());
}

TEST_F(AddressTest, TentativeIsNotUsedRfc4862Section5_4) {
  sink.sent.clear();
  // Neither answered for, nor received at, nor sent from.
  in(arp_frame(ArpOperation::request, kPeerMac, "198.18.1.2", kUs4), at(1.1));
  EXPECT_EQ(in(solicitation(kUs6, "2001:db8:1::2"), at(1.1)).drop, Drop::drop_nd_ignored);
  EXPECT_EQ(in(ip_frame(ip("198.18.1.2"), ip(kUs4), 6, tcp_segment()), at(1.1)).drop,
            Drop::drop_ip_destination);
  EXPECT_EQ(in(ip_frame(ip("2001:db8:1::2"), ip(kUs6), 6, tcp_segment()), at(1.1)).drop,
            Drop::drop_ip_destination);
  EXPECT_FALSE(net->is_local(ip(kUs4)));
  EXPECT_FALSE(net->source_for(ip("198.18.1.2")).has_value());
  EXPECT_TRUE(send("198.18.1.2"));
  EXPECT_TRUE(send("2001:db8:1::2", kUs6));
  EXPECT_TRUE(sink.sent.empty());
  EXPECT_EQ(count(Counter::drop_own_address), 2u);
  EXPECT_EQ(count(Counter::address_conflicts), 0u);
  pass();
  EXPECT_TRUE(net->is_local(ip(kUs4)));
  EXPECT_EQ(in(ip_frame(ip("2001:db8:1::2"), ip(kUs6), 6, tcp_segment()), at(2.1)).kind,
            InputResult::Kind::packet);
}

TEST_F(AddressTest, AdvertisementOfATentativeAddressRfc4862Section5_4_4) {
  in(advertisement(kUs6), at(1.2));
  EXPECT_EQ(state(1), AddressState::duplicate);
  EXPECT_EQ(count(Counter::address_conflicts), 1u);
  sink.sent.clear();
  pass();
  // The others are in use, this one is not.
  EXPECT_EQ(state(0), AddressState::usable);
  EXPECT_EQ(state(1), AddressState::duplicate);
  EXPECT_EQ(state(2), AddressState::usable);
  for (const Bytes& frame : sent().advertisements) EXPECT_EQ(check(frame).source, ip(kLinkLocal));
  EXPECT_EQ(in(solicitation(kUs6, "2001:db8:1::2"), at(3)).drop, Drop::drop_nd_ignored);
  EXPECT_EQ(in(ip_frame(ip("2001:db8:1::2"), ip(kUs6), 6, tcp_segment()), at(3)).drop,
            Drop::drop_ip_destination);
}

TEST_F(AddressTest, SomebodyElseProbesTheSameRfc4862Section5_4_3) {
  in(solicitation(kUs6, "::"), at(1.2));
  EXPECT_EQ(state(1), AddressState::duplicate);
  // A probe of our own that comes back is a loop, not a rival.
  remake(checked());
  net->start(at(5));
  const Sent own = sent();
  for (const Bytes& frame : own.solicitations) in(frame, at(5.1));
  EXPECT_EQ(state(1), AddressState::tentative);
  EXPECT_EQ(count(Counter::address_conflicts), 1u);
}

// RFC 4862 section 5.4.5: then our MAC is there twice, and no address made of it will work.
TEST_F(AddressTest, DuplicateLinkLocalAddressStopsIpv6) {
  in(advertisement(kLinkLocal), at(1.2));
  pass();
  EXPECT_EQ(state(0), AddressState::usable);
  EXPECT_EQ(state(1), AddressState::duplicate);
  EXPECT_EQ(state(2), AddressState::duplicate);
}

TEST_F(AddressTest, ArpOfATentativeAddressIsAConflictRfc5227Section2_1_1) {
  const Bytes claims[] = {
      arp_frame(ArpOperation::reply, kPeerMac, kUs4, "0.0.0.0", kOurMac, kOurMac),
      arp_frame(ArpOperation::request, kPeerMac, kUs4, "198.18.1.9"),
      arp_frame(ArpOperation::request, kPeerMac, "0.0.0.0", kUs4),  // it probes as we do
  };
  for (const Bytes& claim : claims) {
    remake(checked());
    net->start(at(1));
    in(claim, at(1.5));
    sink.sent.clear();
    pass();
    EXPECT_EQ(state(0), AddressState::duplicate);
    EXPECT_EQ(state(1), AddressState::usable);
    EXPECT_TRUE(sent().arps.empty()) << "neither announced nor defended";
    in(arp_frame(ArpOperation::request, kPeerMac, "198.18.1.2", kUs4), at(3));
    EXPECT_TRUE(sent().arps.empty()) << "nor answered for";
  }
  EXPECT_EQ(count(Counter::address_conflicts), 3u);
}

// The rival is a host like any other: its packets reach our other addresses.
TEST_F(AddressTest, TheOtherOwnerIsAHostLikeAnyOther) {
  InterfaceConfig c = checked();
  c.addresses.insert(c.addresses.begin() + 1, *IpPrefix::parse("198.18.1.7/24"));
  remake(c);
  net->start(at(1));
  in(arp_frame(ArpOperation::request, kPeerMac, kUs4, kUs4), at(1.2));
  pass();
  sink.sent.clear();
  in(arp_frame(ArpOperation::request, kPeerMac, kUs4, "198.18.1.7"), at(3));
  EXPECT_EQ(next_arp().sender, ip("198.18.1.7"));
  EXPECT_EQ(in(ip_frame(ip(kUs4), ip("198.18.1.7"), 6, tcp_segment()), at(3)).kind,
            InputResult::Kind::packet);
  EXPECT_EQ(count(Counter::address_conflicts), 1u);
}

TEST_F(AddressTest, DuplicatesAreAskedForAgainAfterAMinute) {
  in(advertisement(kUs6), at(1.2));
  pass();
  sink.sent.clear();
  EXPECT_LE(net->next_deadline(), at(61.2));
  net->poll(at(61.2));
  EXPECT_EQ(state(1), AddressState::tentative);
  EXPECT_EQ(state(0), AddressState::usable);
  EXPECT_EQ(sent().solicitations.size(), 1u);
  in(advertisement(kUs6), at(61.3));  // still there
  pass(61.2);
  EXPECT_EQ(state(1), AddressState::duplicate);
  net->poll(at(121.4));
  pass(121.4);
  EXPECT_EQ(state(1), AddressState::usable);
  EXPECT_EQ(count(Counter::address_conflicts), 2u);
}

// RFC 5227 section 2.4 (c): in use, it is defended, as others rely on it.
TEST_F(AddressTest, UsableAddressesAreDefendedNotGivenUp) {
  pass();
  sink.sent.clear();
  for (const double when : {3.0, 4.0, 12.9, 13.1}) {
    in(arp_frame(ArpOperation::request, kPeerMac, kUs4, kUs4), at(when));
  }
  EXPECT_EQ(sent().arps.size(), 2u);
  EXPECT_EQ(state(0), AddressState::usable);
  in(advertisement(kUs6), at(30));
  EXPECT_EQ(sent().advertisements.size(), 1u);
  EXPECT_EQ(state(1), AddressState::usable);
  EXPECT_EQ(count(Counter::address_conflicts), 5u);
}

TEST_F(AddressTest, WithoutProbesUsedAtOnce) {
  remake(config());
  EXPECT_TRUE(net->is_local(ip(kUs4)));
  sink.sent.clear();
  net->start(at(1));
  const Sent first = sent();
  EXPECT_TRUE(first.solicitations.empty());
  EXPECT_EQ(first.advertisements.size(), 2u);
  ASSERT_EQ(first.arps.size(), 1u);
  EXPECT_EQ(first.arps[0].sender, ip(kUs4));
}

// When the link comes back nothing is checked anew: connections would wait for it.
TEST_F(AddressTest, StartingAgainAnnouncesOnly) {
  pass();
  sink.sent.clear();
  net->start(at(50));
  EXPECT_TRUE(net->is_local(ip(kUs4)));
  const Sent again = sent();
  EXPECT_TRUE(again.solicitations.empty());
  EXPECT_EQ(again.arps.size(), 1u);
  EXPECT_EQ(again.advertisements.size(), 2u);
}

// One worker checks for all.
TEST_F(AddressTest, ReplicasFollowTheOwner) {
  InterfaceConfig c = checked();
  c.owner = false;
  RecordingSink other_sink;
  telemetry::CounterBlock other_counters;
  Interface replica(c, other_sink, other_counters);
  replica.start(at(1));
  replica.poll(at(10));
  EXPECT_TRUE(other_sink.sent.empty());
  EXPECT_FALSE(replica.is_local(ip(kUs4)));
  in(advertisement(kUs6), at(1.2));
  pass();
  replica.follow(net->address_mask());
  EXPECT_TRUE(replica.is_local(ip(kUs4)));
  EXPECT_FALSE(replica.is_local(ip(kUs6)));
  EXPECT_EQ(replica.address_mask(), net->address_mask());
}

}  // namespace
}  // namespace sluice::ip::test
