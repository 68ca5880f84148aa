// Bytes from an agent to the HTTP/1.1 server, whole and in pieces: what the handler sees and what
// is answered must not depend on where they were split.
#include "../../unit/http/recorder.h"
#include "pieces.h"

using namespace sluice;
using namespace sluice::http;

namespace {

// Feeds `pieces` and answers each complete request; returns all that was seen and said.
struct Run {
  Run() : connection(make_http1_server(handler, "https", limits(), test::kStart)) {
    handler.request = [this](StreamId id) {
      if (handler.seen[id].expect_continue) connection->send_continue(id);
      if (handler.seen[id].method == "DELETE") reject(id);
    };
    handler.complete = [this](StreamId id) { answer(id); };
  }
  static ConnectionLimits limits() {
    ConnectionLimits l;
    l.max_uri = 100;
    l.max_request_line = 150;
    l.fields = {10, 600};
    return l;
  }
  void reject(StreamId id) {
    Response r;
    r.status = 403;
    connection->respond(id, r, true);
  }
  void answer(StreamId id) {
    Response r;
    r.status = 200;
    if (handler.seen[id].method == "PUT") r.content_length = 2;
    connection->respond(id, r, false);
    connection->write_body(id, as_bytes("ok"));
    connection->finish(id, handler.seen[id].trailers);
  }
  void feed(ByteSpan piece) {
    if (!connection->wants_input()) return;
    connection->feed(piece, test::kStart);
    said += test::drain(*connection);
    fuzz::require(connection->active_streams() <= 1);
  }
  std::string result() {
    if (connection->wants_input()) connection->feed_end(test::kStart);
    said += test::drain(*connection);
    return handler.text() + said + (connection->finished() ? " finished" : "") +
           (connection->aborted() ? " aborted" : "");
  }
  test::ServerRecorder handler;
  std::unique_ptr<ServerConnection> connection;
  std::string said;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Run pieces, bytes, whole;
  std::string all;
  fuzz::for_each_piece({data, size}, [&](ByteSpan piece) {
    all += as_text(piece);
    pieces.feed(piece);
  });
  for (std::size_t i = 0; i < all.size(); ++i) bytes.feed(as_bytes(all).subspan(i, 1));
  for (std::size_t i = 0; i < all.size(); i += 16384) {
    whole.feed(as_bytes(std::string_view(all).substr(i, 16384)));
  }
  const std::string expected = pieces.result();
  fuzz::require(bytes.result() == expected);
  fuzz::require(whole.result() == expected);
  // What was accepted is clean enough to be written to a tool.
  for (const auto& [id, seen] : pieces.handler.seen) {
    fuzz::require(seen.path.find_first_of(" \r\n") == std::string::npos);
    fuzz::require(!seen.content_length || !seen.ended || seen.body.size() == *seen.content_length);
    for (std::size_t i = 0; i < seen.fields.size(); ++i) {
      fuzz::require(seen.fields.at(i).value.find_first_of("\r\n") == std::string_view::npos);
    }
  }
  return 0;
}
