// HTTP connections, both roles, both versions, sans-I/O and streaming.
//
// One interface per role; http1 and http2 implement it. Bytes from the stream go into feed(),
// bytes for it come out of pending_output(). Messages come through a handler; bodies flow in both
// directions in pieces with backpressure:
//   - incoming body: on_body() returns how much was taken. If less than offered, the connection
//     keeps the rest (bounded) and stops asking for more of it until resume(id).
//   - outgoing body: write_body() returns how much was taken. If less than offered, on_writable(id)
//     comes when there is room.
// Handlers may call back into the connection from any callback, except destroy it. Ids are never
// reused within a connection. After on_message_end and the response's end, or after
// on_stream_closed, an id is dead: calls with a dead id do nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"
#include "http/message.h"

namespace sluice::http {

using StreamId = std::uint32_t;

// Why a stream or connection ended abnormally.
enum class Error : std::uint8_t {
  none,
  protocol,   // malformed message, framing or frame: RFC 9112 / RFC 9113
  too_large,  // header section, URI, or count over the limit
  flow_control,
  cancelled,  // peer reset the stream (RST_STREAM CANCEL / NO_ERROR), or went away
  refused,    // RST_STREAM REFUSED_STREAM or GOAWAY before processing: safe to retry
  abuse,      // flood limits: rapid reset, settings, ping, continuation, empty frames
  timed_out,  // header or idle time limit
  internal,
  truncated,  // connection ended inside a message
};
std::string_view to_string(Error error);

struct ConnectionLimits {
  FieldLimits fields;
  std::size_t max_uri = std::size_t{16} * 1024;
  std::size_t max_request_line = std::size_t{20} * 1024;  // HTTP/1.1
  std::uint32_t max_concurrent_streams = 256;             // HTTP/2
  std::size_t stream_window =
      std::size_t{256} * 1024;  // HTTP/2 receive window, bounds on_body retention
  std::size_t connection_window = std::size_t{1024} * 1024;
  std::size_t body_buffer = std::size_t{64} * 1024;  // outgoing body buffered per stream
  std::size_t output_buffer =
      std::size_t{128} * 1024;     // pending_output() target bound per connection
  Micros header_time{10'000'000};  // from first byte to end of a header section
  Micros idle_time{75'000'000};    // between requests
  // HTTP/2 abuse: token buckets per connection, events per second and burst.
  std::uint32_t resets_per_second = 100, resets_burst = 1000;
  std::uint32_t control_frames_per_second = 50, control_frames_burst = 500;
};

class ServerHandler {
 public:
  // Header section complete. `end` when there is no body. 1xx and errors in framing never get here.
  virtual void on_request(StreamId id, Request&& request, bool end) = 0;
  virtual std::size_t on_body(StreamId id, ByteSpan data) = 0;
  virtual void on_message_end(StreamId id, const FieldBlock& trailers) = 0;
  virtual void on_writable(StreamId id) = 0;
  // The stream is gone before both sides were complete.
  virtual void on_stream_closed(StreamId id, Error error) = 0;
  // A request so malformed that it has no on_request(); the connection answers `status` itself.
  virtual void on_request_refused(Error error, std::uint16_t status) = 0;

 protected:
  ~ServerHandler() = default;
};

class ServerConnection {
 public:
  virtual ~ServerConnection() = default;

  // Takes all of `bytes`. Call only while wants_input(), with at most 16 KiB at once.
  virtual void feed(ByteSpan bytes, Time now) = 0;
  // The peer ended its sending side.
  virtual void feed_end(Time now) = 0;
  virtual bool wants_input() const = 0;

  // Bytes to send. Generates more from streams' bodies as room is made, up to output_buffer.
  virtual ByteSpan pending_output() = 0;
  virtual void consume_output(std::size_t n) = 0;

  virtual void send_continue(StreamId id) = 0;
  // Head of the response; `end` when no body follows. HEAD, 204 and 304 framing is handled here.
  virtual void respond(StreamId id, const Response& response, bool end) = 0;
  virtual std::size_t write_body(StreamId id, ByteSpan data) = 0;
  virtual void finish(StreamId id, const FieldBlock& trailers = {}) = 0;
  // Response can't be completed: RST_STREAM, or the HTTP/1.1 connection ends unclean.
  virtual void reset(StreamId id, Error error) = 0;
  virtual void resume(StreamId id) = 0;

  // No new requests: GOAWAY, Connection: close. finished() once running ones are done.
  virtual void shutdown() = 0;
  // True: flush pending_output(), then end the stream; aborted() tells whether by RST.
  virtual bool finished() const = 0;
  virtual bool aborted() const = 0;
  virtual Error error() const = 0;
  // Time limits: when to call on_timer() next; kNever if none.
  virtual Time deadline() const = 0;
  virtual void on_timer(Time now) = 0;
  virtual std::size_t active_streams() const = 0;
  virtual Version version() const = 0;
};

std::unique_ptr<ServerConnection> make_http1_server(ServerHandler& handler, std::string_view scheme,
                                                    const ConnectionLimits& limits, Time now);
std::unique_ptr<ServerConnection> make_http2_server(ServerHandler& handler, std::string_view scheme,
                                                    const ConnectionLimits& limits, Time now);

class ClientHandler {
 public:
  // Final (non-1xx) response head. `end` when no body follows.
  virtual void on_response(StreamId id, Response&& response, bool end) = 0;
  virtual void on_continue(StreamId id) = 0;
  virtual std::size_t on_body(StreamId id, ByteSpan data) = 0;
  virtual void on_message_end(StreamId id, const FieldBlock& trailers) = 0;
  virtual void on_writable(StreamId id) = 0;
  virtual void on_stream_closed(StreamId id, Error error) = 0;

 protected:
  ~ClientHandler() = default;
};

class ClientConnection {
 public:
  virtual ~ClientConnection() = default;

  virtual void feed(ByteSpan bytes, Time now) = 0;
  virtual void feed_end(Time now) = 0;
  virtual bool wants_input() const = 0;
  virtual ByteSpan pending_output() = 0;
  virtual void consume_output(std::size_t n) = 0;

  // True if another request may be started now (HTTP/1.1: idle and kept alive).
  virtual bool can_start() const = 0;
  // Starts a request; `end` when no body follows. The id is valid until on_stream_closed or both
  // sides are complete. 0 if can_start() is false.
  virtual StreamId start(const Request& request, bool end, Time now) = 0;
  virtual std::size_t write_body(StreamId id, ByteSpan data) = 0;
  virtual void finish(StreamId id, const FieldBlock& trailers = {}) = 0;
  // The caller lost interest; HTTP/1.1 connections end.
  virtual void reset(StreamId id, Error error) = 0;
  virtual void resume(StreamId id) = 0;

  // True: the connection cannot be used again; close the stream when output is flushed.
  virtual bool finished() const = 0;
  virtual Error error() const = 0;
  virtual std::size_t active_streams() const = 0;
  virtual Version version() const = 0;
};

std::unique_ptr<ClientConnection> make_http1_client(ClientHandler& handler,
                                                    const ConnectionLimits& limits);

}  // namespace sluice::http
