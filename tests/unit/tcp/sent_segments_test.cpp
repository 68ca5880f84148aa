#include "sent_segments.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace sluice::tcp {
namespace {

constexpr Time at(std::int64_t us) { return Time{Micros{us}}; }

class Sent : public ::testing::Test {
 protected:
  // `n` segments of 100 from sequence number 0xffffff00 on, one each microsecond.
  void push(std::size_t n) {
    for (; n > 0; --n) {
      if (sent.full() && !sent.grow()) FAIL() << "no room";
      sent.push(nxt, 100, at(now++), false);
      nxt = nxt + 100;
    }
  }
  Seq seq(std::uint32_t n) const { return first + 100 * n; }
  std::uint32_t ack(std::uint32_t n) {
    una = seq(n);
    return sent.acknowledge(una, [](const SentSegment&) {});
  }
  std::uint32_t sack(std::uint32_t from, std::uint32_t to) {
    return sent.sack(seq(from), seq(to), [](const SentSegment&) {});
  }
  void check() const { EXPECT_TRUE(sent.consistent(una, nxt)); }

  SentSegments sent;
  Seq first{0xffffff00}, una = first, nxt = first;
  std::int64_t now = 1000;
};

TEST_F(Sent, SumsFollowWhatHappens) {
  push(10);
  EXPECT_EQ(sent.in_flight(), 1000u);
  EXPECT_EQ(sack(3, 6), 300u);
  EXPECT_EQ(sack(3, 7), 100u);
  EXPECT_EQ(sent.sacked_segments(), 4u);
  EXPECT_EQ(sent.in_flight(), 600u);
  EXPECT_EQ(ack(5), 300u);  // what was SACKed is no news
  EXPECT_EQ(sent.sacked(), 200u);
  check();
  EXPECT_EQ(ack(10), 300u);
  EXPECT_TRUE(sent.empty());
  EXPECT_EQ(sent.in_flight(), 0u);
}

TEST_F(Sent, PartOfASegmentIsAcknowledged) {
  push(2);
  EXPECT_EQ(sent.acknowledge(first + 40, [](const SentSegment&) { FAIL(); }), 40u);
  una = first + 40;
  EXPECT_EQ(sent.in_flight(), 160u);
  check();
  EXPECT_EQ(ack(1), 60u);
}

TEST_F(Sent, Rfc8985_6_2_LostIsWhatWasSentBefore) {
  push(5);  // at 1000 to 1004
  sack(3, 4);
  EXPECT_FALSE(sent.detect_lost(at(1003), seq(4), at(1003)));
  EXPECT_EQ(sent.lost(), 300u);
  EXPECT_EQ(sent.next_lost()->start, first);
  check();
}

TEST_F(Sent, Rfc8985_6_2_OvertakenIsGivenTime) {
  push(5);
  sack(3, 4);
  EXPECT_TRUE(sent.detect_lost(at(1003), seq(4), at(1001)));
  EXPECT_EQ(sent.lost(), 200u);
  EXPECT_FALSE(sent.detect_lost(at(1003), seq(4), at(1002)));
  EXPECT_EQ(sent.lost(), 300u);
}

// What was sent in the same microsecond is in order of sequence numbers.
TEST_F(Sent, Rfc8985_6_2_SentAtTheSameTime) {
  push(1);
  now = 1000;
  push(1);
  now = 1000;
  push(1);
  sack(1, 2);
  EXPECT_FALSE(sent.detect_lost(at(1000), seq(2), at(1000)));
  EXPECT_EQ(sent.lost(), 100u);
}

TEST_F(Sent, LostRetransmissionsGoFirst) {
  push(6);
  sack(5, 6);
  sent.detect_lost(at(1005), seq(6), at(1001));
  sent.resent_next_lost(at(2000));
  sent.resent_next_lost(at(2001));
  EXPECT_EQ(sent.lost(), 0u);
  // The rest is found lost, and both retransmissions too.
  sent.detect_lost(at(3000), seq(9), at(2500));
  std::vector<Seq> order;
  while (sent.next_lost() != nullptr) {
    order.push_back(sent.next_lost()->start);
    sent.resent_next_lost(at(4000));
    check();
  }
  EXPECT_EQ(order, (std::vector{seq(0), seq(1), seq(2), seq(3), seq(4)}));
}

TEST_F(Sent, Rfc8985_6_3_Timeout) {
  push(4);
  sack(1, 2);
  sent.timed_out(at(1001));
  EXPECT_EQ(sent.lost(), 100u);  // the first only: the third was sent later
  sent.timed_out(at(1002));
  EXPECT_EQ(sent.lost(), 200u);
  sent.lose_all();
  EXPECT_EQ(sent.lost(), 300u);
  EXPECT_EQ(sent.sacked(), 100u);
  check();
}

TEST_F(Sent, Rfc4015_UndoOfLosses) {
  push(4);
  sent.lose_all();
  sent.resent_next_lost(at(2000));
  sent.unlose();
  EXPECT_EQ(sent.lost(), 0u);
  EXPECT_EQ(sent.in_flight(), 400u);
  check();
  // And detection starts over.
  sent.detect_lost(at(3000), seq(9), at(2500));
  EXPECT_EQ(sent.lost(), 400u);
  check();
}

TEST_F(Sent, Rfc2018_8_Forget) {
  push(4);
  sack(0, 3);
  sent.forget_sacked();
  EXPECT_EQ(sent.lost(), 300u);
  EXPECT_EQ(sent.sacked_segments(), 0u);
  check();
}

TEST_F(Sent, SplitOfTheNextLost) {
  push(6);
  sack(4, 5);
  sent.detect_lost(at(1004), seq(5), at(1001));
  sent.resent_next_lost(at(2000));
  ASSERT_TRUE(sent.split_next_lost(30));
  check();
  EXPECT_EQ(sent.next_lost()->length, 30u);
  sent.resent_next_lost(at(2001));
  EXPECT_EQ(sent.next_lost()->start, seq(1) + 30);
  EXPECT_EQ(sent.next_lost()->length, 70u);
  check();
  EXPECT_EQ(ack(4), 400u);
  EXPECT_EQ(ack(6), 100u);
}

TEST_F(Sent, RepackCutsAndJoins) {
  push(8);
  sack(4, 5);
  sent.lose_all();
  ASSERT_TRUE(sent.repack(250));
  check();
  std::vector<std::uint16_t> lengths;
  for (std::size_t i = 0; i < sent.size(); ++i) lengths.push_back(sent[i].length);
  EXPECT_EQ(lengths, (std::vector<std::uint16_t>{250, 150, 100, 250, 50}));
  ASSERT_TRUE(sent.repack(60));
  check();
  EXPECT_EQ(sent.sacked(), 100u);
  EXPECT_EQ(sent.lost(), 700u);
}

TEST_F(Sent, OnlyWhatIsTooLargeIsLost) {
  push(2);
  sent.push(nxt, 40, at(now++), false);
  nxt = nxt + 40;
  sent.lose_larger(50);
  EXPECT_EQ(sent.lost(), 200u);
  EXPECT_EQ(sent.in_flight(), 40u);
}

TEST_F(Sent, BoundedRecords) {
  push(SentSegments::kMost);
  EXPECT_TRUE(sent.full());
  EXPECT_EQ(sent.growth(), 0u);
  EXPECT_FALSE(sent.grow());
  EXPECT_EQ(sent.memory(), SentSegments::kMost * sizeof(SentSegment));
  sent.release();
  EXPECT_EQ(sent.memory(), 0u);
}

// Indices are made small from time to time; a long connection never runs out of them.
TEST_F(Sent, LongConnection) {
  push(40);
  sack(20, 30);
  for (std::uint32_t i = 1; i <= 200'000; ++i) {
    push(1);
    if (i % 7 == 0) sack(i + 20, i + 25);
    if (i % 1000 == 0) {
      sent.lose_first();
      if (sent.next_lost() != nullptr) sent.resent_next_lost(at(now++));
    }
    ack(i);
    if (i % 997 == 0) check();
  }
  check();
  EXPECT_EQ(sent.size(), 40u);
}

// smoltcp, Linux CVE-2019-11477: the work that crafted ranges cause grows with their number, not
// with the number of segments they cover again and again.
TEST_F(Sent, CraftedSacksAreNotQuadratic) {
  constexpr std::uint32_t kSegments = 8000;
  push(kSegments);
  // Every second segment from the right to the left, with the widest range over and over.
  std::uint64_t reports = 0;
  for (std::uint32_t i = kSegments - 2; i >= 2; i -= 2) {
    sack(i, i + 1);
    sack(1, kSegments);
    sent.detect_lost(at(1000), seq(1), at(0));
    sack(1, i);
    reports += 3;
  }
  EXPECT_LE(sent.visited(), 8 * (reports + kSegments));
  check();
}

// Against a plain model: states by position, everything recomputed.
TEST_F(Sent, AgreesWithAModel) {
  std::mt19937 twister(4);
  const auto random = [&twister] { return static_cast<std::uint32_t>(twister()); };
  enum State { flying, arrived, gone };
  struct Unit {
    State state = flying;
    std::int64_t sent = 0;
    bool again = false;
  };
  for (int round = 0; round < 300; ++round) {
    sent.release();
    una = nxt = first = Seq(random());
    std::vector<Unit> model;
    std::uint32_t acked = 0;
    for (int step = 0; step < 60; ++step) {
      const auto n = static_cast<std::uint32_t>(model.size());
      switch (random() % 5) {
        case 0:
          for (std::uint32_t k = random() % 6; k > 0; --k) {
            model.push_back({flying, now, false});
            push(1);
          }
          break;
        case 1: {
          if (acked == n) break;
          const std::uint32_t from = acked + random() % (n - acked);
          const std::uint32_t to = from + random() % (n - from + 1);
          sack(from, to);
          for (std::uint32_t i = from; i < to; ++i) model[i].state = arrived;
          break;
        }
        case 2:
          acked += random() % (n - acked + 1) / 3;
          ack(acked);
          break;
        case 3: {
          if (acked == n) break;
          const Unit& newest = model[acked + random() % (n - acked)];
          const std::int64_t cutoff = now - static_cast<std::int64_t>(random() % 20);
          sent.detect_lost(at(newest.sent), Seq(first.raw()), at(cutoff));
          for (std::uint32_t i = acked; i < n; ++i) {
            Unit& u = model[i];
            if (u.state == flying && u.sent < newest.sent && u.sent <= cutoff) u.state = gone;
          }
          break;
        }
        default:
          if (const SentSegment* next = sent.next_lost()) {
            const auto i = distance(first, next->start) / 100;
            ASSERT_EQ(model[i].state, gone);
            model[i] = {flying, now, true};
            sent.resent_next_lost(at(now++));
          }
          break;
      }
      std::uint32_t sums[3] = {};
      for (std::size_t i = acked; i < model.size(); ++i) sums[model[i].state] += 100;
      ASSERT_EQ(sent.in_flight(), sums[flying]);
      ASSERT_EQ(sent.sacked(), sums[arrived]);
      ASSERT_EQ(sent.lost(), sums[gone]);
      ASSERT_TRUE(sent.consistent(una, nxt));
    }
  }
}

}  // namespace
}  // namespace sluice::tcp
