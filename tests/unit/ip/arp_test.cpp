// ARP: RFC 826, RFC 1122 section 2.3.2, RFC 5227.

#include "fixture.h"

namespace sluice::ip::test {
namespace {

using packet::ArpOperation;

class ArpTest : public InterfaceTest {};

TEST_F(ArpTest, Rfc826AnswersForItsAddressOnly) {
  EXPECT_EQ(in(arp_frame(ArpOperation::request, kPeerMac, "198.18.1.2", "198.18.1.1"), at(1)).kind,
            InputResult::Kind::consumed);
  const Bytes frame = next();
  const packet::ParsedFrame p = packet::parse_frame(frame);
  EXPECT_EQ(p.destination_mac, kPeerMac);
  EXPECT_EQ(p.source_mac, kOurMac);
  const auto arp = packet::parse_arp(p.l3(frame));
  ASSERT_TRUE(arp.has_value());
  EXPECT_EQ(arp->operation, ArpOperation::reply);
  EXPECT_EQ(arp->sender, ip("198.18.1.1"));
  EXPECT_EQ(arp->sender_mac, kOurMac);
  EXPECT_EQ(arp->target, ip("198.18.1.2"));
  EXPECT_EQ(arp->target_mac, kPeerMac);

  in(arp_frame(ArpOperation::request, kPeerMac, "198.18.1.2", "198.18.1.9"), at(1));
  EXPECT_TRUE(sink.sent.empty());
}

TEST_F(ArpTest, LearnsFromRequestsToUsButNotFromStrangers) {
  in(arp_frame(ArpOperation::request, kPeerMac, "198.18.1.2", "198.18.1.9"), at(1));
  EXPECT_FALSE(net->neighbour_state(ip("198.18.1.2")).has_value());
  // An answer nobody asked for.
  arp_reply(at(1));
  EXPECT_FALSE(net->neighbour_state(ip("198.18.1.2")).has_value());
  EXPECT_EQ(count(Counter::drop_arp_ignored), 2u);
  in(arp_frame(ArpOperation::request, kPeerMac, "198.18.1.2", "198.18.1.1"), at(1));
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::stale);
}

TEST_F(ArpTest, ProbeIsAnsweredAndNotLearnedRfc5227) {
  in(arp_frame(ArpOperation::request, kPeerMac, "0.0.0.0", "198.18.1.1"), at(1));
  EXPECT_EQ(next_arp().operation, ArpOperation::reply);
  EXPECT_FALSE(net->neighbour_state(ip("0.0.0.0")).has_value());
}

TEST_F(ArpTest, ImpossibleSendersAreRefused) {
  for (const char* sender :
       {"198.18.1.255", "198.18.1.0", "224.0.0.1", "10.0.0.1", "255.255.255.255"}) {
    EXPECT_EQ(in(arp_frame(ArpOperation::request, kPeerMac, sender, "198.18.1.1"), at(1)).drop,
              Drop::drop_arp)
        << sender;
  }
  Bytes group = arp_frame(ArpOperation::request, kPeerMac, "198.18.1.2", "198.18.1.1");
  group[22] = 0x01;  // sender hardware address becomes a group
  EXPECT_EQ(in(group, at(1)).drop, Drop::drop_arp);
  EXPECT_TRUE(sink.sent.empty());
}

// RFC 1122 section 2.3.2.2: the first packet waits instead of dying, or a SYN costs a second.
TEST_F(ArpTest, PacketWaitsForResolution) {
  net->poll(at(1));
  ASSERT_TRUE(send("198.18.1.2"));
  const packet::ArpPacket request = next_arp();
  EXPECT_EQ(request.operation, ArpOperation::request);
  EXPECT_EQ(request.target, ip("198.18.1.2"));
  EXPECT_EQ(request.sender, ip("198.18.1.1"));
  EXPECT_TRUE(sink.sent.empty());
  EXPECT_EQ(net->held_count(), 1u);

  arp_reply(at(1.001));
  const Bytes frame = next();
  const packet::ParsedFrame p = check(frame);
  EXPECT_EQ(p.destination_mac, kPeerMac);
  EXPECT_EQ(p.source_mac, kOurMac);
  EXPECT_EQ(p.destination, ip("198.18.1.2"));
  EXPECT_EQ(p.l4_length, 20);
  EXPECT_EQ(net->held_count(), 0u);
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::reachable);

  ASSERT_TRUE(send("198.18.1.2"));
  EXPECT_EQ(check(next()).destination_mac, kPeerMac);
}

// More waiters than the queue holds: the oldest dies, counted; nothing throws (Seastar #368).
TEST_F(ArpTest, Bug41_WaitingPacketsAreBoundedPerNeighbour) {
  net->poll(at(1));
  for (std::size_t i = 0; i < 600; ++i) ASSERT_TRUE(send("198.18.1.2", "198.18.1.1", i));
  EXPECT_EQ(net->held_count(), 3u);
  EXPECT_EQ(count(Counter::drop_neighbour_queue), 597u);
  EXPECT_EQ(sink.sent.size(), 1u);  // one request, however many wait
  sink.sent.clear();
  arp_reply(at(1.1));
  ASSERT_EQ(sink.sent.size(), 3u);
  for (const std::size_t payload : {597u, 598u, 599u}) {
    EXPECT_EQ(check(next()).l4_length, 20 + payload);  // the newest, in order
  }
}

TEST_F(ArpTest, Bug41_WaitingPacketsAreBoundedInAll) {
  net->poll(at(1));
  for (int host = 2; host < 102; ++host) {
    ASSERT_TRUE(send("198.18.1." + std::to_string(host)));
  }
  EXPECT_EQ(net->held_count(), 64u);
  EXPECT_EQ(count(Counter::drop_neighbour_queue), 36u);
}

// RFC 1122 section 2.3.2.1: at most one request a second and destination; then a while of silence.
TEST_F(ArpTest, ThreeRequestsOneSecondApartThenFailure) {
  net->poll(at(10));
  ASSERT_TRUE(send("198.18.1.2"));
  EXPECT_EQ(sink.sent.size(), 1u);
  EXPECT_EQ(net->next_deadline(), at(11));
  net->poll(at(10.999));
  EXPECT_EQ(sink.sent.size(), 1u);
  net->poll(at(11));
  EXPECT_EQ(sink.sent.size(), 2u);
  net->poll(at(12));
  EXPECT_EQ(sink.sent.size(), 3u);
  net->poll(at(13));
  EXPECT_EQ(sink.sent.size(), 3u);
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::failed);
  EXPECT_EQ(net->held_count(), 0u);
  EXPECT_EQ(count(Counter::neighbours_failed), 1u);
  EXPECT_EQ(count(Counter::drop_no_neighbour), 1u);

  // Negative state: packets are taken and dropped, no request is sent.
  ASSERT_TRUE(send("198.18.1.2"));
  EXPECT_EQ(count(Counter::drop_no_neighbour), 2u);
  EXPECT_EQ(sink.sent.size(), 3u);
  net->poll(at(16));
  EXPECT_FALSE(net->neighbour_state(ip("198.18.1.2")).has_value());
  ASSERT_TRUE(send("198.18.1.2"));
  EXPECT_EQ(sink.sent.size(), 4u);
}

TEST_F(ArpTest, LateAnswerRevivesAFailedNeighbour) {
  net->poll(at(10));
  send("198.18.1.2");
  for (int s = 11; s <= 13; ++s) net->poll(at(s));
  arp_reply(at(13.5));
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::reachable);
}

// RFC 4861 section 7.3.3, as RFC 1122 section 2.3.2.1 (2) allows for ARP: unicast probes.
TEST_F(ArpTest, StaleNeighbourIsUsedThenProbedThenForgotten) {
  net->poll(at(0));
  send("198.18.1.2");
  arp_reply(at(0));
  sink.sent.clear();
  net->poll(at(50));  // past any reachable time
  ASSERT_TRUE(send("198.18.1.2"));
  check(next());  // sent at once to the known MAC
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::delay);
  net->poll(at(55));
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::probe);
  const Bytes probe = next();
  EXPECT_EQ(packet::parse_frame(probe).destination_mac, kPeerMac);
  net->poll(at(56));
  net->poll(at(57));
  EXPECT_EQ(sink.sent.size(), 2u);
  net->poll(at(58));
  EXPECT_FALSE(net->neighbour_state(ip("198.18.1.2")).has_value());
}

TEST_F(ArpTest, AnsweredProbeMakesItReachable) {
  net->poll(at(0));
  send("198.18.1.2");
  arp_reply(at(0));
  net->poll(at(50));
  send("198.18.1.2");
  net->poll(at(55));
  arp_reply(at(55.1));
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::reachable);
}

TEST_F(ArpTest, ForwardProgressSparesTheProbeRfc4861Section7_3_1) {
  net->poll(at(0));
  send("198.18.1.2");
  arp_reply(at(0));
  net->poll(at(50));
  send("198.18.1.2");
  net->confirm(ip("198.18.1.2"), at(51));
  sink.sent.clear();
  net->poll(at(60));
  EXPECT_TRUE(sink.sent.empty());
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::reachable);
}

// RFC 4861 section 7.3.1 and RFC 9293 section 3.8.3: what TCP sees of the path is believed.
TEST_F(ArpTest, DoubtProbesAtOnceRfc9293Section3_8_3) {
  net->poll(at(0));
  send("198.18.1.2");
  arp_reply(at(0));
  sink.sent.clear();
  net->doubt(ip("198.18.1.2"), at(0.5));
  EXPECT_TRUE(sink.sent.empty());  // it answered just now: the trouble is elsewhere
  net->doubt(ip("198.18.1.2"), at(5));
  const Bytes probe = next();
  EXPECT_EQ(packet::parse_frame(probe).destination_mac, kPeerMac);
  net->doubt(ip("198.18.1.2"), at(5.1));
  EXPECT_TRUE(sink.sent.empty());  // being asked already
  net->poll(at(5.1));
  EXPECT_TRUE(send("198.18.1.2"));  // and used meanwhile
  EXPECT_EQ(check(next()).destination_mac, kPeerMac);
  arp_reply(at(5.2));
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::reachable);
  // Nobody there: three questions, then it is looked for from the start.
  net->doubt(ip("198.18.1.2"), at(10));
  net->poll(at(11));
  net->poll(at(12));
  EXPECT_EQ(sink.sent.size(), 3u);
  net->poll(at(13));
  EXPECT_FALSE(net->neighbour_state(ip("198.18.1.2")).has_value());
}

// A gateway whose address another machine took over, without a gratuitous ARP that reached us.
TEST_F(ArpTest, GatewayFailsOverAtTheFirstTimeout) {
  net->poll(at(0));
  send("203.0.113.9");
  arp_reply(at(0), "198.18.1.254");
  sink.sent.clear();
  net->doubt(ip("203.0.113.9"), at(4));
  const Bytes question = next();
  EXPECT_EQ(packet::parse_frame(question).destination_mac, packet::kBroadcastMac);
  arp_reply(at(4.01), "198.18.1.254", kOtherMac);
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.254")), NeighbourState::reachable);
  send("203.0.113.9");
  EXPECT_EQ(check(next()).destination_mac, kOtherMac);
}

TEST_F(ArpTest, ConfirmationsOfManyHostsReachTheirGateway) {
  net->poll(at(0));
  send("203.0.113.9");
  arp_reply(at(0), "198.18.1.254");
  sink.sent.clear();
  // Said for each acknowledgement, it costs a look-up once a second; it still counts.
  for (int ms = 0; ms < 100'000; ms += 10) {
    net->confirm(ip("203.0.113.9"), at(ms / 1000.0));
    net->poll(at(ms / 1000.0));
    if (ms % 1000 == 0) {
      send("203.0.113.10");
      EXPECT_EQ(net->neighbour_state(ip("198.18.1.254")), NeighbourState::reachable);
    }
  }
  for (const auto& frame : sink.sent) {
    EXPECT_EQ(packet::parse_frame(frame.bytes).network, packet::Network::ipv4);  // no question
  }
}

TEST_F(ArpTest, GratuitousArpMovesAKnownNeighbour) {
  net->poll(at(0));
  send("198.18.1.2");
  arp_reply(at(0));
  sink.sent.clear();
  in(arp_frame(ArpOperation::request, kOtherMac, "198.18.1.2", "198.18.1.2"), at(1));
  EXPECT_EQ(net->neighbour_state(ip("198.18.1.2")), NeighbourState::stale);
  send("198.18.1.2");
  EXPECT_EQ(check(next()).destination_mac, kOtherMac);
}

TEST_F(ArpTest, AnnouncesTwiceTwoSecondsApartRfc5227Section2_3) {
  InterfaceConfig c = config();
  c.addresses.pop_back();  // IPv4 only
  c.gateways.pop_back();
  remake(c);
  net->start(at(5));
  const packet::ArpPacket arp = next_arp();
  EXPECT_EQ(arp.operation, ArpOperation::request);
  EXPECT_EQ(arp.sender, ip("198.18.1.1"));
  EXPECT_EQ(arp.target, ip("198.18.1.1"));
  net->poll(at(6));
  EXPECT_TRUE(sink.sent.empty());
  net->poll(at(7));
  EXPECT_EQ(next_arp().target, ip("198.18.1.1"));
  net->poll(at(100));
  EXPECT_TRUE(sink.sent.empty());
}

TEST_F(ArpTest, ConflictIsCountedAndDefendedOnceInTenSecondsRfc5227Section2_4) {
  const Bytes claim = arp_frame(ArpOperation::request, kPeerMac, "198.18.1.1", "198.18.1.1");
  in(claim, at(1));
  EXPECT_EQ(next_arp().sender, ip("198.18.1.1"));
  in(claim, at(2));
  in(claim, at(10.9));
  EXPECT_TRUE(sink.sent.empty());
  in(claim, at(11));
  EXPECT_EQ(sink.sent.size(), 1u);
  EXPECT_EQ(count(Counter::address_conflicts), 4u);
  EXPECT_FALSE(net->neighbour_state(ip("198.18.1.1")).has_value());
}

TEST_F(ArpTest, FullTableGivesWayButNeverTheGateway) {
  InterfaceConfig c = config();
  c.addresses = {*IpPrefix::parse("198.18.0.1/15")};
  c.gateways = {ip("198.18.0.254")};
  c.neighbours = 32;
  remake(c);
  net->poll(at(0));
  const auto claim = [&](std::uint32_t n, double when) {
    Bytes frame = arp_frame(ArpOperation::request, kPeerMac, "198.18.0.9", "198.18.0.1");
    store_be32(&frame[28], 0xc6130000 + n);
    in(frame, at(when));
  };
  for (std::uint32_t n = 1; n < 5000; ++n) claim(n, 1);
  EXPECT_EQ(net->neighbour_count(), 32u);
  EXPECT_TRUE(net->neighbour_state(ip("198.18.0.254")).has_value());
  EXPECT_EQ(count(Counter::neighbours_evicted), 4999u - 31u);
}

TEST_F(ArpTest, SolicitationsAreRateLimitedOverall) {
  InterfaceConfig c = config();
  c.addresses = {*IpPrefix::parse("198.18.0.1/15")};
  remake(c);
  net->poll(at(0));
  for (int n = 0; n < 1000; ++n) {
    send("198.19." + std::to_string(n / 250) + "." + std::to_string(n % 250 + 1), "198.18.0.1");
  }
  EXPECT_LE(sink.sent.size(), 100u);
}

// The queue of held frames survives a moment without buffers.
TEST_F(ArpTest, StarvedSinkKeepsWhatWaits) {
  net->poll(at(1));
  send("198.18.1.2");
  sink.sent.clear();
  sink.starved = true;
  arp_reply(at(1.1));
  EXPECT_EQ(net->held_count(), 1u);
  EXPECT_FALSE(send("198.18.1.2"));  // order is kept: nobody overtakes
  sink.starved = false;
  EXPECT_LE(net->next_deadline(), at(1.2));
  net->poll(at(1.2));
  EXPECT_EQ(sink.sent.size(), 1u);
  EXPECT_EQ(net->held_count(), 0u);
}

// Replies reach one queue only; the others learn by ring (mTCP #97, #231, #286).
TEST_F(ArpTest, OwnerTellsTheReplicas) {
  InterfaceConfig c = config();
  c.shared = true;
  remake(c);
  c.owner = false;
  RecordingSink other_sink;
  telemetry::CounterBlock other_counters;
  Interface replica(c, other_sink, other_counters);
  replica.start(at(0));
  EXPECT_TRUE(other_sink.sent.empty());  // the owner speaks for all

  replica.poll(at(1));
  const Bytes tcp = tcp_segment();
  MutByteSpan room = replica.begin_l4(ip("198.18.1.1"), ip("198.18.1.2"), 6, tcp.size());
  ASSERT_EQ(room.size(), tcp.size());
  std::copy(tcp.begin(), tcp.end(), room.begin());
  store_be16(&room[16], 0);
  replica.end_l4();
  ASSERT_EQ(other_sink.sent.size(), 1u);
  other_sink.sent.clear();

  arp_reply(at(1.001));  // at the owner, which never asked
  const auto update = net->pop_update();
  ASSERT_TRUE(update.has_value());
  EXPECT_EQ(update->mac, kPeerMac);
  EXPECT_TRUE(update->reachable);
  EXPECT_FALSE(net->pop_update().has_value());

  replica.apply(*update, at(1.002));
  ASSERT_EQ(other_sink.sent.size(), 1u);
  EXPECT_EQ(check(other_sink.sent[0].bytes).destination_mac, kPeerMac);
  EXPECT_EQ(replica.neighbour_state(ip("198.18.1.2")), NeighbourState::reachable);
  EXPECT_FALSE(replica.pop_update().has_value());
}

TEST_F(ArpTest, UpdateQueueIsBounded) {
  InterfaceConfig c = config();
  c.shared = true;
  remake(c);
  for (int i = 0; i < 300; ++i) arp_reply(at(1));
  EXPECT_EQ(count(Counter::neighbour_updates_lost), 44u);
  int n = 0;
  while (net->pop_update()) ++n;
  EXPECT_EQ(n, 256);
}

}  // namespace
}  // namespace sluice::ip::test
