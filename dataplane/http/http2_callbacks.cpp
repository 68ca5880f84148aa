// What nghttp2 tells us: frames are counted and collected here, nothing is handed on.
#include <algorithm>
#include <cstring>

#include "grammar.h"
#include "http2_server.h"

namespace sluice::http {

namespace {

Http2Server& self(void* p) { return *static_cast<Http2Server*>(p); }

// A header section may be this many times the limit before it is an attack: beyond the limit its
// fields are read for the compression state only.
constexpr std::size_t kMaxOversize = 4;
// What is read of a request after its answer is complete.
constexpr std::size_t kMaxLateBody = std::size_t{16} * 1024 * 1024;
constexpr std::size_t kMaxPadding = 256;  // with its length
// Shorter ones bring little but work.
constexpr std::size_t kSmallContinuation = 1024;

// RST_STREAM codes that answer what the peer did wrong.
bool peers_fault(std::uint32_t code) {
  switch (code) {
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_REFUSED_STREAM:
    case NGHTTP2_ENHANCE_YOUR_CALM:
      return true;
    default:
      return false;
  }
}

Error to_error(std::uint32_t code) {
  switch (code) {
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_COMPRESSION_ERROR:
    case NGHTTP2_STREAM_CLOSED:
      return Error::protocol;
    case NGHTTP2_FLOW_CONTROL_ERROR:
      return Error::flow_control;
    case NGHTTP2_REFUSED_STREAM:
      return Error::refused;
    case NGHTTP2_ENHANCE_YOUR_CALM:
      return Error::abuse;
    case NGHTTP2_INTERNAL_ERROR:
      return Error::internal;
    default:
      return Error::cancelled;
  }
}

std::string_view text(const std::uint8_t* bytes, std::size_t n) {
  return {reinterpret_cast<const char*>(bytes), n};
}

}  // namespace

nghttp2_session_callbacks* Http2Server::callbacks() {
  nghttp2_session_callbacks* c = nullptr;
  nghttp2_session_callbacks_new(&c);
  nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(c, on_header);
  nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
  nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_sent);
  return c;
}

bool Http2Server::allowed(const H2FrameScanner::Frame& frame) {
  if (frame.type != NGHTTP2_CONTINUATION) wait_since_ = kNever;
  switch (frame.type) {
    case NGHTTP2_HEADERS:
      guard_.request();
      return true;
    case NGHTTP2_DATA: {
      if (frame.flags & NGHTTP2_FLAG_END_STREAM) return true;
      // Padding may be all there is.
      const bool empty =
          frame.length == 0 || ((frame.flags & NGHTTP2_FLAG_PADDED) && frame.length <= kMaxPadding);
      return !empty || guard_.control(now_);
    }
    case NGHTTP2_CONTINUATION:
      return frame.length >= kSmallContinuation || guard_.control(now_);
    case NGHTTP2_WINDOW_UPDATE:
      return guard_.window_update(now_);
    case NGHTTP2_RST_STREAM:
      return guard_.reset(now_);
    default:
      return guard_.control(now_);
  }
}

int Http2Server::on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* p) {
  Http2Server& c = self(p);
  if (frame->hd.type != NGHTTP2_HEADERS) return 0;
  const bool request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
  if (request && c.streams_.empty()) c.sweep_at_ = c.now_ + c.limits_.idle_time;
  H2Stream* s =
      request ? &c.streams_.open(frame->hd.stream_id) : c.streams_.find(frame->hd.stream_id);
  if (s == nullptr) return 0;
  s->block_bytes = s->block_fields = 0;
  return 0;
}

int Http2Server::on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                           std::size_t name_length, const std::uint8_t* value,
                           std::size_t value_length, std::uint8_t, void* p) {
  Http2Server& c = self(p);
  H2Stream* s = c.streams_.find(frame->hd.stream_id);
  if (s == nullptr) return 0;
  s->block_bytes += name_length + value_length + 32;
  s->block_fields++;
  if (s->block_bytes > kMaxOversize * c.limits_.fields.max_bytes) return c.abused();
  // The four pseudo-header fields are not counted among the fields, but their bytes are.
  if (s->block_bytes > c.limits_.fields.max_bytes ||
      s->block_fields > c.limits_.fields.max_fields + 4) {
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
      s->bad_trailers = true;
    } else if (s->status == 0) {
      s->status = 431;
    }
    return 0;
  }
  const std::string_view n = text(name, name_length);
  const std::string_view v = text(value, value_length);
  if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
    c.take_request_field(*s, n, v);
  } else if (!forbidden_in_trailers(n) && !s->trailers.add(n, v, c.limits_.fields)) {
    s->bad_trailers = true;
  }
  return 0;
}

void Http2Server::take_request_field(H2Stream& s, std::string_view name, std::string_view value) {
  Request& r = s.request;
  if (name.starts_with(':')) {
    if (name == ":method") {
      r.method = value;
    } else if (name == ":scheme") {
      r.scheme = value;
    } else if (name == ":path") {
      r.path = value;
    } else if (name == ":authority") {
      r.authority = lowered(value);
    }
  } else if (name == "host") {
    // RFC 9113 section 8.3.1: it may only repeat :authority.
    std::string host = lowered(value);
    if (r.authority.empty()) {
      r.authority = std::move(host);
    } else if (r.authority != host) {
      s.malformed = true;
    }
  } else if (name == "content-length") {
    r.content_length = parse_length(value);
    if (!r.content_length) s.malformed = true;
  } else if (name == "expect") {
    if (equal_ci(value, "100-continue")) {
      r.expect_continue = true;
    } else if (s.status == 0) {
      s.status = 417;
    }
  } else if (name == "cookie") {
    if (!s.cookie.empty()) s.cookie += "; ";
    s.cookie += value;
  } else if (name != "te" && name != "trailer" && !r.fields.add(name, value, limits_.fields)) {
    // The limits were looked at before: this is syntax, or one field too many.
    if (r.fields.size() >= limits_.fields.max_fields) {
      if (s.status == 0) s.status = 431;
    } else {
      s.malformed = true;
    }
  }
}

// nghttp2 would drop the field and go on; RFC 9113 section 8.2.1 calls the message malformed.
int Http2Server::on_invalid_header(nghttp2_session*, const nghttp2_frame* frame,
                                   const std::uint8_t*, std::size_t, const std::uint8_t*,
                                   std::size_t, std::uint8_t, void* p) {
  H2Stream* s = self(p).streams_.find(frame->hd.stream_id);
  if (s == nullptr) return 0;
  (frame->headers.cat == NGHTTP2_HCAT_REQUEST ? s->malformed : s->bad_trailers) = true;
  return 0;
}

int Http2Server::on_frame(nghttp2_session*, const nghttp2_frame* frame, void* p) {
  Http2Server& c = self(p);
  const auto& hd = frame->hd;
  if (hd.type == NGHTTP2_SETTINGS) c.preface_seen_ = true;
  if (hd.type == NGHTTP2_PING && (hd.flags & NGHTTP2_FLAG_ACK) && c.goaway_at_ != kNever) {
    // The peer has seen the first GOAWAY: what it started before is here.
    c.goaway_at_ = c.now_;
  }
  if (hd.type != NGHTTP2_HEADERS && hd.type != NGHTTP2_DATA) return 0;
  H2Stream* s = c.streams_.find(hd.stream_id);
  if (s == nullptr) return 0;
  const bool end = (hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (end) s->remote_ended = true;
  if (hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
    c.events_.push_back({Event::Kind::request, end, hd.stream_id, {}});
  } else if (end) {
    c.events_.push_back({Event::Kind::end, true, hd.stream_id, {}});
  }
  return 0;
}

int Http2Server::on_data(nghttp2_session* session, std::uint8_t, std::int32_t id,
                         const std::uint8_t* data, std::size_t n, void* p) {
  Http2Server& c = self(p);
  H2Stream* s = c.streams_.find(id);
  if (s == nullptr) {
    nghttp2_session_consume(session, id, n);
  } else if (s->answered) {
    nghttp2_session_consume(session, id, n);
    s->moved = true;
    s->late_bytes += n;
    if (s->late_bytes > kMaxLateBody) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    }
  } else {
    c.events_.push_back({Event::Kind::data, false, id, {data, n}});
  }
  return 0;
}

int Http2Server::on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t code, void* p) {
  Http2Server& c = self(p);
  H2Stream* s = c.streams_.find(id);
  if (s == nullptr) return 0;
  const bool complete = s->out_ended && s->out.size() == 0 && s->in_told;
  const bool known = s->requested;
  const bool malformed = !known && s->status == 0 && code == NGHTTP2_PROTOCOL_ERROR;
  c.drop(*s);
  if (known && !complete) {
    c.handler_.on_stream_closed(static_cast<StreamId>(id), to_error(code));
  } else if (malformed) {
    c.handler_.on_request_refused(Error::protocol, 400);
  }
  return 0;
}

int Http2Server::on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* p) {
  Http2Server& c = self(p);
  const auto& hd = frame->hd;
  switch (hd.type) {
    case NGHTTP2_RST_STREAM:
      // Streams we have to reset are as costly as those the peer resets.
      if (peers_fault(frame->rst_stream.error_code) && !c.guard_.reset(c.now_)) c.abuse_ = true;
      break;
    case NGHTTP2_GOAWAY:
      // nghttp2 found a fault of the connection.
      if (frame->goaway.error_code != NGHTTP2_NO_ERROR && c.error_ == Error::none) {
        c.error_ = to_error(frame->goaway.error_code);
      }
      break;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
      if (hd.flags & NGHTTP2_FLAG_END_STREAM) {
        H2Stream* s = c.streams_.find(hd.stream_id);
        // Answered completely: the rest of the request is not wanted. RST_STREAM(NO_ERROR) says so
        // (RFC 9113 section 8.1), and clients are many that lose the answer by it: a moderate rest
        // is read and thrown away first, beginning with what nobody took so far.
        if (s == nullptr || s->remote_ended) break;
        s->answered = s->moved = true;
        s->late_bytes = std::exchange(s->in, {}).size();
        nghttp2_session_consume(session, hd.stream_id, s->late_bytes);
      }
      break;
    default:
      break;
  }
  return 0;
}

ssize_t Http2Server::read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* buffer,
                               std::size_t length, std::uint32_t* flags, nghttp2_data_source*,
                               void* p) {
  Http2Server& c = self(p);
  H2Stream* s = c.streams_.find(id);
  if (s == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  const std::size_t n = std::min(length, s->out.size());
  if (n == 0 && !s->out_ended) {
    s->deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  if (n > 0) {
    std::memcpy(buffer, s->out.pending().data(), n);
    s->out.consume(n);
    s->moved = true;
  }
  // A frame cut short by the peer's window earns no window update: one byte at a time must cost it.
  if (s->out.size() == 0 || n >= kSmallContinuation) c.guard_.data_sent();
  if (s->out.size() > 0 || !s->out_ended) return static_cast<ssize_t>(n);
  *flags |= NGHTTP2_DATA_FLAG_EOF;
  if (!s->out_trailers.empty()) {
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    std::vector<nghttp2_nv> fields;
    fields.reserve(s->out_trailers.size());
    for (std::size_t i = 0; i < s->out_trailers.size(); ++i) {
      fields.push_back(to_nv(s->out_trailers.at(i)));
    }
    nghttp2_submit_trailer(session, id, fields.data(), fields.size());
  }
  return static_cast<ssize_t>(n);
}

}  // namespace sluice::http
