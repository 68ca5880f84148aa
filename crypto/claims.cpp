// Task token claims (RFC 7519 section 4.1, transaction tokens draft, RFC 8693 section 4.1).
#include "crypto/jose.h"
#include "json_cursor.h"

namespace sluice::crypto {
namespace {

constexpr std::size_t kMaxScopes = 64;

class ClaimsReader {
 public:
  ClaimsReader(std::string_view text, MutByteSpan unescaped) : json_(text), room_(unescaped) {}

  std::expected<TokenClaims, std::string> read() {
    const bool good = json_.object([this](const JsonCursor::Text& name) { return member(name); });
    if (!good || !json_.at_end()) return std::unexpected(error_text());
    return claims_;
  }

 private:
  using Text = JsonCursor::Text;

  bool refuse(const char* what) {
    if (what_ == nullptr) what_ = what;
    return false;
  }

  std::string error_text() const {
    if (what_ != nullptr) return what_;
    switch (json_.error()) {
      case JsonCursor::Error::duplicate_member:
        return "claims: a member appears twice";
      case JsonCursor::Error::too_deep:
        return "claims: nested deeper than 8";
      case JsonCursor::Error::too_large:
        return "claims: a number, name or member count is over its bound";
      case JsonCursor::Error::none:
      case JsonCursor::Error::syntax:
        break;
    }
    return "claims: not a JSON object";
  }

  bool text(std::string_view& into, const char* error) {
    if (json_.next() != '"') return refuse(error);
    const auto value = json_.string();
    if (!value) return false;
    into = value->raw;
    if (!value->escaped) return true;
    if (room_.size() < value->raw.size()) return refuse("claims: too many escapes");
    const std::size_t size = JsonCursor::unescape(value->raw, room_);
    into = as_text(room_.first(size));
    room_ = room_.subspan(size);
    return true;
  }

  bool number(std::int64_t& into, const char* error) {
    const char c = json_.next();
    if (c != '-' && (c < '0' || c > '9')) return refuse(error);
    const auto value = json_.integer();
    if (value) into = *value;
    return value.has_value();
  }

  bool raw(std::string_view& into, char bracket, const char* error) {
    if (json_.next() != bracket) return refuse(error);
    const auto value = json_.value();
    if (value) into = *value;
    return value.has_value();
  }

  // RFC 7519 section 4.1.3: one string, or an array of them.
  bool audience() {
    constexpr const char* kWrong = "claim aud: not a string or an array of at most 8 strings";
    const auto one = [this] {
      if (claims_.audience_count == claims_.audiences.size()) return refuse(kWrong);
      return text(claims_.audiences[claims_.audience_count++], kWrong);
    };
    if (json_.next() == '"') return one();
    if (json_.next() != '[') return refuse(kWrong);
    return json_.array(one);
  }

  bool scope() {
    if (!text(claims_.scope, "claim scope: not a string")) return false;
    std::size_t words = 0;
    bool inside = false;
    for (const char c : claims_.scope) {
      const bool letter = c != ' ';
      if (letter && !inside) ++words;
      inside = letter;
    }
    return words <= kMaxScopes || refuse("claim scope: more than 64 scopes");
  }

  // RFC 8693 section 4.1: only the outermost actor counts.
  bool actor() {
    if (json_.next() != '{') return refuse("claim act: not an object");
    return json_.object([this](const Text& name) {
      if (JsonCursor::equals(name, "sub"))
        return text(claims_.actor, "claim act.sub: not a string");
      return json_.value().has_value();
    });
  }

  bool task_context() {
    if (json_.next() != '{') return refuse("claim tctx: not an object");
    return json_.object([this](const Text& name) {
      if (JsonCursor::equals(name, "agent_class")) {
        return text(claims_.agent_class, "claim tctx.agent_class: not a string");
      }
      if (JsonCursor::equals(name, "step_timeout_ms")) {
        constexpr const char* kWrong = "claim tctx.step_timeout_ms: not a positive number";
        return number(claims_.step_timeout_ms, kWrong) &&
               (claims_.step_timeout_ms > 0 || refuse(kWrong));
      }
      if (JsonCursor::equals(name, "limits")) {
        return raw(claims_.limits_json, '{', "claim tctx.limits: not an object");
      }
      return json_.value().has_value();
    });
  }

  bool member(const Text& name) {
    const auto is = [&name](std::string_view plain) { return JsonCursor::equals(name, plain); };
    if (is("iss")) return text(claims_.issuer, "claim iss: not a string");
    if (is("sub")) return text(claims_.subject, "claim sub: not a string");
    if (is("jti")) return text(claims_.jti, "claim jti: not a string");
    if (is("txn")) return text(claims_.txn, "claim txn: not a string");
    if (is("exp")) return number(claims_.expires_at, "claim exp: not a number");
    if (is("iat")) return number(claims_.issued_at, "claim iat: not a number");
    if (is("nbf")) return number(claims_.not_before, "claim nbf: not a number");
    if (is("aud")) return audience();
    if (is("scope")) return scope();
    if (is("act")) return actor();
    if (is("tctx")) return task_context();
    if (is("authorization_details")) {
      return raw(claims_.authorization_details, '[', "claim authorization_details: not an array");
    }
    return json_.value().has_value();
  }

  JsonCursor json_;
  MutByteSpan room_;
  TokenClaims claims_;
  const char* what_ = nullptr;
};

}  // namespace

std::expected<TokenClaims, std::string> parse_claims(std::string_view payload_json,
                                                     MutByteSpan unescape_buffer) {
  if (payload_json.size() > kMaxToken) return std::unexpected("claims: over 8 KiB");
  return ClaimsReader(payload_json, unescape_buffer).read();
}

}  // namespace sluice::crypto
