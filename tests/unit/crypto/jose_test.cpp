// JWS, JWK and claims: the RFCs' own examples, OpenSSL as a second opinion, and what must be
// refused.
#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <string>
#include <vector>

#include "crypto/jose.h"

namespace sluice::crypto {
namespace {

std::string encode(std::string_view text) { return base64url_encode(as_bytes(text)); }

std::vector<std::uint8_t> decode(std::string_view text) {
  std::vector<std::uint8_t> bytes(text.size());
  const auto size = base64url_decode(text, bytes);
  EXPECT_TRUE(size.has_value());
  bytes.resize(size.value_or(0));
  return bytes;
}

// An RFC example as parts: the examples carry no typ, which parse_jws() demands.
struct Example {
  Example(JwsAlgorithm algorithm, std::string_view token) {
    const std::size_t dot = token.rfind('.');
    signature = decode(token.substr(dot + 1));
    parts = {algorithm, "", "", "", token.substr(0, dot), signature};
  }
  std::vector<std::uint8_t> signature;
  JwsParts parts;
};

constexpr const char* kRsaN =
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4"
    "QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdb"
    "BYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-D"
    "WNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

// RFC 7515 appendix A.2.
TEST(Jws, Rfc7515A2Rs256) {
  const auto key = import_jwk({.kty = "RSA", .alg = "RS256", .n = kRsaN, .e = "AQAB"});
  ASSERT_TRUE(key.has_value()) << key.error();
  const std::string token =
      "eyJhbGciOiJSUzI1NiJ9."
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
      "fQ."
      "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
      "O8W2Fp5ju"
      "jGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
      "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07"
      "Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-"
      "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipU"
      "TI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
  Example example(JwsAlgorithm::rs256, token);
  EXPECT_TRUE(verify_jws(example.parts, *key).has_value());
  example.signature[17] ^= 1;
  EXPECT_EQ(verify_jws(example.parts, *key).error(), JwsError::signature_invalid);
}

VerificationKey rfc7515_a3_key() {
  const auto key = import_jwk({.kty = "EC",
                               .crv = "P-256",
                               .x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                               .y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
  EXPECT_TRUE(key.has_value());
  return *key;
}
constexpr const char* kA3Token =
    "eyJhbGciOiJFUzI1NiJ9."
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    "."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

// RFC 7515 appendix A.3.
TEST(Jws, Rfc7515A3Es256) {
  Example example(JwsAlgorithm::es256, kA3Token);
  EXPECT_TRUE(verify_jws(example.parts, rfc7515_a3_key()).has_value());
  for (std::size_t i = 0; i < 64; i += 7) {
    example.signature[i] ^= 4;
    EXPECT_FALSE(verify_jws(example.parts, rfc7515_a3_key()).has_value());
    example.signature[i] ^= 4;
  }
}

// RFC 8037 appendices A.2 to A.4.
TEST(Jws, Rfc8037A4EdDsa) {
  const auto key = import_jwk(
      {.kty = "OKP", .crv = "Ed25519", .x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
  ASSERT_TRUE(key.has_value()) << key.error();
  EXPECT_EQ(key->kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");  // A.3, RFC 7638
  Example example(
      JwsAlgorithm::eddsa,
      "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
      "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
  EXPECT_TRUE(verify_jws(example.parts, *key).has_value());
  // RFC 8032 section 5.1.7: S + L is another form of the same signature, and must not pass.
  constexpr std::uint8_t kOrder[32] = {0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58,
                                       0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14,
                                       0,    0,    0,    0,    0,    0,    0,    0,
                                       0,    0,    0,    0,    0,    0,    0,    0x10};
  unsigned carry = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    carry += example.signature[32 + i] + kOrder[i];
    example.signature[32 + i] = static_cast<std::uint8_t>(carry);
    carry >>= 8;
  }
  EXPECT_FALSE(verify_jws(example.parts, *key).has_value());
}

// RFC 7638 section 3.1.
TEST(Jwk, Rfc7638Thumbprint) {
  const auto key = import_jwk(
      {.kty = "RSA",
       .alg = "RS256",
       .n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc"
            "_BJ"
            "ECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
            "FDW"
            "2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"
            "bFTWhAI4vMQ"
            "Fh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
       .e = "AQAB"});
  ASSERT_TRUE(key.has_value()) << key.error();
  EXPECT_EQ(key->kid, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

// RFC 7518 section 3.4: R || S, never the DER form; RFC 6979 range of both.
TEST(Jws, Es256RefusesDerAndRange) {
  Example example(JwsAlgorithm::es256, kA3Token);
  const auto good = example.signature;
  const VerificationKey key = rfc7515_a3_key();
  std::vector<std::uint8_t> der = {0x30, 0x45, 0x02, 0x20};
  der.insert(der.end(), good.begin(), good.begin() + 32);
  der.insert(der.end(), {0x02, 0x21, 0x00});
  der.insert(der.end(), good.begin() + 32, good.end());
  example.parts.signature = der;
  EXPECT_EQ(verify_jws(example.parts, key).error(), JwsError::signature_invalid);
  for (const bool high : {false, true}) {
    for (const std::size_t at : {std::size_t{0}, std::size_t{32}}) {
      auto bad = good;
      std::fill_n(bad.begin() + static_cast<std::ptrdiff_t>(at), 32, high ? 0xFF : 0);
      example.parts.signature = bad;
      EXPECT_FALSE(verify_jws(example.parts, key).has_value());
    }
  }
}

TEST(Jws, TheKeyDecidesTheAlgorithm) {
  Example example(JwsAlgorithm::rs256, kA3Token);
  EXPECT_EQ(verify_jws(example.parts, rfc7515_a3_key()).error(), JwsError::algorithm_refused);
}

struct OpensslKey {
  explicit OpensslKey(EVP_PKEY* k) : key(k) {}
  OpensslKey(const OpensslKey&) = delete;
  OpensslKey& operator=(const OpensslKey&) = delete;
  ~OpensslKey() { EVP_PKEY_free(key); }
  std::string number(const char* name) const {
    BIGNUM* n = nullptr;
    EVP_PKEY_get_bn_param(key, name, &n);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(BN_num_bytes(n)));
    BN_bn2bin(n, bytes.data());
    BN_free(n);
    return base64url_encode(bytes);
  }
  std::vector<std::uint8_t> sign(std::string_view text, int salt) const {
    EVP_MD_CTX* ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX* pkey = nullptr;
    EVP_DigestSignInit(ctx, &pkey, EVP_sha256(), nullptr, key);
    if (salt >= 0) {
      EVP_PKEY_CTX_set_rsa_padding(pkey, RSA_PKCS1_PSS_PADDING);
      EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey, salt);
    }
    std::size_t size = 0;
    EVP_DigestSign(ctx, nullptr, &size, as_bytes(text).data(), text.size());
    std::vector<std::uint8_t> signature(size);
    EVP_DigestSign(ctx, signature.data(), &size, as_bytes(text).data(), text.size());
    signature.resize(size);
    EVP_MD_CTX_free(ctx);
    return signature;
  }
  EVP_PKEY* key;
};

TEST(Jws, RsaAgainstOpenssl) {
  const OpensslKey rsa(EVP_RSA_gen(2048));
  const std::string n = rsa.number("n"), e = rsa.number("e");
  const auto rs256 = import_jwk({.kty = "RSA", .alg = "RS256", .n = n, .e = e});
  const auto ps256 = import_jwk({.kty = "RSA", .alg = "PS256", .n = n, .e = e});
  ASSERT_TRUE(rs256.has_value() && ps256.has_value());
  const std::string input = "header.payload";
  const auto check = [&](JwsAlgorithm algorithm, const VerificationKey& key, int salt) {
    const auto signature = rsa.sign(input, salt);
    const JwsParts parts{algorithm, "", "", "", input, signature};
    return verify_jws(parts, key).has_value();
  };
  EXPECT_TRUE(check(JwsAlgorithm::rs256, *rs256, -1));
  EXPECT_TRUE(check(JwsAlgorithm::ps256, *ps256, 32));
  EXPECT_FALSE(check(JwsAlgorithm::rs256, *rs256, 32));
  EXPECT_FALSE(check(JwsAlgorithm::ps256, *ps256, -1));
  // RFC 7518 section 3.5: the salt is as long as the hash.
  EXPECT_FALSE(check(JwsAlgorithm::ps256, *ps256, 20));
  EXPECT_FALSE(check(JwsAlgorithm::ps256, *ps256, 0));
  auto shorter = rsa.sign(input, -1);
  shorter.pop_back();
  EXPECT_FALSE(verify_jws({JwsAlgorithm::rs256, "", "", "", input, shorter}, *rs256).has_value());
}

TEST(Jwk, Refusals) {
  const char* x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
  const char* y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
  const auto error = [](const JwkFields& fields) {
    const auto key = import_jwk(fields);
    return key ? std::string() : key.error();
  };
  EXPECT_EQ(error({.kty = "EC", .crv = "P-256", .alg = "ES256", .x = x, .y = y, .use = "sig"}), "");
  EXPECT_NE(error({.kty = "oct"}).find("kty"), std::string::npos);
  EXPECT_NE(error({.kty = "EC", .crv = "P-384", .x = x, .y = y}).find("crv"), std::string::npos);
  EXPECT_NE(error({.kty = "EC", .crv = "P-256", .x = x, .y = x}).find("not a point"),
            std::string::npos);
  EXPECT_NE(error({.kty = "EC", .crv = "P-256", .x = "AA", .y = y}).find("x: "), std::string::npos);
  EXPECT_NE(error({.kty = "EC", .crv = "P-256", .x = x, .y = "+/=="}).find("y: "),
            std::string::npos);
  EXPECT_NE(error({.kty = "EC", .crv = "P-256", .alg = "RS256", .x = x, .y = y}).find("alg"),
            std::string::npos);
  EXPECT_NE(error({.kty = "EC", .crv = "P-256", .alg = "HS256", .x = x, .y = y}).find("alg"),
            std::string::npos);
  EXPECT_NE(error({.kty = "EC", .crv = "P-256", .x = x, .y = y, .use = "enc"}).find("use"),
            std::string::npos);
  EXPECT_NE(error({.kty = "RSA", .n = kRsaN, .e = "AQAB"}).find("alg"), std::string::npos);
  EXPECT_NE(error({.kty = "RSA", .alg = "RS256", .n = kRsaN, .e = "AQ"}).find("e: "),
            std::string::npos);
  EXPECT_NE(error({.kty = "RSA", .alg = "ES256", .n = kRsaN, .e = "AQAB"}).find("alg"),
            std::string::npos);
  const OpensslKey small(EVP_RSA_gen(1024));
  const std::string n = small.number("n");
  EXPECT_NE(error({.kty = "RSA", .alg = "RS256", .n = n, .e = "AQAB"}).find("2048"),
            std::string::npos);
  EXPECT_NE(error({.kty = "OKP", .crv = "X25519", .x = x}).find("crv"), std::string::npos);
  EXPECT_NE(error({.kty = "OKP", .crv = "Ed25519", .x = "AAAA"}).find("x: "), std::string::npos);
}

TEST(Jws, AlgorithmNames) {
  for (const char* good : {"ES256", "EdDSA", "RS256", "PS256"}) {
    ASSERT_TRUE(parse_algorithm(good).has_value()) << good;
    EXPECT_EQ(to_string(*parse_algorithm(good)), good);
  }
  for (const char* bad : {"none", "None", "HS256", "HS512", "es256", "ES384", "RS512", ""}) {
    EXPECT_FALSE(parse_algorithm(bad).has_value()) << bad;
  }
}

JwsError parse_error(std::string_view token) {
  std::vector<std::uint8_t> buffer(token.size());
  const auto parts = parse_jws(token, buffer);
  EXPECT_FALSE(parts.has_value()) << token;
  return parts ? JwsError::key_unknown : parts.error();
}

std::string with_header(std::string_view header) {
  return encode(header) + "." + encode("{}") + "." + encode("signature");
}

TEST(Jws, ParseTakesOurTypes) {
  for (const char* type : {"txntoken+jwt", "at+jwt", "AT+JWT", "application/at+jwt"}) {
    const std::string token =
        with_header(R"({"alg":"ES256","kid":"k1","typ":")" + std::string(type) + "\"}");
    std::vector<std::uint8_t> buffer(token.size());
    const auto parts = parse_jws(token, buffer);
    ASSERT_TRUE(parts.has_value()) << to_string(parts.error());
    EXPECT_EQ(parts->kid, "k1");
    EXPECT_EQ(parts->type, type);
    EXPECT_EQ(parts->payload, "{}");
    EXPECT_EQ(as_text(parts->signature), "signature");
    EXPECT_EQ(parts->signing_input, token.substr(0, token.rfind('.')));
  }
  const std::string escaped = with_header(
      R"({"\u0061lg":"E\u0053256","kid":"a\/\"\u00e9\ud83d\ude00","typ":"at\u002bjwt"})");
  std::vector<std::uint8_t> buffer(escaped.size());
  const auto parts = parse_jws(escaped, buffer);
  ASSERT_TRUE(parts.has_value()) << to_string(parts.error());
  EXPECT_EQ(parts->kid, "a/\"\u00e9\U0001F600");
  EXPECT_EQ(parts->type, "at+jwt");
}

TEST(Jws, ParseRefusesShapes) {
  const std::string good = with_header(R"({"alg":"ES256","typ":"at+jwt"})");
  EXPECT_EQ(parse_error(""), JwsError::malformed);
  EXPECT_EQ(parse_error("a.b"), JwsError::malformed);
  EXPECT_EQ(parse_error(good + ".x"), JwsError::malformed);
  EXPECT_EQ(parse_error(good + "="), JwsError::malformed);
  EXPECT_EQ(parse_error(" " + good), JwsError::malformed);
  EXPECT_EQ(parse_error(good.substr(0, good.rfind('.') + 1)), JwsError::malformed);
  EXPECT_EQ(parse_error("." + good), JwsError::malformed);
  EXPECT_EQ(parse_error(std::string(kMaxToken, 'A') + good), JwsError::malformed);
  std::vector<std::uint8_t> tiny(4);
  EXPECT_FALSE(parse_jws(good, tiny).has_value());
}

TEST(Jws, ParseRefusesHeaders) {
  const auto refused = [](std::string_view header) { return parse_error(with_header(header)); };
  for (const char* alg : {"none", "HS256", "HS384", "HS512", "NONE", "ES512"}) {
    EXPECT_EQ(refused(R"({"typ":"at+jwt","alg":")" + std::string(alg) + "\"}"),
              JwsError::algorithm_refused);
  }
  // RFC 7515 section 4: names must be unique, escapes or not.
  EXPECT_EQ(refused(R"({"alg":"ES256","alg":"ES256","typ":"at+jwt"})"), JwsError::bad_header);
  EXPECT_EQ(refused(R"({"alg":"ES256","\u0061lg":"none","typ":"at+jwt"})"), JwsError::bad_header);
  EXPECT_EQ(refused(R"({"alg":"ES256","typ":"at+jwt","x":1,"x":2})"), JwsError::bad_header);
  // Section 4.1.11, and RFC 7797.
  EXPECT_EQ(refused(R"({"alg":"ES256","typ":"at+jwt","crit":["exp"]})"),
            JwsError::critical_unknown);
  EXPECT_EQ(refused(R"({"alg":"ES256","typ":"at+jwt","crit":[]})"), JwsError::critical_unknown);
  EXPECT_EQ(refused(R"({"alg":"ES256","typ":"at+jwt","b64":false})"), JwsError::critical_unknown);
  EXPECT_EQ(refused(R"({"alg":"ES256"})"), JwsError::type_refused);
  EXPECT_EQ(refused(R"({"alg":"ES256","typ":"JWT"})"), JwsError::type_refused);
  for (const char* bad : {R"({"typ":"at+jwt"})",
                          R"({"alg":1,"typ":"at+jwt"})",
                          R"({"alg":"ES256","typ":true})",
                          R"({"alg":"ES256","typ":"at+jwt","kid":null})",
                          R"(["ES256"])",
                          R"("ES256")",
                          "{",
                          "{}}",
                          R"({"alg":"ES256","typ":"at+jwt"} x)",
                          R"({"alg":"ES256","typ":"at+jwt",})",
                          R"({"alg":"ES256" "typ":"at+jwt"})",
                          R"({,"alg":"ES256","typ":"at+jwt"})",
                          R"({"alg":"ES256","typ":"at+jwt","jwk":{"kty":"EC"}})",
                          R"({"alg":"ES256","typ":"at+jwt","x5c":["AA"]})",
                          R"({'alg':'ES256'})",
                          "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"\x01\"}",
                          "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"\xC0\x80\"}",
                          R"({"alg":"ES256","typ":"at+jwt","kid":"\ud800"})",
                          R"({"alg":"ES256","typ":"at+jwt","kid":"\u0000"})",
                          R"({"alg":"ES256","typ":"at+jwt","n":01})",
                          R"({"alg":"ES256","typ":"at+jwt","n":tru})"}) {
    EXPECT_EQ(refused(bad), JwsError::bad_header) << bad;
  }
}

// RFC 4648 sections 5, 3.5 and 10.
TEST(Base64url, StrictBothWays) {
  for (const auto& [plain, text] :
       std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                        {"f", "Zg"},
                                                        {"fo", "Zm8"},
                                                        {"foo", "Zm9v"},
                                                        {"foob", "Zm9vYg"},
                                                        {"fooba", "Zm9vYmE"},
                                                        {"foobar", "Zm9vYmFy"},
                                                        {"\xFB\xFF\xBF", "-_-_"}}) {
    EXPECT_EQ(encode(plain), text);
    EXPECT_EQ(as_text(decode(text)), plain);
  }
  std::uint8_t room[16];
  for (const char* bad : {"A", "AAAAA", "Zg==", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm9v\n", " Zm9v"}) {
    EXPECT_FALSE(base64url_decode(bad, room).has_value()) << bad;
  }
  EXPECT_FALSE(base64url_decode("Zm9vYmFy", MutByteSpan(room).first(5)).has_value());
}

TEST(SigningKey, SignsWhatItsPublicKeyVerifies) {
  auto key = SigningKey::generate();
  ASSERT_TRUE(key.has_value()) << key.error();
  for (int i = 0; i < 20; ++i) {
    const auto token = key->sign(R"({"iss":"sluice"})", "txntoken+jwt");
    ASSERT_TRUE(token.has_value()) << token.error();
    std::vector<std::uint8_t> buffer(token->size());
    const auto parts = parse_jws(*token, buffer);
    ASSERT_TRUE(parts.has_value()) << to_string(parts.error());
    EXPECT_EQ(parts->kid, key->public_key().kid);
    EXPECT_EQ(parts->payload, R"({"iss":"sluice"})");
    EXPECT_TRUE(verify_jws(*parts, key->public_key()).has_value());
    auto other = SigningKey::generate();
    ASSERT_TRUE(other.has_value());
    EXPECT_EQ(verify_jws(*parts, other->public_key()).error(), JwsError::signature_invalid);
  }
  EXPECT_FALSE(key->sign("{}", "a\"b").has_value());
  EXPECT_FALSE(key->sign(std::string(kMaxToken, ' '), "at+jwt").has_value());
}

TEST(SigningKey, PemRoundTrip) {
  auto key = SigningKey::generate();
  ASSERT_TRUE(key.has_value());
  const auto pem = key->to_pem();
  ASSERT_TRUE(pem.has_value()) << pem.error();
  EXPECT_TRUE(pem->starts_with("-----BEGIN PRIVATE KEY-----")) << *pem;
  auto again = SigningKey::from_pem(*pem);
  ASSERT_TRUE(again.has_value()) << again.error();
  EXPECT_EQ(again->public_jwk(), key->public_jwk());
  EXPECT_EQ(again->public_key().material, key->public_key().material);
  // OpenSSL reads it too.
  BIO* bio = BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size()));
  const OpensslKey openssl(PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr));
  BIO_free(bio);
  EXPECT_NE(openssl.key, nullptr);
}

TEST(SigningKey, TakesOpensslKeysOfP256Only) {
  const auto pem = [](EVP_PKEY* raw, bool traditional) {
    const OpensslKey key(raw);
    BIO* bio = BIO_new(BIO_s_mem());
    if (traditional) {
      PEM_write_bio_PrivateKey_traditional(bio, key.key, nullptr, nullptr, 0, nullptr, nullptr);
    } else {
      PEM_write_bio_PrivateKey(bio, key.key, nullptr, nullptr, 0, nullptr, nullptr);
    }
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string text(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return text;
  };
  EXPECT_TRUE(SigningKey::from_pem(pem(EVP_EC_gen("P-256"), false)).has_value());
  EXPECT_TRUE(SigningKey::from_pem(pem(EVP_EC_gen("P-256"), true)).has_value());
  EXPECT_FALSE(SigningKey::from_pem(pem(EVP_EC_gen("P-384"), false)).has_value());
  EXPECT_FALSE(SigningKey::from_pem(pem(EVP_RSA_gen(2048), false)).has_value());
  EXPECT_FALSE(SigningKey::from_pem("").has_value());
  EXPECT_FALSE(
      SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
          .has_value());
}

std::string claims_error(std::string_view json) {
  std::uint8_t room[8192];
  const auto claims = parse_claims(json, room);
  return claims ? std::string() : claims.error();
}

TEST(Claims, AllOfThem) {
  const std::string json = R"({"iss":"https:\/\/id.example","aud":["a","sluice"],"iat":1700000000,
    "exp":1700000300.9,"nbf":1699999999,"jti":"j\u00e9","txn":"9705a1d2-0000-4000-8000-000000000001",
    "sub":"user:1","act":{"sub":"agent-7","act":{"sub":"inner"}},"scope":"kb search/query mail/*",
    "authorization_details":[{"type":"agent_egress","locations":["https://api.example:443"]}],
    "tctx":{"agent_class":"research","step_timeout_ms":5000,"limits":{"calls":5},"x":[1,2]},
    "https://example.com/other":{"a":[true,false,null,-1.5e3]}})";
  std::uint8_t room[256];
  const auto claims = parse_claims(json, room);
  ASSERT_TRUE(claims.has_value()) << claims.error();
  EXPECT_EQ(claims->issuer, "https://id.example");
  ASSERT_EQ(claims->audience_count, 2u);
  EXPECT_EQ(claims->audiences[1], "sluice");
  EXPECT_EQ(claims->issued_at, 1700000000);
  EXPECT_EQ(claims->expires_at, 1700000300);
  EXPECT_EQ(claims->not_before, 1699999999);
  EXPECT_EQ(claims->jti, "j\u00e9");
  EXPECT_EQ(claims->txn, "9705a1d2-0000-4000-8000-000000000001");
  EXPECT_EQ(claims->subject, "user:1");
  EXPECT_EQ(claims->actor, "agent-7");
  EXPECT_EQ(claims->scope, "kb search/query mail/*");
  EXPECT_EQ(claims->agent_class, "research");
  EXPECT_EQ(claims->step_timeout_ms, 5000);
  EXPECT_EQ(claims->limits_json, R"({"calls":5})");
  EXPECT_TRUE(claims->authorization_details.starts_with("[{\"type\""));
}

TEST(Claims, AudienceAsString) {
  std::uint8_t room[16];
  const auto claims = parse_claims(R"({"aud":"sluice"})", room);
  ASSERT_TRUE(claims.has_value());
  EXPECT_EQ(claims->audience_count, 1u);
  EXPECT_EQ(claims->audiences[0], "sluice");
}

TEST(Claims, Refusals) {
  EXPECT_EQ(claims_error("{}"), "");
  // Duplicates at every level.
  for (const char* twice :
       {R"({"iss":"a","iss":"a"})", R"({"act":{"sub":"a","sub":"b"}})",
        R"({"tctx":{"limits":{"calls":1,"calls":2}}})", R"({"x":[{"y":{"z":1,"\u007a":2}}]})",
        R"({"authorization_details":[{"type":"a","type":"b"}]})"}) {
    EXPECT_NE(claims_error(twice).find("twice"), std::string::npos) << twice;
  }
  for (const auto& [json, what] : std::vector<std::pair<std::string, std::string>>{
           {R"({"iss":1})", "iss"},
           {R"({"exp":"soon"})", "exp"},
           {R"({"exp":null})", "exp"},
           {R"({"exp":1e99})", "bound"},
           {R"({"exp":12345678901234567})", "bound"},
           {R"({"aud":{}})", "aud"},
           {R"({"aud":["a",1]})", "aud"},
           {R"({"aud":["1","2","3","4","5","6","7","8","9"]})", "aud"},
           {R"({"scope":["a"]})", "scope"},
           {R"({"act":"me"})", "act"},
           {R"({"act":{"sub":5}})", "act.sub"},
           {R"({"tctx":[]})", "tctx"},
           {R"({"tctx":{"step_timeout_ms":-5}})", "step_timeout_ms"},
           {R"({"tctx":{"step_timeout_ms":0}})", "step_timeout_ms"},
           {R"({"tctx":{"limits":[]}})", "limits"},
           {R"({"authorization_details":{}})", "authorization_details"},
           {"[]", "not a JSON object"},
           {"", "not a JSON object"},
           {R"({"a":1}{)", "not a JSON object"},
           {R"({"a":-})", "not a JSON object"},
           {R"({"a":1.})", "not a JSON object"}}) {
    EXPECT_NE(claims_error(json).find(what), std::string::npos)
        << json << ": " << claims_error(json);
  }
  EXPECT_EQ(claims_error(R"({"a":)" + std::string(7, '[') + std::string(7, ']') + "}"), "");
  EXPECT_NE(claims_error(R"({"a":)" + std::string(8, '[') + std::string(8, ']') + "}").find("deep"),
            std::string::npos);
  std::string scopes = "{\"scope\":\"";
  for (int i = 0; i < 64; ++i) scopes += "s ";
  EXPECT_EQ(claims_error(scopes + "\"}"), "");
  EXPECT_NE(claims_error(scopes + "s\"}").find("64"), std::string::npos);
  std::string many = "{";
  for (int i = 0; i < 65; ++i) many += "\"m" + std::to_string(i) + "\":0,";
  many.back() = '}';
  EXPECT_NE(claims_error(many).find("bound"), std::string::npos);
  std::uint8_t none[1];
  EXPECT_FALSE(parse_claims(R"({"iss":"\u00e9"})", MutByteSpan(none).first(0)).has_value());
}

// FIPS 180-4 examples.
TEST(Digest, Sha256) {
  const auto hex = [](ByteSpan bytes) {
    std::string text;
    for (const std::uint8_t b : bytes) {
      text += "0123456789abcdef"[b >> 4];
      text += "0123456789abcdef"[b & 15];
    }
    return text;
  };
  EXPECT_EQ(hex(sha256(as_bytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Random, DoesNotRepeat) {
  std::vector<std::vector<std::uint8_t>> seen;
  for (int i = 0; i < 200; ++i) {
    std::vector<std::uint8_t> bytes(i % 2 == 0 ? 48 : 2000);
    random_bytes(bytes);
    bytes.resize(48);
    EXPECT_EQ(std::ranges::count(seen, bytes), 0);
    seen.push_back(bytes);
  }
}

}  // namespace
}  // namespace sluice::crypto
