// Loss detection by time: the state of RFC 8985, RACK, and its rules without the segments they are
// applied to.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"
#include "sent_segments.h"
#include "seq.h"

namespace sluice::tcp {

// The least round-trip time of the last minutes (RFC 8985 section 6.2 step 1), from two halves of
// that time: a path that became longer is noticed after at most twice as long.
class MinRtt {
 public:
  static constexpr Micros kHalf{150'000'000};

  void sample(Micros rtt, Time now) {
    if (now - began_ >= kHalf) {
      before_ = now - began_ >= 2 * kHalf ? kNoRtt : current_;
      current_ = kNoRtt;
      began_ = now;
    }
    const auto us =
        static_cast<std::uint32_t>(std::clamp<std::int64_t>(rtt.count(), 1, kNoRtt - 1));
    current_ = std::min(current_, us);
  }
  bool known() const { return std::min(current_, before_) != kNoRtt; }
  // Zero while unknown.
  Micros value() const {
    return Micros{known() ? std::int64_t{std::min(current_, before_)} : std::int64_t{0}};
  }

 private:
  static constexpr std::uint32_t kNoRtt = UINT32_MAX;
  std::uint32_t current_ = kNoRtt, before_ = kNoRtt;
  Time began_{};
};

class Rack {
 public:
  static constexpr std::uint32_t kDupThresh = 3;  // RFC 8985 section 5.3 refers to RFC 5681
  static constexpr Micros kGranularity{100};
  static constexpr std::uint8_t kPersist = 16;  // recoveries that a wider window lasts

  // Steps 1 to 3 of section 6.2 for one segment that is newly reported as delivered, cumulatively
  // or selectively. `fack` is highest(SND.UNA) before the ACK that reports it. `ambiguous`: the
  // echoed timestamp shows that an earlier transmission than the last was answered.
  void delivered(const SentSegment& s, Time now, Seq fack, bool ambiguous) {
    const Micros rtt = std::max(now - s.sent, Micros{1});
    if (!s.retransmitted) {
      min_rtt_.sample(rtt, now);
      // Step 3: below what arrived before, and never sent again.
      if (s.end() < fack) reordering_seen_ = true;
    }
    fack_ = any_ ? later(fack_, s.end()) : s.end();
    // An answer faster than any before is one to an earlier transmission.
    const bool spurious = s.retransmitted && (ambiguous || rtt < min_rtt_.value());
    if (!spurious && (!valid_ || s.sent > sent_ || (s.sent == sent_ && s.end() > end_))) {
      sent_ = s.sent;
      end_ = s.end();
      rtt_ = static_cast<std::uint32_t>(std::min<std::int64_t>(rtt.count(), UINT32_MAX));
      valid_ = true;
    }
    any_ = true;
  }

  // Step 4, first half: an ACK reported a duplicate. Once per round.
  void duplicate_reported(Seq una, Seq nxt) {
    if (in_dsack_round_ && una >= dsack_round_) in_dsack_round_ = false;
    if (in_dsack_round_) return;
    in_dsack_round_ = true;
    dsack_round_ = nxt;
    if (multiplier_ < 255) ++multiplier_;
    persist_ = kPersist;
  }
  void recovery_ended() {
    if (persist_ > 0) {
      --persist_;
      if (persist_ == 0) multiplier_ = 1;
    }
  }
  // A retransmission was for nothing, as the undo of recovery found out: segments are reordered.
  void reordering_found() { reordering_seen_ = true; }

  // What was delivered since `before` may have been an earlier transmission than was thought.
  void forget_delivered(const Rack& before) {
    sent_ = before.sent_;
    end_ = before.end_;
    rtt_ = before.rtt_;
    valid_ = before.valid_;
  }

  // Step 4, second half: how long a segment may be overtaken before it counts as lost. At least
  // what the clock can tell: it is read once per turn, and between hosts in one rack a quarter of a
  // round trip is less than that.
  Micros reordering_window(bool recovering, std::uint32_t sacked_segments, Micros srtt) const {
    if (!reordering_seen_ && (recovering || sacked_segments >= kDupThresh)) return Micros{0};
    return std::max(std::min(multiplier_ * min_rtt_.value() / 4, srtt), kGranularity);
  }

  bool valid() const { return valid_; }
  Time sent() const { return sent_; }          // RACK.xmit_ts
  Seq end() const { return end_; }             // RACK.end_seq
  Micros rtt() const { return Micros{rtt_}; }  // RACK.rtt
  // RACK.fack; `una` as long as nothing was delivered, below which nothing can be.
  Seq highest(Seq una) const { return any_ ? fack_ : una; }
  bool reordering_seen() const { return reordering_seen_; }
  std::uint8_t multiplier() const { return multiplier_; }
  Micros min_rtt() const { return min_rtt_.value(); }

 private:
  Time sent_{};
  MinRtt min_rtt_;
  std::uint32_t rtt_ = 0;  // us
  Seq end_, fack_, dsack_round_;
  std::uint8_t multiplier_ = 1;
  std::uint8_t persist_ = 0;
  bool any_ = false;
  bool valid_ = false;
  bool in_dsack_round_ = false;
  bool reordering_seen_ = false;
};

}  // namespace sluice::tcp
