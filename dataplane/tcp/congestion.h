// Congestion window, RFC 5681 with appropriate byte counting (RFC 3465) and IW10 (RFC 6928).
//
// Only the events and the two windows are visible outside: another algorithm replaces on_ack() and
// on_loss() and keeps what it needs inside. All values are bytes.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::tcp {

class Congestion {
 public:
  static constexpr std::uint32_t kMaxWindow = 64u << 20;
  // Slow start may grow by this many segments per ACK: peers and NICs coalesce ACKs, and one burst
  // is bounded by the turn's budget anyway.
  static constexpr std::uint32_t kMaxGrowthPerAck = 32;

  void start(std::uint32_t mss, bool syn_lost) {
    mss_ = mss;
    // RFC 6928 section 2; one segment after a lost SYN (RFC 5681 section 3.1).
    window_ = syn_lost ? mss : initial_window();
    threshold_ = kMaxWindow;
  }
  void set_mss(std::uint32_t mss) { mss_ = mss; }

  std::uint32_t initial_window() const { return std::min(10 * mss_, std::max(2 * mss_, 14600u)); }
  std::uint32_t window() const { return window_; }
  std::uint32_t threshold() const { return threshold_; }
  bool in_slow_start() const { return window_ < threshold_; }

  // New data was acknowledged outside of recovery. `in_flight` is what was out before this ACK: a
  // window that was not used does not grow (RFC 7661).
  void on_ack(std::uint32_t acked, std::uint32_t in_flight) {
    if (in_slow_start()) {
      if (2 * std::uint64_t{in_flight} < window_) return;
      set(window_ + std::min(acked, kMaxGrowthPerAck * mss_));
      return;
    }
    if (in_flight + 2 * mss_ < window_) return;
    acked_ += acked;
    if (acked_ >= window_) {
      acked_ -= window_;
      set(window_ + mss_);
    }
  }

  // Fast retransmit, RFC 5681 equation (4): from what was in flight, not from the window.
  void on_loss(std::uint32_t in_flight) {
    threshold_ = std::max(in_flight / 2, 2 * mss_);
    window_ = threshold_;
    acked_ = 0;
  }
  // `first`: not a repeated timeout of the same segment, which must not halve again.
  void on_timeout(std::uint32_t in_flight, bool first) {
    if (first) threshold_ = std::max(in_flight / 2, 2 * mss_);
    window_ = mss_;
    acked_ = 0;
  }
  // RFC 6582 step 3: inflation while in recovery without SACK.
  void inflate(std::uint32_t bytes) { set(window_ + bytes); }
  void deflate(std::uint32_t acked) {
    window_ = std::max(window_ > acked ? window_ - acked : 0, mss_);
    if (acked >= mss_) window_ += mss_;
  }
  // RFC 6582 step 3, full acknowledgement, option 1: no burst at the end of recovery.
  void end_recovery(std::uint32_t in_flight) {
    window_ = std::min(threshold_, std::max(in_flight, mss_) + mss_);
  }
  // During recovery with SACK proportional rate reduction decides (RFC 6937), not this class.
  void set_recovery_window(std::uint32_t window) { set(std::max(window, mss_)); }
  // The loss was none: back to `before`, a copy made just before on_loss() or on_timeout(). The
  // window never shrinks (RFC 4015 section 3.2, RFC 9438 section 4.9).
  void undo(const Congestion& before) {
    const std::uint32_t window = window_;
    *this = before;
    window_ = std::max(window_, window);
  }
  // RFC 5681 section 4.1.
  void restart_after_idle() { window_ = std::min(window_, initial_window()); }

 private:
  void set(std::uint32_t window) { window_ = std::min(window, kMaxWindow); }

  std::uint32_t mss_ = 536;
  std::uint32_t window_ = 0;
  std::uint32_t threshold_ = kMaxWindow;
  std::uint32_t acked_ = 0;
};

}  // namespace sluice::tcp
