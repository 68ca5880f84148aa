// Bytes from a tool to the HTTP/1.1 client, in pieces and byte by byte. The first byte chooses the
// request.
#include "../../unit/http/recorder.h"
#include "pieces.h"

using namespace sluice;
using namespace sluice::http;

namespace {

struct Run {
  explicit Run(std::uint8_t choice)
      : choice_(choice), connection(make_http1_client(handler, limits())) {
    handler.complete = [this](StreamId) { start(); };
    start();
  }
  static ConnectionLimits limits() {
    ConnectionLimits l;
    l.max_request_line = 150;
    l.fields = {10, 600};
    return l;
  }
  void start() {
    Request r;
    r.method = (choice_ & 1) != 0 ? "HEAD" : "GET";
    r.authority = "a";
    r.path = "/";
    const StreamId id = connection->start(r, (choice_ & 2) == 0, test::kStart);
    fuzz::require((id != 0) == (connection->active_streams() == 1));
  }
  void feed(ByteSpan piece) {
    if (!connection->wants_input() || connection->active_streams() == 0) return;
    connection->feed(piece, test::kStart);
    test::drain(*connection);
  }
  std::string result() {
    if (connection->wants_input()) connection->feed_end(test::kStart);
    std::string s;
    for (const auto& [id, seen] : handler.seen) s += seen.text() + "\n";
    return s + std::string(to_string(connection->error()));
  }
  std::uint8_t choice_;
  test::ClientRecorder handler;
  std::unique_ptr<ClientConnection> connection;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  // With further requests behind the first one, bytes of the next response may be taken for unasked
  // ones or not, by when they come: so only the first is compared.
  Run pieces(data[0]), bytes(data[0]);
  std::string all;
  fuzz::for_each_piece({data + 1, size - 1}, [&](ByteSpan piece) {
    all += as_text(piece);
    pieces.feed(piece);
  });
  for (std::size_t i = 0; i < all.size(); ++i) bytes.feed(as_bytes(all).subspan(i, 1));
  pieces.result();
  bytes.result();
  fuzz::require(pieces.handler.seen[1].text() == bytes.handler.seen[1].text());
  return 0;
}
