// HTTP/1.1, client role: one request at a time on a kept-alive connection (RFC 9112 section 9).
#include <algorithm>

#include "h1_parser.h"
#include "h1_writer.h"
#include "http/connection.h"
#include "out_buffer.h"

namespace sluice::http {

namespace {

class Http1Client final : public ClientConnection {
 public:
  Http1Client(ClientHandler& handler, const ConnectionLimits& limits)
      : handler_(handler), limits_(limits), reader_(limits_, Role::client) {}

  void feed(ByteSpan bytes, Time) override {
    if (finished_ || bytes.empty()) return;
    if (!active_) return fail(Error::protocol);  // nobody asked
    reader_.append(bytes);
    run();
    reader_.retain();
  }
  void feed_end(Time) override {
    if (finished_) return;
    input_ended_ = true;
    if (!active_) return fail(Error::none);
    run();
  }
  bool wants_input() const override { return !finished_ && !paused_ && !input_ended_; }
  ByteSpan pending_output() override { return out_.pending(); }
  void consume_output(std::size_t n) override {
    out_.consume(n);
    if (want_write_ && out_.size() < limits_.body_buffer / 2) {
      want_write_ = false;
      if (active_) handler_.on_writable(id_);
    }
  }
  bool can_start() const override { return !finished_ && !active_ && keep_; }
  StreamId start(const Request& request, bool end, Time now) override;
  std::size_t write_body(StreamId id, ByteSpan data) override;
  void finish(StreamId id, const FieldBlock& trailers) override;
  void reset(StreamId id, Error error) override {
    if (!live(id)) return;
    active_ = false;
    finished_ = true;
    error_ = error;
  }
  void resume(StreamId id) override {
    if (!live(id)) return;
    paused_ = false;
    run();
  }
  bool finished() const override { return finished_; }
  Error error() const override { return error_; }
  std::size_t active_streams() const override { return active_ ? 1 : 0; }
  Version version() const override { return Version::http_1_1; }

 private:
  bool live(StreamId id) const { return active_ && id == id_; }
  void run();
  bool take_head();
  void take_response(Response&& response, Framing framing);
  void fail(Error error) {
    finished_ = true;
    error_ = error;
    if (!active_) return;
    active_ = false;
    handler_.on_stream_closed(id_, error);
  }

  ClientHandler& handler_;
  const ConnectionLimits limits_;
  H1Reader reader_;
  OutBuffer out_;
  StreamId id_ = 0;
  std::uint64_t left_out_ = 0;  // of a request body with a length
  bool active_ = false, sent_ = false, chunked_ = false, head_ = false;
  bool keep_ = true, paused_ = false, running_ = false, want_write_ = false;
  bool input_ended_ = false, finished_ = false;
  Error error_ = Error::none;
};

StreamId Http1Client::start(const Request& request, bool end, Time) {
  if (!can_start()) return 0;
  active_ = true;
  ++id_;
  head_ = request.method == "HEAD";
  sent_ = end;
  chunked_ = !end && !request.content_length;
  left_out_ = request.content_length.value_or(0);
  paused_ = want_write_ = false;
  std::string& out = out_.tail();
  out.append(request.method).append(" ").append(request.path).append(" HTTP/1.1\r\nhost: ");
  out.append(request.authority).append("\r\n");
  append_fields(out, request.fields);
  if (request.content_length && (!end || *request.content_length == 0)) {
    out += "content-length: ";
    append_number(out, *request.content_length);
    out += "\r\n";
  } else if (end &&
             (request.method == "POST" || request.method == "PUT" || request.method == "PATCH")) {
    out += "content-length: 0\r\n";
  }
  if (chunked_) out += "transfer-encoding: chunked\r\n";
  out += "\r\n";
  return id_;
}

std::size_t Http1Client::write_body(StreamId id, ByteSpan data) {
  if (!live(id) || sent_) return data.size();
  const std::size_t room = limits_.body_buffer - std::min(limits_.body_buffer, out_.size());
  const std::size_t n = std::min(room, data.size());
  if (n < data.size()) want_write_ = true;
  if (n == 0) return 0;
  ByteSpan piece = data.first(n);
  if (!chunked_) {
    // More than was announced would be read as the next request.
    piece = piece.first(static_cast<std::size_t>(std::min<std::uint64_t>(n, left_out_)));
    left_out_ -= piece.size();
  }
  append_chunk(out_.tail(), as_text(piece), chunked_);
  return n;
}

void Http1Client::finish(StreamId id, const FieldBlock& trailers) {
  if (!live(id) || sent_) return;
  // Less than was announced: the tool would take the next request for the rest.
  if (!chunked_ && left_out_ > 0) return fail(Error::truncated);
  sent_ = true;
  if (!chunked_) return;
  std::string& out = out_.tail();
  out += "0\r\n";
  append_fields(out, trailers);
  out += "\r\n";
}

// RFC 9112 section 4: "HTTP/1.1 200 reason". 0: not a status line.
std::uint16_t parse_status_line(std::string_view line) {
  if (line.size() < 12 || !is_field_value(line)) return 0;
  if (!line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.0 ")) return 0;
  if (line.size() > 12 && line[12] != ' ') return 0;
  unsigned status = 0;
  for (const char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return 0;
    status = status * 10 + static_cast<unsigned>(c - '0');
  }
  return status < 100 || status > 599 ? std::uint16_t{0} : static_cast<std::uint16_t>(status);
}

// RFC 9112 section 6.3. False: not a response; fail() was called.
bool Http1Client::take_head() {
  H1Head& head = reader_.head();
  const std::uint16_t status = parse_status_line(head.start_line);
  const bool http10 = status != 0 && head.start_line[7] == '0';
  H1Control control;
  std::uint16_t ignored = 0;
  // Nobody asks a tool to switch protocols; an HTTP/1.0 response knows no transfer coding.
  if (status == 0 || status == 101 ||
      take_control(head.fields, Role::client, control, ignored) != Error::none ||
      (control.chunked && http10)) {
    fail(Error::protocol);
    return false;
  }
  if (status < 200) {
    reader_.begin_body(Framing::none, 0);
    reader_.step();
    if (status == 100) handler_.on_continue(id_);
    return true;
  }
  if (control.close || (http10 && !control.keep_alive)) keep_ = false;
  if (!sent_) keep_ = false;  // answered before it was asked completely
  Response response;
  response.status = status;
  response.fields = std::move(head.fields);
  response.content_length = control.content_length;
  response.version = http10 ? Version::http_1_0 : Version::http_1_1;
  Framing framing = Framing::until_close;
  if (head_ || status == 204 || status == 304) {
    framing = Framing::none;
  } else if (control.chunked) {
    framing = Framing::chunked;
  } else if (control.content_length) {
    framing = *control.content_length == 0 ? Framing::none : Framing::length;
  } else {
    keep_ = false;
  }
  take_response(std::move(response), framing);
  return true;
}

void Http1Client::take_response(Response&& response, Framing framing) {
  const StreamId id = id_;
  reader_.begin_body(framing, response.content_length.value_or(0));
  const bool end = framing == Framing::none;
  if (end) {
    reader_.step();
    active_ = false;
    if (!keep_ || reader_.buffered() > 0) finished_ = true;
  }
  handler_.on_response(id, std::move(response), end);
}

void Http1Client::run() {
  if (running_) return;
  running_ = true;
  while (active_ && !finished_ && !paused_) {
    const auto step = reader_.step();
    if (step == H1Reader::Step::need_more) {
      if (!input_ended_) break;
      if (!reader_.end_of_input()) fail(Error::truncated);
    } else if (step == H1Reader::Step::error) {
      fail(reader_.error());
    } else if (step == H1Reader::Step::head) {
      if (!take_head()) break;
    } else if (step == H1Reader::Step::body) {
      const std::size_t offered = reader_.body().size();
      const std::size_t n = handler_.on_body(id_, reader_.body());
      reader_.consume_body(n);
      if (n < offered) paused_ = true;
    } else {
      const StreamId id = id_;
      active_ = false;
      if (!keep_ || input_ended_ || reader_.buffered() > 0) finished_ = true;
      handler_.on_message_end(id, reader_.trailers());
    }
  }
  // The stream was closed behind a response that ended by itself.
  if (!active_ && input_ended_) finished_ = true;
  running_ = false;
}

}  // namespace

std::unique_ptr<ClientConnection> make_http1_client(ClientHandler& handler,
                                                    const ConnectionLimits& limits) {
  return std::make_unique<Http1Client>(handler, limits);
}

}  // namespace sluice::http
