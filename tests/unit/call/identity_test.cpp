// Contract section 6: what a task token must carry, and what the decision cache may remember.
#include "call/identity.h"

#include <gtest/gtest.h>

#include "crypto/contexts.h"
#include "crypto/jose.h"

namespace sluice::call {
namespace {

using telemetry::Reason;

constexpr std::int64_t kNow = 1'800'000'000;
constexpr std::string_view kTxn = "9705a1d2-1234-4567-89ab-cdef01234567";

WallTime at(std::int64_t seconds) { return WallTime{Seconds{seconds}}; }

class TokenTest : public testing::Test {
 protected:
  TokenTest() : key_(make_key()) {
    policy::Issuer issuer;
    issuer.name = "platform";
    issuer.issuer = "https://id.example";
    issuer.audiences = {"sluice"};
    issuer.algorithms = 1u << static_cast<unsigned>(crypto::JwsAlgorithm::es256);
    issuer.keys.push_back({key_.public_key().kid,
                           static_cast<std::uint8_t>(crypto::JwsAlgorithm::es256),
                           key_.public_key().material});
    snapshot_.generation = 1;
    snapshot_.issuers.push_back(std::move(issuer));
    snapshot_.classes.emplace_back().name = "research";
  }

  static crypto::SigningKey make_key() {
    crypto::initialise();
    auto key = crypto::SigningKey::generate();
    EXPECT_TRUE(key.has_value());
    return std::move(*key);
  }

  static std::string claims(std::string_view changed = "", std::string_view value = "") {
    const std::pair<std::string_view, std::string> all[] = {
        {"iss", "\"https://id.example\""},
        {"aud", "[\"other\",\"sluice\"]"},
        {"iat", std::to_string(kNow - 10)},
        {"exp", std::to_string(kNow + 200)},
        {"jti", "\"j1\""},
        {"txn", "\"" + std::string(kTxn) + "\""},
        {"sub", "\"alice\""},
        {"scope", "\"kb\""},
        {"tctx", R"({"agent_class":"research","step_timeout_ms":20000})"},
    };
    std::string json = "{";
    for (const auto& [name, text] : all) {
      if (name == changed && value.empty()) continue;
      if (json.size() > 1) json += ',';
      json += "\"" + std::string(name) + "\":" + (name == changed ? std::string(value) : text);
    }
    return json + "}";
  }

  std::string token(std::string_view payload, std::string_view type = "txntoken+jwt") {
    auto signed_token = key_.sign(payload, type);
    EXPECT_TRUE(signed_token.has_value());
    return signed_token ? *signed_token : std::string();
  }

  Identity verify(std::string_view t, std::int64_t now = kNow) {
    return verify_token(t, snapshot_, tasks_, at(now));
  }

  crypto::SigningKey key_;
  policy::Snapshot snapshot_;
  state::TaskTable tasks_{64};
};

TEST_F(TokenTest, AGoodTokenNamesItsTask) {
  const Identity id = verify(token(claims()));
  ASSERT_EQ(id.reason, Reason::ok) << id.detail;
  EXPECT_EQ(id.id[0], 0x97);
  EXPECT_EQ(id.id[15], 0x67);
  EXPECT_EQ(id.agent_class, 0);
  EXPECT_EQ(id.scope, "kb");
  EXPECT_EQ(id.subject.view(), "alice");
  EXPECT_EQ(id.step_timeout_ms, 20000);
  EXPECT_EQ(recheck(id, tasks_, at(kNow)), Reason::ok);
}

TEST_F(TokenTest, TxnThatIsNoUuidIsHashedWithItsIssuer) {
  const Identity id = verify(token(claims("txn", "\"job-17\"")));
  ASSERT_EQ(id.reason, Reason::ok) << id.detail;
  const std::string input = std::string("https://id.example") + '\0' + "job-17";
  const auto digest = crypto::sha256(as_bytes(input));
  EXPECT_TRUE(std::equal(id.id.begin(), id.id.end(), digest.begin()));
}

TEST_F(TokenTest, RefusesWhatTheContractRefuses) {
  const struct {
    const char* what;
    std::string token;
    Reason reason;
  } cases[] = {
      {"no JWS", "abc", Reason::token_invalid},
      {"unknown issuer", token(claims("iss", "\"https://evil.example\"")), Reason::token_invalid},
      {"other audience", token(claims("aud", "\"other\"")), Reason::token_invalid},
      {"no audience", token(claims("aud")), Reason::token_invalid},
      {"no txn", token(claims("txn")), Reason::token_invalid},
      {"no jti", token(claims("jti")), Reason::token_invalid},
      {"no sub", token(claims("sub")), Reason::token_invalid},
      {"no exp", token(claims("exp")), Reason::token_invalid},
      {"life over 900 s", token(claims("exp", std::to_string(kNow + 1000))), Reason::token_invalid},
      {"exp before iat", token(claims("exp", std::to_string(kNow - 20))), Reason::token_invalid},
      {"other typ", token(claims(), "JWT"), Reason::token_invalid},
      {"unknown class", token(claims("tctx", R"({"agent_class":"nobody"})")),
       Reason::segment_forbidden},
  };
  for (const auto& c : cases) EXPECT_EQ(verify(c.token).reason, c.reason) << c.what;
}

TEST_F(TokenTest, ASignatureByAnotherKeyIsRefused) {
  auto other = crypto::SigningKey::generate();
  ASSERT_TRUE(other.has_value());
  std::string theirs = *other->sign(claims(), "txntoken+jwt");
  // Their signature under our header: the kid is ours, the signature is not.
  std::string ours = token(claims());
  const std::string mixed = ours.substr(0, ours.rfind('.')) + theirs.substr(theirs.rfind('.'));
  EXPECT_EQ(verify(theirs).reason, Reason::token_invalid);
  EXPECT_EQ(verify(mixed).reason, Reason::token_invalid);
}

TEST_F(TokenTest, SkewIsThirtySecondsOnBothSides) {
  const std::string t = token(claims());
  const Identity id = verify(t);
  ASSERT_EQ(id.reason, Reason::ok);
  EXPECT_EQ(recheck(id, tasks_, at(kNow + 230)), Reason::ok);
  EXPECT_EQ(recheck(id, tasks_, at(kNow + 231)), Reason::token_expired);
  EXPECT_EQ(recheck(id, tasks_, at(kNow - 40)), Reason::ok);
  EXPECT_EQ(recheck(id, tasks_, at(kNow - 41)), Reason::token_invalid);
  EXPECT_EQ(verify(t, kNow + 231).reason, Reason::token_expired);
}

TEST_F(TokenTest, RevocationIsSeenByACachedDecision) {
  const Identity id = verify(token(claims()));
  ASSERT_EQ(id.reason, Reason::ok);
  ASSERT_TRUE(tasks_.revoke(id.id, kNow + 300));
  EXPECT_EQ(recheck(id, tasks_, at(kNow)), Reason::token_revoked);
}

TEST(FindToken, TxnTokenGoesBeforeAuthorization) {
  http::FieldBlock fields;
  ASSERT_TRUE(fields.add("authorization", "Bearer x.y.z"));
  EXPECT_EQ(find_token(fields).token, "x.y.z");
  EXPECT_EQ(find_token(fields).field, "authorization");
  ASSERT_TRUE(fields.add("txn-token", "a.b.c"));
  EXPECT_EQ(find_token(fields).token, "a.b.c");
  EXPECT_EQ(find_token(fields).field, "txn-token");
}

TEST(FindToken, TheSchemeIsCaseInsensitiveAndOthersAreNotTokens) {
  http::FieldBlock lower;
  ASSERT_TRUE(lower.add("authorization", "bEARER a.b.c"));
  EXPECT_EQ(find_token(lower).token, "a.b.c");
  http::FieldBlock basic;
  ASSERT_TRUE(basic.add("authorization", "Basic dXNlcjpwdw=="));
  EXPECT_TRUE(find_token(basic).token.empty());
}

TEST(FindToken, TwoTokensAreAmbiguous) {
  http::FieldBlock fields;
  ASSERT_TRUE(fields.add("txn-token", "a.b.c"));
  ASSERT_TRUE(fields.add("txn-token", "a.b.d"));
  EXPECT_TRUE(find_token(fields).ambiguous);
}

TEST(IdentityCache, HoldsForOneGenerationAndEvictsTheOldest) {
  IdentityCache cache;
  cache.set_secret(1, 2);
  const auto key = cache.key_of("token");
  EXPECT_EQ(cache.find(key, 1), nullptr);
  Identity id;
  id.scope = "kb";
  cache.insert(key, 1, std::move(id));
  ASSERT_NE(cache.find(key, 1), nullptr);
  EXPECT_EQ(cache.find(key, 1)->scope, "kb");
  EXPECT_EQ(cache.find(key, 2), nullptr);
  EXPECT_EQ(cache.find(cache.key_of("other"), 1), nullptr);
}

}  // namespace
}  // namespace sluice::call
