// JSON Web Signatures for task tokens: RFC 7515 compact form, RFC 7518 and RFC 8037 algorithms,
// RFC 7517 keys, RFC 8725 precautions. Through wolfCrypt. No DOM: strict, bounded,
// allocation-light.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace sluice::crypto {

enum class JwsAlgorithm : std::uint8_t { es256, eddsa, rs256, ps256 };
std::string_view to_string(JwsAlgorithm algorithm);                          // "ES256"
std::expected<JwsAlgorithm, std::string> parse_algorithm(std::string_view);  // none, HS*: error

enum class JwsError : std::uint8_t {
  malformed,          // not three base64url parts, bad padding or alphabet, over 8 KiB
  bad_header,         // header not a flat JSON object, duplicate members, wrong types
  algorithm_refused,  // none, HS*, unknown, or not the key's
  critical_unknown,   // "crit" present
  type_refused,       // typ is neither txntoken+jwt nor at+jwt
  key_unknown,        // no key with this kid
  signature_invalid,
};
std::string_view to_string(JwsError error);

// A public key as policy holds it: plain bytes, checked once when the document was applied.
struct VerificationKey {
  std::string kid;
  JwsAlgorithm algorithm = JwsAlgorithm::es256;
  std::vector<std::uint8_t>
      material;  // ES256: 04||x||y (65) · EdDSA: 32 · RSA: DER SubjectPublicKeyInfo-free PKCS#1
};

// From one JWK's members (already split by the caller's JSON parser).
struct JwkFields {
  std::string_view kty{}, crv{}, kid{}, alg{}, x{}, y{}, n{}, e{}, use{};
};
// Error text names the member and what is accepted.
std::expected<VerificationKey, std::string> import_jwk(const JwkFields& fields);

// The split token. Views point into `buffer`, which holds the decoded header and payload.
struct JwsParts {
  JwsAlgorithm algorithm;
  std::string_view kid;
  std::string_view type;
  std::string_view payload;        // decoded JSON text
  std::string_view signing_input;  // header.payload as sent
  ByteSpan signature;              // decoded
};

inline constexpr std::size_t kMaxToken = 8192;

// Splits and checks everything but the signature. `buffer` needs at least token.size() bytes.
std::expected<JwsParts, JwsError> parse_jws(std::string_view token, MutByteSpan buffer);
// 50 to 200 microseconds.
std::expected<void, JwsError> verify_jws(const JwsParts& parts, const VerificationKey& key);

// An ES256 private key of the built-in issuer.
class SigningKey {
 public:
  static std::expected<SigningKey, std::string> generate();
  static std::expected<SigningKey, std::string> from_pem(std::string_view pem);
  std::expected<std::string, std::string> to_pem() const;
  const VerificationKey& public_key() const;  // kid = RFC 7638 thumbprint
  std::string public_jwk() const;             // JSON text
  // Compact JWS over `payload_json`.
  std::expected<std::string, std::string> sign(std::string_view payload_json,
                                               std::string_view type) const;
  SigningKey(SigningKey&&) noexcept;
  SigningKey& operator=(SigningKey&&) noexcept;
  ~SigningKey();

 private:
  SigningKey();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// RFC 4648 section 5, without padding. Strict: unused bits must be zero.
std::expected<std::size_t, JwsError> base64url_decode(std::string_view text, MutByteSpan out);
std::string base64url_encode(ByteSpan bytes);

std::array<std::uint8_t, 32> sha256(ByteSpan bytes);
// From the kernel; aborts the process if there is none.
void random_bytes(MutByteSpan out);

// Task token claims (contract section 6), as views into the payload; numbers are Unix seconds.
// Parsing refuses duplicate members, wrong types, nesting over 8, more than 64 scopes.
struct TokenClaims {
  std::string_view issuer, jti, txn, subject, actor, agent_class, scope;
  std::array<std::string_view, 8> audiences{};
  std::size_t audience_count = 0;
  std::int64_t issued_at = 0, expires_at = 0;  // 0: absent
  std::int64_t not_before = 0;                 // 0: absent
  std::int64_t step_timeout_ms = 0;            // 0: absent
  std::string_view limits_json;                // raw tctx.limits object, empty if absent
  std::string_view authorization_details;      // raw array, empty if absent
};
std::expected<TokenClaims, std::string> parse_claims(std::string_view payload_json,
                                                     MutByteSpan unescape_buffer);

}  // namespace sluice::crypto
