#include "http2_server.h"

#include <array>
#include <charconv>

#include "grammar.h"

namespace sluice::http {

namespace {

// How long a peer may take to show that it has seen the first GOAWAY.
constexpr Micros kGoawayTime{1'000'000};
// Bodies longer than this share the connection evenly; shorter ones leave in one piece.
constexpr std::uint64_t kShortBody = std::uint64_t{16} * 1024;
// A section's fields within our limits always leave.
constexpr std::size_t kMaxSentBlock = std::size_t{256} * 1024;

std::uint32_t to_code(Error error) {
  switch (error) {
    case Error::abuse:
      return NGHTTP2_ENHANCE_YOUR_CALM;
    case Error::internal:
      return NGHTTP2_INTERNAL_ERROR;
    case Error::timed_out:
      return NGHTTP2_NO_ERROR;
    default:
      return NGHTTP2_PROTOCOL_ERROR;
  }
}

// RFC 9113 section 8.3.1 beyond what nghttp2 checks. 0, 400 for malformed, or a better status.
std::uint16_t check(const H2Stream& s, const ConnectionLimits& limits) {
  const Request& r = s.request;
  if (s.malformed || !is_token(r.method)) return 400;
  if (s.status != 0) return s.status;
  std::string_view port;
  if (!is_authority(r.authority, &port)) return 400;
  if (r.method == "CONNECT") return port.empty() ? 400 : 0;
  if (r.scheme != "https" && r.scheme != "http") return 400;
  if (r.path.size() > limits.max_uri) return 414;
  if (!is_target(r.path)) return 400;
  return r.path.front() == '/' || (r.path == "*" && r.method == "OPTIONS") ? 0 : 400;
}

}  // namespace

Http2Server::Http2Server(ServerHandler& handler, std::string_view scheme,
                         const ConnectionLimits& limits, Time now)
    : handler_(handler),
      limits_(limits),
      scheme_(scheme),
      guard_(limits_, now),
      now_(now),
      since_(now) {
  nghttp2_session_callbacks* callbacks = Http2Server::callbacks();
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_max_outbound_ack(option, 1000);
  nghttp2_option_set_max_settings(option, 32);
  nghttp2_option_set_max_send_header_block_length(option, kMaxSentBlock);
  // Ours comes first, with the code that says why.
  nghttp2_option_set_stream_reset_rate_limit(option, 2 * std::uint64_t{limits_.resets_burst} + 100,
                                             2 * std::uint64_t{limits_.resets_per_second} + 100);
  nghttp2_session_server_new2(&session_, callbacks, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  // The tree of RFC 7540 priorities is deprecated, and work for whoever wants to make some.
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits_.max_concurrent_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(limits_.stream_window)},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(limits_.fields.max_bytes)},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(limits_.connection_window));
}

void Http2Server::feed(ByteSpan bytes, Time now) {
  now_ = now;
  if (finished_ || error_ != Error::none) return;
  if (!scanner_.scan(bytes, [&](const auto& frame) { return allowed(frame); })) {
    return end(Error::abuse, NGHTTP2_ENHANCE_YOUR_CALM);
  }
  const auto n = nghttp2_session_mem_recv(session_, bytes.data(), bytes.size());
  if (n < 0) {
    const bool flood =
        abuse_ || n == NGHTTP2_ERR_FLOODED || n == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
    const Error error = flood                    ? Error::abuse
                        : n == NGHTTP2_ERR_NOMEM ? Error::internal
                                                 : Error::protocol;
    end(error, to_code(error));
    events_.clear();
    return;
  }
  // For DATA others wait; for a header section, until its last frame is over.
  const auto& last = scanner_.last();
  const bool headers = last.type == NGHTTP2_HEADERS || last.type == NGHTTP2_CONTINUATION;
  const bool waits = scanner_.inside_head() || (scanner_.inside() && last.type != NGHTTP2_DATA) ||
                     (headers && !(last.flags & NGHTTP2_FLAG_END_HEADERS));
  if (!waits) {
    wait_since_ = kNever;
  } else if (wait_since_ == kNever) {
    wait_since_ = now;
  }
  deliver();
  if (goaway_at_ <= now_) say_last_goaway();
}

void Http2Server::feed_end(Time now) {
  now_ = now;
  input_ended_ = true;
  // Requests not complete will never be.
  for (const auto id : streams_.ids()) {
    H2Stream* s = streams_.find(id);
    if (s == nullptr || s->remote_ended) continue;
    const bool known = s->requested;
    drop(*s);
    if (known) handler_.on_stream_closed(static_cast<StreamId>(id), Error::truncated);
  }
  last_goaway_ = true;  // a half-closed client still gets its answers
  if (streams_.empty()) finished_ = true;
}

void Http2Server::deliver() {
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const Event event = events_[i];
    H2Stream* s = streams_.find(event.id);
    switch (event.kind) {
      case Event::Kind::request:
        if (s != nullptr) deliver_request(*s, event.end_stream);
        break;
      case Event::Kind::data:
        if (s == nullptr || !s->requested) {
          nghttp2_session_consume(session_, event.id, event.data.size());
        } else if (s->in.empty()) {
          offer(event.id, event.data);
        } else {
          s->in.append(as_text(event.data));
        }
        break;
      case Event::Kind::end:
        if (s == nullptr || !s->requested) break;
        s->in_over = true;
        if (s->in.empty()) offer_end(*s);
        break;
    }
  }
  events_.clear();
}

void Http2Server::deliver_request(H2Stream& s, bool end) {
  if (!s.malformed && !s.cookie.empty() && s.status == 0 &&
      !s.request.fields.add("cookie", s.cookie, limits_.fields)) {
    s.status = 431;
  }
  const std::uint16_t status = check(s, limits_);
  if (status != 0) {
    s.status = status;
    return refuse(s);
  }
  Request request = std::move(s.request);
  request.version = Version::http_2;
  request.scheme = scheme_;
  s.head = request.method == "HEAD";
  s.requested = true;
  s.in_over = s.in_told = end;
  handler_.on_request(static_cast<StreamId>(s.id), std::move(request), end);
}

// A malformed request is a stream error (RFC 9113 section 8.1.1); the others can be told.
void Http2Server::refuse(H2Stream& s) {
  const std::int32_t id = s.id;
  const std::uint16_t status = s.status;
  if (status == 400) {
    drop(s);
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
  } else {
    char digits[3];
    std::to_chars(digits, digits + sizeof digits, status);
    const std::array fields = {to_nv({":status", {digits, sizeof digits}}),
                               to_nv({"content-length", "0"})};
    s.out_ended = true;
    nghttp2_submit_response(session_, id, fields.data(), fields.size(), nullptr);
  }
  const bool large = status == 414 || status == 431;
  handler_.on_request_refused(large ? Error::too_large : Error::protocol, status);
}

void Http2Server::offer(std::int32_t id, ByteSpan data) {
  const std::size_t n = handler_.on_body(static_cast<StreamId>(id), data);
  nghttp2_session_consume(session_, id, n);
  if (n == data.size()) return;
  if (H2Stream* s = streams_.find(id)) {
    s->in.append(as_text(data.subspan(n)));
  } else {
    nghttp2_session_consume(session_, id, data.size() - n);
  }
}

void Http2Server::offer_end(H2Stream& s) {
  if (s.in_told) return;
  const auto id = static_cast<StreamId>(s.id);
  if (s.bad_trailers) {
    const std::int32_t stream = s.id;
    drop(s);
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, NGHTTP2_PROTOCOL_ERROR);
    return handler_.on_stream_closed(id, Error::protocol);
  }
  s.in_told = true;
  // A copy of nothing costs nothing; the stream may end in the callback.
  const FieldBlock trailers = std::move(s.trailers);
  handler_.on_message_end(id, trailers);
}

void Http2Server::resume(StreamId id) {
  H2Stream* s = find(id);
  if (s == nullptr) return;
  if (!s->in.empty()) {
    const std::string data = std::exchange(s->in, {});
    offer(s->id, as_bytes(data));
    s = find(id);
    if (s == nullptr || !s->in.empty()) return;
  }
  if (s->in_over) offer_end(*s);
}

void Http2Server::send_continue(StreamId id) {
  H2Stream* s = find(id);
  if (s == nullptr || s->responded || s->continued) return;
  s->continued = true;
  const nghttp2_nv status = to_nv({":status", "100"});
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, s->id, nullptr, &status, 1, nullptr);
}

void Http2Server::respond(StreamId id, const Response& response, bool end) {
  H2Stream* s = find(id);
  if (s == nullptr || s->responded) return;
  s->responded = s->moved = true;
  const bool none = end || s->head || response.status == 204 || response.status == 304;
  char status[3];
  std::to_chars(status, status + sizeof status, response.status);
  char length[20];
  // nghttp2 copies them.
  std::array<nghttp2_nv, 160> fields;
  std::vector<nghttp2_nv> many;
  nghttp2_nv* nv = fields.data();
  if (response.fields.size() + 2 > fields.size()) {
    many.resize(response.fields.size() + 2);
    nv = many.data();
  }
  std::size_t count = 0;
  nv[count++] = to_nv({":status", {status, sizeof status}});
  for (std::size_t i = 0; i < response.fields.size(); ++i) {
    const Field f = response.fields.at(i);
    if (!is_hop_by_hop(f.name) && f.name != "content-length") nv[count++] = to_nv(f);
  }
  if (response.content_length && response.status != 204 &&
      (!end || s->head || response.status == 304)) {
    const auto last = std::to_chars(length, length + sizeof length, *response.content_length).ptr;
    nv[count++] = to_nv({"content-length", {length, static_cast<std::size_t>(last - length)}});
  }
  s->out_ended = none;
  s->counted = !none && response.content_length.has_value();
  s->left_out = response.content_length.value_or(0);
  nghttp2_data_provider provider{};
  provider.read_callback = read_body;
  if (!none && (!s->counted || s->left_out > kShortBody)) {
    const nghttp2_extpri shared{NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1};
    nghttp2_session_change_extpri_stream_priority(session_, s->id, &shared, 1);
  }
  nghttp2_submit_response(session_, s->id, nv, count, none ? nullptr : &provider);
}

std::size_t Http2Server::write_body(StreamId id, ByteSpan data) {
  H2Stream* s = find(id);
  if (s == nullptr || !s->responded || s->out_ended) return data.size();
  const std::size_t room = limits_.body_buffer - std::min(limits_.body_buffer, s->out.size());
  const std::size_t n = std::min(room, data.size());
  if (n < data.size()) s->want_write = writers_wait_ = true;
  if (n == 0) return 0;
  ByteSpan piece = data.first(n);
  if (s->counted) {
    piece = piece.first(static_cast<std::size_t>(std::min<std::uint64_t>(n, s->left_out)));
    s->left_out -= piece.size();
  }
  s->out.tail().append(as_text(piece));
  wake(*s);
  return n;
}

void Http2Server::finish(StreamId id, const FieldBlock& trailers) {
  H2Stream* s = find(id);
  if (s == nullptr || !s->responded || s->out_ended) return;
  // RFC 9113 section 8.1.1: less than was announced must not look complete.
  if (s->counted && s->left_out > 0) return reset(id, Error::internal);
  s->out_ended = true;
  if (!trailers.empty()) {
    s->out_trailers = trailers;
    s->out_trailers.remove_if([](const Field& f) { return forbidden_in_trailers(f.name); });
  }
  wake(*s);
}

void Http2Server::reset(StreamId id, Error error) {
  H2Stream* s = find(id);
  if (s == nullptr) return;
  drop(*s);
  const auto code = error == Error::cancelled ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, static_cast<std::int32_t>(id), code);
}

void Http2Server::wake(H2Stream& s) {
  if (!std::exchange(s.deferred, false)) return;
  nghttp2_session_resume_data(session_, s.id);
}

void Http2Server::drop(H2Stream& s) {
  const std::size_t unread = s.in.size();
  streams_.close(s.id);
  if (unread > 0) nghttp2_session_consume_connection(session_, unread);
  if (!streams_.empty()) return;
  since_ = now_;
  since_stale_ = true;
}

void Http2Server::close_all(Error error) {
  for (const auto id : streams_.ids()) {
    H2Stream* s = streams_.find(id);
    if (s == nullptr) continue;
    const bool known = s->requested;
    drop(*s);
    if (known) handler_.on_stream_closed(static_cast<StreamId>(id), error);
  }
}

// Ends the connection: GOAWAY with `code`, and nothing more is read.
void Http2Server::end(Error error, std::uint32_t code) {
  if (error_ != Error::none) return;
  error_ = error;
  closing_ = last_goaway_ = true;
  nghttp2_session_terminate_session(session_, code);
  close_all(error);
}

// RFC 9113 section 6.8: first a GOAWAY that refuses nothing, then, when the peer has seen it, one
// that names the last stream.
void Http2Server::shutdown() {
  if (closing_ || finished_) return;
  closing_ = true;
  goaway_at_ = now_ + kGoawayTime;
  nghttp2_submit_shutdown_notice(session_);
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
}

void Http2Server::say_last_goaway() {
  goaway_at_ = kNever;
  if (std::exchange(last_goaway_, true)) return;
  closing_ = true;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                        nullptr, 0);
  for (const auto id : streams_.ids()) {
    if (!streams_.find(id)->answered) continue;
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
  }
}

ByteSpan Http2Server::pending_output() {
  while (out_.size() < limits_.output_buffer) {
    const std::uint8_t* data = nullptr;
    const auto n = nghttp2_session_mem_send(session_, &data);
    if (n < 0) {
      finished_ = aborted_ = true;
      if (error_ == Error::none) error_ = Error::internal;
      break;
    }
    if (n > 0) {
      out_.tail().append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(n));
    } else if (abuse_ && error_ == Error::none) {
      end(Error::abuse, NGHTTP2_ENHANCE_YOUR_CALM);
    } else {
      break;
    }
  }
  if (error_ != Error::none && !streams_.empty()) close_all(error_);
  tell_writers();
  if (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_)) {
    finished_ = true;
    if (!streams_.empty()) close_all(Error::cancelled);
  }
  return out_.pending();
}

void Http2Server::tell_writers() {
  if (!std::exchange(writers_wait_, false)) return;
  bool waiting = false;
  for (const auto id : streams_.ids()) {
    H2Stream* s = streams_.find(id);
    if (s == nullptr || !s->want_write) continue;
    if (s->out.size() < limits_.body_buffer / 2) {
      s->want_write = false;
      handler_.on_writable(static_cast<StreamId>(id));
    } else {
      waiting = true;
    }
  }
  writers_wait_ |= waiting;
}

Time Http2Server::deadline() const {
  if (aborted_) return kNever;
  Time t = goaway_at_;
  if (error_ == Error::none && !finished_) {
    if (wait_since_ != kNever) t = std::min(t, wait_since_ + limits_.header_time);
    if (!preface_seen_) t = std::min(t, since_ + limits_.header_time);
    if (streams_.empty()) t = std::min(t, since_ + limits_.idle_time);
  }
  if (!streams_.empty()) t = std::min(t, sweep_at_);
  if (out_.size() > 0 && streams_.empty()) t = std::min(t, since_ + limits_.idle_time);
  return t;
}

void Http2Server::on_timer(Time now) {
  now_ = now;
  if (now < deadline()) return;
  if (now >= goaway_at_) say_last_goaway();
  if (!streams_.empty()) {
    if (now >= sweep_at_) sweep(now);
  } else if (now >= since_ + limits_.idle_time) {
    if (std::exchange(since_stale_, false)) {
      since_ = now;
    } else if (out_.size() > 0) {
      since_ = now;
      if (!std::exchange(output_moved_, false)) {
        error_ = Error::timed_out;
        finished_ = aborted_ = true;
      }
    } else if (!finished_) {
      say_last_goaway();
      finished_ = input_ended_;
      since_ = now;
    }
  }
  if (error_ != Error::none || finished_) return;
  if (wait_since_ != kNever && now >= wait_since_ + limits_.header_time) {
    end(Error::timed_out, NGHTTP2_ENHANCE_YOUR_CALM);
  } else if (!preface_seen_ && now >= since_ + limits_.header_time) {
    end(Error::timed_out, NGHTTP2_NO_ERROR);
  }
}

// Output that did not move for a whole idle time belongs to a peer that does not read.
void Http2Server::sweep(Time now) {
  sweep_at_ = now + limits_.idle_time;
  if (out_.size() > 0 && !std::exchange(output_moved_, false)) {
    error_ = Error::timed_out;
    finished_ = aborted_ = true;
    return close_all(Error::timed_out);
  }
  for (const auto id : streams_.ids()) {
    H2Stream* s = streams_.find(id);
    if (s == nullptr || (s->out.size() == 0 && !s->answered)) continue;
    if (std::exchange(s->moved, false)) continue;
    const bool known = s->requested && !s->answered;
    const std::uint32_t code = s->answered ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL;
    drop(*s);
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, code);
    if (known) handler_.on_stream_closed(static_cast<StreamId>(id), Error::timed_out);
  }
}

std::unique_ptr<ServerConnection> make_http2_server(ServerHandler& handler, std::string_view scheme,
                                                    const ConnectionLimits& limits, Time now) {
  return std::make_unique<Http2Server>(handler, scheme, limits, now);
}

}  // namespace sluice::http
