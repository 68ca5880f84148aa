#include "base/slots.h"

#include <gtest/gtest.h>

#include <array>

namespace sluice {
namespace {

struct Counted {
  Counted() { ++alive; }
  ~Counted() { --alive; }
  std::uint64_t value = 7;
  std::array<std::uint8_t, 1000> bulk{};
  static inline int alive = 0;
};

TEST(Slots, KeepTheirPlaceWhileOthersCome) {
  {
    Slots<Counted> slots;
    const std::uint32_t first = slots.take();
    Counted* const place = &slots[first];
    place->value = 1;
    for (std::uint32_t i = 1; i < 5000; ++i) {  // more than one block
      ASSERT_EQ(slots.take(), i);
      EXPECT_EQ(slots[i].value, 7u);
      slots[i].value = i;
    }
    EXPECT_EQ(&slots[first], place);
    EXPECT_EQ(slots[0].value, 1u);
    EXPECT_EQ(slots[4999].value, 4999u);
    EXPECT_EQ(slots.used(), 5000u);
    EXPECT_EQ(Counted::alive, 5000);
  }
  EXPECT_EQ(Counted::alive, 0);
}

TEST(Slots, FreedOnesAreUsedAgain) {
  Slots<Counted> slots;
  for (int i = 0; i < 3; ++i) slots.take();
  slots.give_back(1);
  EXPECT_EQ(slots.used(), 2u);
  EXPECT_EQ(slots.take(), 1u);
  EXPECT_EQ(slots.slots(), 3u);
}

}  // namespace
}  // namespace sluice
