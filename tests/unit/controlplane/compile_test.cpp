#include <gtest/gtest.h>

#include "controlplane/documents.h"
#include "policy/decide.h"

namespace sluice::control {
namespace {

const std::filesystem::path kFiles = SLUICE_TEST_FILES "/documents";
using Resolved = std::map<std::string, std::vector<IpAddress>>;

policy::Issuer builtin() {
  return {"sluice", "sluice", {"sluice"}, 1, {{"k", 0, {4}}}, Seconds{900}};
}

std::vector<Document> parse(const std::string& yaml) {
  std::vector<Document> documents;
  const auto values = yaml_to_json(yaml, "test");
  EXPECT_TRUE(values) << values.error().at(0).to_string();
  if (!values) return {};
  for (const auto& v : *values) {
    auto d = parse_document(v);
    if (!d) {
      ADD_FAILURE() << d.error().at(0).to_string();
      continue;
    }
    documents.push_back(std::move(*d));
  }
  return documents;
}

std::unique_ptr<policy::Snapshot> compiled(const std::vector<Document>& documents,
                                           const Resolved& resolved = {}) {
  auto snapshot = compile({documents, 7, builtin(), resolved});
  if (snapshot) return std::move(*snapshot);
  for (const auto& e : snapshot.error()) ADD_FAILURE() << e.to_string();
  return std::make_unique<policy::Snapshot>();
}

std::vector<std::string> refused(const std::string& yaml) {
  const auto documents = parse(yaml);
  const Resolved resolved;
  const auto snapshot = compile({documents, 1, builtin(), resolved});
  std::vector<std::string> lines;
  if (snapshot) return {"accepted"};
  for (const auto& e : snapshot.error()) lines.push_back(e.to_string());
  return lines;
}

TEST(Compile, NothingButTheBuiltInIssuer) {
  const auto s = compiled({});
  EXPECT_EQ(s->generation, 7u);
  ASSERT_EQ(s->issuers.size(), 1u);
  EXPECT_EQ(s->issuers[0].issuer, "sluice");
  EXPECT_EQ(s->issuers[0].max_life, Seconds{900});
  EXPECT_TRUE(s->services.empty());
  policy::Scratch scratch;
  EXPECT_EQ(policy::classify(*s, scratch, "kb.tools.example", "GET", "/").service, policy::kNone);
}

class Contract : public testing::Test {
 protected:
  Contract() {
    const auto documents = load_documents(kFiles / "accepted");
    EXPECT_TRUE(documents);
    names_ = names_to_resolve(*documents);
    snapshot_ = compiled(*documents, {{"kb.backend.example", {*IpAddress::parse("198.18.2.20")}}});
  }
  std::vector<std::string> names_;
  std::unique_ptr<policy::Snapshot> snapshot_;
  policy::Scratch scratch_;
};

TEST_F(Contract, Issuers) {
  ASSERT_EQ(snapshot_->issuers.size(), 2u);
  EXPECT_EQ(snapshot_->issuers[0].name, "sluice") << "built-in first";
  const policy::Issuer& i = snapshot_->issuers[1];
  EXPECT_EQ(i.issuer, "https://id.example");
  EXPECT_EQ(i.audiences, std::vector<std::string>{"sluice"});
  EXPECT_EQ(i.algorithms, 0b0111);
  EXPECT_EQ(i.max_life, Seconds{300});
  ASSERT_EQ(i.keys.size(), 3u);
  EXPECT_EQ(i.keys[0].kid, "1");
  EXPECT_EQ(i.keys[0].algorithm, 0);
  EXPECT_EQ(i.keys[0].material.size(), 65u);
  EXPECT_EQ(i.keys[1].algorithm, 1);
  EXPECT_EQ(i.keys[1].material.size(), 32u);
  EXPECT_EQ(i.keys[2].algorithm, 2);
}

TEST_F(Contract, AgentClass) {
  ASSERT_EQ(snapshot_->classes.size(), 1u);
  const policy::AgentClass& c = snapshot_->classes[0];
  EXPECT_EQ(c.name, "research");
  EXPECT_EQ(c.mode, policy::Mode::enforce);
  ASSERT_EQ(c.sources.size(), 1u);
  EXPECT_EQ(c.hold, Millis{250});
  EXPECT_EQ(c.limits.calls_per_second, 10);
  EXPECT_EQ(c.limits.burst, 20u);
  EXPECT_EQ(c.limits.concurrency, 8u);
  EXPECT_EQ(c.limits.calls, 500u);
  EXPECT_EQ(c.limits.retries, 20u);
  EXPECT_EQ(c.limits.bytes_per_second, 0u);
  EXPECT_EQ(c.limits.wall, Seconds{900});
  // kb whole; search only its query; mail only what starts with read_; db not at all.
  EXPECT_TRUE(policy::class_allows(c, 0, 0));
  EXPECT_TRUE(policy::class_allows(c, 0, 1));
  EXPECT_FALSE(policy::class_allows(c, 1, 0));
  EXPECT_TRUE(policy::class_allows(c, 1, 1));
  EXPECT_FALSE(policy::class_allows(c, 1, 2));
  EXPECT_TRUE(policy::class_allows(c, 2, 1));
  EXPECT_FALSE(policy::class_allows(c, 2, 2));
  EXPECT_FALSE(policy::class_allows(c, 3, 0));
}

TEST_F(Contract, Services) {
  ASSERT_EQ(snapshot_->services.size(), 4u);
  const policy::Service& kb = snapshot_->services[0];
  EXPECT_EQ(kb.name, "kb");
  EXPECT_EQ(kb.protocol, policy::Protocol::http);
  EXPECT_EQ(kb.http, policy::HttpVersion::automatic);
  EXPECT_TRUE(kb.tls.enabled);
  EXPECT_EQ(kb.tls.ca_file, "/etc/sluice/tls/ca.pem");
  EXPECT_EQ(kb.tls.server_name, "kb.backend.example");
  EXPECT_EQ(kb.tls.certificate, "client-a");
  EXPECT_EQ(kb.timeouts.first_byte, Millis{10000});
  EXPECT_EQ(kb.degrade.message, "Knowledge base unavailable");
  EXPECT_EQ(kb.degrade.alternatives, std::vector<std::string>{"search/query"});
  ASSERT_EQ(kb.tools.size(), 2u);
  EXPECT_EQ(kb.tools[0].name, "*");
  EXPECT_EQ(kb.tools[0].timeouts.step, Millis{30000});
  EXPECT_EQ(kb.tools[1].name, "lookup");
  EXPECT_TRUE(kb.tools[1].idempotent);
  EXPECT_EQ(kb.tools[1].owner, "kb-team");
  EXPECT_EQ(kb.tools[1].permissions, std::vector<std::string>{"kb:read"});
  EXPECT_EQ(kb.tools[1].timeouts.step, Millis{3000}) << "overridden";
  EXPECT_EQ(kb.tools[1].timeouts.connect, Millis{1000}) << "inherited";
  const policy::Service& search = snapshot_->services[1];
  EXPECT_EQ(search.protocol, policy::Protocol::mcp);
  EXPECT_EQ(search.hosts[0], "search.tools.example") << "lower case";
  EXPECT_FALSE(search.tls.enabled);
  EXPECT_EQ(search.timeouts.hard, Millis{3600000}) << "default";
  EXPECT_EQ(search.tools[2].name, "fs/read");
}

TEST_F(Contract, Endpoints) {
  const policy::ServiceEndpoint& kb = snapshot_->services[0].endpoints.at(0);
  EXPECT_EQ(kb.port, 8443);
  ASSERT_EQ(kb.addresses.size(), 1u);
  EXPECT_EQ(kb.addresses[0].to_string(), "198.18.2.20") << "resolved";
  const auto& search = snapshot_->services[1].endpoints;
  ASSERT_EQ(search.size(), 2u);
  EXPECT_EQ(search[0].addresses.at(0).to_string(), "198.18.2.10") << "a literal";
  EXPECT_EQ(search[1].addresses.at(0).to_string(), "2001:db8:2::10");
  EXPECT_NE(search[0].id, search[1].id);
  const policy::ServiceEndpoint& mail = snapshot_->services[2].endpoints.at(0);
  EXPECT_EQ(mail.host, "mail.backend.example");
  EXPECT_TRUE(mail.addresses.empty()) << "not known yet";
  EXPECT_EQ(names_, (std::vector<std::string>{"db.backend.example", "kb.backend.example",
                                              "mail.backend.example"}));
}

TEST(Compile, ServiceRecordsBecomeEndpoints) {
  const auto documents = parse(R"(
kind: service
name: kb
spec: {hosts: [kb.tools.example], endpoints: [{srv: _KB._tcp.example}, {host: c.example, port: 9}]}
)");
  EXPECT_EQ(services_to_resolve(documents), std::vector<std::string>{"_kb._tcp.example"});
  EXPECT_EQ(names_to_resolve(documents), std::vector<std::string>{"c.example"});
  std::map<std::string, std::vector<SrvTarget>> services;
  Resolved resolved;
  const auto endpoints = [&] {
    auto snapshot = compile({documents, 7, builtin(), resolved, nullptr, 0, &services});
    std::vector<std::string> out;
    if (!snapshot) return out;
    for (const auto& e : (*snapshot)->services[0].endpoints) {
      out.push_back(e.host + ":" + std::to_string(e.port) + "=" +
                    std::to_string(e.addresses.size()));
    }
    return out;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(endpoints(), (Texts{"_kb._tcp.example:0=0", "c.example:9=0"})) << "nothing known";
  services["_kb._tcp.example"] = {
      {"a.example", 1, 20, 0}, {"b.example", 2, 10, 0}, {"c.example", 9, 20, 0}};
  EXPECT_EQ(endpoints(), (Texts{"_kb._tcp.example:0=0", "c.example:9=0"})) << "no addresses";
  resolved["a.example"] = {*IpAddress::parse("198.18.2.1")};
  resolved["c.example"] = {*IpAddress::parse("198.18.2.3")};
  EXPECT_EQ(endpoints(), (Texts{"a.example:1=1", "c.example:9=1"})) << "the next priority, once";
  resolved["b.example"] = {*IpAddress::parse("198.18.2.2")};
  EXPECT_EQ(endpoints(), (Texts{"b.example:2=1", "c.example:9=1"})) << "the first priority";
}

TEST_F(Contract, Classification) {
  const auto at = [&](const char* host, const char* method, const char* path) {
    const auto c = policy::classify(*snapshot_, scratch_, host, method, path);
    return std::pair<int, int>(c.service, c.tool);
  };
  EXPECT_EQ(at("kb.tools.example", "GET", "/docs/a"), std::pair(0, 1));
  EXPECT_EQ(at("kb.tools.example", "POST", "/docs/a"), std::pair(0, 0));
  EXPECT_EQ(at("search.tools.example", "POST", "/"), std::pair(1, 0)) << "MCP tools have no path";
  EXPECT_EQ(at("eu.search.example", "POST", "/"), std::pair(1, 0));
  EXPECT_EQ(at("tools.example", "HEAD", "/mail/inbox"), std::pair(2, 1));
  EXPECT_EQ(at("tools.example", "POST", "/mail/x"), std::pair(2, 2));
  EXPECT_EQ(at("tools.example", "GET", "/"), std::pair(0xffff, 0));
  EXPECT_EQ(policy::classify_connect(*snapshot_, scratch_, "kb.tools.example:5432"), 3)
      << "http and tcp services have hosts of their own";
  EXPECT_TRUE(remarks(*snapshot_).empty());
}

TEST(Compile, EndpointIdsStayTheSame) {
  const auto documents = parse(
      "kind: service\nname: a\nspec: {hosts: [a.example], endpoints: [{host: b.example, port: "
      "80}]}\n");
  const auto first = compiled(documents)->services[0].endpoints[0].id;
  EXPECT_EQ(compiled(documents)->services[0].endpoints[0].id, first);
  const auto other = parse(
      "kind: service\nname: a\nspec: {hosts: [a.example], endpoints: [{host: b.example, port: "
      "81}]}\n");
  EXPECT_NE(compiled(other)->services[0].endpoints[0].id, first);
}

TEST(Compile, BurstDefaultsToOneSecondsWorth) {
  const auto s =
      compiled(parse("kind: agent-class\nname: a\nspec: {limits: {calls_per_second: 2.5}}\n---\n"
                     "kind: agent-class\nname: b\nspec: {mode: audit}\n---\n"
                     "kind: agent-class\nname: c\nspec: {mode: observe}\n"));
  EXPECT_EQ(s->classes[0].limits.burst, 3u);
  EXPECT_EQ(s->classes[1].limits.burst, 0u);
  EXPECT_EQ(s->classes[1].mode, policy::Mode::audit);
  EXPECT_EQ(s->classes[2].mode, policy::Mode::observe);
}

TEST(Compile, HostAndPathOnceOnly) {
  EXPECT_EQ(refused("kind: service\nname: a\nspec: {hosts: [x.example, y.example], path: /v1, "
                    "endpoints: [{host: b.example, port: 80}]}\n---\n"
                    "kind: service\nname: b\nspec: {hosts: [Y.example], path: /v1/, endpoints: "
                    "[{host: b.example, port: 80}]}\n---\n"
                    "kind: service\nname: c\nspec: {hosts: [y.example], path: /v2, endpoints: "
                    "[{host: b.example, port: 80}]}\n---\n"
                    "kind: service\nname: d\nspec: {hosts: [z.example, Z.example], endpoints: "
                    "[{host: b.example, port: 80}]}\n---\n"
                    "kind: service\nname: e\nspec: {protocol: tcp, hosts: [y.example], endpoints: "
                    "[{host: b.example, port: 80}]}\n---\n"
                    "kind: service\nname: f\nspec: {protocol: tcp, hosts: [y.example], endpoints: "
                    "[{host: b.example, port: 80}]}\n"),
            (std::vector<std::string>{
                "service/b: /spec/hosts/0: service a already has y.example with path /v1",
                "service/d: /spec/hosts/1: stands in this list twice: z.example with path /",
                "service/f: /spec/hosts/0: service e already has y.example"}));
}

TEST(Compile, IssuersHaveDifferentClaims) {
  const std::string jwks =
      "jwks: {keys: [{kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}]}}\n";
  EXPECT_EQ(refused("kind: issuer\nname: a\nspec: {issuer: x, " + jwks +
                    "---\nkind: issuer\nname: b\nspec: {issuer: x, " + jwks +
                    "---\nkind: issuer\nname: c\nspec: {issuer: sluice, " + jwks),
            (std::vector<std::string>{
                "issuer/b: /spec/issuer: issuer a has the same iss claim, \"x\"",
                "issuer/c: /spec/issuer: issuer sluice has the same iss claim, \"sluice\""}));
}

TEST(Compile, AlternativesExist) {
  EXPECT_EQ(
      refused("kind: service\nname: search\nspec: {protocol: mcp, hosts: [x.example], endpoints: "
              "[{host: b.example, port: 80}], degrade: {alternatives: [serch, search, "
              "search/query, search/querry, mail/x]}, tools: [{name: query, degrade: "
              "{alternatives: [search/none]}}]}\n"),
      (std::vector<std::string>{
          "service/search: /spec/degrade/alternatives/0: there is no service \"serch\"; did you "
          "mean \"search\"?",
          "service/search: /spec/degrade/alternatives/3: service search lists no tool "
          "\"querry\"; did you mean \"search/query\"?",
          "service/search: /spec/degrade/alternatives/4: there is no service \"mail\"",
          "service/search: /spec/tools/0/degrade/alternatives/0: service search lists no tool "
          "\"none\""}));
}

TEST(Compile, BindingsHaveDifferentAddresses) {
  const std::string task = "task: 9705a1d2-0f3e-4c55-8a43-2d1c7a90be01}\n";
  EXPECT_EQ(
      refused("kind: binding\nname: a\nspec: {address: '2001:db8::1', " + task +
              "---\nkind: binding\nname: b\nspec: {address: '2001:DB8:0::1', " + task),
      (std::vector<std::string>{"binding/b: /spec/address: binding a already has 2001:db8::1"}));
}

TEST(Compile, StoredDocumentsAreCheckedAgain) {
  Document d;
  d.kind = Kind::service;
  d.name = "old";
  d.spec = {{"hosts", boost::json::array{"a.example"}}, {"retired", 1}};
  const std::vector<Document> documents{d, d};
  const Resolved resolved;
  const auto snapshot = compile({documents, 1, builtin(), resolved});
  ASSERT_FALSE(snapshot);
  ASSERT_GE(snapshot.error().size(), 3u);
  EXPECT_EQ(snapshot.error()[0].document, "service/old");
  EXPECT_TRUE(snapshot.error()[0].message.starts_with("unknown key \"retired\""));
}

TEST(Compile, RemarksOnRulesThatMatchNothing) {
  const auto s = compiled(parse("kind: agent-class\nname: a\nspec: {allow: [kb, 'x/*']}\n"));
  EXPECT_EQ(remarks(*s),
            (std::vector<std::string>{
                "agent-class/a: allow \"kb\" matches no service and no listed tool",
                "agent-class/a: allow \"x/*\" matches no service and no listed tool"}));
}

}  // namespace
}  // namespace sluice::control
