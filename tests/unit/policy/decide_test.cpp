#include "policy/decide.h"

#include <gtest/gtest.h>

namespace sluice::policy {
namespace {

Tool tool(std::string name) {
  Tool t;
  t.name = std::move(name);
  return t;
}

Service service(std::string name, std::vector<std::string> tools) {
  Service s;
  s.name = std::move(name);
  s.tools.push_back(tool("*"));
  for (auto& t : tools) s.tools.push_back(tool(t));
  return s;
}

// kb: lookup = GET /docs/x, search = POST /search · kb-admin under /admin · mail by wildcard
Snapshot make_snapshot() {
  Snapshot s;
  s.generation = 1;
  s.services.push_back(service("kb", {"lookup", "search"}));
  s.services.push_back(service("kb-admin", {}));
  s.services.push_back(service("mail", {"read_inbox", "read_sent", "send"}));
  s.services.push_back(service("db", {}));
  s.services[3].protocol = Protocol::tcp;
  s.services[0].tool_matcher = std::move(
      *match::ToolMatcher::build({{{"GET"}, "^/docs/[^/]+$", 1}, {{"POST"}, "^/search$", 2}}));
  s.hosts = std::move(*match::HostMatcher::build(
      {{"kb.example", "/", 0}, {"kb.example", "/admin", 1}, {"*.mail.example", "/", 2}}));
  s.connect_hosts = std::move(*match::HostMatcher::build({{"db.example", "/", 3}}));
  AgentClass c;
  c.name = "research";
  c.sources = {*IpPrefix::parse("198.18.1.0/24"), *IpPrefix::parse("2001:db8:1::/64")};
  for (const char* rule : {"kb", "mail/read_*"}) c.allow.push_back(*parse_allow_rule(rule));
  compile_allow_rules(c, s.services);
  s.classes.push_back(std::move(c));
  s.issuers.push_back({"platform", "https://id.example", {"sluice"}, 1, {}, Seconds{300}});
  return s;
}

TEST(Classify, HostPathMethodToServiceAndTool) {
  const Snapshot s = make_snapshot();
  Scratch scratch;
  struct Row {
    const char *authority, *method, *path;
    ServiceIndex service;
    ToolIndex tool;
  };
  for (const Row& row : std::vector<Row>{
           {"kb.example", "GET", "/docs/a", 0, 1},
           {"KB.Example.:443", "GET", "/docs/a", 0, 1},
           {"kb.example", "POST", "/search", 0, 2},
           {"kb.example", "GET", "/search", 0, 0},
           {"kb.example", "GET", "/docs/a/b", 0, 0},
           {"kb.example", "GET", "/admin", 1, 0},
           {"kb.example", "GET", "/admin/docs/a", 1, 0},
           {"kb.example", "GET", "/administrator", 0, 0},
           {"x.mail.example", "GET", "/", 2, 0},
           {"mail.example", "GET", "/", kNone, 0},
           {"db.example", "GET", "/", kNone, 0},
           {"kb.example@evil", "GET", "/", kNone, 0},
           {"", "GET", "/", kNone, 0},
       }) {
    const Classification found = classify(s, scratch, row.authority, row.method, row.path);
    EXPECT_EQ(found.service, row.service) << row.authority << row.path;
    EXPECT_EQ(found.tool, row.tool) << row.authority << row.path;
  }
}

TEST(Classify, ConnectTargetsAreServicesOfProtocolTcp) {
  const Snapshot s = make_snapshot();
  Scratch scratch;
  EXPECT_EQ(classify_connect(s, scratch, "DB.example:5432"), 3);
  EXPECT_EQ(classify_connect(s, scratch, "kb.example:443"), kNone);
  EXPECT_EQ(classify_connect(s, scratch, "db.example:x"), kNone);
}

TEST(Find, ClassIssuerAndTool) {
  const Snapshot s = make_snapshot();
  EXPECT_EQ(find_class(s, "research"), 0);
  EXPECT_EQ(find_class(s, "Research"), kNone);
  EXPECT_EQ(find_class(s, ""), kNone);
  ASSERT_NE(find_issuer(s, "https://id.example"), nullptr);
  EXPECT_EQ(find_issuer(s, "https://id.example/"), nullptr);
  EXPECT_EQ(find_tool(s.services[2], "send"), 3);
  EXPECT_EQ(find_tool(s.services[2], "delete"), 0);
  EXPECT_EQ(find_tool(s.services[2], "*"), 0);
}

TEST(SourceAllowed, PrefixesOfBothFamilies) {
  const Snapshot s = make_snapshot();
  const AgentClass& c = s.classes[0];
  EXPECT_TRUE(source_allowed(c, *IpAddress::parse("198.18.1.77")));
  EXPECT_FALSE(source_allowed(c, *IpAddress::parse("198.18.2.77")));
  EXPECT_TRUE(source_allowed(c, *IpAddress::parse("2001:db8:1::5")));
  EXPECT_FALSE(source_allowed(c, *IpAddress::parse("2001:db8:2::5")));
  EXPECT_TRUE(source_allowed(AgentClass{}, *IpAddress::parse("203.0.113.1"))) << "empty: anywhere";
}

TEST(ClassAllows, WholeServiceIncludesTheUnlisted) {
  const Snapshot s = make_snapshot();
  const AgentClass& c = s.classes[0];
  EXPECT_TRUE(class_allows(c, 0, 0));
  EXPECT_TRUE(class_allows(c, 0, 1));
  EXPECT_TRUE(class_allows(c, 0, 2));
  EXPECT_FALSE(class_allows(c, 0, 3)) << "no such tool";
  EXPECT_FALSE(class_allows(c, 1, 0)) << "kb is not kb-admin";
  EXPECT_FALSE(class_allows(c, 2, 0)) << "unlisted tools need the whole service";
  EXPECT_TRUE(class_allows(c, 2, 1));
  EXPECT_TRUE(class_allows(c, 2, 2));
  EXPECT_FALSE(class_allows(c, 2, 3));
  EXPECT_FALSE(class_allows(c, 9, 0));
  EXPECT_FALSE(class_allows(AgentClass{}, 0, 0)) << "nothing is allowed by default";
}

TEST(CompileAllowRules, GlobsAndWhatTheyHit) {
  std::vector<Service> services;
  services.push_back(service("kb", {"a"}));
  services.push_back(service("kb-eu", {"a", "b"}));
  struct Row {
    const char* rule;
    std::vector<std::uint64_t> bits;  // of kb, of kb-eu
    std::size_t hits;
  };
  for (const Row& row : std::vector<Row>{
           {"*", {0b11, 0b111}, 5},
           {"kb*", {0b11, 0b111}, 5},
           {"kb-??", {0, 0b111}, 3},
           {"kb/*", {0b10, 0}, 1},  // every listed tool, not the unlisted
           {"*/a", {0b10, 0b10}, 2},
           {"*/[ab]", {0, 0}, 0},
           {"nothing", {0, 0}, 0},
       }) {
    AgentClass c;
    c.allow.push_back(*parse_allow_rule(row.rule));
    const auto hits = compile_allow_rules(c, services);
    EXPECT_EQ(c.allowed_tools[0][0], row.bits[0]) << row.rule;
    EXPECT_EQ(c.allowed_tools[1][0], row.bits[1]) << row.rule;
    EXPECT_EQ(hits[0], row.hits) << row.rule;
  }
}

TEST(CompileAllowRules, MoreToolsThanOneWord) {
  std::vector<std::string> names;
  for (int i = 0; i < 200; ++i) names.push_back("t" + std::to_string(i));
  std::vector<Service> services;
  services.push_back(service("big", names));
  AgentClass c;
  c.allow.push_back(*parse_allow_rule("big/t19?"));
  compile_allow_rules(c, services);
  for (ToolIndex t = 0; t <= 200; ++t) EXPECT_EQ(class_allows(c, 0, t), t >= 191) << t;
}

TEST(ParseAllowRule, Shapes) {
  EXPECT_EQ(parse_allow_rule("kb")->tool, "");
  EXPECT_EQ(parse_allow_rule("mail/read_*")->service, "mail");
  EXPECT_EQ(parse_allow_rule("mail/read_*")->tool, "read_*");
  EXPECT_EQ(parse_allow_rule("fs/dir/read")->tool, "dir/read") << "tool names may hold a slash";
  for (const char* text : {"", "/", "/tool", "kb/", "k b", "kb/\x01", "a\"b"}) {
    EXPECT_FALSE(parse_allow_rule(text)) << text;
  }
}

TEST(ScopeAllows, NarrowsByServiceAndTool) {
  const Service kb = service("kb", {"lookup"});
  const Tool& any = kb.tools[0];
  const Tool& lookup = kb.tools[1];
  struct Row {
    const char* scope;
    bool lookup, unlisted;
  };
  for (const Row& row : std::vector<Row>{
           {"", true, true},
           {"  ", true, true},
           {"kb", true, true},
           {"kb/*", true, true},
           {"kb/lookup", true, false},
           {"kb/look", false, false},
           {"kb/lookup2", false, false},
           {"kb/", false, false},
           {"kbx", false, false},
           {"kb-admin", false, false},
           {"mail kb/lookup", true, false},
           {"mail  kb ", true, true},
           {"mail search/query", false, false},
           {"KB", false, false},
           {"*", false, false},  // scopes name services; globs are the class's
           {"kb/l*", false, false},
       }) {
    EXPECT_EQ(scope_allows(row.scope, kb, lookup), row.lookup) << row.scope;
    EXPECT_EQ(scope_allows(row.scope, kb, any), row.unlisted) << row.scope;
  }
}

TEST(GlobMatch, Table) {
  struct Row {
    const char *pattern, *text;
    bool matches;
  };
  for (const Row& row : std::vector<Row>{
           {"", "", true},
           {"", "a", false},
           {"*", "", true},
           {"*", "anything", true},
           {"?", "", false},
           {"?", "a", true},
           {"a*c", "abbbc", true},
           {"a*c", "abbb", false},
           {"*a*b*", "xxaxxbxx", true},
           {"*a*b*", "xxbxxaxx", false},
           {"read_*", "read_inbox", true},
           {"read_*", "xread_inbox", false},
           {"a**b", "ab", true},
           {"*.example", "a.b.example", true},
           {"a?c*", "abcd", true},
           {"*aab", "aaaaab", true},
           {"*", "*", true},
           {"a*", "*a", false},
           {"*x", "*yx", true},
       }) {
    EXPECT_EQ(glob_match(row.pattern, row.text), row.matches) << row.pattern << " " << row.text;
  }
}

TEST(GlobMatch, ManyStarsStayCheap) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "a*";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(10000, 'a')));
}

}  // namespace
}  // namespace sluice::policy
