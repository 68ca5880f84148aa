#include "match/hosts.h"

#include <gtest/gtest.h>

namespace sluice::match {
namespace {

constexpr std::uint16_t kNone = HostMatcher::kNoMatch;

HostMatcher build(const std::vector<HostRule>& rules) {
  auto m = HostMatcher::build(rules);
  EXPECT_TRUE(m) << m.error();
  return m ? std::move(*m) : HostMatcher{};
}

TEST(HostMatcher, EmptyMatchesNothing) {
  Scratch scratch;
  EXPECT_EQ(HostMatcher{}.find(scratch, "kb.example", "/"), kNone);
  EXPECT_EQ(build({}).find(scratch, "kb.example", "/"), kNone);
}

struct Row {
  const char* host;
  const char* path;
  std::uint16_t service;
};

TEST(HostMatcher, ExactThenLongestWildcardThenLongestPath) {
  const HostMatcher m = build({
      {"kb.tools.example", "/", 1},
      {"kb.tools.example", "/docs", 2},
      {"kb.tools.example", "/docs/private/", 3},
      {"*.example", "/", 4},
      {"*.tools.example", "/", 5},
      {"only.example", "/v1", 6},
      {"198.18.2.9", "/", 7},
      {"[2001:db8::9]", "/", 8},
  });
  Scratch scratch;
  for (const Row& row : std::vector<Row>{
           {"kb.tools.example", "/", 1},
           {"kb.tools.example", "/other", 1},
           {"kb.tools.example", "/docs", 2},
           {"kb.tools.example", "/docs/", 2},
           {"kb.tools.example", "/docs/x", 2},
           {"kb.tools.example", "/docsx", 1},  // segments, not characters
           {"kb.tools.example", "/docs/private", 3},
           {"kb.tools.example", "/docs/private/y", 3},
           {"kb.tools.example", "/docs/privately", 2},
           {"mail.tools.example", "/", 5},
           {"a.b.tools.example", "/", 5},
           {"tools.example", "/", 4},  // a wildcard needs a label before it
           {"x.example", "/", 4},
           {"example", "/", kNone},
           {".example", "/", kNone},
           {"kb.tools.example.evil", "/", kNone},  // anchored at both ends
           {"xkb.tools.example", "/", 5},
           {"kbxtools.example", "/", 4},  // '.' is a dot
           {"only.example", "/v1/a", 6},
           {"only.example", "/v2", kNone},  // no falling back to *.example
           {"198.18.2.9", "/", 7},
           {"198x18.2.9", "/", kNone},
           {"[2001:db8::9]", "/", 8},
           {"", "/", kNone},
       }) {
    EXPECT_EQ(m.find(scratch, row.host, row.path), row.service) << row.host << row.path;
  }
}

TEST(HostMatcher, EmbeddedNewlineAndNulAreNotAnEnd) {
  const HostMatcher m = build({{"a.example", "/", 1}});
  Scratch scratch;
  EXPECT_EQ(m.find(scratch, "a.example\n", "/"), kNone);
  EXPECT_EQ(m.find(scratch, std::string_view("a.example\0", 10), "/"), kNone);
}

TEST(HostMatcher, ManyPathsOfOneHostGoThroughHyperscan) {
  std::vector<HostRule> rules{{"h.example", "/", 0}};
  for (std::uint16_t i = 1; i <= 200; ++i) {
    rules.push_back({"h.example", "/p" + std::to_string(i), i});
  }
  rules.push_back({"h.example", "/p7/deeper", 300});
  const HostMatcher m = build(rules);
  Scratch scratch;
  for (std::uint16_t i = 1; i <= 200; ++i) {
    const std::string path = "/p" + std::to_string(i);
    EXPECT_EQ(m.find(scratch, "h.example", path), i);
    EXPECT_EQ(m.find(scratch, "h.example", path + "/x"), i);
    EXPECT_EQ(m.find(scratch, "h.example", path + "x"), 0);
  }
  EXPECT_EQ(m.find(scratch, "h.example", "/p7/deeper"), 300);
  EXPECT_EQ(m.find(scratch, "h.example", "/p7/deepe"), 7);
  EXPECT_EQ(m.find(scratch, "h.example", "/"), 0);
}

TEST(HostMatcher, OneScratchServesManyDatabases) {
  Scratch scratch;
  for (int size = 1; size <= 400; size = size * 3) {
    std::vector<HostRule> rules;
    for (int i = 0; i < size; ++i) {
      rules.push_back({"h" + std::to_string(i) + ".example", "/", static_cast<std::uint16_t>(i)});
    }
    const HostMatcher m = build(rules);
    const int last = size - 1;
    EXPECT_EQ(m.find(scratch, "h" + std::to_string(last) + ".example", "/"), last);
  }
}

TEST(HostMatcher, SameHostAndPathTwiceIsRefused) {
  const auto m = HostMatcher::build({{"a.example", "/x", 1}, {"a.example", "/x/", 2}});
  ASSERT_FALSE(m);
  EXPECT_EQ(m.error(), "host a.example has path /x/ twice");
}

}  // namespace
}  // namespace sluice::match
