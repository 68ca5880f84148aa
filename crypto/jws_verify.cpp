// Signature checks by wolfCrypt: RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1.
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include <cstring>

#include "crypto/jose.h"
#include "device.h"

namespace sluice::crypto {
namespace {

constexpr std::size_t kMaxModulus = 512;  // bytes
constexpr std::size_t kDigest = 32;

// The order of P-256 (SEC 2 section 2.4.2), big-endian.
constexpr std::uint8_t kP256Order[32] = {
    0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51};
// The order L of the Ed25519 base point (RFC 8032 section 5.1), big-endian.
constexpr std::uint8_t kEd25519Order[32] = {
    0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x14, 0xDE, 0xF9, 0xDE, 0xA2, 0xF7, 0x9C, 0xD6, 0x58, 0x12, 0x63, 0x1A, 0x5C, 0xF5, 0xD3, 0xED};

bool in_p256_range(ByteSpan scalar) {
  constexpr std::uint8_t kZero[32] = {};
  return std::memcmp(scalar.data(), kZero, 32) != 0 &&
         std::memcmp(scalar.data(), kP256Order, 32) < 0;
}

bool verify_es256(ByteSpan input, ByteSpan signature, ByteSpan point) {
  // RFC 7518 section 3.4: R and S, 32 bytes each. The DER form fails here.
  if (signature.size() != 64 || point.size() != 65) return false;
  const ByteSpan r = signature.first(32), s = signature.subspan(32);
  if (!in_p256_range(r) || !in_p256_range(s)) return false;
  std::uint8_t der[80];
  word32 der_size = sizeof(der);
  if (wc_ecc_rs_raw_to_sig(r.data(), 32, s.data(), 32, der, &der_size) != 0) return false;
  const auto digest = sha256(input);
  note_curve_thread();
  ecc_key key;
  if (wc_ecc_init(&key) != 0) return false;
  int valid = 0;
  const bool done = wc_ecc_import_x963_ex(point.data(), 65, &key, ECC_SECP256R1) == 0 &&
                    wc_ecc_verify_hash(der, der_size, digest.data(), kDigest, &valid, &key) == 0;
  wc_ecc_free(&key);
  return done && valid == 1;
}

bool verify_eddsa(ByteSpan input, ByteSpan signature, ByteSpan point) {
  if (signature.size() != ED25519_SIG_SIZE || point.size() != ED25519_PUB_KEY_SIZE) return false;
  // RFC 8032 section 5.1.7: S must be below L, or a second form of the signature would pass.
  std::uint8_t s[32];
  for (std::size_t i = 0; i < 32; ++i) s[i] = signature[63 - i];
  if (std::memcmp(s, kEd25519Order, 32) >= 0) return false;
  ed25519_key key;
  if (wc_ed25519_init(&key) != 0) return false;
  int valid = 0;
  const bool done =
      wc_ed25519_import_public(point.data(), static_cast<word32>(point.size()), &key) == 0 &&
      wc_ed25519_verify_msg(signature.data(), static_cast<word32>(signature.size()), input.data(),
                            static_cast<word32>(input.size()), &valid, &key) == 0;
  wc_ed25519_free(&key);
  return done && valid == 1;
}

bool check_pkcs1(RsaKey& key, const std::array<std::uint8_t, kDigest>& digest, ByteSpan signature) {
  std::uint8_t expected[kDigest + 64];
  const word32 size = wc_EncodeSignature(expected, digest.data(), kDigest, SHA256h);
  std::uint8_t found[kMaxModulus];
  const int n = wc_RsaSSL_Verify(signature.data(), static_cast<word32>(signature.size()), found,
                                 sizeof(found), &key);
  return n > 0 && static_cast<word32>(n) == size && std::memcmp(found, expected, size) == 0;
}

bool check_pss(RsaKey& key, const std::array<std::uint8_t, kDigest>& digest, ByteSpan signature) {
  // RFC 7518 section 3.5: MGF1 with SHA-256, salt as long as the digest.
  std::uint8_t copy[kMaxModulus], encoded[kMaxModulus];
  std::memcpy(copy, signature.data(), signature.size());
  const int n =
      wc_RsaPSS_Verify_ex(copy, static_cast<word32>(signature.size()), encoded, sizeof(encoded),
                          WC_HASH_TYPE_SHA256, WC_MGF1SHA256, static_cast<int>(kDigest), &key);
  return n > 0 && wc_RsaPSS_CheckPadding_ex(digest.data(), kDigest, encoded, static_cast<word32>(n),
                                            WC_HASH_TYPE_SHA256, static_cast<int>(kDigest),
                                            wc_RsaEncryptSize(&key) * 8) == 0;
}

bool verify_rsa(bool pss, ByteSpan input, ByteSpan signature, ByteSpan der) {
  const auto digest = sha256(input);
  RsaKey key;
  if (wc_InitRsaKey(&key, nullptr) != 0) return false;
  word32 at = 0;
  bool valid = wc_RsaPublicKeyDecode(der.data(), &at, &key, static_cast<word32>(der.size())) == 0;
  // RFC 8017 section 8.2.2 step 1: exactly as long as the modulus.
  const int modulus = valid ? wc_RsaEncryptSize(&key) : 0;
  valid = valid && modulus > 0 && static_cast<std::size_t>(modulus) == signature.size() &&
          signature.size() <= kMaxModulus;
  valid = valid && (pss ? check_pss(key, digest, signature) : check_pkcs1(key, digest, signature));
  wc_FreeRsaKey(&key);
  return valid;
}

}  // namespace

std::expected<void, JwsError> verify_jws(const JwsParts& parts, const VerificationKey& key) {
  // The key decides, not the token (RFC 8725 section 3.1).
  if (parts.algorithm != key.algorithm) return std::unexpected(JwsError::algorithm_refused);
  const ByteSpan input = as_bytes(parts.signing_input);
  bool valid = false;
  switch (key.algorithm) {
    case JwsAlgorithm::es256:
      valid = verify_es256(input, parts.signature, key.material);
      break;
    case JwsAlgorithm::eddsa:
      valid = verify_eddsa(input, parts.signature, key.material);
      break;
    case JwsAlgorithm::rs256:
      valid = verify_rsa(false, input, parts.signature, key.material);
      break;
    case JwsAlgorithm::ps256:
      valid = verify_rsa(true, input, parts.signature, key.material);
      break;
  }
  if (!valid) return std::unexpected(JwsError::signature_invalid);
  return {};
}

}  // namespace sluice::crypto
