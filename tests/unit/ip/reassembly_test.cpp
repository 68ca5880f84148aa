// Reassembly: RFC 791, RFC 815, RFC 1858, RFC 5722, RFC 8200 section 4.5.

#include "ip/reassembly.h"

#include <algorithm>
#include <random>

#include "fixture.h"

namespace sluice::ip::test {
namespace {

using Verdict = Reassembler::Verdict;

packet::ParsedFrame fragment(std::uint32_t offset, bool more, std::uint32_t id = 1,
                             std::uint8_t ecn = 0) {
  packet::ParsedFrame p;
  p.network = packet::Network::ipv6;
  p.protocol = 17;
  p.source = ip("2001:db8:1::2");
  p.destination = ip("2001:db8:1::1");
  p.fragment = true;
  p.more_fragments = more;
  p.fragment_offset = static_cast<std::uint16_t>(offset);
  p.fragment_id = id;
  p.tos = ecn;
  return p;
}

Bytes ramp(std::size_t n, std::size_t from = 0) {
  Bytes b(n);
  for (std::size_t i = 0; i < n; ++i) b[i] = static_cast<std::uint8_t>((from + i) * 7);
  return b;
}

TEST(Reassembly, AnyOrder) {
  const Bytes whole = ramp(20 * 48 + 5);
  std::vector<std::size_t> order(21);
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::mt19937 random(4);
  for (std::uint32_t round = 0; round < 50; ++round) {
    Reassembler r;
    std::shuffle(order.begin(), order.end(), random);
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::size_t at_byte = order[i] * 48;
      const ByteSpan piece =
          ByteSpan{whole}.subspan(at_byte, std::min<std::size_t>(48, whole.size() - at_byte));
      const auto result =
          r.add(fragment(static_cast<std::uint32_t>(at_byte), order[i] != 20, round), piece, at(1));
      if (i + 1 < order.size()) {
        ASSERT_EQ(result.verdict, Verdict::incomplete);
      } else {
        ASSERT_EQ(result.verdict, Verdict::complete);
        ASSERT_TRUE(
            std::equal(result.payload.begin(), result.payload.end(), whole.begin(), whole.end()));
        EXPECT_EQ(result.protocol, 17);
      }
    }
    EXPECT_EQ(r.expire(at(1)), 0u);
    EXPECT_EQ(r.pending(), 0u);
  }
}

TEST(Reassembly, OverlapKillsTheDatagramRfc5722) {
  Reassembler r;
  EXPECT_EQ(r.add(fragment(0, true), ramp(16), at(1)).verdict, Verdict::incomplete);
  EXPECT_EQ(r.add(fragment(8, true), ramp(16), at(1)).verdict, Verdict::dropped);
  // What would complete it comes too late.
  EXPECT_EQ(r.add(fragment(16, false), ramp(8), at(1)).verdict, Verdict::dropped);
}

TEST(Reassembly, ExactDuplicatesAreHarmless) {
  Reassembler r;
  r.add(fragment(0, true), ramp(16), at(1));
  EXPECT_EQ(r.add(fragment(0, true), ramp(16), at(1)).verdict, Verdict::duplicate);
  EXPECT_EQ(r.add(fragment(16, false), ramp(3, 16), at(1)).verdict, Verdict::complete);
}

TEST(Reassembly, DataBehindTheEnd) {
  Reassembler r;
  r.add(fragment(32, true), ramp(16), at(1));
  EXPECT_EQ(r.add(fragment(8, false), ramp(8), at(1)).verdict, Verdict::dropped);
  r.add(fragment(8, false, 2), ramp(8), at(1));
  EXPECT_EQ(r.add(fragment(16, true, 2), ramp(8), at(1)).verdict, Verdict::dropped);
  r.add(fragment(8, false, 3), ramp(8), at(1));
  EXPECT_EQ(r.add(fragment(24, false, 3), ramp(8), at(1)).verdict, Verdict::dropped);
}

TEST(Reassembly, OddLengthsAndEmptyFragments) {
  Reassembler r;
  EXPECT_EQ(r.add(fragment(0, true), ramp(15), at(1)).verdict, Verdict::dropped);
  EXPECT_EQ(r.add(fragment(0, true), {}, at(1)).verdict, Verdict::dropped);
  EXPECT_EQ(r.pending(), 0u);
}

// "Ping of death": the sum of offset and length over 65535.
TEST(Reassembly, LargestDatagram) {
  Reassembler r;
  EXPECT_EQ(r.add(fragment(65528, false), ramp(8), at(1)).verdict, Verdict::dropped);
  EXPECT_EQ(r.add(fragment(65528, false, 2), ramp(7), at(1)).verdict, Verdict::incomplete);
}

TEST(Reassembly, FragmentCountIsBounded) {
  Reassembler r;
  for (std::uint32_t i = 0; i < 64; ++i) {
    ASSERT_EQ(r.add(fragment(i * 16, true), ramp(8), at(1)).verdict, Verdict::incomplete);
  }
  EXPECT_EQ(r.add(fragment(64 * 16, true), ramp(8), at(1)).verdict, Verdict::dropped);
}

TEST(Reassembly, DatagramCountIsBoundedAndTheOldestGoes) {
  Reassembler r;
  for (std::uint32_t id = 0; id < 100; ++id) {
    r.add(fragment(0, true, id), ramp(8), at(1 + id * 0.01));
  }
  EXPECT_EQ(r.pending(), 64u);
  EXPECT_EQ(r.take_evicted(), 36u);
  EXPECT_EQ(r.take_evicted(), 0u);
  EXPECT_EQ(r.add(fragment(8, false, 99), ramp(8), at(3)).verdict, Verdict::complete);
  EXPECT_EQ(r.add(fragment(8, false, 10), ramp(8), at(3)).verdict, Verdict::incomplete);
}

TEST(Reassembly, TimesOut) {
  Reassembler r;
  r.add(fragment(0, true), ramp(8), at(1));
  EXPECT_EQ(r.next_deadline(), at(31));
  r.add(fragment(16, true), ramp(8), at(20));  // does not prolong
  EXPECT_EQ(r.expire(at(30.9)), 0u);
  EXPECT_EQ(r.expire(at(31)), 1u);
  EXPECT_EQ(r.next_deadline(), kNever);
}

// RFC 3168 section 5.3.
TEST(Reassembly, CongestionMarks) {
  Reassembler r;
  r.add(fragment(0, true, 1, 2), ramp(8), at(1));
  EXPECT_EQ(r.add(fragment(8, false, 1, 3), ramp(8), at(1)).ecn, 3);
  r.add(fragment(0, true, 2, 0), ramp(8), at(1));
  EXPECT_EQ(r.add(fragment(8, false, 2, 3), ramp(8), at(1)).verdict, Verdict::dropped);
}

class FragmentTest : public InterfaceTest {
 protected:
  // The UDP datagram's IPv4 fragments, `size` bytes each.
  static std::vector<Bytes> fragments_v4(std::size_t payload, std::size_t size) {
    const Bytes whole = ip_frame(ip("198.18.1.2"), ip("198.18.1.1"), 17, udp_datagram(payload));
    std::vector<Bytes> out;
    const std::size_t data = whole.size() - 34;
    for (std::size_t from = 0; from < data; from += size) {
      const std::size_t n = std::min(size, data - from);
      Bytes frame(whole.begin(), whole.begin() + 34);
      frame.insert(frame.end(), whole.begin() + static_cast<std::ptrdiff_t>(34 + from),
                   whole.begin() + static_cast<std::ptrdiff_t>(34 + from + n));
      store_be16(&frame[16], static_cast<std::uint16_t>(20 + n));
      store_be16(&frame[18], 77);
      store_be16(&frame[20], static_cast<std::uint16_t>((from + n < data ? 0x2000 : 0) | from / 8));
      store_be16(&frame[24], 0);
      store_be16(&frame[24], packet::checksum(ByteSpan{frame}.subspan(14, 20)));
      out.push_back(frame);
    }
    return out;
  }
};

TEST_F(FragmentTest, DatagramFromFragments) {
  const auto frames = fragments_v4(4000, 1480);
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(in(frames[2], at(1)).kind, InputResult::Kind::consumed);
  EXPECT_EQ(in(frames[0], at(1)).kind, InputResult::Kind::consumed);
  const InputResult r = in(frames[1], at(1));
  ASSERT_EQ(r.kind, InputResult::Kind::packet);
  EXPECT_TRUE(r.packet.reassembled);
  EXPECT_TRUE(r.packet.checksum_verified);
  EXPECT_EQ(r.packet.bytes.size(), 4008u);
  EXPECT_EQ(r.packet.destination_port, 53);
  EXPECT_EQ(count(Counter::datagrams_reassembled), 1u);
}

TEST_F(FragmentTest, MissingFragmentIsCountedAfterThirtySeconds) {
  in(fragments_v4(4000, 1480)[0], at(1));
  EXPECT_EQ(net->next_deadline(), at(31));
  net->poll(at(31));
  EXPECT_EQ(count(Counter::drop_fragment_timeout), 1u);
}

// RFC 1122 section 3.3.2 and RFC 8200 section 4.5: time exceeded, code 1, if the first piece came.
TEST_F(FragmentTest, TimeExceededQuotesTheFirstPiece) {
  for (const bool ipv6 : {false, true}) {
    const IpAddress peer = ip(ipv6 ? "2001:db8:1::2" : "198.18.1.2");
    const IpAddress us = ip(ipv6 ? "2001:db8:1::1" : "198.18.1.1");
    remake(config());
    sink.sent.clear();
    const Bytes udp = udp_datagram(2000);
    in(fragment_frame(peer, us, 17, ByteSpan{udp}.first(1200), 0, true), at(1));
    net->poll(at(31));
    // The peer's MAC is asked for first.
    if (ipv6) {
      Bytes na(32);
      na[0] = packet::kIcmpv6NeighbourAdvertisement;
      na[4] = 0x60;
      std::copy(peer.mapped().begin(), peer.mapped().end(), na.begin() + 8);
      na[24] = 2;
      na[25] = 1;
      std::copy(kPeerMac.octets.begin(), kPeerMac.octets.end(), na.begin() + 26);
      in(ip_frame(peer, us, 58, na, kOurMac, 255), at(31));
    } else {
      arp_reply(at(31));
    }
    ASSERT_GE(sink.sent.size(), 2u);
    const Bytes error = sink.sent.back().bytes;
    const packet::ParsedFrame p = check(error);
    EXPECT_EQ(p.destination, peer);
    const ByteSpan icmp = p.l4(error);
    EXPECT_EQ(icmp[0], ipv6 ? 3 : 11);
    EXPECT_EQ(icmp[1], 1);
    // What it quotes is the piece again: its own headers and its first bytes.
    const Bytes piece = fragment_frame(peer, us, 17, ByteSpan{udp}.first(1200), 0, true);
    const std::size_t header = ipv6 ? 48 : 20;
    ASSERT_GE(icmp.size(), 8 + header + 8);
    EXPECT_TRUE(std::equal(icmp.begin() + 8, icmp.end(), piece.begin() + 14));
  }
}

TEST_F(FragmentTest, NoErrorWithoutTheFirstPiece) {
  const auto frames = fragments_v4(4000, 1480);
  in(frames[1], at(1));
  net->poll(at(31));
  EXPECT_EQ(count(Counter::drop_fragment_timeout), 1u);
  EXPECT_TRUE(sink.sent.empty());
  EXPECT_EQ(count(Counter::icmp_errors_sent), 0u);
}

// RFC 8200 section 4.5: parameter problem, code 0, at the payload length or the fragment offset.
TEST_F(FragmentTest, ImpossiblePiecesAreTold) {
  const IpAddress peer = ip("2001:db8:1::2");
  const IpAddress us = ip("2001:db8:1::1");
  const auto told = [&](const Bytes& frame) {
    EXPECT_EQ(in(frame, at(1)).drop, Drop::drop_fragment);
    // It waits for the peer's MAC; then it is there.
    Bytes na(32);
    na[0] = packet::kIcmpv6NeighbourAdvertisement;
    na[4] = 0x60;
    std::copy(peer.mapped().begin(), peer.mapped().end(), na.begin() + 8);
    na[24] = 2;
    na[25] = 1;
    std::copy(kPeerMac.octets.begin(), kPeerMac.octets.end(), na.begin() + 26);
    in(ip_frame(peer, us, 58, na, kOurMac, 255), at(1));
    const Bytes error = sink.sent.back().bytes;
    const packet::ParsedFrame p = check(error);
    EXPECT_EQ(p.l4(error)[0], 4);
    EXPECT_EQ(p.l4(error)[1], 0);
    return load_be32(&p.l4(error)[4]);
  };
  EXPECT_EQ(told(fragment_frame(peer, us, 17, Bytes(13), 0, true)), 4u);
  EXPECT_EQ(told(fragment_frame(peer, us, 17, Bytes(16), 65528, false)), 42u);
}

TEST_F(FragmentTest, Ipv6WithOptionsBehindTheFragmentHeader) {
  Bytes inner = {17, 0, 1, 4, 0, 0, 0, 0};  // destination options, then UDP
  Bytes udp = udp_datagram(40);
  store_be16(&udp[6], packet::l4_checksum(ip("2001:db8:1::2"), ip("2001:db8:1::1"), 17, udp));
  inner.insert(inner.end(), udp.begin(), udp.end());
  const auto piece = [&](std::size_t from, std::size_t n, bool more) {
    Bytes body = {60, 0, 0, 0, 0, 0, 0, 9};
    body.insert(body.end(), inner.begin() + static_cast<std::ptrdiff_t>(from),
                inner.begin() + static_cast<std::ptrdiff_t>(from + n));
    Bytes frame = ip_frame(ip("2001:db8:1::2"), ip("2001:db8:1::1"), packet::kFragment, body);
    store_be16(&frame[56], static_cast<std::uint16_t>(from | (more ? 1 : 0)));
    return frame;
  };
  EXPECT_EQ(in(piece(24, inner.size() - 24, false), at(1)).kind, InputResult::Kind::consumed);
  const InputResult r = in(piece(0, 24, true), at(1));
  ASSERT_EQ(r.kind, InputResult::Kind::packet);
  EXPECT_EQ(r.packet.protocol, 17);
  EXPECT_EQ(r.packet.bytes.size(), 48u);
}

}  // namespace
}  // namespace sluice::ip::test
