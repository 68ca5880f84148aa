// Public keys from JWK members: RFC 7517, RFC 7518 section 6, RFC 8037 section 2.
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/ed25519.h>

#include <optional>

#include "crypto/jose.h"
#include "device.h"
#include "thumbprint.h"

namespace sluice::crypto {
namespace {

using Key = std::expected<VerificationKey, std::string>;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kMinModulusBits = 2048;
constexpr std::size_t kMaxModulusBits = 4096;

std::optional<Bytes> decode(std::string_view text) {
  if (text.size() > kMaxToken) return std::nullopt;
  Bytes bytes(text.size());
  const auto size = base64url_decode(text, bytes);
  if (!size) return std::nullopt;
  bytes.resize(*size);
  return bytes;
}

bool on_curve(const Bytes& point) {
  note_curve_thread();
  ecc_key key;
  if (wc_ecc_init(&key) != 0) return false;
  const bool good = wc_ecc_import_x963_ex(point.data(), static_cast<word32>(point.size()), &key,
                                          ECC_SECP256R1) == 0 &&
                    wc_ecc_check_key(&key) == 0;
  wc_ecc_free(&key);
  return good;
}

Key import_ec(const JwkFields& fields) {
  if (fields.crv != "P-256") return std::unexpected("crv: must be P-256 for kty EC");
  const auto x = decode(fields.x), y = decode(fields.y);
  if (!x || x->size() != 32) return std::unexpected("x: must be 32 bytes in base64url");
  if (!y || y->size() != 32) return std::unexpected("y: must be 32 bytes in base64url");
  VerificationKey key{std::string(fields.kid), JwsAlgorithm::es256, {4}};
  key.material.insert(key.material.end(), x->begin(), x->end());
  key.material.insert(key.material.end(), y->begin(), y->end());
  if (!on_curve(key.material)) return std::unexpected("x, y: not a point of P-256");
  return key;
}

Key import_okp(const JwkFields& fields) {
  if (fields.crv != "Ed25519") return std::unexpected("crv: must be Ed25519 for kty OKP");
  auto x = decode(fields.x);
  if (!x || x->size() != 32) return std::unexpected("x: must be 32 bytes in base64url");
  ed25519_key key;
  if (wc_ed25519_init(&key) != 0) return std::unexpected("out of memory");
  const bool good = wc_ed25519_import_public(x->data(), 32, &key) == 0;
  wc_ed25519_free(&key);
  if (!good) return std::unexpected("x: not a point of Ed25519");
  return VerificationKey{std::string(fields.kid), JwsAlgorithm::eddsa, std::move(*x)};
}

void append_der(Bytes& out, std::uint8_t tag, const Bytes& content, bool pad) {
  const std::size_t size = content.size() + (pad ? 1 : 0);
  out.push_back(tag);
  if (size >= 0x100) {
    out.push_back(0x82);
    out.push_back(static_cast<std::uint8_t>(size >> 8));
  } else if (size >= 0x80) {
    out.push_back(0x81);
  }
  out.push_back(static_cast<std::uint8_t>(size));
  if (pad) out.push_back(0);
  out.insert(out.end(), content.begin(), content.end());
}

std::size_t bit_length(const Bytes& number) {
  std::size_t bits = number.size() * 8;
  for (std::uint8_t mask = 0x80; mask != 0 && (number[0] & mask) == 0; mask >>= 1) --bits;
  return bits;
}

Key import_rsa(const JwkFields& fields) {
  if (fields.alg.empty()) return std::unexpected("alg: kty RSA needs RS256 or PS256");
  const auto n = decode(fields.n), e = decode(fields.e);
  // RFC 7518 section 2: Base64urlUInt has no leading zero bytes.
  if (!n || n->empty() || n->front() == 0) {
    return std::unexpected("n: must be a base64url number without leading zeros");
  }
  if (bit_length(*n) < kMinModulusBits || bit_length(*n) > kMaxModulusBits || n->back() % 2 == 0) {
    return std::unexpected("n: must be an odd number of 2048 to 4096 bits");
  }
  if (!e || e->empty() || e->front() == 0 || e->size() > 4 || e->back() % 2 == 0 ||
      (e->size() == 1 && e->front() < 3)) {
    return std::unexpected("e: must be an odd number from 3 to 2^32, in base64url");
  }
  Bytes content;
  append_der(content, 0x02, *n, (n->front() & 0x80) != 0);
  append_der(content, 0x02, *e, (e->front() & 0x80) != 0);
  const auto algorithm = fields.alg == "PS256" ? JwsAlgorithm::ps256 : JwsAlgorithm::rs256;
  VerificationKey key{std::string(fields.kid), algorithm, {}};
  append_der(key.material, 0x30, content, false);
  return key;
}

// RFC 7638 section 3: the required members in lexicographic order, no white space.
std::string thumbprint_of(const JwkFields& f) {
  std::string json;
  if (f.kty == "EC") {
    return thumbprint_ec(f.x, f.y);
  } else if (f.kty == "OKP") {
    json = R"({"crv":"Ed25519","kty":"OKP","x":")" + std::string(f.x) + "\"}";
  } else {
    json = R"({"e":")" + std::string(f.e) + R"(","kty":"RSA","n":")" + std::string(f.n) + "\"}";
  }
  return base64url_encode(sha256(as_bytes(json)));
}

}  // namespace

std::string thumbprint_ec(std::string_view x, std::string_view y) {
  const std::string json =
      R"({"crv":"P-256","kty":"EC","x":")" + std::string(x) + R"(","y":")" + std::string(y) + "\"}";
  return base64url_encode(sha256(as_bytes(json)));
}

std::expected<VerificationKey, std::string> import_jwk(const JwkFields& fields) {
  if (!fields.use.empty() && fields.use != "sig") return std::unexpected("use: must be sig");
  if (fields.kid.size() > 256) return std::unexpected("kid: at most 256 bytes");
  if (!fields.alg.empty()) {
    if (const auto algorithm = parse_algorithm(fields.alg); !algorithm) {
      return std::unexpected("alg: " + algorithm.error());
    }
  }
  Key key = fields.kty == "EC"    ? import_ec(fields)
            : fields.kty == "OKP" ? import_okp(fields)
            : fields.kty == "RSA"
                ? import_rsa(fields)
                : Key(std::unexpected("kty: must be EC, OKP or RSA; symmetric keys are refused"));
  if (!key) return key;
  if (!fields.alg.empty() && fields.alg != to_string(key->algorithm)) {
    return std::unexpected("alg: a key of kty " + std::string(fields.kty) + " cannot be " +
                           std::string(fields.alg));
  }
  if (key->kid.empty()) key->kid = thumbprint_of(fields);
  return key;
}

}  // namespace sluice::crypto
