#include "seq.h"

#include <gtest/gtest.h>

namespace sluice::tcp {
namespace {

// RFC 9293 section 3.4: modulo 2^32, wherever the numbers stand.
TEST(Seq, ComparesAcrossTheWrap) {
  for (const std::uint32_t base : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xfffffff0u, 0xffffffffu}) {
    const Seq a(base);
    for (const std::uint32_t ahead : {1u, 2u, 1000u, 0x7fffffffu}) {
      const Seq b = a + ahead;
      EXPECT_TRUE(a < b && a <= b && b > a && b >= a && a != b) << base << " " << ahead;
      EXPECT_FALSE(b < a || b <= a || a > b || a >= b);
      EXPECT_EQ(b - a, static_cast<std::int32_t>(ahead));
      EXPECT_EQ(a - b, -static_cast<std::int32_t>(ahead));
      EXPECT_EQ(distance(a, b), ahead);
      EXPECT_EQ(b - ahead, a);
      EXPECT_EQ(later(a, b), b);
      EXPECT_EQ(earlier(a, b), a);
    }
    EXPECT_TRUE(a <= a && a >= a && !(a < a) && !(a > a));
    EXPECT_EQ(a + 0u, a);
  }
}

TEST(Seq, WrapsWhenAdded) {
  EXPECT_EQ((Seq(0xffffffff) + 1).raw(), 0u);
  EXPECT_EQ((Seq(0) - 1).raw(), 0xffffffffu);
}

}  // namespace
}  // namespace sluice::tcp
