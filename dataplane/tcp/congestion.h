// Congestion window: slow start with HyStart++ (RFC 5681, RFC 9406), avoidance by CUBIC (RFC 9438),
// IW10 (RFC 6928), appropriate byte counting (RFC 3465).
//
// Only the events and the two windows are visible outside: another algorithm replaces what happens
// at on_ack(), on_loss() and on_timeout(), and keeps what it needs inside. All values are bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"
#include "cubic.h"
#include "hystart.h"
#include "seq.h"

namespace sluice::tcp {

// An acknowledgement of new data, outside of loss recovery.
struct Acked {
  Time now{};
  std::uint32_t bytes = 0;
  std::uint32_t in_flight = 0;  // before it came
  Seq una, nxt;                 // SND.UNA and SND.NXT after it
  Micros rtt{0};                // that it shows; zero if it shows none
  Micros srtt{0};               // RFC 6298
};

class Congestion {
 public:
  static constexpr std::uint32_t kMaxWindow = 64u << 20;
  // Slow start may grow by this many segments per ACK: peers and NICs coalesce ACKs, and one burst
  // is bounded by the turn's budget anyway.
  static constexpr std::uint32_t kMaxGrowthPerAck = 32;

  void start(std::uint32_t mss, bool syn_lost) {
    *this = Congestion{};
    mss_ = mss;
    // RFC 6928 section 2; one segment after a lost SYN (RFC 5681 section 3.1).
    window_ = syn_lost ? mss : initial_window();
  }
  void set_mss(std::uint32_t mss) { mss_ = mss; }

  std::uint32_t initial_window() const { return std::min(10 * mss_, std::max(2 * mss_, 14600u)); }
  std::uint32_t window() const { return window_; }
  std::uint32_t threshold() const { return threshold_; }
  bool in_slow_start() const { return window_ < threshold_; }

  void on_ack(const Acked& a) {
    peak_ = std::max(peak_, a.in_flight);
    const bool round_over = !round_valid_ || a.una >= round_end_;
    if (in_slow_start()) {
      slow_start(a, round_over);
    } else if (used() + 2 * mss_ >= window_) {
      set(window_ + cubic_.growth(window_, a.bytes, mss_, a.now, a.srtt));
    } else {
      cubic_.pause(a.now);
    }
    if (round_over) {
      round_valid_ = true;
      round_end_ = a.nxt;
      last_peak_ = peak_;
      peak_ = 0;
    }
  }

  // Fast retransmit: from what was in flight, not from the window (RFC 5681 equation (4)), with
  // CUBIC's factor (RFC 9438 section 4.6).
  void on_loss(std::uint32_t in_flight) {
    cubic_.reduce(window_);
    reduce_threshold(in_flight);
    window_ = threshold_;
  }
  // `first`: not a repeated timeout of the same segment, which must not reduce again.
  void on_timeout(std::uint32_t in_flight, bool first) {
    if (first) {
      cubic_.timeout(window_);
      reduce_threshold(in_flight);
    }
    window_ = mss_;
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
    const std::uint32_t window = window_, mss = mss_;
    *this = before;
    mss_ = mss;
    window_ = std::max(window_, window);
    cubic_.pause(kNever);
  }
  // RFC 4015 section 3.2 step 6, after undo(): up to `limit` at once, and on to where it was by
  // slow start. `flight`: what was out when the loss was assumed.
  void ease_in(std::uint32_t flight, std::uint32_t limit) {
    limit = std::max(limit, mss_);
    if (limit >= window_) return;
    threshold_ = std::max(threshold_, std::min(flight, window_));
    window_ = limit;
  }

  // Something is about to be sent with nothing in flight. `too_long`: nothing has been sent for a
  // retransmission timeout (RFC 5681 section 4.1). How far the path took us is kept in the
  // threshold, as in RFC 7661 section 4.4.3.
  void on_idle(Time now, bool too_long) {
    cubic_.pause(now);
    if (!too_long) return;
    peak_ = last_peak_ = 0;
    hystart_.start();
    if (window_ <= initial_window()) return;
    threshold_ = std::max(threshold_, window_ / 4 * 3);
    window_ = initial_window();
    cubic_.end_stage();
  }

 private:
  void set(std::uint32_t window) { window_ = std::min(window, kMaxWindow); }
  // What the application made of the window in this round and the last: one that was not used does
  // not grow (RFC 7661). Several ACKs of one turn come before anything new is sent, so the most
  // counts.
  std::uint32_t used() const { return std::max(peak_, last_peak_); }

  void slow_start(const Acked& a, bool round_over) {
    // Only the first one: later ones know where to stop.
    const bool searching = threshold_ == kMaxWindow;
    if (2 * std::uint64_t{used()} >= window_) {
      std::uint32_t growth = std::min(a.bytes, kMaxGrowthPerAck * mss_);
      if (searching && a.rtt > Micros{0}) hystart_.sample(a.rtt);
      if (searching && hystart_.conservative()) growth /= HyStart::kGrowthDivisor;
      set(window_ + std::min(growth, threshold_ - window_));
    }
    if (searching && round_over && hystart_.end_round()) threshold_ = window_;
  }
  void reduce_threshold(std::uint32_t in_flight) {
    const auto reduced =
        static_cast<std::uint32_t>(std::uint64_t{in_flight} * Cubic::kBetaTenths / 10);
    threshold_ = std::max(reduced, 2 * mss_);
    peak_ = last_peak_ = 0;
  }

  std::uint32_t mss_ = 536;
  std::uint32_t window_ = 0;
  std::uint32_t threshold_ = kMaxWindow;
  std::uint32_t peak_ = 0, last_peak_ = 0;
  Seq round_end_;
  bool round_valid_ = false;
  Cubic cubic_;
  HyStart hystart_;
};

}  // namespace sluice::tcp
