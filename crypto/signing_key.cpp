#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

#include <cstring>

#include "crypto/jose.h"
#include "device.h"
#include "thumbprint.h"

namespace sluice::crypto {
namespace {

constexpr word32 kScalar = 32;

class Random {
 public:
  Random() : ok_(wc_InitRng(&rng_) == 0) {}
  Random(const Random&) = delete;
  Random& operator=(const Random&) = delete;
  ~Random() {
    if (ok_) wc_FreeRng(&rng_);
  }
  bool ok() const { return ok_; }
  WC_RNG* get() { return &rng_; }

 private:
  WC_RNG rng_;
  bool ok_;
};

bool safe_in_json(std::string_view text) {
  for (const char c : text) {
    if (c < 0x20 || c > 0x7E || c == '"' || c == '\\') return false;
  }
  return !text.empty() && text.size() <= 64;
}

}  // namespace

struct SigningKey::Impl {
  Impl() {
    note_curve_thread();
    wc_ecc_init(&key);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { wc_ecc_free(&key); }  // wipes it

  bool finish() {
    std::uint8_t point[65];
    word32 size = sizeof(point);
    if (wc_ecc_check_key(&key) != 0 || wc_ecc_export_x963(&key, point, &size) != 0 ||
        size != sizeof(point)) {
      return false;
    }
    x = base64url_encode({point + 1, 32});
    y = base64url_encode({point + 33, 32});
    verification = {thumbprint_ec(x, y), JwsAlgorithm::es256, {point, point + 65}};
    return true;
  }

  ecc_key key;
  VerificationKey verification;
  std::string x, y;
};

SigningKey::SigningKey() : impl_(std::make_unique<Impl>()) {}
SigningKey::SigningKey(SigningKey&&) noexcept = default;
SigningKey& SigningKey::operator=(SigningKey&&) noexcept = default;
SigningKey::~SigningKey() = default;

std::expected<SigningKey, std::string> SigningKey::generate() {
  SigningKey key;
  Random random;
  if (!random.ok() ||
      wc_ecc_make_key_ex(random.get(), kScalar, &key.impl_->key, ECC_SECP256R1) != 0 ||
      !key.impl_->finish()) {
    return std::unexpected("no P-256 key could be made");
  }
  return key;
}

std::expected<SigningKey, std::string> SigningKey::from_pem(std::string_view pem) {
  if (pem.empty() || pem.size() > 16384) return std::unexpected("not a PEM private key");
  std::vector<std::uint8_t> der(pem.size());
  const int size = wc_KeyPemToDer(reinterpret_cast<const unsigned char*>(pem.data()),
                                  static_cast<int>(pem.size()), der.data(),
                                  static_cast<int>(der.size()), nullptr);
  if (size <= 0) return std::unexpected("not a PEM private key");
  SigningKey key;
  word32 at = 0;
  const int decoded =
      wc_EccPrivateKeyDecode(der.data(), &at, &key.impl_->key, static_cast<word32>(size));
  explicit_bzero(der.data(), der.size());
  if (decoded != 0 || key.impl_->key.dp == nullptr || key.impl_->key.dp->id != ECC_SECP256R1) {
    return std::unexpected("not an EC private key on P-256");
  }
  // PKCS #8 may leave out the public half.
  if (key.impl_->key.type == ECC_PRIVATEKEY_ONLY) wc_ecc_make_pub(&key.impl_->key, nullptr);
  if (!key.impl_->finish()) return std::unexpected("not a valid P-256 key pair");
  return key;
}

std::expected<std::string, std::string> SigningKey::to_pem() const {
  std::uint8_t der[512];
  word32 der_size = sizeof(der);
  const int written = wc_EccKeyToPKCS8(&impl_->key, der, &der_size);
  std::string pem(1024, '\0');
  const int size = written > 0 ? wc_DerToPem(der, static_cast<word32>(written),
                                             reinterpret_cast<unsigned char*>(pem.data()),
                                             static_cast<word32>(pem.size()), PKCS8_PRIVATEKEY_TYPE)
                               : -1;
  explicit_bzero(der, sizeof(der));
  if (size <= 0) return std::unexpected("the key could not be written as PEM");
  pem.resize(static_cast<std::size_t>(size));
  return pem;
}

const VerificationKey& SigningKey::public_key() const { return impl_->verification; }

std::string SigningKey::public_jwk() const {
  return R"({"kty":"EC","crv":"P-256","x":")" + impl_->x + R"(","y":")" + impl_->y +
         R"(","kid":")" + impl_->verification.kid + R"(","alg":"ES256","use":"sig"})";
}

std::expected<std::string, std::string> SigningKey::sign(std::string_view payload_json,
                                                         std::string_view type) const {
  if (!safe_in_json(type)) return std::unexpected("typ: not a media type");
  const std::string header = R"({"alg":"ES256","kid":")" + impl_->verification.kid +
                             R"(","typ":")" + std::string(type) + "\"}";
  std::string token =
      base64url_encode(as_bytes(header)) + "." + base64url_encode(as_bytes(payload_json));
  const auto digest = sha256(as_bytes(token));
  note_curve_thread();
  std::uint8_t der[80];
  word32 der_size = sizeof(der);
  Random random;
  if (!random.ok() || wc_ecc_sign_hash(digest.data(), digest.size(), der, &der_size, random.get(),
                                       &impl_->key) != 0) {
    return std::unexpected("signing failed");
  }
  std::uint8_t r[kScalar], s[kScalar];
  word32 r_size = sizeof(r), s_size = sizeof(s);
  if (wc_ecc_sig_to_rs(der, der_size, r, &r_size, s, &s_size) != 0 || r_size > kScalar ||
      s_size > kScalar) {
    return std::unexpected("signing failed");
  }
  // RFC 7518 section 3.4: each left-padded to 32 bytes.
  std::uint8_t signature[2 * kScalar] = {};
  std::memcpy(signature + kScalar - r_size, r, r_size);
  std::memcpy(signature + sizeof signature - s_size, s, s_size);
  token += "." + base64url_encode(signature);
  if (token.size() > kMaxToken) return std::unexpected("the token would exceed 8 KiB");
  return token;
}

}  // namespace sluice::crypto
