#include <gtest/gtest.h>

#include "controlplane/rest.h"
#include "crypto/jose.h"
#include "fake_gateway.h"

namespace sluice::control {
namespace {
namespace json = boost::json;

class ApiTest : public ::testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    control.reset();
    ControlOptions options;
    options.state = folder.path / "state";
    options.version = "1.2.3";
    options.unix_now = [this] { return clock; };
    auto opened = Control::open(std::move(options), gateway);
    ASSERT_TRUE(opened) << opened.error();
    control = std::move(*opened);
  }
  RestResponse call(std::string method, std::string target, std::string body = {},
                    std::string if_match = {}, std::string if_none_match = {}) {
    RestRequest request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = std::move(body);
    request.if_match = std::move(if_match);
    request.if_none_match = std::move(if_none_match);
    request.uid = 1000;
    return handle(*control, request);
  }
  static json::object parsed(const RestResponse& response) {
    return json::parse(response.body).get_object();
  }
  static std::string header(const RestResponse& response, std::string_view name) {
    for (const auto& [n, value] : response.headers) {
      if (n == name) return value;
    }
    return {};
  }
  void apply_both() {
    const auto r = call("POST", "/v1/apply", std::string("[") + kClass + "," + kService + "]");
    ASSERT_EQ(r.status, 200u) << r.body;
  }
  std::string mint(const char* body = R"({"agent_class":"research","subject":"alice"})") {
    const auto r = call("POST", "/v1/tasks", body);
    EXPECT_EQ(r.status, 201u) << r.body;
    return r.status == 201 ? std::string(parsed(r)["txn"].get_string()) : std::string();
  }

  TempFolder folder;
  FakeGateway gateway;
  std::int64_t clock = 1'800'000'000;
  std::unique_ptr<Control> control;
};

// Found by fuzzing: a refusal quotes what it refuses, and stays JSON whatever that is.
TEST_F(ApiTest, RefusalsQuoteOnlyUtf8) {
  const auto r = call("GET", "/v1/services?limit=10&pa\xbege_token=kb");
  EXPECT_EQ(r.status, 400u);
  json::error_code error;
  const json::value problem = json::parse(r.body, error);
  ASSERT_FALSE(error) << r.body;
  EXPECT_NE(problem.at("detail").get_string().find("pa\xef\xbf\xbdge_token"), json::string::npos);
  EXPECT_EQ(call("GET", "/v1/\xff").status, 404u);
}

TEST_F(ApiTest, HealthAndDescription) {
  EXPECT_EQ(call("GET", "/v1/livez").status, 200u);
  EXPECT_EQ(call("GET", "/v1/readyz").status, 200u);
  EXPECT_EQ(parsed(call("GET", "/v1/version"))["version"].get_string(), "1.2.3");
  const auto info = parsed(call("GET", "/v1/info"));
  EXPECT_TRUE(info.contains("ports"));
  EXPECT_EQ(info.at("issuer").at("issuer").get_string(), "sluice");
  gateway.port_views = {{"agents", true, "single", "", {{"198.18.1.1/24", "tentative"}}}};
  EXPECT_EQ(call("GET", "/v1/readyz").status, 503u);
  gateway.port_views[0].addresses[0].state = "duplicate";  // waiting would not help
  EXPECT_EQ(call("GET", "/v1/readyz").status, 200u);
  gateway.generations[1] = 0;
  const auto behind = call("GET", "/v1/readyz");
  EXPECT_EQ(behind.status, 503u);
  EXPECT_EQ(header(behind, "Retry-After"), "1");
}

// Every path the description names exists, and refuses methods it does not name.
TEST_F(ApiTest, OpenApiAgreesWithTheRouter) {
  const auto document = parsed(call("GET", "/v1/openapi.json"));
  EXPECT_EQ(document.at("openapi").get_string(), "3.1.0");
  for (const auto& path : document.at("paths").get_object()) {
    std::string target(path.key());
    for (const char* hole : {"{name}", "{txn}", "{generation}"}) {
      if (const auto at = target.find(hole); at != std::string::npos) {
        target.replace(at, std::strlen(hole), "x");
      }
    }
    const auto refused = call("PATCH", target);
    EXPECT_EQ(refused.status, 405u) << target;
    const std::string allow = header(refused, "Allow");
    for (const char* method : {"get", "put", "post", "delete"}) {
      std::string upper(method);
      for (auto& c : upper) c = static_cast<char>(c - 'a' + 'A');
      EXPECT_EQ(path.value().get_object().contains(method), allow.find(upper) != std::string::npos)
          << target << " " << method << " Allow: " << allow;
    }
  }
}

TEST_F(ApiTest, PutGetDeleteWithEtags) {
  auto r = call("PUT", "/v1/agent-classes/research", kClass);
  ASSERT_EQ(r.status, 201u) << r.body;
  const std::string first = header(r, "ETag");
  EXPECT_FALSE(first.empty());
  EXPECT_NE(r.wait_generation, 0u);
  r = call("GET", "/v1/agent-classes/research");
  ASSERT_EQ(r.status, 200u);
  EXPECT_EQ(header(r, "ETag"), first);
  EXPECT_EQ(parsed(r)["spec"].at("mode").get_string(), "enforce");
  EXPECT_EQ(call("GET", "/v1/agent-classes/research", "", "", first).status, 304u);

  // The same again changes nothing.
  r = call("PUT", "/v1/agent-classes/research", kClass, first);
  EXPECT_EQ(r.status, 200u);
  EXPECT_EQ(header(r, "ETag"), first);

  const char* audit = R"({"spec":{"mode":"audit","allow":["kb"]}})";
  r = call("PUT", "/v1/agent-classes/research", audit, first);
  EXPECT_EQ(r.status, 200u);
  const std::string second = header(r, "ETag");
  EXPECT_NE(first, second);
  EXPECT_EQ(call("PUT", "/v1/agent-classes/research", kClass, first).status, 412u);
  EXPECT_EQ(call("PUT", "/v1/agent-classes/research", kClass, "W/" + second).status, 412u);
  EXPECT_EQ(call("PUT", "/v1/agent-classes/research", kClass, "", "*").status, 412u);
  EXPECT_EQ(call("PUT", "/v1/agent-classes/new", audit, "*").status, 412u);
  EXPECT_EQ(call("DELETE", "/v1/agent-classes/research", "", first).status, 412u);
  EXPECT_EQ(call("DELETE", "/v1/agent-classes/research", "", second).status, 200u);
  EXPECT_EQ(call("GET", "/v1/agent-classes/research").status, 404u);
  EXPECT_EQ(call("DELETE", "/v1/agent-classes/research").status, 404u);
}

TEST_F(ApiTest, DryRunChangesNothing) {
  const auto before = control->generation();
  const auto r = call("PUT", "/v1/agent-classes/research?dry_run=1", kClass);
  EXPECT_EQ(r.status, 200u) << r.body;
  EXPECT_TRUE(parsed(r)["changed"].get_bool());
  EXPECT_EQ(control->generation(), before);
  EXPECT_EQ(call("GET", "/v1/agent-classes/research").status, 404u);
  EXPECT_EQ(gateway.published.size(), 1u);
}

TEST_F(ApiTest, ApplyIsAllOrNothing) {
  const std::string body = std::string("{\"documents\":[") + kClass +
                           R"(,{"kind":"service","name":"bad","spec":{"protocol":"smtp"}}]})";
  const auto r = call("POST", "/v1/apply", body);
  EXPECT_EQ(r.status, 400u);
  EXPECT_EQ(r.content_type, "application/problem+json");
  const auto problem = parsed(r);
  EXPECT_EQ(problem.at("status").to_number<int>(), 400);
  EXPECT_TRUE(std::string_view(problem.at("pointer").get_string()).starts_with("/documents/1/spec"))
      << r.body;
  EXPECT_EQ(call("GET", "/v1/agent-classes/research").status, 404u);
  EXPECT_EQ(gateway.published.size(), 1u);
  apply_both();
  EXPECT_EQ(gateway.published.size(), 2u);
  EXPECT_GT(gateway.published[1], gateway.published[0]);
  ASSERT_EQ(gateway.snapshot->services.size(), 1u);
  ASSERT_EQ(gateway.snapshot->classes.size(), 1u);
}

// Two services with one host and path: each document is fine alone.
TEST_F(ApiTest, ErrorsAcrossDocumentsPointIntoTheRequest) {
  apply_both();
  std::string other = kService;
  other.replace(other.find("\"kb\""), 4, "\"kc\"");
  const auto r = call("POST", "/v1/apply", "[" + other + "]");
  EXPECT_EQ(r.status, 400u) << r.body;
  EXPECT_TRUE(parsed(r).contains("pointer"));
  EXPECT_EQ(call("GET", "/v1/services/kc").status, 404u);
}

TEST_F(ApiTest, ListsPage) {
  std::string body = "[";
  for (int i = 0; i < 25; ++i) {
    if (i > 0) body += ",";
    body += R"({"kind":"agent-class","name":"c)" + std::to_string(100 + i) +
            R"(","spec":{"allow":[]}})";
  }
  ASSERT_EQ(call("POST", "/v1/apply", body + "]").status, 200u);
  std::vector<std::string> names;
  std::string token;
  do {
    const auto page = parsed(
        call("GET", "/v1/agent-classes?limit=10" + (token.empty() ? "" : "&page_token=" + token)));
    for (const auto& item : page.at("items").get_array()) {
      names.emplace_back(item.at("name").get_string());
    }
    const auto* next = page.if_contains("next_page_token");
    token = next != nullptr ? std::string(next->get_string()) : "";
  } while (!token.empty());
  EXPECT_EQ(names.size(), 25u);
  EXPECT_TRUE(std::ranges::is_sorted(names));
  EXPECT_EQ(parsed(call("GET", "/v1/services"))["items"].get_array().size(), 0u);
}

struct BadCase {
  const char *method, *target, *body;
  unsigned status;
  const char* pointer;  // nullptr: none expected
};
class BadInput : public ApiTest, public ::testing::WithParamInterface<BadCase> {};

TEST_P(BadInput, IsRefusedAndChangesNothing) {
  apply_both();
  const auto before = control->generation();
  const auto& c = GetParam();
  const auto r = call(c.method, c.target, c.body);
  EXPECT_EQ(r.status, c.status) << r.body;
  EXPECT_EQ(r.content_type, "application/problem+json");
  const auto problem = parsed(r);
  for (const char* member : {"type", "title", "status", "detail", "code"}) {
    EXPECT_TRUE(problem.contains(member)) << member;
  }
  if (c.pointer != nullptr) {
    ASSERT_TRUE(problem.contains("pointer")) << r.body;
    EXPECT_EQ(problem.at("pointer").get_string(), c.pointer) << r.body;
  }
  EXPECT_EQ(control->generation(), before);
}

INSTANTIATE_TEST_SUITE_P(
    Rest, BadInput,
    ::testing::Values(
        BadCase{"GET", "/", "", 404, nullptr}, BadCase{"GET", "/v1", "", 404, nullptr},
        BadCase{"GET", "/v1/nothing", "", 404, nullptr},
        BadCase{"GET", "/v1/services/kb/x", "", 404, nullptr},
        BadCase{"GET", "v1/services", "", 400, ""}, BadCase{"GET", "/v1/%zz", "", 400, ""},
        BadCase{"GET", "/v1/services/%00", "", 400, ""},
        BadCase{"POST", "/v1/services", "{}", 405, nullptr},
        BadCase{"DELETE", "/v1/services", "", 405, nullptr},
        BadCase{"GET", "/v1/apply", "", 405, nullptr},
        BadCase{"GET", "/v1/services?colour=red", "", 400, ""},
        BadCase{"GET", "/v1/services?limit=0", "", 400, ""},
        BadCase{"GET", "/v1/services?limit=1001", "", 400, ""},
        BadCase{"GET", "/v1/services?limit=1&limit=2", "", 400, ""},
        BadCase{"GET", "/v1/calls?limit=1025", "", 400, ""},
        BadCase{"GET", "/v1/events?type=weather", "", 400, ""},
        BadCase{"GET", "/v1/services", "{}", 400, ""},
        BadCase{"PUT", "/v1/services/kb", "", 400, ""},
        BadCase{"PUT", "/v1/services/kb", "{", 400, ""},
        BadCase{"PUT", "/v1/services/kb", "[]", 400, ""},
        BadCase{"PUT", "/v1/services/kb", "{\"spec\":{},\"spec\":{}}", 400, "/spec"},
        BadCase{"PUT", "/v1/services/kb", "{\"kind\":\"issuer\",\"spec\":{}}", 400, "/kind"},
        BadCase{"PUT", "/v1/services/kb", "{\"name\":\"kc\",\"spec\":{}}", 400, "/name"},
        BadCase{"PUT", "/v1/services/kb", "{\"colour\":1,\"spec\":{}}", 400, nullptr},
        BadCase{"PUT", "/v1/agent-classes/a?dry_run=maybe", "{\"spec\":{}}", 400, ""},
        BadCase{"PUT", "/v1/agent-classes/a", "{\"spec\":{\"mode\":\"soft\"}}", 400, "/spec/mode"},
        BadCase{"POST", "/v1/apply", "7", 400, ""},
        BadCase{"POST", "/v1/apply", "{\"documents\":7}", 400, "/documents"},
        BadCase{"POST", "/v1/apply", "{\"documents\":[],\"x\":1}", 400, "/x"},
        BadCase{"POST", "/v1/apply", "[{\"kind\":\"issuer\",\"kind\":\"service\"}]", 400,
                "/0/kind"},
        BadCase{"POST", "/v1/config:rollback", "{}", 400, "/generation"},
        BadCase{"POST", "/v1/config:rollback", "{\"generation\":999}", 400, "/generation"},
        BadCase{"GET", "/v1/config/versions/x", "", 404, nullptr},
        BadCase{"GET", "/v1/config/versions/999", "", 404, nullptr},
        BadCase{"GET", "/v1/tasks?state=tired", "", 400, ""},
        BadCase{"GET", "/v1/tasks/x", "", 404, nullptr},
        BadCase{"DELETE", "/v1/tasks/00000000-0000-4000-8000-000000000000", "", 404, nullptr},
        BadCase{"POST", "/v1/tasks", "[]", 400, ""},
        BadCase{"POST", "/v1/tasks", "{\"subject\":\"a\"}", 400, "/agent_class"},
        BadCase{"POST", "/v1/tasks", "{\"agent_class\":\"research\"}", 400, "/subject"},
        BadCase{"POST", "/v1/tasks", "{\"agent_class\":\"nope\",\"subject\":\"a\"}", 400,
                "/agent_class"},
        BadCase{"POST", "/v1/tasks", "{\"agent_class\":7,\"subject\":\"a\"}", 400, "/agent_class"},
        BadCase{"POST", "/v1/tasks", "{\"agent_class\":\"research\",\"subject\":\"a\\u0000\"}", 400,
                "/subject"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"ttl_s\":901}", 400, "/ttl_s"},
        BadCase{"POST", "/v1/tasks", "{\"agent_class\":\"research\",\"subject\":\"a\",\"ttl_s\":0}",
                400, "/ttl_s"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"ttl_s\":1.5}", 400, "/ttl_s"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"ttl_s\":\"60\"}", 400, "/ttl_s"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"allow\":[\"kb\",\"a b\"]}", 400,
                "/allow/1"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"limits\":{\"calls\":-1}}", 400,
                "/limits/calls"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"limits\":{\"a/b~c\":1}}", 400,
                "/limits/a~1b~0c"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"labels\":{\"x\":1}}", 400,
                "/labels/x"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"bind_address\":\"here\"}", 400,
                "/bind_address"},
        BadCase{"POST", "/v1/tasks",
                "{\"agent_class\":\"research\",\"subject\":\"a\",\"colour\":\"red\"}", 400,
                "/colour"}));

TEST_F(ApiTest, BodyOverFourMebibytes) {
  EXPECT_EQ(call("POST", "/v1/apply", std::string(kMaxRestBody + 1, ' ')).status, 413u);
}

TEST_F(ApiTest, DeepNestingIsRefused) {
  EXPECT_EQ(call("POST", "/v1/apply", std::string(100000, '[')).status, 400u);
}

TEST_F(ApiTest, MintedTokenVerifiesWithThePublishedKey) {
  apply_both();
  const auto r = call("POST", "/v1/tasks",
                      R"({"agent_class":"research","subject":"alice","ttl_s":60,
                          "allow":["kb","mail/*"],"limits":{"calls":5}})");
  ASSERT_EQ(r.status, 201u) << r.body;
  auto minted = parsed(r);
  const std::string token(minted["token"].get_string());
  std::vector<std::uint8_t> buffer(token.size());
  const auto parts = crypto::parse_jws(token, buffer);
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->type, "txntoken+jwt");
  ASSERT_EQ(gateway.snapshot->issuers.size(), 1u);
  const auto& issuer = gateway.snapshot->issuers[0];
  ASSERT_EQ(issuer.keys.size(), 1u);
  EXPECT_EQ(issuer.keys[0].kid, parts->kid);
  crypto::VerificationKey key;
  key.kid = issuer.keys[0].kid;
  key.algorithm = static_cast<crypto::JwsAlgorithm>(issuer.keys[0].algorithm);
  key.material = issuer.keys[0].material;
  EXPECT_TRUE(crypto::verify_jws(*parts, key));

  std::vector<std::uint8_t> unescaped(8192);
  const auto claims = crypto::parse_claims(parts->payload, unescaped);
  ASSERT_TRUE(claims) << claims.error();
  EXPECT_EQ(claims->issuer, "sluice");
  ASSERT_EQ(claims->audience_count, 1u);
  EXPECT_EQ(claims->audiences[0], "sluice");
  EXPECT_EQ(claims->subject, "alice");
  EXPECT_EQ(claims->scope, "kb mail/*");
  EXPECT_EQ(claims->agent_class, "research");
  EXPECT_EQ(claims->issued_at, clock);
  EXPECT_EQ(claims->expires_at, clock + 60);
  EXPECT_EQ(claims->txn, std::string_view(minted["txn"].get_string()));
  EXPECT_EQ(claims->limits_json, R"({"calls":5})");
  std::string bare(claims->txn);
  std::erase(bare, '-');
  EXPECT_EQ(minted["trace_id"].get_string(), bare);
  EXPECT_EQ(bare[12], '4');  // RFC 9562 section 5.4: version 4
  EXPECT_EQ(minted["expires_at"].get_string(), rfc3339(clock + 60));
}

TEST_F(ApiTest, TaskLifeAndRevocation) {
  apply_both();
  const std::string txn = mint();
  const auto id = *parse_uuid(txn);
  ASSERT_TRUE(gateway.table.find(id));
  EXPECT_EQ(parsed(call("GET", "/v1/tasks/" + txn))["state"].get_string(), "live");
  gateway.mailbox_full = true;
  const auto r = call("DELETE", "/v1/tasks/" + txn);
  EXPECT_EQ(r.status, 200u) << r.body;
  EXPECT_EQ(parsed(r)["state"].get_string(), "revoked");
  EXPECT_TRUE(gateway.table.revoked(*gateway.table.find(id)));
  EXPECT_TRUE(gateway.commands[0].empty());
  // A full mailbox delays the cancel, it does not lose it.
  gateway.mailbox_full = false;
  control->drain_events();
  for (const auto& commands : gateway.commands) {
    ASSERT_EQ(commands.size(), 1u);
    EXPECT_EQ(commands[0].kind, runtime::Command::Kind::cancel_task);
    EXPECT_EQ(commands[0].id, id);
  }
  EXPECT_EQ(call("DELETE", "/v1/tasks/" + txn).status, 200u);
  EXPECT_EQ(parsed(call("GET", "/v1/tasks?state=revoked"))["items"].get_array().size(), 1u);
  EXPECT_EQ(parsed(call("GET", "/v1/tasks?state=live"))["items"].get_array().size(), 0u);
}

// A task of another issuer is known to the table only, once a worker has seen its token.
TEST_F(ApiTest, TasksOfOtherIssuersCanBeRevoked) {
  state::TaskId id{};
  id[0] = 7;
  ASSERT_TRUE(gateway.table.acquire(id, clock + 100));
  EXPECT_EQ(call("DELETE", "/v1/tasks/" + uuid_text(id)).status, 200u);
  EXPECT_TRUE(gateway.table.revoked(*gateway.table.find(id)));
}

TEST_F(ApiTest, ExpiredTasksAreForgotten) {
  apply_both();
  const std::string txn = mint();
  clock += 301;
  EXPECT_EQ(parsed(call("GET", "/v1/tasks/" + txn))["state"].get_string(), "expired");
  clock += 1000;
  control->every_second();
  EXPECT_EQ(call("GET", "/v1/tasks/" + txn).status, 404u);
  EXPECT_TRUE(control->store().tasks().empty());
}

TEST_F(ApiTest, FullTaskTableIsSaid) {
  apply_both();
  unsigned status = 201;
  for (int i = 0; i < 400 && status == 201; ++i) {
    status = call("POST", "/v1/tasks", R"({"agent_class":"research","subject":"a"})").status;
  }
  EXPECT_EQ(status, 503u);
}

TEST_F(ApiTest, EverythingSurvivesAReopen) {
  apply_both();
  const std::string live = mint(), revoked = mint();
  ASSERT_EQ(call("DELETE", "/v1/tasks/" + revoked).status, 200u);
  const auto before = call("GET", "/v1/services/kb");
  const auto generation = control->generation();
  const auto kid = gateway.snapshot->issuers[0].keys[0].kid;
  FakeGateway second;
  control.reset();
  ControlOptions options;
  options.state = folder.path / "state";
  options.unix_now = [this] { return clock; };
  auto opened = Control::open(std::move(options), second);
  ASSERT_TRUE(opened) << opened.error();
  control = std::move(*opened);
  EXPECT_EQ(control->generation(), generation);
  EXPECT_EQ(header(call("GET", "/v1/services/kb"), "ETag"), header(before, "ETag"));
  EXPECT_EQ(second.snapshot->services.size(), 1u);
  EXPECT_EQ(second.snapshot->issuers[0].keys[0].kid, kid);
  EXPECT_EQ(parsed(call("GET", "/v1/tasks/" + live))["state"].get_string(), "live");
  EXPECT_FALSE(second.table.revoked(*second.table.find(*parse_uuid(live))));
  EXPECT_TRUE(second.table.revoked(*second.table.find(*parse_uuid(revoked))));
}

TEST_F(ApiTest, HistoryAndRollback) {
  apply_both();
  const auto good = control->generation();
  ASSERT_EQ(call("DELETE", "/v1/services/kb").status, 200u);
  ASSERT_EQ(call("PUT", "/v1/agent-classes/other", R"({"spec":{"allow":["*"]}})").status, 201u);
  const auto versions = parsed(call("GET", "/v1/config/versions?limit=2"));
  EXPECT_EQ(versions.at("items").get_array().size(), 2u);
  EXPECT_TRUE(versions.contains("next_page_token"));
  EXPECT_EQ(versions.at("items").at(0).at("uid").to_number<int>(), 1000);
  const auto old = parsed(call("GET", "/v1/config/versions/" + std::to_string(good)));
  EXPECT_EQ(old.at("documents").get_array().size(), 2u);
  const auto r =
      call("POST", "/v1/config:rollback", "{\"generation\":" + std::to_string(good) + "}");
  ASSERT_EQ(r.status, 200u) << r.body;
  EXPECT_GT(control->generation(), good);
  EXPECT_EQ(call("GET", "/v1/services/kb").status, 200u);
  EXPECT_EQ(call("GET", "/v1/agent-classes/other").status, 404u);
}

TEST_F(ApiTest, ConfDIsMergedThreeWays) {
  const auto document = [](const char* text) { return *parse_document(json::parse(text)); };
  const std::vector<Document> both = {document(kClass), document(kService)};
  ASSERT_TRUE(control->apply_files(both));
  const auto generation = control->generation();
  ASSERT_TRUE(control->apply_files(both));
  EXPECT_EQ(control->generation(), generation) << "nothing changed in the folder";
  // REST changes one document; a start with the same files leaves that alone.
  ASSERT_EQ(call("PUT", "/v1/agent-classes/research", R"({"spec":{"mode":"audit"}})").status, 200u);
  ASSERT_TRUE(control->apply_files(both));
  EXPECT_EQ(parsed(call("GET", "/v1/agent-classes/research"))["spec"].at("mode").get_string(),
            "audit");
  // Both files go: the untouched document goes, the one REST changed stays.
  ASSERT_TRUE(control->apply_files({}));
  EXPECT_EQ(call("GET", "/v1/services/kb").status, 404u);
  EXPECT_EQ(call("GET", "/v1/agent-classes/research").status, 200u);
}

TEST_F(ApiTest, NewAddressesPublishANewGeneration) {
  std::string named = kService;
  named.replace(named.find("198.18.2.10"), 11, "kb.example");
  FakeNames names;
  control->set_name_service(&names);
  ASSERT_EQ(call("PUT", "/v1/services/kb", named).status, 201u);
  EXPECT_EQ(names.hosts, std::vector<std::string>{"kb.example"});
  const auto before = control->generation();
  const Resolved found = {{{"kb.example", {*IpAddress::parse("198.18.2.10")}}}, {}};
  control->set_resolved(found);
  EXPECT_EQ(control->generation(), before + 1);
  ASSERT_EQ(gateway.snapshot->services[0].endpoints[0].addresses.size(), 1u);
  control->set_resolved(found);
  EXPECT_EQ(control->generation(), before + 1) << "the same addresses again";
  const auto events = call("GET", "/v1/events?type=dns").body;
  EXPECT_NE(events.find(R"("name":"kb.example","addresses":["198.18.2.10"])"), std::string::npos)
      << events;
}

TEST_F(ApiTest, NamesAreShownRefreshedAndCounted) {
  EXPECT_EQ(call("GET", "/v1/dns").body, "{\"items\":[]}\n");
  EXPECT_EQ(call("POST", "/v1/dns:refresh").status, 503u) << "nobody resolves";
  FakeNames names;
  control->set_name_service(&names);
  for (const char* name : {"a.example", "b.example", "c.example"}) {
    names.items.push_back(json::object{{"name", name}, {"record", "A"}});
  }
  auto page = parsed(call("GET", "/v1/dns?limit=2"));
  EXPECT_EQ(page.at("items").get_array().size(), 2u);
  const std::string token(page.at("next_page_token").get_string());
  page = parsed(call("GET", "/v1/dns?page_token=" + token));
  ASSERT_EQ(page.at("items").get_array().size(), 1u);
  EXPECT_EQ(page.at("items").at(0).at("name").get_string(), "c.example");
  EXPECT_EQ(call("GET", "/v1/dns?page_token=x").status, 400u);
  const auto answer = call("POST", "/v1/dns:refresh");
  EXPECT_EQ(answer.status, 200u);
  EXPECT_EQ(names.refreshed, 1);
  EXPECT_EQ(answer.wait_names, RestResponse::Names::all);
  ASSERT_TRUE(answer.late_body);
  EXPECT_NE(answer.late_body().find("c.example"), std::string::npos);
  names.figures_ = {10, 3, 4, 2, 1};
  const std::string metrics = call("GET", "/metrics").body;
  for (const char* line :
       {"sluice_dns_queries_total 10\n", "sluice_dns_failures_total 3\n", "sluice_dns_names 4\n",
        "sluice_dns_names_stale 2\n", "sluice_dns_names_unresolved 1\n"}) {
    EXPECT_NE(metrics.find(line), std::string::npos) << line;
  }
  EXPECT_EQ(parsed(call("GET", "/v1/stats")).at("dns").at("stale").to_number<int>(), 2);
  // Not ready before every name has had an answer, good or bad.
  EXPECT_EQ(call("GET", "/v1/readyz").status, 200u);
  names.waiting = true;
  EXPECT_EQ(call("GET", "/v1/readyz").status, 503u);
  control->set_name_service(nullptr);
}

telemetry::CallRecord record(std::string_view service, std::string_view path, int ms) {
  telemetry::CallRecord r;
  r.started = WallTime(Micros(1'800'000'000'123'456));
  r.total = Millis(ms);
  r.service.assign(service);
  r.tool.assign("lookup");
  r.method.assign("GET");
  r.path.assign(path);
  r.status = 200;
  r.task[0] = 0x97;
  return r;
}

TEST_F(ApiTest, CallsAreKeptShownAndCounted) {
  for (int i = 0; i < 1100; ++i) {
    gateway.events[static_cast<unsigned>(i) % 2].push_back(
        {runtime::Event::Kind::call, record("kb", "/docs/\"\xff\n", 3)});
  }
  auto watcher = control->subscribe("call");
  EXPECT_TRUE(control->drain_events());
  EXPECT_FALSE(control->drain_events());
  EXPECT_EQ(watcher->lines.size(), 1100u);
  const auto calls = parsed(call("GET", "/v1/calls?limit=1024"));
  ASSERT_EQ(calls.at("items").get_array().size(), 1024u);
  const auto& first = calls.at("items").at(0).get_object();
  EXPECT_EQ(first.at("path").get_string(), "/docs/\"\xef\xbf\xbd\n");
  EXPECT_EQ(first.at("started").get_string(), "2027-01-15T08:00:00.123456Z");
  EXPECT_EQ(first.at("code").get_string(), "ok");
  EXPECT_EQ(parsed(call("GET", "/v1/calls?service=other"))["items"].get_array().size(), 0u);
  std::ifstream file(folder.path / "state" / "calls" / "calls.jsonl");
  std::size_t lines = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    ASSERT_TRUE(json::parse(line).is_object());
  }
  EXPECT_EQ(lines, 1100u);
  const auto metrics = call("GET", "/metrics");
  EXPECT_NE(metrics.body.find("sluice_call_duration_seconds_bucket{service=\"kb\",tool=\"lookup\","
                              "code=\"ok\",le=\"0.005\"} 1100\n"),
            std::string::npos);
}

TEST(CallLogTest, FilesRotateAndStayBounded) {
  TempFolder folder;
  CallLogOptions options;
  options.folder = folder.path;
  options.file_bytes = 4096;
  options.files = 3;
  {
    CallLog log(options);
    for (int i = 0; i < 200; ++i) {
      log.add(record("kb", "/docs", 1), 1);
      log.flush();
    }
    EXPECT_EQ(log.write_errors(), 0u);
  }
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) {
    EXPECT_LE(entry.file_size(), 4096u);
    ++files;
  }
  EXPECT_EQ(files, 3u);
}

// OpenMetrics 1.0: HELP and TYPE once per family, its samples together, # EOF at the end.
TEST_F(ApiTest, MetricsAreOpenMetrics) {
  gateway.counters[1].add(telemetry::Counter::rx_packets, 5);
  gateway.port_views = {{"agents", true, "rss", "", {{"198.18.1.1/24", "duplicate"}}},
                        {"tools", false, "redirect", "why", {}}};
  control->every_second();
  const auto r = call("GET", "/metrics");
  for (const char* line :
       {"sluice_port_up{port=\"agents\"} 1\n", "sluice_port_up{port=\"tools\"} 0\n",
        "sluice_port_spreading{port=\"agents\",mode=\"rss\"} 1\n",
        "sluice_port_spreading{port=\"agents\",mode=\"redirect\"} 0\n",
        "sluice_port_spreading{port=\"tools\",mode=\"redirect\"} 1\n",
        "sluice_port_address{port=\"agents\",address=\"198.18.1.1/24\",state=\"duplicate\"} 1\n",
        "sluice_port_address{port=\"agents\",address=\"198.18.1.1/24\",state=\"usable\"} 0\n"}) {
    EXPECT_NE(r.body.find(line), std::string::npos) << line;
  }
  EXPECT_TRUE(r.content_type.starts_with("application/openmetrics-text"));
  EXPECT_TRUE(r.body.ends_with("# EOF\n"));
  EXPECT_NE(r.body.find("sluice_port_receive_packets_total{worker=\"1\"} 5\n"), std::string::npos);
  std::set<std::string> families;
  std::string current;
  std::istringstream lines(r.body);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      current = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(current).second) << current;
    } else if (!line.starts_with("#")) {
      EXPECT_TRUE(line.starts_with(current)) << line;
    }
  }
  EXPECT_TRUE(families.contains("sluice_worker_busy_ratio"));
  const auto stats = parsed(call("GET", "/v1/stats"));
  EXPECT_EQ(stats.at("counters").at("rx_packets").at("value").to_number<int>(), 5);
  EXPECT_EQ(stats.at("workers").get_array().size(), 2u);
}

}  // namespace
}  // namespace sluice::control
