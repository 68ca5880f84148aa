#include "base/utf8.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

struct Case {
  const char* bytes;
  std::size_t length;
};

TEST(Utf8, SequencesOfRfc3629Section4) {
  const Case cases[] = {
      {"A", 1},
      {"\x7f", 1},
      {"\xc2\x80", 2},
      {"\xdf\xbf", 2},
      {"\xe0\xa0\x80", 3},
      {"\xed\x9f\xbf", 3},
      {"\xee\x80\x80", 3},
      {"\xef\xbf\xbf", 3},
      {"\xf0\x90\x80\x80", 4},
      {"\xf4\x8f\xbf\xbf", 4},
      // overlong, surrogates, beyond U+10FFFF, never a lead, cut short
      {"\xc0\x80", 0},
      {"\xc1\xbf", 0},
      {"\xe0\x9f\xbf", 0},
      {"\xed\xa0\x80", 0},
      {"\xf0\x8f\xbf\xbf", 0},
      {"\xf4\x90\x80\x80", 0},
      {"\xf5\x80\x80\x80", 0},
      {"\x80", 0},
      {"\xff", 0},
      {"\xc2", 0},
      {"\xe1\x80", 0},
      {"\xf1\x80\x80", 0},
      {"\xc2\x41", 0},
      {"\xe1\x80\x41", 0},
      {"\xf1\x80\x80\xc0", 0},
  };
  for (const Case& c : cases) EXPECT_EQ(utf8_length(c.bytes, 0), c.length) << c.bytes;
  EXPECT_EQ(utf8_length("ab\xc3\xa9", 2), 2u);
}

TEST(Utf8, FirstThatIsNone) {
  EXPECT_EQ(first_not_utf8(""), std::string_view::npos);
  EXPECT_EQ(first_not_utf8("gr\xc3\xbc\xc3\x9f"), std::string_view::npos);
  EXPECT_EQ(first_not_utf8("gr\xc3\xbc\xc3"), 4u);
  EXPECT_EQ(first_not_utf8("\xff"), 0u);
}

TEST(Utf8, EachStrayByteIsReplaced) {
  EXPECT_EQ(replace_not_utf8("a\xc3\xa9z"), "a\xc3\xa9z");
  EXPECT_EQ(replace_not_utf8("a\xe1\x80z\xff"), "a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd");
}

}  // namespace
}  // namespace sluice
