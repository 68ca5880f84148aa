// HTTP/2, server role, by nghttp2 (RFC 9113). Windows open only as bodies are taken; floods end the
// connection (CVE-2023-44487 and its relatives).
#pragma once

#include <nghttp2/nghttp2.h>

#include <string>
#include <vector>

#include "h2_flood.h"
#include "h2_stream.h"
#include "http/connection.h"

namespace sluice::http {

inline nghttp2_nv to_nv(const Field& f) {
  const auto bytes = [](std::string_view s) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(s.data()));
  };
  return {bytes(f.name), bytes(f.value), f.name.size(), f.value.size(), NGHTTP2_NV_FLAG_NONE};
}

class Http2Server final : public ServerConnection {
 public:
  Http2Server(ServerHandler& handler, std::string_view scheme, const ConnectionLimits& limits,
              Time now);
  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;
  ~Http2Server() override { nghttp2_session_del(session_); }

  void feed(ByteSpan bytes, Time now) override;
  void feed_end(Time now) override;
  bool wants_input() const override {
    return !finished_ && error_ == Error::none && !input_ended_ &&
           out_.size() < limits_.output_buffer;
  }
  ByteSpan pending_output() override;
  void consume_output(std::size_t n) override {
    out_.consume(n);
    output_moved_ = true;
  }

  void send_continue(StreamId id) override;
  void respond(StreamId id, const Response& response, bool end) override;
  std::size_t write_body(StreamId id, ByteSpan data) override;
  void finish(StreamId id, const FieldBlock& trailers) override;
  void reset(StreamId id, Error error) override;
  void resume(StreamId id) override;

  void shutdown() override;
  bool finished() const override {
    return finished_ || (last_goaway_ && streams_.empty() && out_.size() == 0);
  }
  bool aborted() const override { return aborted_; }
  Error error() const override { return error_; }
  Time deadline() const override;
  void on_timer(Time now) override;
  std::size_t active_streams() const override { return streams_.size(); }
  Version version() const override { return Version::http_2; }

 private:
  // What one feed() brought. The handler hears of it when nghttp2 has returned.
  struct Event {
    enum class Kind : std::uint8_t { request, data, end } kind;
    bool end_stream;
    std::int32_t id;
    ByteSpan data;
  };

  // nghttp2's callbacks (http2_callbacks.cpp).
  static nghttp2_session_callbacks* callbacks();
  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* p);
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_length, const std::uint8_t* value, std::size_t value_length,
                       std::uint8_t flags, void* p);
  static int on_invalid_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t*,
                               std::size_t, const std::uint8_t*, std::size_t, std::uint8_t,
                               void* p);
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* p);
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t n, void* p);
  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t code, void* p);
  static int on_frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* p);
  static ssize_t read_body(nghttp2_session*, std::int32_t id, std::uint8_t* buffer,
                           std::size_t length, std::uint32_t* flags, nghttp2_data_source*, void* p);
  // Counts a frame that begins; false: one too many.
  bool allowed(const H2FrameScanner::Frame& frame);
  void take_request_field(H2Stream& s, std::string_view name, std::string_view value);
  // Flags the connection as abused and stops nghttp2.
  int abused() {
    abuse_ = true;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  H2Stream* find(StreamId id) {
    H2Stream* s = streams_.find(static_cast<std::int32_t>(id));
    return s != nullptr && s->requested ? s : nullptr;
  }
  void deliver();
  void deliver_request(H2Stream& s, bool end);
  void offer(std::int32_t id, ByteSpan data);
  void offer_end(H2Stream& s);
  void refuse(H2Stream& s);
  void wake(H2Stream& s);
  void tell_writers();
  // Forgets the stream here: its unread bytes leave the connection's window.
  void drop(H2Stream& s);
  void close_all(Error error);
  void end(Error error, std::uint32_t code);
  void say_last_goaway();
  void sweep(Time now);

  ServerHandler& handler_;
  const ConnectionLimits limits_;
  const std::string scheme_;
  nghttp2_session* session_ = nullptr;
  H2Streams streams_;
  std::vector<Event> events_;
  OutBuffer out_;
  H2FloodGuard guard_;

  Time now_;
  Time since_;  // idle, or waiting for the preface
  H2FrameScanner scanner_;
  Time wait_since_ = kNever;  // since when we wait for the rest of a frame or section
  Time sweep_at_ = kNever;    // when to look for output that does not move
  Time goaway_at_ = kNever;   // when the last GOAWAY is due without the peer's answer
  bool since_stale_ = false;  // `since_` is earlier than it should be: start when looked at
  bool preface_seen_ = false;
  bool output_moved_ = true;
  bool writers_wait_ = false;  // some stream has want_write
  bool abuse_ = false;
  bool closing_ = false, last_goaway_ = false;
  bool input_ended_ = false, finished_ = false, aborted_ = false;
  Error error_ = Error::none;
};

}  // namespace sluice::http
