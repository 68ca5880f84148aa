// HTTP/2 abuse: what a peer may do without asking for or bringing anything (RFC 9113 section 10.5).
//
// Events take tokens; time, and for window updates the data we send, gives them back. nghttp2
// counts some of this, but ends the connection with other codes, or later.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/bytes.h"
#include "http/connection.h"

namespace sluice::http {

class TokenBucket {
 public:
  TokenBucket(std::uint32_t rate, std::uint32_t burst, Time now)
      : rate_(rate), burst_(std::int64_t{burst} * kUnit), tokens_(burst_), last_(now) {}
  // False: there was none left.
  bool take(Time now) {
    if (now > last_) {
      const auto elapsed = std::min<std::int64_t>((now - last_).count(), kLongest);
      tokens_ = std::min(burst_, tokens_ + elapsed * rate_);
      last_ = now;
    }
    if (tokens_ < kUnit) return false;
    tokens_ -= kUnit;
    return true;
  }
  void give(std::int64_t n) { tokens_ = std::min(burst_, tokens_ + n * kUnit); }

 private:
  static constexpr std::int64_t kUnit = 1'000'000;         // a token, in events x microseconds
  static constexpr std::int64_t kLongest = 3'600'000'000;  // an hour fills any bucket

  std::int64_t rate_;
  std::int64_t burst_;
  std::int64_t tokens_;
  Time last_;
};

class H2FloodGuard {
 public:
  H2FloodGuard(const ConnectionLimits& limits, Time now)
      : controls_(limits.control_frames_per_second, limits.control_frames_burst, now),
        windows_(limits.control_frames_per_second, 2 * limits.control_frames_burst, now),
        resets_(limits.resets_per_second, limits.resets_burst, now) {}

  // A frame that changes little: SETTINGS, PING, PRIORITY, empty DATA or CONTINUATION, unknown.
  bool control(Time now) { return controls_.take(now); }
  // WINDOW_UPDATE. Readers send them for what they read, so data sent earns them.
  bool window_update(Time now) { return windows_.take(now); }
  void data_sent() { windows_.give(2); }
  void request() { windows_.give(2); }
  // A stream opened and cancelled, or broken so that we must reset it.
  bool reset(Time now) { return resets_.take(now); }

 private:
  TokenBucket controls_, windows_, resets_;
};

// Walks over frame headers (RFC 9113 section 4.1). nghttp2 does not tell of each frame, nor whether
// one is incomplete.
class H2FrameScanner {
 public:
  struct Frame {
    std::uint32_t length;
    std::uint8_t type, flags;
  };
  // Calls each(frame) for the frames that begin in `bytes` until it says false, and passes that on.
  template <typename Each>
  bool scan(ByteSpan bytes, Each&& each) {
    while (!bytes.empty()) {
      const std::size_t skipped = std::min<std::size_t>(skip_, bytes.size());
      skip_ -= skipped;
      bytes = bytes.subspan(skipped);
      if (bytes.empty()) break;
      head_[have_++] = bytes.front();
      bytes = bytes.subspan(1);
      if (have_ < kHead) continue;
      have_ = 0;
      last_ = {load_be32(head_) >> 8, head_[3], head_[4]};
      skip_ = last_.length;
      if (!each(last_)) return false;
    }
    return true;
  }
  // A frame has begun and is not over.
  bool inside() const { return have_ > 0 || skip_ > 0; }
  // The last frame whose header is complete; have_ > 0: another one has begun.
  const Frame& last() const { return last_; }
  bool inside_head() const { return have_ > 0; }

 private:
  static constexpr std::size_t kHead = 9;
  static constexpr std::size_t kMagic = 24;  // the client's preface before the first frame
  std::uint8_t head_[kHead] = {};
  std::size_t have_ = 0;
  std::size_t skip_ = kMagic;
  Frame last_{};
};

}  // namespace sluice::http
