// When names are asked for again, and for how long an old answer serves.
#include "controlplane/dns_table.h"

#include <gtest/gtest.h>

namespace sluice::control {
namespace {

class DnsTableTest : public ::testing::Test {
 protected:
  static Time at(double seconds) { return Time(Micros(static_cast<std::int64_t>(seconds * 1e6))); }
  static Question a(std::string name = "kb.example") { return {std::move(name), RecordType::a}; }
  static Question srv() { return {"_kb._tcp.example", RecordType::srv}; }
  static DnsAnswer found(std::vector<std::string> addresses, int ttl) {
    DnsAnswer answer;
    answer.kind = DnsAnswer::Kind::records;
    for (const auto& text : addresses) answer.addresses.push_back(*IpAddress::parse(text));
    answer.ttl = Seconds{ttl};
    return answer;
  }
  static DnsAnswer failed() { return {DnsAnswer::Kind::failed, {}, {}, Seconds{0}, "timeout"}; }
  static DnsAnswer none() { return {DnsAnswer::Kind::none, {}, {}, Seconds{0}, "no such name"}; }
  static DnsTable table(Seconds max_ttl = Seconds{60}, Seconds stale = Seconds{30}) {
    DnsTable t({max_ttl, stale, true, false});
    t.set_names({"kb.example"}, {}, at(0));
    return t;
  }
  static std::vector<std::string> texts(const DnsTable& t, double now,
                                        const std::string& name = "kb.example") {
    std::vector<std::string> out;
    const auto resolved = t.resolved(at(now));
    const auto list = resolved.addresses.find(name);
    if (list == resolved.addresses.end()) return out;
    for (const auto& address : list->second) out.push_back(address.to_string());
    return out;
  }
  using Texts = std::vector<std::string>;
  using Questions = std::vector<Question>;
};

TEST_F(DnsTableTest, AsksAtOnceAndAgainAtTheTtl) {
  auto t = table();
  EXPECT_TRUE(t.pending());
  EXPECT_EQ(t.next(at(0)), at(0));
  EXPECT_EQ(t.take_due(at(0), 10), Questions{a()});
  EXPECT_TRUE(t.take_due(at(0), 10).empty()) << "under way";
  EXPECT_EQ(t.next(at(0)), kNever);
  EXPECT_TRUE(t.pending());
  t.answer(a(), found({"198.18.2.10"}, 20), at(1));
  EXPECT_FALSE(t.pending());
  EXPECT_EQ(texts(t, 1), Texts{"198.18.2.10"});
  EXPECT_EQ(t.next(at(1)), at(21));
  EXPECT_TRUE(t.take_due(at(20.9), 10).empty());
  EXPECT_EQ(t.take_due(at(21), 10).size(), 1u);
  EXPECT_EQ(texts(t, 24), Texts{"198.18.2.10"}) << "serves while the question is under way";
  t.answer(a(), found({"198.18.2.11"}, 20), at(24));
  EXPECT_EQ(texts(t, 24), Texts{"198.18.2.11"});
}

TEST_F(DnsTableTest, TtlIsBoundedBothWays) {
  for (const auto& [ttl, expected] : {std::pair{0, 1}, {1, 1}, {59, 59}, {61, 60}, {86400, 60}}) {
    auto t = table();
    t.take_due(at(0), 10);
    t.answer(a(), found({"198.18.2.10"}, ttl), at(0));
    EXPECT_EQ(t.next(at(0)), at(expected)) << ttl;
  }
}

TEST_F(DnsTableTest, FailureServesStaleAndPausesGrow) {
  auto t = table();
  t.take_due(at(0), 10);
  t.answer(a(), found({"198.18.2.10"}, 10), at(0));
  double now = 10;
  for (const double pause : {1, 2, 4, 8, 16}) {
    ASSERT_EQ(t.take_due(at(now), 10).size(), 1u) << now;
    t.answer(a(), failed(), at(now));
    EXPECT_TRUE(t.take_due(at(now + pause - 0.1), 10).empty()) << now;
    now += pause;
  }
  EXPECT_EQ(texts(t, 39.9), Texts{"198.18.2.10"}) << "until 30 s after its TTL";
  EXPECT_EQ(t.next(at(39)), at(40)) << "when that is over, not when the next question is due";
  EXPECT_TRUE(texts(t, 40).empty());
  EXPECT_EQ(t.view(at(39))[0].state, DnsTable::State::stale);
  EXPECT_EQ(t.figures(at(39)).stale, 1u);
  EXPECT_EQ(t.figures(at(41)).unresolved, 1u);
  EXPECT_EQ(t.view(at(41))[0].state, DnsTable::State::none);
  t.take_due(at(41), 10);
  t.answer(a(), found({"198.18.2.10"}, 10), at(41));
  EXPECT_EQ(texts(t, 41), Texts{"198.18.2.10"});
  EXPECT_EQ(t.next(at(41)), at(51));
  EXPECT_TRUE(t.view(at(41))[0].error.empty());
}

TEST_F(DnsTableTest, WithoutStaleAnAnswerEndsWithTheFirstFailurePastItsTtl) {
  auto t = table(Seconds{60}, Seconds{0});
  t.take_due(at(0), 10);
  t.answer(a(), found({"198.18.2.10"}, 10), at(0));
  t.refresh(at(5));
  ASSERT_EQ(t.take_due(at(5), 10).size(), 1u);
  t.answer(a(), failed(), at(6));
  EXPECT_EQ(texts(t, 9), Texts{"198.18.2.10"}) << "its TTL is not over";
  EXPECT_TRUE(texts(t, 10).empty());
  auto u = table(Seconds{60}, Seconds{0});
  u.take_due(at(0), 10);
  u.answer(a(), found({"198.18.2.10"}, 10), at(0));
  u.take_due(at(10), 10);
  EXPECT_EQ(texts(u, 12), Texts{"198.18.2.10"}) << "no gap at each TTL";
  u.answer(a(), failed(), at(12));
  EXPECT_TRUE(texts(u, 12).empty());
}

TEST_F(DnsTableTest, NoSuchNameEndsTheOldAnswerAtOnce) {
  auto t = table();
  t.take_due(at(0), 10);
  t.answer(a(), found({"198.18.2.10"}, 10), at(0));
  t.take_due(at(10), 10);
  t.answer(a(), none(), at(10));
  EXPECT_TRUE(texts(t, 10).empty());
  EXPECT_EQ(t.next(at(10)), at(15));
  // A failure after it has nothing to fall back on.
  t.take_due(at(15), 10);
  t.answer(a(), failed(), at(15));
  EXPECT_TRUE(texts(t, 15).empty());
}

TEST_F(DnsTableTest, OrderIsNoChange) {
  auto t = table();
  t.take_due(at(0), 10);
  t.answer(a(), found({"198.18.2.11", "198.18.2.10"}, 1), at(0));
  const auto before = t.resolved(at(0));
  t.take_due(at(1), 10);
  t.answer(a(), found({"198.18.2.10", "198.18.2.11"}, 1), at(1));
  EXPECT_EQ(t.resolved(at(1)), before);
}

TEST_F(DnsTableTest, FamiliesHaveTheirOwnFate) {
  DnsTable t({Seconds{60}, Seconds{30}, true, true});
  t.set_names({"kb.example"}, {}, at(0));
  ASSERT_EQ(t.take_due(at(0), 10).size(), 2u);
  const Question six{"kb.example", RecordType::aaaa};
  t.answer(six, found({"2001:db8::1"}, 60), at(0));
  EXPECT_TRUE(t.pending());
  t.answer(a(), failed(), at(0));
  EXPECT_FALSE(t.pending()) << "a failure is an answer too";
  EXPECT_EQ(texts(t, 0), Texts{"2001:db8::1"});
  t.take_due(at(1), 10);
  t.answer(a(), found({"198.18.2.10"}, 60), at(1));
  EXPECT_EQ(texts(t, 1), (Texts{"198.18.2.10", "2001:db8::1"}));
}

TEST_F(DnsTableTest, RefreshAsksForEverythingOnce) {
  auto t = table();
  t.take_due(at(0), 10);
  t.refresh(at(0));
  EXPECT_TRUE(t.take_due(at(0), 10).empty()) << "what is under way is enough";
  t.answer(a(), found({"198.18.2.10"}, 60), at(0));
  EXPECT_FALSE(t.asking());
  t.refresh(at(3));
  EXPECT_TRUE(t.asking());
  EXPECT_EQ(t.take_due(at(3), 10).size(), 1u);
  EXPECT_TRUE(t.asking());
  t.answer(a(), failed(), at(4));
  EXPECT_FALSE(t.asking());
  EXPECT_EQ(texts(t, 4), Texts{"198.18.2.10"});
}

TEST_F(DnsTableTest, ForgottenNamesLeaveNothing) {
  auto t = table();
  t.take_due(at(0), 10);
  t.set_names({"other.example"}, {}, at(1));
  EXPECT_EQ(t.under_way(), 0u);
  t.answer(a(), found({"198.18.2.10"}, 60), at(1));  // late
  EXPECT_TRUE(t.resolved(at(1)).addresses.empty());
  t.set_names({"kb.example"}, {}, at(2));
  t.answer(a(), found({"198.18.2.10"}, 60), at(2));  // later still: it is not asked for yet
  EXPECT_TRUE(t.resolved(at(2)).addresses.empty());
  EXPECT_EQ(t.take_due(at(2), 10), Questions{a()});
}

TEST_F(DnsTableTest, RoomBoundsWhatIsUnderWay) {
  DnsTable t({Seconds{60}, Seconds{30}, true, false});
  t.set_names({"a.example", "b.example", "c.example"}, {}, at(0));
  EXPECT_EQ(t.take_due(at(0), 2).size(), 2u);
  EXPECT_EQ(t.under_way(), 2u);
  EXPECT_EQ(t.take_due(at(0), 2), Questions{a("c.example")});
}

TEST_F(DnsTableTest, TargetsOfServicesAreAskedFor) {
  DnsTable t({Seconds{60}, Seconds{30}, true, false});
  t.set_names({}, {"_kb._tcp.example"}, at(0));
  EXPECT_EQ(t.take_due(at(0), 10), Questions{srv()});
  DnsAnswer answer;
  answer.kind = DnsAnswer::Kind::records;
  answer.ttl = Seconds{60};
  answer.targets = {{"b.example", 8443, 20, 0}, {"a.example", 8443, 10, 5}};
  t.answer(srv(), answer, at(0));
  EXPECT_TRUE(t.pending()) << "its targets have no address yet";
  EXPECT_EQ(t.take_due(at(0), 10), (Questions{a("a.example"), a("b.example")}));
  t.answer(a("a.example"), found({"198.18.2.10"}, 60), at(0));
  t.answer(a("b.example"), none(), at(0));
  EXPECT_FALSE(t.pending());
  EXPECT_EQ(t.resolved(at(0)).services.at("_kb._tcp.example").size(), 2u);
  EXPECT_EQ(texts(t, 0, "a.example"), Texts{"198.18.2.10"});
  // The service moves: the old target's name is of no interest any more.
  t.refresh(at(1));
  t.take_due(at(1), 10);
  answer.targets = {{"c.example", 8443, 10, 5}};
  t.answer(srv(), answer, at(1));
  EXPECT_TRUE(texts(t, 1, "a.example").empty());
  EXPECT_EQ(t.take_due(at(1), 10), Questions{a("c.example")});
}

}  // namespace
}  // namespace sluice::control
