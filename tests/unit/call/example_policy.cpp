#include "example_policy.h"

#include <cstdlib>
#include <utility>

#include "crypto/contexts.h"

namespace sluice::test {
namespace {

void add_class(policy::Snapshot& snapshot, std::string name, policy::Mode mode,
               std::uint64_t tools) {
  policy::AgentClass c;
  c.name = std::move(name);
  c.mode = mode;
  c.allowed_tools = {{tools}};
  snapshot.classes.push_back(std::move(c));
}

template <typename T>
T must(std::expected<T, std::string> made) {
  if (!made) std::abort();
  return std::move(*made);
}

}  // namespace

crypto::SigningKey example_key() {
  crypto::initialise();
  auto made = crypto::SigningKey::generate();
  if (!made) std::abort();
  return std::move(*made);
}

policy::Snapshot example_policy(const crypto::SigningKey& key, std::uint64_t generation) {
  policy::Snapshot snapshot;
  snapshot.generation = generation;
  policy::Issuer issuer;
  issuer.name = issuer.issuer = "sluice";
  issuer.audiences = {"sluice"};
  issuer.algorithms = 1u << static_cast<unsigned>(crypto::JwsAlgorithm::es256);
  issuer.keys.push_back({key.public_key().kid,
                         static_cast<std::uint8_t>(crypto::JwsAlgorithm::es256),
                         key.public_key().material});
  snapshot.issuers.push_back(std::move(issuer));

  policy::Service kb;
  kb.name = "kb";
  kb.tools.resize(2);
  kb.tools[0].name = "*";
  kb.tools[1].name = "lookup";
  kb.endpoints.push_back(
      {std::string(kToolAddress), kToolPort, {*IpAddress::parse(kToolAddress)}, 1});
  kb.tool_matcher = must(match::ToolMatcher::build({{{"GET"}, "^/docs/[^/]+$", 1}}));
  snapshot.services.push_back(std::move(kb));
  snapshot.hosts = must(match::HostMatcher::build({{"kb.tools.example", "/", 0}}));

  add_class(snapshot, "research", policy::Mode::enforce, 0b11);
  add_class(snapshot, "lookup-only", policy::Mode::enforce, 0b10);
  add_class(snapshot, "nothing", policy::Mode::enforce, 0);
  add_class(snapshot, "trial", policy::Mode::audit, 0);
  add_class(snapshot, "elsewhere", policy::Mode::enforce, 0b11);
  snapshot.classes.back().sources = {*IpPrefix::parse("203.0.113.0/24")};
  return snapshot;
}

std::string example_token(const crypto::SigningKey& key, std::int64_t now_s,
                          std::string_view agent_class, std::string_view scope,
                          std::string_view task) {
  std::string json = R"({"iss":"sluice","aud":"sluice","iat":)";
  json.append(std::to_string(now_s)).append(R"(,"exp":)").append(std::to_string(now_s + 300));
  json.append(R"(,"jti":"j","txn":")").append(task);
  json.append(R"(","sub":"alice","scope":")").append(scope);
  json.append(R"(","tctx":{"agent_class":")").append(agent_class).append(R"("}})");
  return *key.sign(json, "txntoken+jwt");
}

}  // namespace sluice::test
