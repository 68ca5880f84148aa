#include "http/message.h"

#include <gtest/gtest.h>

#include "recorder.h"

namespace sluice::http::test {
namespace {

TEST(FieldBlock, LowersNamesAndKeepsOrder) {
  FieldBlock f;
  EXPECT_TRUE(f.add("X-One", "A"));
  EXPECT_TRUE(f.add("b", ""));
  EXPECT_TRUE(f.add("x-one", "2"));
  EXPECT_EQ(fields_text(f), "x-one=A;b=;x-one=2;");
  EXPECT_EQ(f.find("x-one"), "A");
  EXPECT_EQ(f.find("b"), "");
  EXPECT_EQ(f.find("c"), std::nullopt);
  EXPECT_EQ(f.count("x-one"), 2u);
}

TEST(FieldBlock, RefusesBadSyntax) {
  FieldBlock f;
  for (const char* name : {"", "a b", "a:", "a\r", "\xc3\xa9"})
    EXPECT_FALSE(f.add(name, "v")) << name;
  using namespace std::string_view_literals;
  for (const auto value : {"a\rb"sv, "a\nb"sv, "a\0b"sv, "\x7f"sv, "\x01"sv}) {
    EXPECT_FALSE(f.add("a", value));
    EXPECT_FALSE(f.set("a", value));
  }
  EXPECT_TRUE(f.empty());
  EXPECT_TRUE(f.add("a", "\tb \xff"));
}

TEST(FieldBlock, Limits) {
  const FieldLimits limits{.max_fields = 2, .max_bytes = 100};
  FieldBlock f;
  EXPECT_FALSE(f.add("a", std::string(68, 'x'), limits));
  EXPECT_TRUE(f.add("a", std::string(10, 'x'), limits));
  EXPECT_FALSE(f.add("b", std::string(30, 'x'), limits));
  EXPECT_TRUE(f.add("b", "", limits));
  EXPECT_FALSE(f.add("c", "", limits));
  EXPECT_FALSE(f.set("a", std::string(40, 'x'), limits));
  EXPECT_EQ(fields_text(f), "a=xxxxxxxxxx;b=;");  // nothing changed
  // What was removed counts no more.
  f.remove("a");
  EXPECT_TRUE(f.add("c", std::string(20, 'y'), limits));
}

TEST(FieldBlock, SetReplacesAllAndMayTakeItsOwnText) {
  FieldBlock f;
  f.add("a", "1");
  f.add("b", "a long value that does not fit into a short string");
  f.add("a", "2");
  EXPECT_TRUE(f.set("a", *f.find("b")));
  EXPECT_EQ(f.count("a"), 1u);
  EXPECT_EQ(f.find("a"), f.find("b"));
  EXPECT_TRUE(f.add("c", *f.find("a")));
  EXPECT_EQ(f.find("c"), f.find("b"));
}

// Setting one field again and again neither fills the block nor grows it.
TEST(FieldBlock, ReplacedTextIsReclaimed) {
  FieldBlock f;
  f.add("keep", "k");
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(f.set("a", std::string(200, static_cast<char>('a' + i % 26))));
  }
  EXPECT_EQ(f.find("keep"), "k");
  EXPECT_EQ(f.find("a"), std::string(200, static_cast<char>('a' + 9'999 % 26)));
}

TEST(FieldBlock, RemoveIfMoveAndClear) {
  FieldBlock f;
  for (const char* n : {"a", "b", "c", "d"}) f.add(n, n);
  f.remove_if([](const Field& x) { return x.name == "b" || x.value == "d"; });
  EXPECT_EQ(fields_text(f), "a=a;c=c;");
  FieldBlock g = std::move(f);
  EXPECT_EQ(fields_text(g), "a=a;c=c;");
  EXPECT_TRUE(f.empty());  // NOLINT(bugprone-use-after-move): promised
  EXPECT_TRUE(f.add("e", "f"));
  EXPECT_EQ(fields_text(f), "e=f;");
  g.clear();
  EXPECT_TRUE(g.empty());
  EXPECT_EQ(g.find("a"), std::nullopt);
}

}  // namespace
}  // namespace sluice::http::test
