// HTTP/1.1, client role: one request at a time on a kept-alive connection (RFC 9112 section 9).
#include <algorithm>

#include "h1_parser.h"
#include "h1_writer.h"
#include "http/connection.h"

namespace sluice::http {

namespace {

class Http1Client final : public ClientConnection {
 public:
  Http1Client(ClientHandler& handler, const ConnectionLimits& limits)
      : handler_(handler), limits_(limits), reader_(limits_) {}

  void feed(ByteSpan bytes, Time) override {
    if (finished_) return;
    if (!active_) return fail(Error::protocol);  // nobody asked
    reader_.append(bytes);
    run();
  }
  void feed_end(Time) override {
    if (finished_) return;
    if (active_ && reader_.end_of_input()) {
      keep_ = false;
      return run();
    }
    fail(active_ ? Error::truncated : Error::none);
  }
  bool wants_input() const override {
    return !finished_ && !paused_ && reader_.buffered() < limits_.body_buffer;
  }
  ByteSpan pending_output() override { return as_bytes(out_).subspan(out_at_); }
  void consume_output(std::size_t n) override {
    out_at_ += n;
    if (out_at_ == out_.size()) {
      out_.clear();
      if (out_.capacity() > 32 * 1024) out_.shrink_to_fit();
      out_at_ = 0;
    }
    if (want_write_ && out_.size() - out_at_ < limits_.body_buffer / 2) {
      want_write_ = false;
      if (active_) handler_.on_writable(id_);
    }
  }
  bool can_start() const override { return !finished_ && !active_ && keep_; }
  StreamId start(const Request& request, bool end, Time now) override;
  std::size_t write_body(StreamId id, ByteSpan data) override {
    if (!live(id) || sent_) return data.size();
    const std::size_t used = out_.size() - out_at_;
    const std::size_t n =
        std::min(limits_.body_buffer - std::min(limits_.body_buffer, used), data.size());
    if (n < data.size()) want_write_ = true;
    if (n > 0) append_chunk(out_, as_text(data.first(n)), chunked_);
    return n;
  }
  void finish(StreamId id, const FieldBlock& trailers) override {
    if (!live(id) || sent_) return;
    sent_ = true;
    if (chunked_) {
      out_ += "0\r\n";
      append_fields(out_, trailers);
      out_ += "\r\n";
    }
  }
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
  std::string out_;
  std::size_t out_at_ = 0;
  StreamId id_ = 0;
  bool active_ = false, sent_ = false, chunked_ = false, head_ = false;
  bool keep_ = true, paused_ = false, running_ = false, want_write_ = false;
  bool body_ = false, finished_ = false;
  Error error_ = Error::none;
};

StreamId Http1Client::start(const Request& request, bool end, Time) {
  if (!can_start()) return 0;
  active_ = true;
  ++id_;
  head_ = request.method == "HEAD";
  sent_ = end;
  chunked_ = !end && !request.content_length;
  out_.append(request.method).append(" ").append(request.path).append(" HTTP/1.1\r\nhost: ");
  out_.append(request.authority).append("\r\n");
  append_fields(out_, request.fields);
  if (request.content_length && (!end || *request.content_length == 0)) {
    out_ += "content-length: " + std::to_string(*request.content_length) + "\r\n";
  } else if (end &&
             (request.method == "POST" || request.method == "PUT" || request.method == "PATCH")) {
    out_ += "content-length: 0\r\n";
  }
  if (chunked_) out_ += "transfer-encoding: chunked\r\n";
  out_ += "\r\n";
  return id_;
}

// RFC 9112 sections 4 and 6.3. False: not a response; fail() was called, or an interim one.
bool Http1Client::take_head() {
  H1Head& head = reader_.head();
  const std::string_view line = head.start_line;
  const bool ok = line.size() >= 12 &&
                  (line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 ")) &&
                  (line.size() == 12 || line[12] == ' ') && is_field_value(line);
  std::uint16_t status = 0;
  for (std::size_t i = 9; ok && i < 12; ++i) {
    if (line[i] < '0' || line[i] > '9') {
      fail(Error::protocol);
      return false;
    }
    status = static_cast<std::uint16_t>(status * 10 + (line[i] - '0'));
  }
  if (!ok || status < 100 || status > 599 || status == 101) {
    fail(Error::protocol);
    return false;
  }
  const bool http10 = line[7] == '0';
  H1Control control;
  std::uint16_t ignored = 0;
  if (take_control(head.fields, control, ignored) != Error::none || (control.chunked && http10)) {
    fail(Error::protocol);
    return false;
  }
  if (status < 200) {
    reader_.begin_body(Framing::none, 0);
    if (reader_.step() != H1Reader::Step::end) return false;
    if (status == 100) handler_.on_continue(id_);
    return true;
  }
  if (control.close || (http10 && !control.keep_alive)) keep_ = false;
  Response response;
  response.status = status;
  response.fields = std::move(head.fields);
  response.content_length = control.content_length;
  response.version = http10 ? Version::http_1_0 : Version::http_1_1;
  const bool none = head_ || status == 204 || status == 304;
  Framing framing = Framing::until_close;
  if (none || (control.content_length && *control.content_length == 0)) {
    framing = Framing::none;
  } else if (control.chunked) {
    framing = Framing::chunked;
  } else if (control.content_length) {
    framing = Framing::length;
  } else {
    keep_ = false;
  }
  reader_.begin_body(framing, control.content_length.value_or(0));
  body_ = framing != Framing::none;
  if (!sent_) keep_ = false;  // answered before it was asked completely
  if (!body_) {
    const StreamId id = id_;
    const bool reader_done = reader_.step() == H1Reader::Step::end;
    active_ = false;
    if (!keep_ || !reader_done || reader_.buffered() > 0) finished_ = true;
    handler_.on_response(id, std::move(response), true);
    return true;
  }
  handler_.on_response(id_, std::move(response), false);
  return true;
}

void Http1Client::run() {
  if (running_) return;
  running_ = true;
  while (active_ && !finished_ && !paused_) {
    const auto step = reader_.step();
    if (step == H1Reader::Step::need_more) break;
    if (step == H1Reader::Step::error) {
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
      if (!keep_ || reader_.buffered() > 0) finished_ = true;
      handler_.on_message_end(id, reader_.trailers());
    }
  }
  running_ = false;
}

}  // namespace

std::unique_ptr<ClientConnection> make_http1_client(ClientHandler& handler,
                                                    const ConnectionLimits& limits) {
  return std::make_unique<Http1Client>(handler, limits);
}

}  // namespace sluice::http
