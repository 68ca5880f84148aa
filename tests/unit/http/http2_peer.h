// An HTTP/2 client for tests: a real nghttp2 session, and raw frames for what it would not send.
#pragma once

#include <nghttp2/nghttp2.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "recorder.h"

namespace sluice::http::test {

using Fields = std::vector<std::pair<std::string, std::string>>;

inline const Fields kGet = {
    {":method", "GET"}, {":scheme", "https"}, {":authority", "kb.example"}, {":path", "/a"}};
inline const Fields kPost = {
    {":method", "POST"}, {":scheme", "https"}, {":authority", "kb.example"}, {":path", "/a"}};

inline Fields with(Fields fields, const Fields& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

inline std::string raw_frame(std::uint8_t type, std::uint8_t flags, std::uint32_t id,
                             std::string_view payload) {
  std::string f;
  const std::size_t n = payload.size();
  for (const std::size_t shift : {16u, 8u, 0u}) f.push_back(static_cast<char>(n >> shift));
  f.push_back(static_cast<char>(type));
  f.push_back(static_cast<char>(flags));
  for (const std::uint32_t shift : {24u, 16u, 8u, 0u}) f.push_back(static_cast<char>(id >> shift));
  return f.append(payload);
}

// Literal without indexing (RFC 7541 section 6.2.2), as nothing of ours would check it.
inline std::string raw_field(std::string_view name, std::string_view value) {
  std::string s(1, '\0');
  for (const std::string_view part : {name, value}) {
    std::size_t n = part.size();
    if (n < 127) {
      s.push_back(static_cast<char>(n));
    } else {
      s.push_back(127);
      for (n -= 127; n >= 128; n >>= 7) s.push_back(static_cast<char>(0x80 | (n & 127)));
      s.push_back(static_cast<char>(n));
    }
    s.append(part);
  }
  return s;
}
inline std::string raw_block(const Fields& fields) {
  std::string s;
  for (const auto& [name, value] : fields) s += raw_field(name, value);
  return s;
}

inline const std::string kPreface = NGHTTP2_CLIENT_MAGIC + raw_frame(4, 0, 0, "");

struct Response2 {
  Fields fields, trailers;
  std::string body;
  bool ended = false;
  std::vector<std::string> interim;
  int reset = -1;       // RST_STREAM's code
  bool headed = false;  // the final head is complete
  std::string field(std::string_view name) const {
    for (const auto& [n, v] : fields) {
      if (n == name) return v;
    }
    return "";
  }
};

class Peer {
 public:
  explicit Peer(bool auto_window = true, std::uint32_t window = 65535) {
    nghttp2_session_callbacks* c = nullptr;
    nghttp2_session_callbacks_new(&c);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_option* o = nullptr;
    nghttp2_option_new(&o);
    nghttp2_option_set_no_auto_window_update(o, auto_window ? 0 : 1);
    nghttp2_option_set_no_http_messaging(o, 1);
    nghttp2_session_client_new2(&session, c, this, o);
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(c);
    const nghttp2_settings_entry e{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    nghttp2_submit_settings(session, 0, &e, 1);
  }
  ~Peer() { nghttp2_session_del(session); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // `body` nullptr: the request ends with its head.
  std::int32_t request(const Fields& fields, const std::string* body = nullptr,
                       const Fields& trailers = {}) {
    std::vector<nghttp2_nv> nv = to_nv(fields);
    nghttp2_data_provider provider{};
    provider.source.ptr = this;
    provider.read_callback = read;
    const auto id = nghttp2_submit_request(session, nullptr, nv.data(), nv.size(),
                                           body != nullptr ? &provider : nullptr, nullptr);
    if (body != nullptr) uploads[id] = {*body, trailers, true};
    return id;
  }
  std::string output() {
    std::string s;
    const std::uint8_t* data = nullptr;
    for (auto n = nghttp2_session_mem_send(session, &data); n > 0;
         n = nghttp2_session_mem_send(session, &data)) {
      s.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(n));
    }
    return s;
  }
  void input(std::string_view bytes) {
    nghttp2_session_mem_recv(session, reinterpret_cast<const std::uint8_t*>(bytes.data()),
                             bytes.size());
  }

  struct Upload {
    std::string left;
    Fields trailers;
    bool ends = true;
  };
  nghttp2_session* session = nullptr;
  std::map<std::int32_t, Response2> responses;
  std::map<std::int32_t, Upload> uploads;
  std::vector<std::uint32_t> goaways;     // error codes
  std::vector<std::int32_t> goaway_last;  // last stream ids
  int pings = 0;

 private:
  static std::vector<nghttp2_nv> to_nv(const Fields& fields) {
    std::vector<nghttp2_nv> nv;
    for (const auto& [name, value] : fields) {
      const auto bytes = [](const std::string& s) {
        return reinterpret_cast<std::uint8_t*>(const_cast<char*>(s.data()));
      };
      nv.push_back({bytes(name), bytes(value), name.size(), value.size(), 0});
    }
    return nv;
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* f, const std::uint8_t* n,
                       std::size_t nl, const std::uint8_t* v, std::size_t vl, std::uint8_t,
                       void* p) {
    Response2& r = static_cast<Peer*>(p)->responses[f->hd.stream_id];
    std::string name(reinterpret_cast<const char*>(n), nl);
    std::string value(reinterpret_cast<const char*>(v), vl);
    if (name == ":status" && value.starts_with('1')) {
      r.interim.push_back(value);
    } else if (!r.fields.empty() && r.fields[0].first == ":status" && r.headed) {
      r.trailers.emplace_back(std::move(name), std::move(value));
    } else {
      r.fields.emplace_back(std::move(name), std::move(value));
    }
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* d,
                     std::size_t n, void* p) {
    static_cast<Peer*>(p)->responses[id].body.append(reinterpret_cast<const char*>(d), n);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* f, void* p) {
    Peer& self = *static_cast<Peer*>(p);
    switch (f->hd.type) {
      case NGHTTP2_GOAWAY:
        self.goaways.push_back(f->goaway.error_code);
        self.goaway_last.push_back(f->goaway.last_stream_id);
        break;
      case NGHTTP2_RST_STREAM:
        self.responses[f->hd.stream_id].reset = static_cast<int>(f->rst_stream.error_code);
        break;
      case NGHTTP2_PING:
        self.pings++;
        break;
      case NGHTTP2_HEADERS:
        if (!self.responses[f->hd.stream_id].fields.empty()) {
          self.responses[f->hd.stream_id].headed = true;
        }
        break;
      default:
        break;
    }
    if ((f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) &&
        (f->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
      self.responses[f->hd.stream_id].ended = true;
    }
    return 0;
  }
  static ssize_t read(nghttp2_session* session, std::int32_t id, std::uint8_t* buffer,
                      std::size_t length, std::uint32_t* flags, nghttp2_data_source*, void* p) {
    Upload& u = static_cast<Peer*>(p)->uploads[id];
    const std::size_t n = std::min(length, u.left.size());
    std::copy_n(u.left.begin(), n, buffer);
    u.left.erase(0, n);
    if (!u.left.empty()) return static_cast<ssize_t>(n);
    if (!u.ends) return n > 0 ? static_cast<ssize_t>(n) : ssize_t{NGHTTP2_ERR_DEFERRED};
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!u.trailers.empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const auto nv = to_nv(u.trailers);
      nghttp2_submit_trailer(session, id, nv.data(), nv.size());
    }
    return static_cast<ssize_t>(n);
  }
};

// The server under test, and a peer that talks to it.
struct Server2 {
  explicit Server2(const ConnectionLimits& limits = {}, bool auto_window = true,
                   std::uint32_t window = 65535)
      : peer(auto_window, window),
        connection(make_http2_server(handler, "https", limits, kStart)) {}

  void answer(StreamId id, std::string_view body) {
    Response r;
    r.status = 200;
    connection->respond(id, r, false);
    connection->write_body(id, as_bytes(body));
    connection->finish(id);
  }
  void feed(std::string_view bytes, Time now = kStart, std::size_t piece = 16 * 1024) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
      connection->feed(as_bytes(bytes.substr(0, piece)), now);
      std::string out = drain(*connection);
      largest_output = std::max(largest_output, out.size());
      sent += out;
      peer.input(out);
    }
  }
  // Until neither has anything to say.
  void talk(Time now = kStart, std::size_t piece = 16 * 1024) {
    for (;;) {
      const std::string in = peer.output();
      const std::string out = drain(*connection);
      peer.input(out);
      sent += out;
      if (in.empty() && out.empty()) return;
      feed(in, now, piece);
    }
  }

  ServerRecorder handler;
  Peer peer;
  std::unique_ptr<ServerConnection> connection;
  std::string sent;
  std::size_t largest_output = 0;
};

}  // namespace sluice::http::test
