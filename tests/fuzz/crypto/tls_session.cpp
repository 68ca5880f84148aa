// What arrives on port 443, in pieces whose sizes come from the input: first byte 0 for a server
// session, else a client session; then pieces, each after a length byte.
#include <cstdlib>
#include <vector>

#include "../../unit/crypto/certificates.h"
#include "crypto/contexts.h"

using namespace sluice;
using namespace sluice::crypto;

namespace {

struct World {
  World() {
    const auto files = authority.issue("server", {});
    server = std::move(*ServerContexts::load({{"server", files.chain, files.key}}));
    client = std::move(*ClientContext::make({authority.ca_file(), "", "", true}));
  }
  sluice::testing::TestAuthority authority;
  std::unique_ptr<ServerContexts> server;
  std::unique_ptr<ClientContext> client;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  if (size < 1) return 0;
  auto session = data[0] == 0 ? world.server->make_session("server")
                              : world.client->make_session("kb.tools.example");
  if (data[0] != 0) session->handshake();
  ByteSpan rest{data + 1, size - 1};
  std::vector<std::uint8_t> room(4096);
  while (rest.size() > 1) {
    const std::size_t n = std::min<std::size_t>(rest[0] * 8u + 1, rest.size() - 1);
    ByteSpan piece = rest.subspan(1, n);
    rest = rest.subspan(1 + n);
    while (!piece.empty()) {
      const std::size_t taken = session->feed(piece);
      piece = piece.subspan(taken);
      session->handshake_expensive();
      session->handshake();
      while (session->read(room) > 0) {
      }
      session->consume_output(session->pending_output().size() / 2);
      if (taken == 0) break;
    }
    if (session->pending_output().size() > 256u * 1024) std::abort();
  }
  // Without keys nobody finishes a handshake.
  if (session->handshake_done()) std::abort();
  return 0;
}
