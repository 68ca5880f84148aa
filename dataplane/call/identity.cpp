#include "call/identity.h"

#include <algorithm>
#include <cstring>

#include "base/siphash.h"
#include "crypto/jose.h"
#include "policy/decide.h"

namespace sluice::call {

using telemetry::Reason;

namespace {

std::int64_t unix_seconds(WallTime t) {
  return std::chrono::floor<Seconds>(t).time_since_epoch().count();
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// RFC 9562 section 4 text form; false for anything else and for the nil UUID.
bool parse_uuid(std::string_view text, state::TaskId& out) {
  if (text.size() != 36) return false;
  std::size_t n = 0;
  bool any = false;
  for (std::size_t i = 0; i < text.size();) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i++] != '-') return false;
      continue;
    }
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return false;
    out[n] = static_cast<std::uint8_t>(high << 4 | low);
    any = any || out[n] != 0;
    n++;
    i += 2;
  }
  return any;
}

state::TaskId task_id(std::string_view issuer, std::string_view txn) {
  state::TaskId id{};
  if (parse_uuid(txn, id)) return id;
  std::string input;
  input.reserve(issuer.size() + 1 + txn.size());
  input.append(issuer).push_back('\0');
  input.append(txn);
  const auto digest = crypto::sha256(as_bytes(input));
  std::copy_n(digest.begin(), id.size(), id.begin());
  return id;
}

Identity refuse(Reason reason, std::string_view detail) {
  Identity i;
  i.reason = reason;
  i.detail = detail;
  return i;
}

std::string_view describe(crypto::JwsError error) {
  switch (error) {
    case crypto::JwsError::malformed:
      return "the task token is not a compact JWS";
    case crypto::JwsError::bad_header:
      return "the task token's header is not valid";
    case crypto::JwsError::algorithm_refused:
      return "the task token's algorithm is not accepted";
    case crypto::JwsError::critical_unknown:
      return "the task token has a crit header, which is not understood";
    case crypto::JwsError::type_refused:
      return "the task token's typ is neither txntoken+jwt nor at+jwt";
    case crypto::JwsError::key_unknown:
      return "the task token's kid names no key of its issuer";
    case crypto::JwsError::signature_invalid:
      return "the task token's signature does not verify";
  }
  return "the task token is not valid";
}

bool audience_matches(const policy::Issuer& issuer, const crypto::TokenClaims& claims) {
  for (std::size_t i = 0; i < claims.audience_count; ++i) {
    for (const auto& ours : issuer.audiences) {
      if (claims.audiences[i] == ours) return true;
    }
  }
  return false;
}

const policy::IssuerKey* find_key(const policy::Issuer& issuer, std::string_view kid) {
  for (const auto& key : issuer.keys) {
    if (key.kid == kid) return &key;
  }
  return nullptr;
}

}  // namespace

IdentityCache::IdentityCache() : entries_(kSets * kWays) {}

void IdentityCache::set_secret(std::uint64_t k0, std::uint64_t k1) {
  secret_[0] = k0;
  secret_[1] = k1;
}

IdentityCache::Key IdentityCache::key_of(std::string_view token) const {
  return {siphash24(secret_[0], secret_[1], as_bytes(token)),
          siphash24(~secret_[1], secret_[0] ^ 0x5851f42d4c957f2dULL, as_bytes(token))};
}

IdentityCache::Key IdentityCache::key_of(std::string_view token, TokenMemo& memo) const {
  if (token != memo.token) {
    memo.token = token;
    memo.key = key_of(token);
  }
  return memo.key;
}

const Identity* IdentityCache::find(const Key& key, std::uint64_t generation) const {
  const Entry* set = &entries_[(key.low % kSets) * kWays];
  for (std::size_t i = 0; i < kWays; ++i) {
    if (set[i].generation == generation && set[i].key == key) return &set[i].identity;
  }
  return nullptr;
}

const Identity& IdentityCache::insert(const Key& key, std::uint64_t generation,
                                      Identity&& identity) {
  Entry* set = &entries_[(key.low % kSets) * kWays];
  Entry* victim = std::min_element(set, set + kWays,
                                   [](const Entry& a, const Entry& b) { return a.age < b.age; });
  *victim = {key, generation, ++clock_, std::move(identity)};
  return victim->identity;
}

FoundToken find_token(const http::FieldBlock& fields) {
  FoundToken found;
  if (const auto txn = fields.find("txn-token")) {
    found = {*txn, "txn-token", fields.count("txn-token") > 1};
    return found;
  }
  const auto authorization = fields.find("authorization");
  if (!authorization) return found;
  constexpr std::string_view kBearer = "bearer ";
  std::string_view value = *authorization;
  if (value.size() <= kBearer.size()) return found;
  for (std::size_t i = 0; i < kBearer.size(); ++i) {
    if ((value[i] | 0x20) != (kBearer[i] | 0x20)) return found;
  }
  value.remove_prefix(kBearer.size());
  while (value.starts_with(' ')) value.remove_prefix(1);
  found = {value, "authorization", fields.count("authorization") > 1};
  return found;
}

Identity verify_token(std::string_view token, const policy::Snapshot& snapshot,
                      state::TaskTable& tasks, WallTime now) {
  if (token.size() > crypto::kMaxToken) {
    return refuse(Reason::token_invalid, "the task token is longer than 8192 bytes");
  }
  std::vector<std::uint8_t> buffer(token.size() + 1);
  const auto parts = crypto::parse_jws(token, buffer);
  if (!parts) return refuse(Reason::token_invalid, describe(parts.error()));
  std::vector<std::uint8_t> unescaped(parts->payload.size() + 1);
  const auto claims = crypto::parse_claims(parts->payload, unescaped);
  if (!claims) return refuse(Reason::token_invalid, "the task token's claims are not valid");

  const policy::Issuer* issuer = policy::find_issuer(snapshot, claims->issuer);
  if (issuer == nullptr) {
    return refuse(Reason::token_invalid, "the task token's issuer is not known");
  }
  if ((issuer->algorithms >> static_cast<unsigned>(parts->algorithm) & 1u) == 0) {
    return refuse(Reason::token_invalid, "the task token's algorithm is not accepted");
  }
  const policy::IssuerKey* key = find_key(*issuer, parts->kid);
  if (key == nullptr || key->algorithm != static_cast<std::uint8_t>(parts->algorithm)) {
    return refuse(Reason::token_invalid, describe(crypto::JwsError::key_unknown));
  }
  const crypto::VerificationKey public_key{key->kid, parts->algorithm, key->material};
  if (const auto verified = crypto::verify_jws(*parts, public_key); !verified) {
    return refuse(Reason::token_invalid, describe(verified.error()));
  }

  if (!audience_matches(*issuer, *claims)) {
    return refuse(Reason::token_invalid, "the task token is meant for another audience");
  }
  if (claims->txn.empty() || claims->jti.empty() || claims->subject.empty()) {
    return refuse(Reason::token_invalid, "the task token lacks txn, jti or sub");
  }
  if (claims->expires_at - claims->issued_at > issuer->max_life.count() ||
      claims->expires_at <= claims->issued_at) {
    return refuse(Reason::token_invalid, "the task token's life (exp - iat) is out of range");
  }
  Identity identity;
  identity.id = task_id(claims->issuer, claims->txn);
  identity.not_before = claims->issued_at;
  identity.expires_at = claims->expires_at;
  identity.step_timeout_ms = claims->step_timeout_ms;
  identity.scope = claims->scope;
  identity.subject.assign(claims->subject);
  identity.agent_class = policy::find_class(snapshot, claims->agent_class);
  if (unix_seconds(now) > identity.expires_at + kClockSkew.count()) {
    identity.reason = Reason::token_expired;
    identity.detail = "the task token has expired";
    return identity;
  }
  if (identity.agent_class == policy::kNone) {
    identity.reason = Reason::segment_forbidden;
    identity.detail = "the task token's agent class is not configured";
    return identity;
  }
  const auto handle = tasks.acquire(identity.id, identity.expires_at);
  if (!handle) {
    identity.reason = Reason::overload_shed;
    identity.detail = "the gateway's task table is full";
    return identity;
  }
  identity.task = *handle;
  return identity;
}

Reason recheck(const Identity& identity, const state::TaskTable& tasks, WallTime now) {
  if (identity.reason != Reason::ok) return identity.reason;
  const std::int64_t t = unix_seconds(now);
  // A deleted task is told so even after its token has run out.
  switch (tasks.standing(identity.task)) {
    case state::TaskStanding::revoked:
      return Reason::token_revoked;
    case state::TaskStanding::stale:
      return Reason::token_expired;  // a slot is reclaimed only when all its tokens have expired
    default:
      break;
  }
  if (t > identity.expires_at + kClockSkew.count()) return Reason::token_expired;
  if (t + kClockSkew.count() < identity.not_before) return Reason::token_invalid;
  return Reason::ok;
}

}  // namespace sluice::call
