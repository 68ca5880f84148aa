// What tells a loss from a delay after the fact, and what is needed to take the recovery back: one
// per recovery, from its beginning until a round trip after its end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"
#include "congestion.h"
#include "rack.h"
#include "seq.h"

namespace sluice::tcp {

// What was sent again and has not been reported as a duplicate (RFC 3708). All doubts, such as more
// ranges than there is room for, are for the loss.
class ResentRanges {
 public:
  static constexpr std::size_t kCapacity = 8;

  // `again`: not for the first time, so that one report may be of either copy.
  void add(Seq start, Seq end, bool again) {
    doubtful_ = doubtful_ || again;
    for (std::size_t i = 0; i < count_; ++i) {
      if (ranges_[i].end == start) {
        ranges_[i].end = end;
        return;
      }
    }
    insert(start, end);
  }
  // The peer got [start, end) twice.
  void reported(Seq start, Seq end) {
    for (std::size_t i = 0; i < count_;) {
      Range& r = ranges_[i];
      if (end <= r.start || r.end <= start) {
        ++i;
      } else if (start <= r.start && r.end <= end) {
        r = ranges_[--count_];
      } else {
        const Range rest{end, r.end};
        if (start > r.start) {
          if (end < r.end) insert(rest.start, rest.end);
          ranges_[i].end = start;
        } else {
          r.start = end;
        }
        ++i;
      }
    }
  }
  bool all_reported() const { return count_ == 0 && !doubtful_; }

 private:
  struct Range {
    Seq start, end;
  };
  void insert(Seq start, Seq end) {
    if (count_ == kCapacity) {
      doubtful_ = true;
    } else {
      ranges_[count_++] = {start, end};
    }
  }

  std::array<Range, kCapacity> ranges_{};
  std::size_t count_ = 0;
  bool doubtful_ = false;
};

// Where F-RTO (RFC 5682) stands after a retransmission timeout.
enum class Frto : std::uint8_t {
  none,        // not used, or it could not tell: conventional recovery
  first_ack,   // step 2: only the first segment was sent again
  second_ack,  // step 3: new data instead of old was sent, and what it makes the peer say decides
};

struct Undo {
  Congestion before;
  Rack rack;                    // before
  Micros srtt{0}, variance{0};  // before
  std::uint32_t flight = 0;     // before
  std::uint32_t resent_ts = 0;  // RetransmitTS of RFC 3522
  Seq first_end;                // of the first retransmission
  Seq end;                      // `over`: SND.MAX then
  ResentRanges resent;
  Frto frto = Frto::none;
  std::uint8_t new_segments = 0;  // that may go at `second_ack`
  bool fast = false, timeout = false;
  bool resent_any = false;
  bool eifel = false;  // the ACK of the first retransmission has not come yet
  bool over = false;   // the recovery has ended
  bool adapt = false;  // the next round-trip time is taken as RFC 4015 says
};

}  // namespace sluice::tcp
