// The record of what has been sent against a naive model of it: pushes, acknowledgements, SACK
// blocks, losses by time and by timeout, retransmissions, undo, a smaller segment size.
//
// Each step is an octet that says what, and its arguments. The sums and lists agree with the
// records and the records with the model after each step, and whatever the input reports, the work
// stays within a bound per step.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/bytes.h"
#include "sent_segments.h"

namespace {

using namespace sluice;
using namespace sluice::tcp;

void require(bool holds) {
  if (!holds) std::abort();
}

class World {
 public:
  explicit World(std::uint32_t isn) : una_(isn), nxt_(isn) {}

  void step(ByteReader& in) {
    const std::uint8_t what = in.u8();
    switch (what % 12) {
      case 0:
      case 1:
        push(static_cast<std::uint16_t>(1 + in.u8()), (what & 64) != 0, 1 + what / 16 % 4);
        break;
      case 2:
        acknowledge(in.be16());
        break;
      case 3:
      case 4: {
        const std::uint32_t from = in.be16();
        sack(from, in.be16());
        break;
      }
      case 5:
        lose_by_time(in.u8(), in.u8());
        break;
      case 6:
        resend(1 + what / 16);
        break;
      case 7:
        // A probe. Two transmissions of different segments have different times here.
        now_ += Micros{1};
        if (!sent_.empty()) sent_.resent_last(now_);
        break;
      case 8:
        time_out(in.u8());
        break;
      case 9:
        rare(what / 12, in.u8());
        break;
      default:
        now_ += Micros{in.u8()};
    }
    compare();
  }

 private:
  std::uint32_t length() const { return distance(una_, nxt_); }
  Seq seq(std::uint32_t at) const { return una_ + (length() == 0 ? 0 : at % (length() + 1)); }

  void push(std::uint16_t size, bool repeated, unsigned times) {
    for (; times > 0; --times) {
      if (sent_.full() && !sent_.grow()) return;
      sent_.push(nxt_, size, now_, repeated);
      nxt_ = nxt_ + size;
    }
  }

  void acknowledge(std::uint32_t at) {
    const Seq una = seq(at);
    std::uint32_t expected = 0;
    for (std::size_t i = 0; i < sent_.size() && sent_[i].start < una; ++i) {
      if (sent_[i].state == SentSegment::kSacked) continue;
      expected += distance(sent_[i].start, earlier(una, sent_[i].end()));
    }
    const std::uint32_t news = sent_.acknowledge(una, [&](const SentSegment& s) {
      require(s.end() <= una && s.state != SentSegment::kSacked);
    });
    require(news == expected);
    una_ = una;
  }

  void sack(std::uint32_t at, std::uint32_t size) {
    const Seq from = seq(at), to = from + size % 2048;
    std::vector<SentSegment::State> expected = states();
    std::uint32_t news = 0, told = 0;
    for (std::size_t i = 0; i < sent_.size(); ++i) {
      if (sent_[i].start < from || to < sent_[i].end()) continue;
      if (expected[i] != SentSegment::kSacked) news += sent_[i].length;
      expected[i] = SentSegment::kSacked;
    }
    require(sent_.sack(from, to, [&](const SentSegment& s) { told += s.length; }) == news);
    require(told == news && states() == expected);
  }

  // RFC 8985 section 6.2 step 5 as it is written, over all records.
  void lose_by_time(std::uint8_t which, std::uint8_t window) {
    if (sent_.empty()) return;
    const SentSegment newest = sent_[which % sent_.size()];
    const Time cutoff = newest.sent - Micros{window % 16};
    std::vector<SentSegment::State> expected = states();
    bool waiting = false;
    for (std::size_t i = 0; i < sent_.size(); ++i) {
      const SentSegment& s = sent_[i];
      if (s.state != SentSegment::kInFlight) continue;
      if (newest.sent < s.sent) continue;
      if (s.sent == newest.sent && newest.end() <= s.end()) continue;
      if (s.sent <= cutoff) {
        expected[i] = SentSegment::kLost;
      } else {
        waiting = true;
      }
    }
    require(sent_.detect_lost(newest.sent, newest.end(), cutoff) == waiting);
    require(states() == expected);
  }

  void resend(unsigned times) {
    for (; times > 0; --times) {
      const SentSegment* next = sent_.next_lost();
      if (next == nullptr) return;
      require(next->state == SentSegment::kLost);
      const std::uint32_t lost = sent_.lost(), in_flight = sent_.in_flight(), n = next->length;
      now_ += Micros{1};
      sent_.resent_next_lost(now_);
      require(sent_.lost() == lost - n && sent_.in_flight() == in_flight + n);
    }
  }

  void time_out(std::uint8_t window) {
    std::vector<SentSegment::State> expected = states();
    const Time cutoff = now_ - Micros{window};
    for (std::size_t i = 0; i < sent_.size(); ++i) {
      if (expected[i] == SentSegment::kInFlight && (i == 0 || sent_[i].sent <= cutoff)) {
        expected[i] = SentSegment::kLost;
      }
    }
    sent_.timed_out(cutoff);
    require(states() == expected);
  }

  void rare(unsigned which, std::uint8_t argument) {
    switch (which % 6) {
      case 0:
        sent_.forget_sacked();
        require(sent_.sacked() == 0 && sent_.sacked_segments() == 0);
        break;
      case 1:
        sent_.unlose();
        break;
      case 2:
        sent_.lose_first();
        break;
      case 3: {
        const std::uint32_t mss = 1u + argument;
        const std::uint32_t sacked = sent_.sacked();
        if (!sent_.empty()) require(sent_.repack(mss));
        for (std::size_t i = 0; i < sent_.size(); ++i) {
          require(sent_[i].length <= mss || sent_[i].state == SentSegment::kSacked);
        }
        require(sent_.sacked() == sacked);
        break;
      }
      case 4: {
        const SentSegment* next = sent_.next_lost();
        if (next == nullptr || next->length < 2) break;
        const auto first = static_cast<std::uint16_t>(1 + argument % (next->length - 1));
        if (sent_.full() && !sent_.grow()) break;
        require(sent_.split_next_lost(first) && sent_.next_lost()->length == first);
        break;
      }
      default:
        sent_.lose_larger(1u + argument);
    }
  }

  std::vector<SentSegment::State> states() const {
    std::vector<SentSegment::State> all(sent_.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = sent_[i].state;
    return all;
  }
  void compare() const {
    require(sent_.consistent(una_, nxt_));
    require(sent_.in_flight() + sent_.lost() + sent_.sacked() == length());
    require((sent_.next_lost() != nullptr) == (sent_.lost() > 0));
  }

  SentSegments sent_;
  Seq una_, nxt_;
  Time now_{Micros{1'000'000}};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in({data, size});
  // Near the wrap of sequence numbers or in the middle.
  World world(in.u8() % 2 == 0 ? 0xffffff00u : 1000u);
  while (in.ok() && in.remaining() > 0) world.step(in);
  return 0;
}
