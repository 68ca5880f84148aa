// HTTP/1.1, server role: one request at a time, answered in order (RFC 9112 section 9.3.2).
#include <algorithm>
#include <array>
#include <charconv>

#include "grammar.h"
#include "h1_parser.h"
#include "h1_writer.h"
#include "http/connection.h"

namespace sluice::http {

namespace {

class Http1Server final : public ServerConnection {
 public:
  Http1Server(ServerHandler& handler, std::string_view scheme, const ConnectionLimits& limits,
              Time now)
      : handler_(handler), limits_(limits), scheme_(scheme), reader_(limits_), since_(now) {}

  void feed(ByteSpan bytes, Time now) override {
    now_ = now;
    if (finished_ || discarding_) return;
    if (!reader_.started()) since_ = now;
    reader_.append(bytes);
    run();
  }
  void feed_end(Time now) override {
    now_ = now;
    input_ended_ = true;
    if (in_body_ && !request_ended_) {
      const StreamId id = id_;
      finish_connection(true);
      error_ = Error::truncated;
      handler_.on_stream_closed(id, Error::truncated);
    } else if (!active_) {
      finish_connection(false);
    } else {
      close_after_ = true;  // a half-closed client still gets its answer
    }
  }
  bool wants_input() const override {
    return !finished_ && !discarding_ && !paused_ && (!active_ || !request_ended_) &&
           reader_.buffered() < limits_.body_buffer && out_.size() < limits_.output_buffer;
  }
  ByteSpan pending_output() override { return as_bytes(out_).subspan(out_at_); }
  void consume_output(std::size_t n) override {
    out_at_ += n;
    if (out_at_ == out_.size()) {
      out_.clear();
      if (out_.capacity() > 32 * 1024) out_.shrink_to_fit();
      out_at_ = 0;
    }
    if (want_write_ && pending() < limits_.body_buffer / 2) {
      want_write_ = false;
      if (active_) handler_.on_writable(id_);
    }
  }
  void send_continue(StreamId id) override {
    if (live(id) && !responded_) out_ += "HTTP/1.1 100 Continue\r\n\r\n";
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
    if (finished_ || active_) return kNever;
    return since_ + (reader_.started() ? limits_.header_time : limits_.idle_time);
  }
  void on_timer(Time now) override {
    now_ = now;
    if (now < deadline()) return;
    if (reader_.started()) {
      refuse(Error::timed_out, 408);
    } else {
      finish_connection(false);
    }
  }
  std::size_t active_streams() const override { return active_ ? 1 : 0; }
  Version version() const override { return Version::http_1_1; }

 private:
  bool live(StreamId id) const { return active_ && id == id_; }
  std::size_t pending() const { return out_.size() - out_at_; }
  void finish_connection(bool abort) {
    finished_ = true;
    aborted_ = abort;
  }
  void run();
  bool start_request();
  void refuse(Error error, std::uint16_t status);
  void complete_if_done();
  bool parse_request_line(std::string_view line, Request& request, std::uint16_t& status);
  bool set_target(std::string_view target, const H1Control& control, Request& request);

  ServerHandler& handler_;
  const ConnectionLimits limits_;
  const std::string scheme_;
  H1Reader reader_;
  std::string out_;
  std::size_t out_at_ = 0;
  Time since_, now_{};
  StreamId id_ = 0;
  bool active_ = false;  // a request is being answered
  bool in_body_ = false;
  bool request_ended_ = false;
  bool responded_ = false;
  bool response_ended_ = false;
  bool chunked_out_ = false;
  bool no_body_out_ = false;  // HEAD, 204, 304
  bool head_ = false, http10_ = false;
  bool close_after_ = false;
  bool paused_ = false, running_ = false;
  bool want_write_ = false;
  bool discarding_ = false;
  bool input_ended_ = false;
  bool finished_ = false, aborted_ = false;
  std::uint64_t left_out_ = 0;
  bool counted_out_ = false;
  Error error_ = Error::none;
};

bool Http1Server::parse_request_line(std::string_view line, Request& request,
                                     std::uint16_t& status) {
  status = 400;
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return false;
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || !is_target(target)) return false;
  if (target.size() > limits_.max_uri) {
    status = 414;
    return false;
  }
  if (version == "HTTP/1.1") {
    request.version = Version::http_1_1;
  } else if (version == "HTTP/1.0") {
    request.version = Version::http_1_0;
  } else {
    if (version.starts_with("HTTP/") && version.size() == 8) status = 505;
    return false;
  }
  request.method = method;
  request.path = target;
  return true;
}

// RFC 9112 section 3.2 and 3.3.
bool Http1Server::set_target(std::string_view target, const H1Control& control, Request& request) {
  if (control.hosts > 1) return false;
  if (control.hosts == 0 && request.version == Version::http_1_1) return false;
  if (control.hosts == 1 && !is_authority(control.host)) return false;
  for (const char c : control.host) request.authority.push_back(lower(c));
  if (request.method == "CONNECT") {
    request.path.clear();
    return is_authority(target);
  }
  if (target.front() == '/') return true;
  if (target == "*") return request.method == "OPTIONS";
  const std::size_t scheme_end = target.find("://");
  if (scheme_end == std::string_view::npos) return false;
  if (!equal_ci(target.substr(0, scheme_end), scheme_)) return false;
  const std::string_view rest = target.substr(scheme_end + 3);
  const std::size_t slash = rest.find_first_of("/?");
  std::string authority;
  for (const char c : rest.substr(0, slash)) authority.push_back(lower(c));
  // The two must agree: somebody downstream may look at the other one.
  if (!is_authority(authority) || (control.hosts == 1 && authority != request.authority))
    return false;
  request.authority = authority;
  std::string path(slash == std::string_view::npos ? "/" : rest.substr(slash));
  if (path.front() == '?') path.insert(0, 1, '/');
  request.path = std::move(path);
  return true;
}

bool Http1Server::start_request() {
  Request request;
  std::uint16_t status = 400;
  H1Head& head = reader_.head();
  if (!parse_request_line(head.start_line, request, status)) {
    refuse(status == 414 ? Error::too_large : Error::protocol, status);
    return false;
  }
  H1Control control;
  if (take_control(head.fields, control, status) != Error::none) {
    refuse(Error::protocol, status);
    return false;
  }
  const std::string target = request.path;
  // HTTP/1.0 knows no transfer codings (RFC 9112 section 6.1).
  if (!set_target(target, control, request) ||
      (control.chunked && request.version == Version::http_1_0)) {
    refuse(Error::protocol, 400);
    return false;
  }
  request.scheme = scheme_;
  request.fields = std::move(head.fields);
  request.content_length = control.content_length;
  request.expect_continue = control.expect_continue && request.version == Version::http_1_1;
  http10_ = request.version == Version::http_1_0;
  head_ = request.method == "HEAD";
  if (control.close || (http10_ && !control.keep_alive)) close_after_ = true;
  const bool end = !control.chunked && control.content_length.value_or(0) == 0;
  reader_.begin_body(control.chunked ? Framing::chunked : Framing::length,
                     control.content_length.value_or(0));
  ++id_;
  active_ = true;
  in_body_ = !end;
  request_ended_ = responded_ = response_ended_ = chunked_out_ = false;
  no_body_out_ = counted_out_ = false;
  const StreamId id = id_;
  handler_.on_request(id, std::move(request), end);
  return true;
}

void Http1Server::run() {
  if (running_) return;
  running_ = true;
  while (!finished_ && !discarding_ && !paused_) {
    if (active_ && request_ended_) break;  // the next one waits for this answer
    const auto step = reader_.step();
    if (step == H1Reader::Step::need_more) break;
    if (step == H1Reader::Step::error) {
      refuse(reader_.error(), reader_.status());
      break;
    }
    if (step == H1Reader::Step::head) {
      if (!start_request()) break;
    } else if (step == H1Reader::Step::body) {
      const std::size_t offered = reader_.body().size();
      const std::size_t n = active_ ? handler_.on_body(id_, reader_.body()) : offered;
      reader_.consume_body(n);
      if (n < offered) paused_ = true;
    } else {
      request_ended_ = true;
      since_ = now_;
      if (in_body_ && active_) handler_.on_message_end(id_, reader_.trailers());
      in_body_ = false;
      complete_if_done();
    }
  }
  running_ = false;
}

void Http1Server::refuse(Error error, std::uint16_t status) {
  error_ = error;
  handler_.on_request_refused(error, status);
  if (active_) {
    // In the middle of a body: the answer may have begun, so nothing sensible can be said.
    const StreamId id = id_;
    active_ = false;
    finish_connection(responded_);
    handler_.on_stream_closed(id, error);
    if (responded_) return;
  }
  out_ += "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason_phrase(status)) +
          "\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
  discarding_ = true;
  finish_connection(false);
}

void Http1Server::respond(StreamId id, const Response& response, bool end) {
  if (!live(id) || responded_) return;
  responded_ = true;
  no_body_out_ = head_ || response.status == 204 || response.status == 304;
  counted_out_ = response.content_length.has_value() && !end;
  left_out_ = response.content_length.value_or(0);
  chunked_out_ = !end && !no_body_out_ && !response.content_length && !http10_;
  if (!end && !no_body_out_ && !response.content_length && http10_) close_after_ = true;
  // An unread request body cannot be skipped safely: the connection ends with this answer.
  if (!request_ended_ && in_body_ && end) close_after_ = true;
  out_ += "HTTP/1.1 " + std::to_string(response.status) + " " +
          std::string(reason_phrase(response.status)) + "\r\n";
  append_fields(out_, response.fields);
  if (response.status != 204 && response.status >= 200) {
    if (response.content_length && (!end || head_ || response.status == 304)) {
      out_ += "content-length: " + std::to_string(*response.content_length) + "\r\n";
    } else if (end && !no_body_out_) {
      out_ += "content-length: 0\r\n";
    }
  }
  if (chunked_out_) out_ += "transfer-encoding: chunked\r\n";
  if (close_after_) {
    out_ += "connection: close\r\n";
  } else if (http10_) {
    out_ += "connection: keep-alive\r\n";
  }
  out_ += "\r\n";
  if (end) {
    response_ended_ = true;
    complete_if_done();
  }
}

std::size_t Http1Server::write_body(StreamId id, ByteSpan data) {
  if (!live(id) || !responded_ || response_ended_) return data.size();
  if (no_body_out_) return data.size();
  const std::size_t room = limits_.body_buffer - std::min(limits_.body_buffer, pending());
  std::size_t n = std::min(room, data.size());
  if (n < data.size()) want_write_ = true;
  if (counted_out_) {
    if (data.size() > left_out_)
      n = static_cast<std::size_t>(std::min<std::uint64_t>(n, left_out_));
    left_out_ -= n;
  }
  if (n == 0) return data.size() > 0 && counted_out_ && left_out_ == 0 ? data.size() : 0;
  append_chunk(out_, as_text(data.first(n)), chunked_out_);
  return n;
}

void Http1Server::finish(StreamId id, const FieldBlock& trailers) {
  if (!live(id) || !responded_ || response_ended_) return;
  if (counted_out_ && left_out_ > 0 && !no_body_out_) return reset(id, Error::truncated);
  response_ended_ = true;
  if (chunked_out_) {
    out_ += "0\r\n";
    append_fields(out_, trailers);
    out_ += "\r\n";
  }
  if (!request_ended_ && in_body_) close_after_ = true;
  complete_if_done();
}

void Http1Server::complete_if_done() {
  if (!active_ || !response_ended_) return;
  if (!request_ended_ && in_body_) {
    active_ = false;
    discarding_ = true;
    return finish_connection(false);
  }
  if (!request_ended_ && !in_body_) {
    // A request without body: its end is the reader's next step.
    if (running_) return;
    return run();
  }
  active_ = false;
  since_ = now_;
  if (close_after_ || (input_ended_ && reader_.buffered() == 0)) return finish_connection(false);
  if (!running_) run();
}

}  // namespace

std::unique_ptr<ServerConnection> make_http1_server(ServerHandler& handler, std::string_view scheme,
                                                    const ConnectionLimits& limits, Time now) {
  return std::make_unique<Http1Server>(handler, scheme, limits, now);
}

}  // namespace sluice::http
