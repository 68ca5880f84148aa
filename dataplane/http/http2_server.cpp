// HTTP/2, server role, by nghttp2 (RFC 9113). Windows open only as bodies are taken; floods end the
// connection (CVE-2023-44487 and its relatives).
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <map>

#include "grammar.h"
#include "http/connection.h"

namespace sluice::http {

namespace {

struct Stream {
  Request request;
  FieldBlock trailers;
  std::string in;   // offered, not taken
  std::string out;  // given, not framed
  std::size_t out_at = 0;
  std::size_t held = 0;  // bytes of `in` whose window is still closed
  bool requested = false, in_ended = false, in_told = false, responded = false;
  bool out_ended = false, want_write = false, deferred = false, bad = false;
  bool has_trailers = false;
  FieldBlock out_trailers;
  std::size_t pending() const { return out.size() - out_at; }
};

struct Bucket {
  double tokens = 0;
  Time last{};
  bool take(Time now, std::uint32_t rate, std::uint32_t burst, bool& started) {
    if (!started) {
      started = true;
      tokens = burst;
      last = now;
    }
    tokens =
        std::min<double>(burst, tokens + static_cast<double>((now - last).count()) * 1e-6 * rate);
    last = now;
    tokens -= 1;
    return tokens >= 0;
  }
};

class Http2Server final : public ServerConnection {
 public:
  Http2Server(ServerHandler& handler, std::string_view scheme, const ConnectionLimits& limits,
              Time now)
      : handler_(handler), limits_(limits), scheme_(scheme), now_(now), idle_since_(now) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_outbound_ack(option, 1000);
    nghttp2_option_set_max_settings(option, 32);
    nghttp2_session_server_new2(&session_, callbacks, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits_.max_concurrent_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(limits_.stream_window)},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
         static_cast<std::uint32_t>(limits_.fields.max_bytes)},
    };
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                          static_cast<std::int32_t>(limits_.connection_window));
  }
  ~Http2Server() override { nghttp2_session_del(session_); }

  void feed(ByteSpan bytes, Time now) override {
    now_ = now;
    if (finished_) return;
    const auto n = nghttp2_session_mem_recv(session_, bytes.data(), bytes.size());
    if (n < 0) end(Error::protocol);
    deliver();
  }
  void feed_end(Time now) override {
    now_ = now;
    if (streams_.empty())
      finished_ = true;
    else
      closing_ = true;
    // Requests not complete will never be.
    for (auto it = streams_.begin(); it != streams_.end();) {
      const auto id = it->first;
      const bool cut = !it->second.in_ended;
      ++it;
      if (cut) {
        streams_.erase(id);
        handler_.on_stream_closed(static_cast<StreamId>(id), Error::truncated);
      }
    }
    if (streams_.empty()) finished_ = true;
  }
  bool wants_input() const override { return !finished_ && buffer_.size() < limits_.output_buffer; }

  ByteSpan pending_output() override {
    if (sent_ == buffer_.size()) {
      buffer_.clear();
      if (buffer_.capacity() > 256 * 1024) buffer_.shrink_to_fit();
      sent_ = 0;
    }
    while (buffer_.size() - sent_ < limits_.output_buffer) {
      const std::uint8_t* data = nullptr;
      const auto n = nghttp2_session_mem_send(session_, &data);
      if (n <= 0) {
        if (n < 0) end(Error::internal);
        break;
      }
      buffer_.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(n));
    }
    tell_writers();
    if (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_))
      finished_ = true;
    return as_bytes(buffer_).subspan(sent_);
  }
  void consume_output(std::size_t n) override { sent_ += n; }

  void send_continue(StreamId id) override {
    if (find(id) == nullptr) return;
    const std::string status = "100";
    nghttp2_nv nv = make(":status", status);
    nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, static_cast<std::int32_t>(id), nullptr, &nv,
                           1, nullptr);
  }
  void respond(StreamId id, const Response& response, bool end) override;
  std::size_t write_body(StreamId id, ByteSpan data) override {
    Stream* s = find(id);
    if (s == nullptr || s->out_ended || s->request.method == "HEAD") return data.size();
    const std::size_t room = limits_.body_buffer - std::min(limits_.body_buffer, s->pending());
    const std::size_t n = std::min(room, data.size());
    s->out.append(as_text(data.first(n)));
    if (n < data.size()) s->want_write = true;
    wake(id, *s);
    return n;
  }
  void finish(StreamId id, const FieldBlock& trailers) override {
    Stream* s = find(id);
    if (s == nullptr || s->out_ended) return;
    s->out_ended = true;
    if (!trailers.empty()) {
      s->has_trailers = true;
      s->out_trailers = trailers;
    }
    wake(id, *s);
  }
  void reset(StreamId id, Error error) override {
    if (find(id) == nullptr) return;
    streams_.erase(static_cast<std::int32_t>(id));
    const auto code = error == Error::cancelled ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR;
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, static_cast<std::int32_t>(id), code);
  }
  void resume(StreamId id) override {
    if (Stream* s = find(id)) offer(static_cast<std::int32_t>(id), *s);
  }
  void shutdown() override {
    closing_ = true;
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                          nullptr, 0);
  }
  bool finished() const override {
    return finished_ || (closing_ && streams_.empty() && sent_ == buffer_.size());
  }
  bool aborted() const override { return false; }
  Error error() const override { return error_; }
  Time deadline() const override {
    return streams_.empty() && !finished_ ? idle_since_ + limits_.idle_time : kNever;
  }
  void on_timer(Time now) override {
    now_ = now;
    if (now >= deadline()) shutdown();
  }
  std::size_t active_streams() const override { return streams_.size(); }
  Version version() const override { return Version::http_2; }

 private:
  static Http2Server& self(void* p) { return *static_cast<Http2Server*>(p); }
  static nghttp2_nv make(std::string_view name, std::string_view value) {
    return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
            reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
            value.size(), NGHTTP2_NV_FLAG_NONE};
  }
  Stream* find(StreamId id) {
    const auto it = streams_.find(static_cast<std::int32_t>(id));
    return it == streams_.end() ? nullptr : &it->second;
  }
  void end(Error error) {
    if (error_ != Error::none) return;
    error_ = error;
    const auto code = error == Error::abuse ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR;
    nghttp2_session_terminate_session(session_, code);
    closing_ = true;
    while (!streams_.empty()) {
      const auto id = streams_.begin()->first;
      streams_.erase(streams_.begin());
      handler_.on_stream_closed(static_cast<StreamId>(id), error);
    }
  }
  void wake(StreamId id, Stream& s) {
    if (!s.deferred) return;
    s.deferred = false;
    nghttp2_session_resume_data(session_, static_cast<std::int32_t>(id));
  }
  void offer(std::int32_t id, Stream& s);
  void deliver();
  void tell_writers();
  bool valid(Stream& s) const;

  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* p) {
    Http2Server& c = self(p);
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      c.streams_[frame->hd.stream_id].request.version = Version::http_2;
    }
    return 0;
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* n,
                       std::size_t nl, const std::uint8_t* v, std::size_t vl, std::uint8_t,
                       void* p);
  static int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* hd, void* p) {
    Http2Server& c = self(p);
    const bool control =
        hd->type == NGHTTP2_SETTINGS || hd->type == NGHTTP2_PING || hd->type == NGHTTP2_PRIORITY ||
        hd->type == NGHTTP2_CONTINUATION ||
        (hd->type == NGHTTP2_DATA && hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM));
    if (control && !c.controls_.take(c.now_, c.limits_.control_frames_per_second,
                                     c.limits_.control_frames_burst, c.controls_on_)) {
      c.abuse_ = true;
    }
    if (hd->type == NGHTTP2_RST_STREAM && !c.resets_.take(c.now_, c.limits_.resets_per_second,
                                                          c.limits_.resets_burst, c.resets_on_)) {
      c.abuse_ = true;
    }
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* p) {
    Http2Server& c = self(p);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    const auto it = c.streams_.find(frame->hd.stream_id);
    if (it == c.streams_.end()) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) c.fresh_.push_back(frame->hd.stream_id);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
      it->second.in_ended = true;
      c.fresh_.push_back(frame->hd.stream_id);
    }
    return 0;
  }
  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id,
                     const std::uint8_t* data, std::size_t n, void* p) {
    Http2Server& c = self(p);
    const auto it = c.streams_.find(id);
    if (it == c.streams_.end()) {
      nghttp2_session_consume(session, id, n);
      return 0;
    }
    it->second.in.append(reinterpret_cast<const char*>(data), n);
    c.fresh_.push_back(id);
    return 0;
  }
  static int on_close(nghttp2_session* session, std::int32_t id, std::uint32_t code, void* p) {
    Http2Server& c = self(p);
    const auto it = c.streams_.find(id);
    if (it == c.streams_.end()) return 0;
    const std::size_t unread = it->second.in.size();
    if (unread > 0) nghttp2_session_consume_connection(session, unread);
    const bool complete = it->second.out_ended && it->second.pending() == 0;
    const bool known = it->second.requested;
    c.streams_.erase(it);
    if (c.streams_.empty()) c.idle_since_ = c.now_;
    if (!complete && known) {
      c.handler_.on_stream_closed(static_cast<StreamId>(id), code == NGHTTP2_REFUSED_STREAM
                                                                 ? Error::refused
                                                                 : Error::cancelled);
    }
    return 0;
  }
  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* buf,
                           std::size_t length, std::uint32_t* flags, nghttp2_data_source* source,
                           void* p);

  ServerHandler& handler_;
  const ConnectionLimits limits_;
  const std::string scheme_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, Stream> streams_;
  std::vector<std::int32_t> fresh_;
  std::string buffer_;
  std::size_t sent_ = 0;
  Time now_, idle_since_;
  Bucket controls_, resets_;
  bool controls_on_ = false, resets_on_ = false, abuse_ = false;
  bool closing_ = false, finished_ = false;
  Error error_ = Error::none;
};

int Http2Server::on_header(nghttp2_session* session, const nghttp2_frame* frame,
                           const std::uint8_t* n, std::size_t nl, const std::uint8_t* v,
                           std::size_t vl, std::uint8_t, void* p) {
  Http2Server& c = self(p);
  const auto it = c.streams_.find(frame->hd.stream_id);
  if (it == c.streams_.end()) return 0;
  Stream& s = it->second;
  const std::string_view name(reinterpret_cast<const char*>(n), nl);
  const std::string_view value(reinterpret_cast<const char*>(v), vl);
  if (s.requested) {
    if (!forbidden_in_trailers(name) && !s.trailers.add(name, value, c.limits_.fields))
      s.bad = true;
    return 0;
  }
  Request& r = s.request;
  if (name == ":method")
    r.method = value;
  else if (name == ":scheme")
    r.scheme = value;
  else if (name == ":path")
    r.path = value;
  else if (name == ":authority" || name == "host") {
    std::string host;
    for (const char ch : value) host.push_back(lower(ch));
    if (!r.authority.empty() && r.authority != host) s.bad = true;
    r.authority = host;
  } else if (name == "content-length") {
    r.content_length = parse_length(value);
    if (!r.content_length) s.bad = true;
  } else if (name == "expect") {
    r.expect_continue = equal_ci(value, "100-continue");
  } else if (name == "cookie") {
    // RFC 9113 section 8.2.3: crumbs become one field again.
    const auto before = r.fields.find("cookie");
    const std::string joined =
        before ? std::string(*before) + "; " + std::string(value) : std::string(value);
    if (!r.fields.set("cookie", joined)) s.bad = true;
  } else if (name != "te" && !r.fields.add(name, value, c.limits_.fields)) {
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                              NGHTTP2_ENHANCE_YOUR_CALM);
    s.bad = true;
  }
  return 0;
}

bool Http2Server::valid(Stream& s) const {
  const Request& r = s.request;
  if (s.bad || !is_token(r.method) || r.path.size() > limits_.max_uri) return false;
  if (r.method == "CONNECT") return false;
  if (!is_authority(r.authority) || !is_target(r.path)) return false;
  return r.path.front() == '/' || (r.path == "*" && r.method == "OPTIONS");
}

// Bytes move to the handler only here, outside nghttp2's callbacks.
void Http2Server::offer(std::int32_t id, Stream& first) {
  Stream* s = &first;
  if (!s->in.empty()) {
    const std::string data = std::move(s->in);
    s->in.clear();
    const std::size_t n = handler_.on_body(static_cast<StreamId>(id), as_bytes(data));
    nghttp2_session_consume(session_, id, n);
    s = find(static_cast<StreamId>(id));
    if (s == nullptr) return;
    if (n < data.size()) {
      s->in.insert(0, data, n, std::string::npos);
      return;
    }
  }
  if (s->in_ended && !s->in_told) {
    s->in_told = true;
    handler_.on_message_end(static_cast<StreamId>(id), s->trailers);
  }
}

void Http2Server::deliver() {
  if (abuse_) end(Error::abuse);
  for (std::size_t i = 0; i < fresh_.size(); ++i) {
    const std::int32_t id = fresh_[i];
    Stream* s = find(static_cast<StreamId>(id));
    if (s == nullptr) continue;
    if (!s->requested) {
      if (!valid(*s)) {
        streams_.erase(id);
        nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
        handler_.on_request_refused(Error::protocol, 400);
        continue;
      }
      s->requested = true;
      const bool end = s->in_ended && s->in.empty();
      if (end) s->in_told = true;
      Request request = s->request;
      request.scheme = scheme_;
      handler_.on_request(static_cast<StreamId>(id), std::move(request), end);
      s = find(static_cast<StreamId>(id));
      if (s == nullptr) continue;
    }
    offer(id, *s);
  }
  fresh_.clear();
}

void Http2Server::respond(StreamId id, const Response& response, bool end) {
  Stream* s = find(id);
  if (s == nullptr || s->responded) return;
  s->responded = true;
  const std::string status = std::to_string(response.status);
  std::string length;
  std::vector<nghttp2_nv> nv;
  nv.reserve(response.fields.size() + 2);
  nv.push_back(make(":status", status));
  for (std::size_t i = 0; i < response.fields.size(); ++i) {
    const Field f = response.fields.at(i);
    if (is_hop_by_hop(f.name) || f.name == "content-length") continue;
    nv.push_back(make(f.name, f.value));
  }
  const bool none =
      end || s->request.method == "HEAD" || response.status == 204 || response.status == 304;
  if (response.content_length && (!end || s->request.method == "HEAD")) {
    length = std::to_string(*response.content_length);
    nv.push_back(make("content-length", length));
  }
  nghttp2_data_provider provider{};
  provider.read_callback = read_body;
  if (none) s->out_ended = true;
  nghttp2_submit_response(session_, static_cast<std::int32_t>(id), nv.data(), nv.size(),
                          none ? nullptr : &provider);
}

ssize_t Http2Server::read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* buf,
                               std::size_t length, std::uint32_t* flags, nghttp2_data_source*,
                               void* p) {
  Http2Server& c = self(p);
  Stream* s = c.find(static_cast<StreamId>(id));
  if (s == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  const std::size_t n = std::min(length, s->pending());
  std::memcpy(buf, s->out.data() + s->out_at, n);
  s->out_at += n;
  if (s->out_at == s->out.size()) {
    s->out.clear();
    s->out_at = 0;
  } else if (s->out_at > 64 * 1024) {
    s->out.erase(0, s->out_at);
    s->out_at = 0;
  }
  if (s->pending() == 0 && s->out_ended) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->has_trailers) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      std::vector<nghttp2_nv> nv;
      for (std::size_t i = 0; i < s->out_trailers.size(); ++i) {
        nv.push_back(make(s->out_trailers.at(i).name, s->out_trailers.at(i).value));
      }
      nghttp2_submit_trailer(session, id, nv.data(), nv.size());
    }
    return static_cast<ssize_t>(n);
  }
  if (n == 0) {
    s->deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  return static_cast<ssize_t>(n);
}

void Http2Server::tell_writers() {
  std::vector<std::int32_t> ids;
  for (auto& [id, s] : streams_) {
    if (s.want_write && s.pending() < limits_.body_buffer / 2) {
      s.want_write = false;
      ids.push_back(id);
    }
  }
  for (const auto id : ids) handler_.on_writable(static_cast<StreamId>(id));
}

}  // namespace

std::unique_ptr<ServerConnection> make_http2_server(ServerHandler& handler, std::string_view scheme,
                                                    const ConnectionLimits& limits, Time now) {
  return std::make_unique<Http2Server>(handler, scheme, limits, now);
}

}  // namespace sluice::http
