#include "line.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "packet_view.h"
#include "test_packets.h"

namespace sluice::impair {
namespace {

struct Arrival {
  std::uint32_t seq;
  Time at;
  Bytes packet;
};

Time at(std::int64_t us) { return Time{Micros{us}}; }

Profile profile(std::string_view text) {
  const auto parsed = Profile::parse(text);
  EXPECT_TRUE(parsed.has_value()) << parsed.error();
  return parsed.value_or(Profile{});
}

// Packet i goes in at i * spacing with sequence number i; what comes out until the line is empty.
class LineTest : public ::testing::Test {
 protected:
  std::vector<Arrival> run(std::string_view text, std::uint32_t packets, Micros spacing = Millis{1},
                           std::uint64_t seed = 1) {
    line_.emplace(profile(text), seed);
    std::vector<Arrival> out;
    for (std::uint32_t i = 0; i < packets; ++i) {
      const Time now = Time{} + i * spacing;
      drain(now, out);
      EXPECT_FALSE(line_->push(make_segment(i, kAck, 100), now).has_value());
    }
    drain(kNever - Micros{1}, out);
    EXPECT_EQ(line_->in_flight(), 0u);
    return out;
  }
  void drain(Time until, std::vector<Arrival>& out) {
    while (line_->next() <= until) {
      const Time when = line_->next();
      EXPECT_FALSE(line_->pop(when - Micros{1}).has_value()) << "too early";
      std::optional<Bytes> packet = line_->pop(when);
      ASSERT_TRUE(packet.has_value()) << "next() promised one";
      out.push_back({load_be32(&(*packet)[24]), when, std::move(*packet)});
    }
  }
  std::vector<std::uint32_t> order(std::string_view text, std::uint32_t packets) {
    std::vector<std::uint32_t> seqs;
    for (const Arrival& a : run(text, packets)) seqs.push_back(a.seq);
    return seqs;
  }
  const LineStats& stats() const { return line_->stats(); }

  std::optional<Line> line_;
};

using Order = std::vector<std::uint32_t>;

TEST_F(LineTest, WithoutImpairmentsItOnlyDelays) {
  const auto out = run("delay=20ms", 10);
  ASSERT_EQ(out.size(), 10u);
  for (std::uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(out[i].packet, make_segment(i, kAck, 100));
    EXPECT_EQ(out[i].at, at(1000 * i + 20'000));
  }
  EXPECT_EQ(stats().offered, 10u);
  EXPECT_EQ(stats().delivered, 10u);
  EXPECT_EQ(stats().dropped(), 0u);
}

TEST_F(LineTest, SameSeedSameRunAndOtherSeedOtherRun) {
  const char* text =
      "loss=0.1 gilbert=0.05/0.3/0/0.9 duplicate=0.1 corrupt=0.1 reorder=0.2/3 jitter=3ms";
  const auto first = run(text, 500), second = run(text, 500), other = run(text, 500, Millis{1}, 2);
  const auto same = [](const Arrival& a, const Arrival& b) {
    return a.at == b.at && a.packet == b.packet;
  };
  EXPECT_TRUE(std::equal(first.begin(), first.end(), second.begin(), second.end(), same));
  EXPECT_FALSE(std::equal(first.begin(), first.end(), other.begin(), other.end(), same));
}

TEST_F(LineTest, LossIsIndependentOfTheOtherFaults) {
  Order plain = order("loss=0.1", 1000);
  Order jittered = order("loss=0.1 jitter=5ms reorder=0.1/2", 1000);
  std::sort(jittered.begin(), jittered.end());
  EXPECT_EQ(plain, jittered) << "the same packets are lost when another fault is added";
  EXPECT_GT(stats().loss, 70u);
  EXPECT_LT(stats().loss, 130u);
  EXPECT_EQ(stats().lost_payload, stats().loss * 100);
}

TEST_F(LineTest, GilbertElliottLosesInBursts) {
  // A quarter of the time bad, and then everything is lost: bursts of four on average.
  const Order arrived = order("gilbert=0.083333/0.25", 20'000);
  const std::size_t lost = 20'000 - arrived.size();
  std::size_t bursts = 0;
  for (std::size_t i = 1; i < arrived.size(); ++i) bursts += arrived[i] != arrived[i - 1] + 1;
  EXPECT_NEAR(static_cast<double>(lost) / 20'000, 0.25, 0.02);
  EXPECT_NEAR(static_cast<double>(lost) / static_cast<double>(bursts), 4, 0.3);
  EXPECT_EQ(stats().burst, lost);
}

TEST_F(LineTest, GilbertElliottBurstEndsInSilence) {
  // Once bad it stays bad, for whoever goes on sending.
  EXPECT_EQ(run("gilbert=0.5/0", 1000, Millis{99}).size(), order("gilbert=0.5/0", 1000).size());
  EXPECT_NEAR(static_cast<double>(run("gilbert=0.5/0", 1000, Millis{100}).size()), 500, 50);
}

TEST_F(LineTest, DuplicatesAreCopies) {
  const auto out = run("duplicate=1", 5);
  ASSERT_EQ(out.size(), 10u);
  for (std::size_t i = 0; i < 10; i += 2) EXPECT_EQ(out[i].packet, out[i + 1].packet);
}

TEST_F(LineTest, CorruptionFlipsOneBit) {
  for (const Arrival& a : run("corrupt=1", 200)) {
    // The order of arrival is the order of sending here.
    const Bytes original =
        make_segment(static_cast<std::uint32_t>((a.at - Time{}) / Millis{1}), kAck, 100);
    ASSERT_EQ(a.packet.size(), original.size());
    int bits = 0;
    for (std::size_t i = 0; i < original.size(); ++i)
      bits += std::popcount(static_cast<unsigned>(a.packet[i] ^ original[i]));
    EXPECT_EQ(bits, 1);
  }
  EXPECT_EQ(stats().corrupted, 200u);
  EXPECT_EQ(stats().lost_payload, 200u * 100);
}

TEST_F(LineTest, ReorderingHoldsBackUntilKWentPast) {
  // Rules are exact where chance is not: only the third packet is held, by a rule with a delay.
  EXPECT_EQ(order("delay=1ms delay=2500us:nth=3", 7), (Order{0, 1, 3, 4, 2, 5, 6}));
  // By chance: each held packet comes behind exactly three that were sent later.
  const auto out = run("delay=1ms reorder=0.02/3", 2000, Micros{100});
  std::size_t held = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto later = std::count_if(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(i),
                                     [&](const Arrival& a) { return a.seq > out[i].seq; });
    if (later == 0) continue;
    ++held;
    EXPECT_GE(later, 3);
  }
  EXPECT_EQ(held, stats().reordered);
  EXPECT_GT(held, 20u);
}

TEST_F(LineTest, HeldPacketThatNothingFollowsArrivesAllTheSame) {
  const auto out = run("delay=1ms reorder=1/3", 1);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].at, at(11'000));
}

TEST_F(LineTest, JitterHasItsDistribution) {
  const auto extra = [&](std::string_view text) {
    std::vector<double> values;
    for (const Arrival& a : run(text, 20'000)) {
      values.push_back(static_cast<double>((a.at - at(a.seq * std::int64_t{1000})).count()));
    }
    std::sort(values.begin(), values.end());
    return values;
  };
  const auto uniform = extra("jitter=600us");
  EXPECT_LE(uniform.back(), 600);
  EXPECT_NEAR(uniform[10'000], 300, 15);
  EXPECT_NEAR(uniform[2'000], 60, 10);
  const auto normal = extra("jitter=600us/normal");
  EXPECT_NEAR(normal[10'000], 600, 5);
  EXPECT_NEAR(normal[16'827] - normal[3'173], 200, 10) << "one standard deviation is a sixth";
  const auto pareto = extra("jitter=600us/pareto");
  EXPECT_NEAR(pareto[10'000], 600, 20);
  EXPECT_GT(pareto[19'900], 15'000) << "the tail is heavy";
  EXPECT_LE(pareto.back(), 600 * 64);
}

TEST_F(LineTest, OrderedJitterOvertakesNothing) {
  const Order loose = order("jitter=20ms", 300);
  EXPECT_FALSE(std::is_sorted(loose.begin(), loose.end()));
  const Order tight = order("jitter=20ms ordered", 300);
  EXPECT_TRUE(std::is_sorted(tight.begin(), tight.end()));
}

TEST_F(LineTest, RateSpacesPacketsAndTheQueueDropsItsTail) {
  // 140 bytes at 140 kB/s take 1 ms; a burst of 10 finds one on the wire and room for 4.
  const auto out = run("rate=140000 queue=560 delay=5ms", 10, Micros{0});
  ASSERT_EQ(out.size(), 4u);
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(out[i].seq, i);
    EXPECT_EQ(out[i].at, at(5000 + 1000 * (i + 1)));
  }
  EXPECT_EQ(stats().queue_full, 6u);
  // At half the rate of arrival half gets through, never more.
  const auto half = run("rate=70000 queue=1000", 1000);
  EXPECT_NEAR(static_cast<double>(half.size()), 500, 10);
}

TEST_F(LineTest, MtuBlackHoleSaysNothing) {
  const auto out = run("mtu=139/silent", 3);
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(stats().too_big, 3u);
  EXPECT_EQ(run("mtu=140/silent", 3).size(), 3u);
}

TEST_F(LineTest, BlackoutLosesWhatIsSentInItsWindow) {
  EXPECT_EQ(order("delay=5ms blackout=2ms+3ms blackout=8ms+1ms", 10), (Order{0, 1, 5, 6, 7, 9}));
  EXPECT_EQ(stats().blackout, 4u);
}

TEST_F(LineTest, RuleDropsTheNthSegmentWithFlags) {
  line_.emplace(profile("drop:flags=F:nth=2"), 1);
  std::vector<Arrival> out;
  for (std::uint32_t i = 0; i < 6; ++i) {
    line_->push(make_segment(i, i % 2 == 1 ? kFin | kAck : kAck, 0), at(i));
  }
  drain(at(100), out);
  Order seqs;
  for (const Arrival& a : out) seqs.push_back(a.seq);
  EXPECT_EQ(seqs, (Order{0, 1, 2, 4, 5}));
}

TEST_F(LineTest, RuleCountsSequenceNumbersFromTheSyn) {
  // Across the wrap of the sequence space, and only in the flow whose SYN was seen.
  const std::uint32_t isn = 0xffffff00;
  line_.emplace(profile("drop:seq=1001-2000:len=1:count=100"), 1);
  line_->push(make_segment(isn, kSyn, 0), at(0));
  for (std::uint32_t i = 0; i < 5; ++i) {
    line_->push(make_segment(isn + 1 + i * 500, kAck, 500), at(1 + i));
    line_->push(make_segment(isn + 1 + i * 500, kAck, 500, 6), at(1 + i));
  }
  std::vector<Arrival> out;
  drain(at(100), out);
  Order seqs;
  for (const Arrival& a : out) {
    if (ip_version(a.packet) == 4) seqs.push_back(a.seq - isn);
  }
  EXPECT_EQ(seqs, (Order{0, 1, 501, 2001}));
  EXPECT_EQ(out.size(), 4u + 5u);
}

TEST_F(LineTest, RuleTellsPureAcksFromData) {
  line_.emplace(profile("drop:flags=A:clear=SF:maxlen=0:nth=2:count=2"), 1);
  for (std::uint32_t i = 0; i < 10; ++i) line_->push(make_segment(i, kAck, i % 2 * 10), at(i));
  std::vector<Arrival> out;
  drain(at(100), out);
  Order seqs;
  for (const Arrival& a : out) seqs.push_back(a.seq);
  EXPECT_EQ(seqs, (Order{0, 1, 3, 5, 6, 7, 8, 9}));
}

TEST_F(LineTest, RulesAlsoDuplicateAndCorrupt) {
  const auto out = run("duplicate:nth=2 corrupt:nth=3", 3);
  ASSERT_EQ(out.size(), 4u);
  EXPECT_EQ(out[1].packet, out[2].packet);
  EXPECT_NE(out[3].packet, make_segment(2, kAck, 100));
}

TEST(Link, PacketTooBigGoesBackToItsSender) {
  Link link(profile("mtu=1000 delay=1ms"), profile("delay=2ms loss=1"), 1);
  link.push(0, make_segment(1, kAck, 1000), at(0));
  ASSERT_EQ(link.next(), at(2000));
  EXPECT_FALSE(link.pop(1, at(5000)).has_value());
  const auto error = link.pop(0, at(2000));
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ((*error)[9], 1) << "ICMP";
  EXPECT_EQ(link.next(), kNever);
}

TEST(Link, EthernetHeaderStaysWholeAndErrorsReturnToTheirMac) {
  const auto frame = [](const Bytes& packet) {
    Bytes f{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
    f.insert(f.end(), packet.begin(), packet.end());
    return f;
  };
  Link link(profile("mtu=600 corrupt=1"), Profile{}, 7, Time{}, 14);
  for (std::uint32_t i = 0; i < 300; ++i) {
    const Bytes sent = frame(make_segment(i, kAck, 0));
    link.push(0, sent, at(i));
    const auto got = link.pop(1, at(i));
    ASSERT_TRUE(got.has_value());
    EXPECT_TRUE(std::equal(sent.begin(), sent.begin() + 14, got->begin()));
    EXPECT_NE(sent, *got);
  }
  link.push(0, frame(make_segment(1, kAck, 1000)), at(1000));
  const auto error = link.pop(0, at(1000));
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(Bytes(error->begin(), error->begin() + 14),
            (Bytes{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}));
  EXPECT_EQ(ip_version(ByteSpan{*error}.subspan(14)), 4u);
}

TEST(Link, WhatIsNoIpIsOnlyDelayed) {
  Link link(profile("loss=1 delay=1ms"), Profile{}, 1, Time{}, 14);
  Bytes arp(42, 0);
  arp[12] = 8;
  arp[13] = 6;
  link.push(0, arp, at(0));
  const auto got = link.pop(1, at(1000));
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(*got, arp);
}

TEST(Link, FragmentsWhatMayBeFragmented) {
  Link link(profile("mtu=600"), Profile{}, 1);
  Bytes packet = make_segment(1, kAck, 1400);
  packet[6] = 0;
  link.push(0, packet, at(0));
  std::size_t pieces = 0;
  while (const auto piece = link.pop(1, at(0))) {
    EXPECT_LE(piece->size(), 600u);
    ++pieces;
  }
  EXPECT_EQ(pieces, 3u);
  EXPECT_FALSE(link.pop(0, at(0)).has_value()) << "nothing to complain about";
}

}  // namespace
}  // namespace sluice::impair
