// JWK members, split at newlines: kty crv kid alg x y n e use.
#include <array>
#include <cstdlib>

#include "crypto/jose.h"

using namespace sluice;
using namespace sluice::crypto;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text = as_text({data, size});
  std::array<std::string_view, 9> f;
  for (std::string_view& field : f) {
    const std::size_t end = text.find('\n');
    field = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
  const auto key = import_jwk({f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8]});
  if (!key) {
    if (key.error().empty()) std::abort();
    return 0;
  }
  std::array<std::uint8_t, 64> signature{};
  const JwsParts parts{key->algorithm, "", "", "", "a.b", signature};
  if (verify_jws(parts, *key).has_value()) std::abort();
  return 0;
}
