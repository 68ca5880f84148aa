// The payload of a token. Whatever parses must lie inside the payload or the unescape buffer.
#include <cstdlib>
#include <vector>

#include "crypto/jose.h"

using namespace sluice;
using namespace sluice::crypto;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  std::vector<std::uint8_t> room(size);
  const auto claims = parse_claims(text, room);
  if (!claims) {
    if (claims.error().empty()) std::abort();
    return 0;
  }
  const auto inside = [&](std::string_view view) {
    if (view.empty()) return true;
    const auto* at = reinterpret_cast<const std::uint8_t*>(view.data());
    return (at >= data && at + view.size() <= data + size) ||
           (at >= room.data() && at + view.size() <= room.data() + room.size());
  };
  bool good = claims->audience_count <= claims->audiences.size();
  for (std::size_t i = 0; good && i < claims->audience_count; ++i) {
    good = inside(claims->audiences[i]);
  }
  for (const std::string_view view :
       {claims->issuer, claims->jti, claims->txn, claims->subject, claims->actor,
        claims->agent_class, claims->scope, claims->limits_json, claims->authorization_details}) {
    good = good && inside(view);
  }
  if (!good) std::abort();
  return 0;
}
