// Frames from an agent to the HTTP/2 server, behind a valid preface, in pieces. The first byte
// chooses how requests are answered.
#include "../../unit/http/recorder.h"
#include "pieces.h"

using namespace sluice;
using namespace sluice::http;

namespace {

constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::uint8_t choice = data[0];
  ConnectionLimits limits;
  limits.fields = {10, 1000};
  limits.max_concurrent_streams = 8;
  limits.resets_burst = 20;
  limits.control_frames_burst = 20;
  test::ServerRecorder handler;
  const auto connection = make_http2_server(handler, "https", limits, test::kStart);
  const std::string body(40'000, 'b');
  const auto answer = [&](StreamId id) {
    Response r;
    r.status = (choice & 1) != 0 ? 200 : 304;
    r.fields.add("x-a", "b");
    if ((choice & 2) != 0) r.content_length = body.size();
    connection->respond(id, r, (choice & 4) != 0);
    connection->write_body(id, as_bytes(body));
    if ((choice & 8) != 0) return connection->reset(id, Error::internal);
    connection->finish(id, handler.seen[id].trailers);
  };
  if ((choice & 16) != 0) handler.request = answer;
  handler.complete = answer;
  if ((choice & 32) != 0) handler.take = 100;
  Time now = test::kStart;
  connection->feed(as_bytes(kPreface), now);
  fuzz::for_each_piece({data + 1, size - 1}, [&](ByteSpan piece) {
    if (!connection->wants_input()) return;
    now += Micros{1000};
    connection->feed(piece, now);
    fuzz::require(connection->active_streams() <= 8);
    const std::size_t pending = connection->pending_output().size();
    fuzz::require(pending < limits.output_buffer + 64u * 1024);
    connection->consume_output((choice & 64) != 0 ? pending / 2 : pending);
    if ((choice & 32) != 0 && !handler.seen.empty()) {
      handler.take = 1000;
      connection->resume(handler.seen.rbegin()->first);
    }
  });
  if ((choice & 128) != 0) connection->shutdown();
  connection->feed_end(now);
  test::drain(*connection);
  for (int i = 0; i < 4 && connection->deadline() != kNever; ++i) {
    now = std::max(now, connection->deadline());
    connection->on_timer(now);
    test::drain(*connection);
  }
  for (const auto& [id, seen] : handler.seen) {
    fuzz::require(seen.method == "CONNECT" || seen.path.starts_with('/') || seen.path == "*");
    fuzz::require(!seen.authority.empty());
    fuzz::require(!seen.content_length || !seen.ended || seen.closed ||
                  seen.body.size() <= *seen.content_length);
  }
  return 0;
}
