#include "issuer_keys.h"

#include <algorithm>

#include "crypto/jose.h"
#include "schema.h"

namespace sluice::control {
namespace {

// RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1: what makes a key private or symmetric.
constexpr std::string_view kPrivate[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};
constexpr std::string_view kMembers[] = {"kty", "crv", "kid", "alg", "x", "y", "n", "e", "use"};

// Members that import_jwk reads must be text; others are ignored (RFC 7517 section 4).
bool check_members(const Node& jwk, const std::string& at, Errors& errors) {
  bool good = true;
  for (const std::string_view name : kPrivate) {
    if (const Node* n = jwk.find(name)) {
      errors.add(*n, child(at, name), "private key material; give the public key only");
      good = false;
    }
  }
  for (const std::string_view name : kMembers) {
    const Node* n = jwk.find(name);
    if (n != nullptr && n->type != Node::Type::text) {
      errors.add(*n, child(at, name), "expected text, got " + describe(*n));
      good = false;
    }
  }
  return good;
}

std::string_view member(const Node& jwk, std::string_view name) {
  const Node* n = jwk.find(name);
  return n != nullptr ? std::string_view(n->text) : std::string_view();
}

}  // namespace

std::uint8_t algorithm_bits(const Node& spec) {
  unsigned bits = 0;
  for (const std::string& name : get_texts(spec, "algorithms")) {
    if (const auto a = crypto::parse_algorithm(name)) bits |= 1u << static_cast<unsigned>(*a);
  }
  return static_cast<std::uint8_t>(bits);
}

std::vector<policy::IssuerKey> import_keys(const Node& spec, const std::string& pointer,
                                           Errors& errors) {
  std::vector<policy::IssuerKey> keys;
  const std::uint8_t accepted = algorithm_bits(spec);
  const std::string list = child(child(pointer, "jwks"), "keys");
  const std::vector<Node>& jwks = get_list(get_map(spec, "jwks"), "keys");
  for (std::size_t i = 0; i < jwks.size() && !errors.full(); ++i) {
    const Node& jwk = jwks[i];
    const std::string at = child(list, i);
    if (jwk.type != Node::Type::map) {
      errors.add(jwk, at, "expected a JWK, {kty, kid, alg, ...}, got " + describe(jwk));
      continue;
    }
    if (!check_members(jwk, at, errors)) continue;
    auto key = crypto::import_jwk({member(jwk, "kty"), member(jwk, "crv"), member(jwk, "kid"),
                                   member(jwk, "alg"), member(jwk, "x"), member(jwk, "y"),
                                   member(jwk, "n"), member(jwk, "e"), member(jwk, "use")});
    if (!key) {
      errors.add(jwk, at, key.error());
      continue;
    }
    if ((accepted >> static_cast<unsigned>(key->algorithm) & 1u) == 0) {
      errors.add(jwk, at,
                 "a key for " + std::string(crypto::to_string(key->algorithm)) +
                     ", which is not in algorithms");
      continue;
    }
    const bool twice = std::any_of(keys.begin(), keys.end(),
                                   [&](const policy::IssuerKey& k) { return k.kid == key->kid; });
    if (twice) {
      errors.add(jwk, at, "kid \"" + key->kid + "\" names two keys");
      continue;
    }
    keys.push_back(
        {std::move(key->kid), static_cast<std::uint8_t>(key->algorithm), std::move(key->material)});
  }
  return keys;
}

}  // namespace sluice::control
