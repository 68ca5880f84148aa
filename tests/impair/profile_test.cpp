#include "profile.h"

#include <gtest/gtest.h>

namespace sluice::impair {
namespace {

TEST(Profile, ReadsEachWord) {
  const auto p = Profile::parse(
      "loss=0.02 gilbert=0.01/0.3/0.001/0.9,duplicate=0.05 corrupt=0.25 reorder=0.1/3 delay=20ms "
      "jitter=1500us/pareto ordered rate=1250000 queue=64000 mtu=1400/silent blackout=2s+500ms "
      "drop:flags=SA:clear=F:seq=100-200:len=1:maxlen=99:nth=2:count=3");
  ASSERT_TRUE(p.has_value()) << p.error();
  EXPECT_EQ(p->loss, 0.02);
  EXPECT_EQ(p->gilbert, (GilbertElliott{0.01, 0.3, 0.001, 0.9}));
  EXPECT_EQ(p->duplicate, 0.05);
  EXPECT_EQ(p->corrupt, 0.25);
  EXPECT_EQ(p->reorder, 0.1);
  EXPECT_EQ(p->reorder_by, 3u);
  EXPECT_EQ(p->delay, Millis{20});
  EXPECT_EQ(p->jitter, Micros{1500});
  EXPECT_EQ(p->distribution, Jitter::pareto);
  EXPECT_TRUE(p->ordered);
  EXPECT_EQ(p->rate, 1'250'000u);
  EXPECT_EQ(p->queue, 64'000u);
  EXPECT_EQ(p->mtu, 1400u);
  EXPECT_TRUE(p->mtu_silent);
  ASSERT_EQ(p->blackouts.size(), 1u);
  EXPECT_EQ(p->blackouts[0], (Blackout{Seconds{2}, Millis{500}}));
  ASSERT_EQ(p->rules.size(), 1u);
  const Rule rule{Rule::Action::drop, Micros{0}, 2 | 16, 1, 100, 200, 1, 99, 2, 3};
  EXPECT_EQ(p->rules[0], rule);
}

TEST(Profile, TextIsReadBackTheSame) {
  for (const char* text :
       {"", "loss=0.123456789", "jitter=7us/normal delay=3s", "mtu=576",
        "drop:nth=1 delay=200ms:flags=A:maxlen=0:nth=5 corrupt:len=3 duplicate:seq=9:count=2",
        "blackout=0s+1s blackout=5s+10ms", "reorder=1/2 ordered rate=1 queue=0"}) {
    const auto p = Profile::parse(text);
    ASSERT_TRUE(p.has_value()) << p.error();
    const auto again = Profile::parse(p->text());
    ASSERT_TRUE(again.has_value()) << p->text();
    EXPECT_EQ(*p, *again) << text << " became " << p->text();
  }
}

TEST(Profile, NamesTheWordItDoesNotUnderstand) {
  for (const char* word : {"loss=2",
                           "loss=-0.1",
                           "loss=",
                           "loss",
                           "delay=20",
                           "delay=-1ms",
                           "delay=99999999s",
                           "jitter=1ms/odd",
                           "rate=fast",
                           "mtu=70000",
                           "mtu=1400/loud",
                           "reorder=0.1/0",
                           "gilbert=0.1/2",
                           "gilbert=0.1",
                           "gilbert=0.1/0.2/0.3",
                           "gilbert=0/0/0/0/0",
                           "blackout=1s",
                           "drop:flags=X",
                           "drop:nth=0",
                           "drop:colour=1",
                           "lose:nth=1",
                           "delay=1:nth=1",
                           "nonsense"}) {
    const auto p = Profile::parse("delay=1ms " + std::string(word));
    ASSERT_FALSE(p.has_value()) << word;
    EXPECT_NE(p.error().find(std::string("'") + word + "'"), std::string::npos) << p.error();
  }
}

}  // namespace
}  // namespace sluice::impair
