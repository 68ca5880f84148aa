#include "match/tools.h"

#include <gtest/gtest.h>

namespace sluice::match {
namespace {

TEST(ToolMatcher, EmptyAnswersTheUnlistedTool) {
  Scratch scratch;
  EXPECT_EQ(ToolMatcher{}.find(scratch, "GET", "/"), 0);
  EXPECT_EQ(ToolMatcher::build({})->find(scratch, "GET", "/"), 0);
}

TEST(ToolMatcher, FirstRuleInDocumentOrderWins) {
  const auto m = ToolMatcher::build({
      {{"GET"}, "^/docs/[^/]+$", 1},
      {{"GET", "HEAD"}, "^/docs/", 2},
      {{"POST"}, "", 3},
      {{}, "^/health$", 4},
      {{"POST"}, "^/docs/special$", 5},
  });
  ASSERT_TRUE(m) << m.error();
  Scratch scratch;
  EXPECT_EQ(m->find(scratch, "GET", "/docs/a"), 1);
  EXPECT_EQ(m->find(scratch, "GET", "/docs/a/b"), 2);
  EXPECT_EQ(m->find(scratch, "HEAD", "/docs/a"), 2);
  EXPECT_EQ(m->find(scratch, "POST", "/docs/special"), 3) << "rule 3 comes before rule 5";
  EXPECT_EQ(m->find(scratch, "POST", "/anything"), 3);
  EXPECT_EQ(m->find(scratch, "DELETE", "/health"), 4);
  EXPECT_EQ(m->find(scratch, "DELETE", "/docs/a"), 0);
  EXPECT_EQ(m->find(scratch, "get", "/docs/a"), 0) << "methods are case-sensitive (RFC 9110 9.1)";
  EXPECT_EQ(m->find(scratch, "GET", ""), 0);
}

TEST(ToolMatcher, UnanchoredPatternsMatchAnywhere) {
  const auto m = ToolMatcher::build({{{}, "admin", 1}});
  Scratch scratch;
  EXPECT_EQ(m->find(scratch, "GET", "/x/admin/y"), 1);
  EXPECT_EQ(m->find(scratch, "GET", "/x/Admin"), 0);
}

TEST(ToolMatcher, ErrorNamesThePattern) {
  const auto m = ToolMatcher::build({{{}, "^/ok$", 1}, {{}, "^/(", 2}});
  ASSERT_FALSE(m);
  EXPECT_NE(m.error().find("pattern \"^/(\": "), std::string::npos) << m.error();
  EXPECT_FALSE(ToolMatcher::build({{{}, "(a)\\1", 1}})) << "back-references are not regular";
}

}  // namespace
}  // namespace sluice::match
