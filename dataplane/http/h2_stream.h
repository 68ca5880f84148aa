// HTTP/2 streams of one connection.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "http/message.h"
#include "out_buffer.h"

namespace sluice::http {

struct H2Stream {
  std::int32_t id = 0;
  Request request;      // until it is handed over
  std::string cookie;   // crumbs joined: RFC 9113 section 8.2.3
  FieldBlock trailers;  // of the request
  std::string in;       // offered to the handler, not taken; its window stays closed
  OutBuffer out;        // given by the handler, not framed
  FieldBlock out_trailers;
  std::uint64_t left_out = 0;    // of a response with a length
  std::size_t late_bytes = 0;    // came after the answer was complete
  std::size_t block_bytes = 0;   // of the header section being read, as RFC 9113 section 6.5.2
  std::size_t block_fields = 0;  // of it
  std::uint16_t status = 0;      // the request will be refused with it
  bool malformed = false;        // ... or by RST_STREAM
  bool bad_trailers = false;
  bool requested = false;     // on_request() was given
  bool head = false;          // method HEAD
  bool remote_ended = false;  // END_STREAM came
  bool in_over = false;       // ... and all before it was offered
  bool in_told = false;       // on_message_end(), or on_request(end), was given
  bool continued = false;
  bool responded = false;
  bool counted = false;    // left_out holds
  bool out_ended = false;  // the handler has given all
  bool want_write = false;
  bool deferred = false;  // nghttp2 waits for more of `out`
  bool moved = false;     // output left, or an unwanted rest came, since the last look
  bool answered = false;  // END_STREAM left; what comes is thrown away

  void recycle() {
    constexpr std::size_t kKept = std::size_t{16} * 1024;
    request = Request{};
    cookie.clear();
    trailers.clear();
    in.clear();
    if (in.capacity() > kKept) in.shrink_to_fit();
    out.clear();
    out_trailers.clear();
    left_out = late_bytes = block_bytes = block_fields = 0;
    status = 0;
    malformed = bad_trailers = requested = head = remote_ended = in_over = in_told = continued =
        false;
    responded = counted = out_ended = want_write = deferred = moved = answered = false;
  }
};

// Ascending by id, as ids come. Closed streams are kept for the next ones: a stream costs no
// allocation on a busy connection.
class H2Streams {
 public:
  H2Stream& open(std::int32_t id) {
    std::unique_ptr<H2Stream> s;
    if (spare_.empty()) {
      s = std::make_unique<H2Stream>();
    } else {
      s = std::move(spare_.back());
      spare_.pop_back();
    }
    s->id = id;
    const auto at = std::ranges::upper_bound(live_, id, {}, [](const auto& x) { return x->id; });
    return **live_.insert(at, std::move(s));
  }
  H2Stream* find(std::int32_t id) {
    const auto at = std::ranges::lower_bound(live_, id, {}, [](const auto& x) { return x->id; });
    return at != live_.end() && (*at)->id == id ? at->get() : nullptr;
  }
  void close(std::int32_t id) {
    const auto at = std::ranges::lower_bound(live_, id, {}, [](const auto& x) { return x->id; });
    if (at == live_.end() || (*at)->id != id) return;
    if (spare_.size() < kSpare) {
      (*at)->recycle();
      spare_.push_back(std::move(*at));
    }
    live_.erase(at);
  }
  std::size_t size() const { return live_.size(); }
  bool empty() const { return live_.empty(); }
  H2Stream& at(std::size_t i) { return *live_[i]; }
  std::vector<std::int32_t> ids() const {
    std::vector<std::int32_t> result;
    result.reserve(live_.size());
    for (const auto& s : live_) result.push_back(s->id);
    return result;
  }

 private:
  static constexpr std::size_t kSpare = 8;
  std::vector<std::unique_ptr<H2Stream>> live_;
  std::vector<std::unique_ptr<H2Stream>> spare_;
};

}  // namespace sluice::http
