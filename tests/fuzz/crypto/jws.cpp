// A token from the wire: split, header checks, and the signature check with keys of each kind.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "crypto/jose.h"

using namespace sluice;
using namespace sluice::crypto;

namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

std::vector<VerificationKey> keys() {
  std::vector<VerificationKey> result;
  JwkFields ec{.kty = "EC",
               .crv = "P-256",
               .x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
               .y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"};
  result.push_back(*import_jwk(ec));
  JwkFields okp{.kty = "OKP", .crv = "Ed25519", .x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"};
  result.push_back(*import_jwk(okp));
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<VerificationKey> known = keys();
  const std::string_view text = as_text({data, size});
  // Strict decoding is the inverse of encoding.
  std::vector<std::uint8_t> room(size);
  if (const auto n = base64url_decode(text, room)) {
    require(base64url_encode(ByteSpan(room).first(*n)) == text);
  }
  std::vector<std::uint8_t> buffer(size);
  const auto parts = parse_jws(text, buffer);
  if (!parts) return 0;
  require(size <= kMaxToken && text.starts_with(parts->signing_input));
  require(std::ranges::count(text, '.') == 2 && !parts->signature.empty());
  for (const VerificationKey& key : known) {
    // Nobody here has the private keys.
    require(!verify_jws(*parts, key).has_value());
  }
  return 0;
}
