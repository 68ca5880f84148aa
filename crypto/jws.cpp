// The compact serialisation, RFC 7515 section 5.2: everything but the signature's mathematics.
#include <algorithm>

#include "crypto/jose.h"
#include "json_cursor.h"

namespace sluice::crypto {
namespace {

struct Header {
  JsonCursor::Text algorithm, kid, type;
  bool has_algorithm = false, has_type = false, critical = false;
};

std::expected<Header, JwsError> read_header(std::string_view text) {
  Header header;
  JsonCursor json(text);
  const auto take = [&json](JsonCursor::Text& into) {
    const auto value = json.string();
    if (value) into = *value;
    return value.has_value();
  };
  const bool read = json.object([&](const JsonCursor::Text& name) {
    if (JsonCursor::equals(name, "alg")) return header.has_algorithm = take(header.algorithm);
    if (JsonCursor::equals(name, "kid")) return take(header.kid);
    if (JsonCursor::equals(name, "typ")) return header.has_type = take(header.type);
    // RFC 7515 section 4.1.11: we understand no extension. "b64" (RFC 7797) is one even where the
    // sender forgot to say so.
    if (JsonCursor::equals(name, "crit") || JsonCursor::equals(name, "b64")) {
      header.critical = true;
      return json.value().has_value();
    }
    // Flat: no embedded keys or certificates.
    const char c = json.next();
    return c != '{' && c != '[' && json.value().has_value();
  });
  if (!read || !json.at_end() || !header.has_algorithm) {
    return std::unexpected(JwsError::bad_header);
  }
  if (header.critical) return std::unexpected(JwsError::critical_unknown);
  return header;
}

// Escapes are resolved where the text stands: the result is never longer.
std::string_view resolve(const JsonCursor::Text& text, MutByteSpan buffer) {
  if (!text.escaped) return text.raw;
  auto* start =
      buffer.data() + (reinterpret_cast<const std::uint8_t*>(text.raw.data()) - buffer.data());
  const std::string raw(text.raw);
  return as_text({start, JsonCursor::unescape(raw, {start, raw.size()})});
}

// RFC 7515 section 4.1.9: a media type, "application/" may be left out; case does not count.
bool accepted_type(std::string_view type) {
  std::string lower(type.substr(0, 64));
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  std::string_view name = lower;
  if (name.starts_with("application/")) name.remove_prefix(12);
  return type.size() <= 64 && (name == "txntoken+jwt" || name == "at+jwt");
}

}  // namespace

std::string_view to_string(JwsAlgorithm algorithm) {
  switch (algorithm) {
    case JwsAlgorithm::es256:
      return "ES256";
    case JwsAlgorithm::eddsa:
      return "EdDSA";
    case JwsAlgorithm::rs256:
      return "RS256";
    case JwsAlgorithm::ps256:
      return "PS256";
  }
  return "";
}

std::expected<JwsAlgorithm, std::string> parse_algorithm(std::string_view name) {
  for (const auto algorithm :
       {JwsAlgorithm::es256, JwsAlgorithm::eddsa, JwsAlgorithm::rs256, JwsAlgorithm::ps256}) {
    if (name == to_string(algorithm)) return algorithm;
  }
  return std::unexpected("algorithm \"" + std::string(name.substr(0, 32)) +
                         "\" is not one of ES256, EdDSA, RS256, PS256");
}

std::string_view to_string(JwsError error) {
  switch (error) {
    case JwsError::malformed:
      return "malformed";
    case JwsError::bad_header:
      return "bad_header";
    case JwsError::algorithm_refused:
      return "algorithm_refused";
    case JwsError::critical_unknown:
      return "critical_unknown";
    case JwsError::type_refused:
      return "type_refused";
    case JwsError::key_unknown:
      return "key_unknown";
    case JwsError::signature_invalid:
      return "signature_invalid";
  }
  return "";
}

std::expected<JwsParts, JwsError> parse_jws(std::string_view token, MutByteSpan buffer) {
  if (token.size() > kMaxToken || buffer.size() < token.size()) {
    return std::unexpected(JwsError::malformed);
  }
  const std::size_t first = token.find('.');
  const std::size_t second = first == token.npos ? token.npos : token.find('.', first + 1);
  if (second == token.npos || token.find('.', second + 1) != token.npos) {
    return std::unexpected(JwsError::malformed);
  }
  const std::string_view encoded[] = {token.substr(0, first),
                                      token.substr(first + 1, second - first - 1),
                                      token.substr(second + 1)};
  MutByteSpan decoded[3];
  MutByteSpan rest = buffer;
  for (int i = 0; i < 3; ++i) {
    const auto size = base64url_decode(encoded[i], rest);
    if (!size || *size == 0) return std::unexpected(JwsError::malformed);
    decoded[i] = rest.first(*size);
    rest = rest.subspan(*size);
  }
  const auto header = read_header(as_text(decoded[0]));
  if (!header) return std::unexpected(header.error());
  const auto algorithm = parse_algorithm(resolve(header->algorithm, buffer));
  if (!algorithm) return std::unexpected(JwsError::algorithm_refused);
  const std::string_view type = resolve(header->type, buffer);
  if (!header->has_type || !accepted_type(type)) return std::unexpected(JwsError::type_refused);
  return JwsParts{*algorithm,          resolve(header->kid, buffer), type,
                  as_text(decoded[1]), token.substr(0, second),      decoded[2]};
}

}  // namespace sluice::crypto
