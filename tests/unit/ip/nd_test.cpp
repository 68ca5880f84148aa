// Neighbour discovery: RFC 4861, RFC 4862, RFC 6980, RFC 3810.

#include "fixture.h"

namespace sluice::ip::test {
namespace {

constexpr std::string_view kUs = "2001:db8:1::1";
constexpr std::string_view kPeer = "2001:db8:1::2";

void append_option(Bytes& icmp, std::uint8_t type, const MacAddress& mac) {
  icmp.push_back(type);
  icmp.push_back(1);
  icmp.insert(icmp.end(), mac.octets.begin(), mac.octets.end());
}

Bytes message(std::uint8_t type, std::uint8_t flags, const IpAddress& target) {
  Bytes icmp(24);
  icmp[0] = type;
  icmp[4] = flags;
  std::copy(target.mapped().begin(), target.mapped().end(), icmp.begin() + 8);
  return icmp;
}

class NdTest : public InterfaceTest {
 protected:
  static constexpr std::uint8_t kRouter = 0x80;
  static constexpr std::uint8_t kSolicited = 0x40;
  static constexpr std::uint8_t kOverride = 0x20;

  static Bytes solicitation(std::string_view from = kPeer, std::string_view target = kUs,
                            bool option = true, std::uint8_t hop_limit = 255) {
    Bytes icmp = message(packet::kIcmpv6NeighbourSolicitation, 0, ip(target));
    if (option) append_option(icmp, 1, kPeerMac);
    const IpAddress group = packet::solicited_node_multicast(ip(target));
    return ip_frame(ip(from), group, 58, icmp, packet::multicast_mac(group), hop_limit);
  }
  static Bytes advertisement(std::uint8_t flags, const MacAddress* mac = &kPeerMac,
                             std::string_view target = kPeer, std::string_view to = kUs) {
    Bytes icmp = message(packet::kIcmpv6NeighbourAdvertisement, flags, ip(target));
    if (mac != nullptr) append_option(icmp, 2, *mac);
    const IpAddress destination = ip(to);
    return ip_frame(ip(target), destination, 58, icmp,
                    destination.is_multicast() ? packet::multicast_mac(destination) : kOurMac, 255);
  }
  bool send6(std::string_view to = kPeer) { return send(to, kUs); }
  std::optional<NeighbourState> state() const { return net->neighbour_state(ip(kPeer)); }
  // Leaves the peer reachable at `now`, nothing in the sink.
  void resolve(Time now) {
    net->poll(now);
    send6();
    in(advertisement(kSolicited | kOverride), now);
    ASSERT_EQ(state(), NeighbourState::reachable);
    sink.sent.clear();
  }
};

TEST_F(NdTest, AnswersSolicitationsRfc4861Section7_2_4) {
  EXPECT_EQ(in(solicitation(), at(1)).kind, InputResult::Kind::consumed);
  const Bytes frame = next();
  const packet::ParsedFrame p = check(frame);
  EXPECT_EQ(p.ttl, 255);
  EXPECT_EQ(p.destination, ip(kPeer));
  EXPECT_EQ(p.source, ip(kUs));
  EXPECT_EQ(p.destination_mac, kPeerMac);
  const ByteSpan na = p.l4(frame);
  ASSERT_EQ(na.size(), 32u);
  EXPECT_EQ(na[0], 136);
  EXPECT_EQ(na[4], kRouter | kSolicited | kOverride);
  EXPECT_EQ(IpAddress::v6(na.subspan<8, 16>()), ip(kUs));
  EXPECT_EQ(na[24], 2);
  EXPECT_EQ(MacAddress::from(&na[26]), kOurMac);
  EXPECT_EQ(state(), NeighbourState::stale);  // section 7.2.3: learned, not confirmed
}

TEST_F(NdTest, SolicitationForOthersIsIgnored) {
  EXPECT_EQ(in(solicitation(kPeer, "2001:db8:1::7:1"), at(1)).drop, Drop::drop_link_destination);
  // Same solicited-node group as ours, another address.
  EXPECT_EQ(in(solicitation(kPeer, "2001:db8:1::5:0:1"), at(1)).drop, Drop::drop_nd_ignored);
  EXPECT_TRUE(sink.sent.empty());
  EXPECT_FALSE(state().has_value());
}

TEST_F(NdTest, ValidityChecksRfc4861Section7_1_1) {
  EXPECT_EQ(in(solicitation(kPeer, kUs, true, 254), at(1)).drop, Drop::drop_nd);
  Bytes code = message(135, 0, ip(kUs));
  code[1] = 1;
  EXPECT_EQ(in(ip_frame(ip(kPeer), ip(kUs), 58, code, kOurMac, 255), at(1)).drop, Drop::drop_nd);
  EXPECT_EQ(
      in(ip_frame(ip(kPeer), ip(kUs), 58, Bytes{135, 0, 0, 0, 0, 0, 0, 0}, kOurMac, 255), at(1))
          .drop,
      Drop::drop_nd);
  Bytes group_target = message(135, 0, ip("ff02::5"));
  EXPECT_EQ(in(ip_frame(ip(kPeer), ip(kUs), 58, group_target, kOurMac, 255), at(1)).drop,
            Drop::drop_nd);
  Bytes empty_option = message(135, 0, ip(kUs));
  empty_option.insert(empty_option.end(), 8, 0);
  EXPECT_EQ(in(ip_frame(ip(kPeer), ip(kUs), 58, empty_option, kOurMac, 255), at(1)).drop,
            Drop::drop_nd);
  Bytes long_option = message(135, 0, ip(kUs));
  append_option(long_option, 1, kPeerMac);
  long_option[25] = 2;
  EXPECT_EQ(in(ip_frame(ip(kPeer), ip(kUs), 58, long_option, kOurMac, 255), at(1)).drop,
            Drop::drop_nd);
  // From the unspecified address: no link-layer option, and only to the solicited-node group.
  EXPECT_EQ(in(solicitation("::", kUs, true), at(1)).drop, Drop::drop_nd);
  EXPECT_EQ(in(ip_frame(ip("::"), ip(kUs), 58, message(135, 0, ip(kUs)), kOurMac, 255), at(1)).drop,
            Drop::drop_nd);
  Bytes bad_sum = solicitation();
  bad_sum.back() ^= 1;
  EXPECT_EQ(in(bad_sum, at(1)).drop, Drop::drop_l4_checksum);
  EXPECT_TRUE(sink.sent.empty());
}

TEST_F(NdTest, FragmentedDiscoveryIsDroppedRfc6980) {
  Bytes icmp = message(135, 0, ip(kUs));
  append_option(icmp, 1, kPeerMac);
  store_be16(&icmp[2], packet::l4_checksum(ip(kPeer), ip(kUs), 58, icmp));
  Bytes atomic = {58, 0, 0, 0, 1, 2, 3, 4};
  atomic.insert(atomic.end(), icmp.begin(), icmp.end());
  Bytes frame = ip_frame(ip(kPeer), ip(kUs), packet::kFragment, atomic, kOurMac, 255);
  // ip_frame() filled in a "checksum" where the fragment offset stands.
  store_be16(&frame[14 + 40 + 2], 0);
  EXPECT_EQ(in(frame, at(1)).drop, Drop::drop_nd);
}

TEST_F(NdTest, ResolvesThroughTheSolicitedNodeGroupRfc4861Section7_2_2) {
  net->poll(at(1));
  ASSERT_TRUE(send6());
  const Bytes frame = next();
  const packet::ParsedFrame p = check(frame);
  EXPECT_EQ(p.destination, ip("ff02::1:ff00:2"));
  EXPECT_EQ(p.destination_mac.to_string(), "33:33:ff:00:00:02");
  EXPECT_EQ(p.source, ip(kUs));
  EXPECT_EQ(p.ttl, 255);
  const ByteSpan ns = p.l4(frame);
  EXPECT_EQ(IpAddress::v6(ns.subspan<8, 16>()), ip(kPeer));
  EXPECT_EQ(ns[24], 1);
  EXPECT_EQ(MacAddress::from(&ns[26]), kOurMac);

  in(advertisement(kSolicited | kOverride), at(1.001));
  EXPECT_EQ(state(), NeighbourState::reachable);
  const packet::ParsedFrame data = check(next());
  EXPECT_EQ(data.destination_mac, kPeerMac);
  EXPECT_EQ(data.protocol, 6);
}

TEST_F(NdTest, ThreeSolicitationsThenFailure) {
  net->poll(at(10));
  send6();
  for (int s = 11; s <= 13; ++s) net->poll(at(s));
  EXPECT_EQ(sink.sent.size(), 3u);
  EXPECT_EQ(state(), NeighbourState::failed);
}

// RFC 4861 section 7.2.5, line by line.
TEST_F(NdTest, AdvertisementForNobodyKnownCreatesNothing) {
  EXPECT_EQ(in(advertisement(kSolicited | kOverride), at(1)).drop, Drop::drop_nd_ignored);
  EXPECT_FALSE(state().has_value());
}

TEST_F(NdTest, IncompleteNeedsAnAddress) {
  net->poll(at(1));
  send6();
  in(advertisement(kSolicited | kOverride, nullptr), at(1));
  EXPECT_EQ(state(), NeighbourState::incomplete);
  in(advertisement(0), at(1));  // unsolicited, no override: still the first to tell
  EXPECT_EQ(state(), NeighbourState::stale);
}

TEST_F(NdTest, WithoutOverrideAnotherAddressOnlyCastsDoubt) {
  resolve(at(0));
  in(advertisement(kSolicited, &kOtherMac), at(1));
  EXPECT_EQ(state(), NeighbourState::stale);
  send6();
  EXPECT_EQ(check(next()).destination_mac, kPeerMac);
  in(advertisement(kSolicited, &kOtherMac), at(1));
  EXPECT_EQ(state(), NeighbourState::delay);  // not reachable: no change at all
}

TEST_F(NdTest, OverrideTakesAnotherAddress) {
  resolve(at(0));
  in(advertisement(kOverride, &kOtherMac, kPeer, "ff02::1"), at(1));
  EXPECT_EQ(state(), NeighbourState::stale);
  send6();
  EXPECT_EQ(check(next()).destination_mac, kOtherMac);
  in(advertisement(kSolicited | kOverride, &kPeerMac), at(2));
  EXPECT_EQ(state(), NeighbourState::reachable);
}

TEST_F(NdTest, SolicitedToAGroupIsInvalidRfc4861Section7_1_2) {
  EXPECT_EQ(in(advertisement(kSolicited, &kPeerMac, kPeer, "ff02::1"), at(1)).drop, Drop::drop_nd);
}

TEST_F(NdTest, UnicastProbesRfc4861Section7_3_3) {
  resolve(at(0));
  net->poll(at(50));
  send6();
  EXPECT_EQ(state(), NeighbourState::delay);
  sink.sent.clear();
  net->poll(at(55));
  EXPECT_EQ(state(), NeighbourState::probe);
  const packet::ParsedFrame p = check(next());
  EXPECT_EQ(p.destination, ip(kPeer));
  EXPECT_EQ(p.destination_mac, kPeerMac);
  in(advertisement(kSolicited, nullptr), at(55.1));
  EXPECT_EQ(state(), NeighbourState::reachable);
}

TEST_F(NdTest, GatewayFailsOverAtTheFirstTimeout) {
  const std::string_view gateway = "2001:db8:1::fe";
  net->poll(at(0));
  send("2001:db8:99::1", kUs);
  in(advertisement(kSolicited | kOverride | kRouter, &kPeerMac, gateway), at(0));
  sink.sent.clear();
  net->doubt(ip("2001:db8:99::1"), at(4));
  const Bytes question = next();
  EXPECT_EQ(check(question).destination, packet::solicited_node_multicast(ip(gateway)));
  in(advertisement(kSolicited | kOverride | kRouter, &kOtherMac, gateway), at(4.01));
  send("2001:db8:99::1", kUs);
  EXPECT_EQ(check(next()).destination_mac, kOtherMac);
}

TEST_F(NdTest, RouterMessagesAreIgnored) {
  for (const std::uint8_t type : std::initializer_list<std::uint8_t>{133, 134, 137}) {
    Bytes icmp(40);
    icmp[0] = type;
    EXPECT_EQ(
        in(ip_frame(ip("fe80::2"), ip("ff02::1"), 58, icmp, {{0x33, 0x33, 0, 0, 0, 1}}, 255), at(1))
            .drop,
        Drop::drop_nd_ignored);
  }
}

TEST_F(NdTest, ListensToItsGroupsAndOwnsALinkLocalAddress) {
  EXPECT_TRUE(net->is_local(ip("fe80::ff:fe00:1")));
  std::vector<std::string> macs;
  for (const MacAddress& mac : net->multicast_macs()) macs.push_back(mac.to_string());
  EXPECT_EQ(macs, (std::vector<std::string>{"33:33:00:00:00:01", "33:33:ff:00:00:01"}));
  InterfaceConfig c = config();
  c.addresses = {*IpPrefix::parse("198.18.1.1/24")};
  remake(c);
  EXPECT_TRUE(net->multicast_macs().empty());
}

// RFC 4861 section 7.2.6, RFC 3810 section 6.1.
TEST_F(NdTest, StartAnnounces) {
  InterfaceConfig c = config();
  c.addresses.erase(c.addresses.begin());
  c.gateways.clear();
  remake(c);
  net->start(at(1));
  ASSERT_EQ(sink.sent.size(), 3u);
  const Bytes report = next();
  packet::ParsedFrame p = check(report);
  EXPECT_EQ(p.destination, ip("ff02::16"));
  EXPECT_EQ(p.source, ip("fe80::ff:fe00:1"));
  EXPECT_EQ(p.ttl, 1);
  EXPECT_EQ(p.icmp_type, 143);
  EXPECT_EQ(load_be16(&p.l4(report)[6]), 1);
  EXPECT_EQ(IpAddress::v6(p.l4(report).subspan<12, 16>()), ip("ff02::1:ff00:1"));

  const Bytes announcement = next();
  p = check(announcement);
  EXPECT_EQ(p.destination, ip("ff02::1"));
  EXPECT_EQ(p.source, ip(kUs));
  EXPECT_EQ(p.l4(announcement)[4], kRouter | kOverride);
  sink.sent.clear();

  net->poll(at(2));
  ASSERT_EQ(sink.sent.size(), 3u);  // the report once more
  net->poll(at(3));
  ASSERT_EQ(sink.sent.size(), 5u);  // MAX_NEIGHBOR_ADVERTISEMENT
  net->poll(at(100));
  EXPECT_EQ(sink.sent.size(), 5u);
}

TEST_F(NdTest, DuplicateProbeIsAnsweredToAllNodesRfc4862Section5_4_3) {
  in(solicitation("::", kUs, false), at(1));
  const Bytes frame = next();
  const packet::ParsedFrame p = check(frame);
  EXPECT_EQ(p.destination, ip("ff02::1"));
  EXPECT_EQ(p.l4(frame)[4] & kSolicited, 0);
}

TEST_F(NdTest, AdvertisementOfOurAddressIsAConflict) {
  in(advertisement(kOverride, &kPeerMac, kUs, "ff02::1"), at(1));
  EXPECT_EQ(count(Counter::address_conflicts), 1u);
  EXPECT_EQ(check(next()).destination, ip("ff02::1"));
  EXPECT_FALSE(net->neighbour_state(ip(kUs)).has_value());
}

TEST_F(NdTest, MulticastListenerQueryIsAnsweredRfc3810) {
  Bytes query(28);
  query[0] = 130;
  const MacAddress all{{0x33, 0x33, 0, 0, 0, 1}};
  in(ip_frame(ip("fe80::2"), ip("ff02::1"), 58, query, all, 1), at(1));
  EXPECT_EQ(check(next()).icmp_type, 143);
  in(ip_frame(ip("fe80::2"), ip("ff02::1"), 58, query, all, 1), at(1.5));
  EXPECT_TRUE(sink.sent.empty());  // one a second
  EXPECT_EQ(in(ip_frame(ip(kPeer), ip("ff02::1"), 58, query, all, 64), at(3)).drop, Drop::drop_nd);
}

TEST_F(NdTest, OffLinkSourcesAreNotLearned) {
  in(solicitation("2001:db8:77::1"), at(1));
  EXPECT_FALSE(net->neighbour_state(ip("2001:db8:77::1")).has_value());
  EXPECT_EQ(sink.sent.size(), 1u);  // answered where the question came from
}

TEST_F(NdTest, AnswerToAnotherWorkersQuestionIsTaken) {
  InterfaceConfig c = config();
  c.shared = true;
  remake(c);
  in(advertisement(kSolicited | kOverride | kRouter), at(1));
  const auto update = net->pop_update();
  ASSERT_TRUE(update.has_value());
  EXPECT_EQ(update->address, ip(kPeer));
  EXPECT_EQ(update->mac, kPeerMac);
  EXPECT_TRUE(update->router);
}

TEST_F(NdTest, GatewayByLinkLocalAddress) {
  InterfaceConfig c = config();
  c.gateways = {ip("fe80::fe")};
  remake(c);
  net->poll(at(1));
  ASSERT_TRUE(send("2001:db8:99::1", kUs));
  const Bytes frame = next();
  const packet::ParsedFrame p = check(frame);
  EXPECT_EQ(p.source, ip("fe80::ff:fe00:1"));
  EXPECT_EQ(IpAddress::v6(p.l4(frame).subspan<8, 16>()), ip("fe80::fe"));
}

}  // namespace
}  // namespace sluice::ip::test
