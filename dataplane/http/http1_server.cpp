// HTTP/1.1, server role: one request at a time, answered in order (RFC 9112 section 9.3.2).
#include <algorithm>

#include "h1_parser.h"
#include "h1_request.h"
#include "h1_writer.h"
#include "http/connection.h"
#include "out_buffer.h"

namespace sluice::http {

namespace {

// A request answered before its body was read: this much of it is read away, so that the
// connection can go on.
constexpr std::uint64_t kMaxDrained = std::uint64_t{64} * 1024;

class Http1Server final : public ServerConnection {
 public:
  Http1Server(ServerHandler& handler, std::string_view scheme, const ConnectionLimits& limits,
              Time now)
      : handler_(handler),
        limits_(limits),
        scheme_(scheme),
        reader_(limits_, Role::server),
        since_(now),
        now_(now) {}

  void feed(ByteSpan bytes, Time now) override {
    now_ = now;
    if (finished_ || bytes.empty()) return;
    if (!reader_.started()) restart_clock(now);
    reader_.append(bytes);
    run();
    reader_.retain();
  }
  void feed_end(Time now) override {
    now_ = now;
    if (finished_) return;
    input_ended_ = true;
    run();
  }
  bool wants_input() const override {
    return !finished_ && !paused_ && !input_ended_ &&
           (active_ ? !request_ended_ && out_.size() < limits_.output_buffer : may_begin());
  }
  ByteSpan pending_output() override { return out_.pending(); }
  void consume_output(std::size_t n) override {
    out_.consume(n);
    moved_ = true;
    if (want_write_ && out_.size() < limits_.body_buffer / 2) {
      want_write_ = false;
      if (active_) handler_.on_writable(id_);
    }
    // Pipelined requests, or the peer's end, that waited for room.
    if (!active_ && may_begin() && (reader_.buffered() > 0 || input_ended_)) run();
  }
  void send_continue(StreamId id) override {
    if (!live(id) || responded_ || request_ended_) return;
    continued_ = true;
    note_output();
    out_.tail() += "HTTP/1.1 100 Continue\r\n\r\n";
  }
  void respond(StreamId id, const Response& response, bool end) override;
  std::size_t write_body(StreamId id, ByteSpan data) override;
  void finish(StreamId id, const FieldBlock& trailers) override;
  void reset(StreamId id, Error error) override {
    if (!live(id)) return;
    error_ = error;
    active_ = false;
    finish_connection(true);
  }
  void resume(StreamId id) override {
    if (!live(id)) return;
    paused_ = false;
    run();
  }
  void shutdown() override {
    close_after_ = true;
    if (!active_ && !reader_.started()) finish_connection(false);
  }
  bool finished() const override { return finished_; }
  bool aborted() const override { return aborted_; }
  Error error() const override { return error_; }
  Time deadline() const override {
    if (aborted_) return kNever;
    if (out_.size() > 0) return output_since_ + limits_.idle_time;
    if (finished_ || active_) return kNever;
    return since_ + (reader_.started() ? limits_.header_time : limits_.idle_time);
  }
  void on_timer(Time now) override;
  std::size_t active_streams() const override { return active_ ? 1 : 0; }
  Version version() const override { return Version::http_1_1; }

 private:
  bool live(StreamId id) const { return active_ && id == id_; }
  // A request may be answered at once, by an error record that is written whole: it is not begun
  // without room for that.
  bool may_begin() const {
    return out_.size() < std::min(limits_.body_buffer, limits_.output_buffer) / 2;
  }
  void finish_connection(bool abort) {
    finished_ = true;
    aborted_ = abort;
  }
  void restart_clock(Time now) {
    since_ = now;
    clock_stale_ = false;
  }
  // Before output is added: its wait begins.
  void note_output() {
    if (out_.size() > 0) return;
    output_since_ = now_;
    moved_ = true;
  }
  void run();
  bool start_request();
  void take_body();
  void take_end();
  void input_over();
  void refuse(Error error, std::uint16_t status);
  void complete_if_done();
  bool can_drain() const;

  ServerHandler& handler_;
  const ConnectionLimits limits_;
  const std::string scheme_;
  H1Reader reader_;
  OutBuffer out_;
  // Answers are not given with the time: after one, the clock is stale and starts when it is next
  // looked at. A wait is so at most twice its limit.
  Time since_, output_since_{}, now_;
  bool clock_stale_ = false;
  bool moved_ = false;  // output left since output_since_
  StreamId id_ = 0;
  bool active_ = false;         // a request is being answered
  bool in_body_ = false;        // ... whose body is not yet read
  bool request_ended_ = false;  // ... which was read completely
  bool responded_ = false;
  bool response_ended_ = false;
  bool chunked_out_ = false;
  bool no_body_out_ = false;  // HEAD, 204, 304
  bool head_ = false, http10_ = false;
  bool expects_ = false, continued_ = false;
  bool close_after_ = false;
  bool draining_ = false;  // answered; the rest of its body is read and thrown away
  bool paused_ = false, running_ = false;
  bool want_write_ = false;
  bool input_ended_ = false;
  bool finished_ = false, aborted_ = false;
  std::uint64_t drained_ = 0;
  std::uint64_t left_out_ = 0;
  bool counted_out_ = false;
  Error error_ = Error::none;
};

bool Http1Server::start_request() {
  Request request;
  H1Control control;
  std::uint16_t status = 400;
  const Error error = make_request(reader_.head(), scheme_, limits_, request, control, status);
  if (error != Error::none) {
    refuse(error, status);
    return false;
  }
  http10_ = request.version == Version::http_1_0;
  head_ = request.method == "HEAD";
  if (control.close || (http10_ && !control.keep_alive)) close_after_ = true;
  const bool end = !control.chunked && control.content_length.value_or(0) == 0;
  reader_.begin_body(control.chunked ? Framing::chunked : Framing::length,
                     control.content_length.value_or(0));
  ++id_;
  active_ = true;
  in_body_ = !end;
  expects_ = request.expect_continue && in_body_;
  request_ended_ = responded_ = response_ended_ = chunked_out_ = continued_ = false;
  no_body_out_ = counted_out_ = want_write_ = false;
  handler_.on_request(id_, std::move(request), end);
  return true;
}

void Http1Server::take_body() {
  const std::size_t offered = reader_.body().size();
  if (draining_) {
    drained_ += offered;
    reader_.consume_body(offered);
    if (drained_ > kMaxDrained) finish_connection(false);
    return;
  }
  const std::size_t n = handler_.on_body(id_, reader_.body());
  reader_.consume_body(n);
  // The answer may have ended meanwhile.
  if (n < offered && active_) paused_ = true;
}

void Http1Server::take_end() {
  request_ended_ = true;
  if (draining_) {
    draining_ = in_body_ = false;
    clock_stale_ = true;
    if (close_after_) finish_connection(false);
    return;
  }
  if (in_body_ && active_) {
    in_body_ = false;
    handler_.on_message_end(id_, reader_.trailers());
  }
  complete_if_done();
}

void Http1Server::run() {
  if (running_) return;
  running_ = true;
  while (!finished_ && !paused_) {
    if (active_ && request_ended_) break;  // the next one waits for this answer
    if (!active_ && !may_begin()) break;
    const auto step = reader_.step();
    if (step == H1Reader::Step::need_more) {
      if (input_ended_) input_over();
      break;
    }
    if (step == H1Reader::Step::error) {
      refuse(reader_.error(), reader_.status());
      break;
    }
    if (step == H1Reader::Step::head) {
      if (!start_request()) break;
    } else if (step == H1Reader::Step::body) {
      take_body();
    } else {
      take_end();
    }
  }
  running_ = false;
}

// The peer will send no more than what is read.
void Http1Server::input_over() {
  if (!active_) return finish_connection(false);
  const StreamId id = id_;
  active_ = false;
  error_ = Error::truncated;
  finish_connection(true);
  handler_.on_stream_closed(id, Error::truncated);
}

void Http1Server::refuse(Error error, std::uint16_t status) {
  error_ = error;
  // Behind a finished answer there is nothing to say.
  if (draining_) return finish_connection(false);
  handler_.on_request_refused(error, status);
  if (active_) {
    // In the middle of a body: once the answer has begun, nothing sensible can be said.
    active_ = false;
    finish_connection(responded_);
    handler_.on_stream_closed(id_, error);
    if (responded_) return;
  }
  note_output();
  std::string& out = out_.tail();
  out += "HTTP/1.1 ";
  append_number(out, status);
  out.append(" ").append(reason_phrase(status));
  out += "\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
  finish_connection(false);
}

// Whether the rest of a body nobody reads may be read away. A client that still waits for 100
// may or may not send it (RFC 9110 section 10.1.1).
bool Http1Server::can_drain() const {
  return !close_after_ && !input_ended_ && (!expects_ || continued_) &&
         reader_.body_left() <= kMaxDrained;
}

void Http1Server::respond(StreamId id, const Response& response, bool end) {
  if (!live(id) || responded_) return;
  responded_ = true;
  note_output();
  no_body_out_ = head_ || response.status == 204 || response.status == 304;
  counted_out_ = response.content_length.has_value() && !end;
  left_out_ = response.content_length.value_or(0);
  chunked_out_ = !end && !no_body_out_ && !response.content_length && !http10_;
  if (!end && !no_body_out_ && !response.content_length && http10_) close_after_ = true;
  // A refusal rarely reads the body.
  if (in_body_ && (end || response.status >= 400) && !can_drain()) close_after_ = true;
  std::string& out = out_.tail();
  out += "HTTP/1.1 ";
  append_number(out, response.status);
  out.append(" ").append(reason_phrase(response.status)).append("\r\n");
  append_fields(out, response.fields);
  if (response.status != 204 && response.status >= 200) {
    if (response.content_length && (!end || head_ || response.status == 304)) {
      out += "content-length: ";
      append_number(out, *response.content_length);
      out += "\r\n";
    } else if (end && !no_body_out_) {
      out += "content-length: 0\r\n";
    }
  }
  if (chunked_out_) out += "transfer-encoding: chunked\r\n";
  if (close_after_) {
    out += "connection: close\r\n";
  } else if (http10_) {
    out += "connection: keep-alive\r\n";
  }
  out += "\r\n";
  if (end) {
    response_ended_ = true;
    complete_if_done();
  }
}

std::size_t Http1Server::write_body(StreamId id, ByteSpan data) {
  if (!live(id) || !responded_ || response_ended_ || no_body_out_) return data.size();
  const std::size_t room = limits_.body_buffer - std::min(limits_.body_buffer, out_.size());
  const std::size_t n = std::min(room, data.size());
  if (n < data.size()) want_write_ = true;
  if (n == 0) return 0;
  note_output();
  ByteSpan piece = data.first(n);
  if (counted_out_) {
    // More than was announced would be read as the next response.
    piece = piece.first(static_cast<std::size_t>(std::min<std::uint64_t>(n, left_out_)));
    left_out_ -= piece.size();
  }
  append_chunk(out_.tail(), as_text(piece), chunked_out_);
  return n;
}

void Http1Server::finish(StreamId id, const FieldBlock& trailers) {
  if (!live(id) || !responded_ || response_ended_) return;
  if (counted_out_ && left_out_ > 0 && !no_body_out_) return reset(id, Error::truncated);
  response_ended_ = true;
  if (chunked_out_) {
    std::string& out = out_.tail();
    out += "0\r\n";
    append_fields(out, trailers);
    out += "\r\n";
  }
  complete_if_done();
}

void Http1Server::complete_if_done() {
  if (!active_ || !response_ended_) return;
  if (!request_ended_ && !in_body_) {
    // A request without body: its end is the reader's next step.
    if (!running_) run();
    return;
  }
  active_ = false;
  clock_stale_ = true;
  if (in_body_) {
    if (!can_drain()) return finish_connection(false);
    draining_ = true;
    drained_ = 0;
    paused_ = false;
  } else if (close_after_ || (input_ended_ && reader_.buffered() == 0)) {
    return finish_connection(false);
  }
  if (!running_) run();
}

void Http1Server::on_timer(Time now) {
  now_ = now;
  if (now < deadline()) return;
  if (out_.size() > 0) {
    output_since_ = now;
    if (std::exchange(moved_, false)) return;
    // The peer takes nothing.
    error_ = Error::timed_out;
    finish_connection(true);
    if (!std::exchange(active_, false)) return;
    return handler_.on_stream_closed(id_, Error::timed_out);
  }
  if (clock_stale_) return restart_clock(now);
  if (reader_.started() && !draining_) {
    refuse(Error::timed_out, 408);
  } else {
    finish_connection(false);
  }
}

}  // namespace

std::unique_ptr<ServerConnection> make_http1_server(ServerHandler& handler, std::string_view scheme,
                                                    const ConnectionLimits& limits, Time now) {
  return std::make_unique<Http1Server>(handler, scheme, limits, now);
}

}  // namespace sluice::http
