// What has been sent and is not acknowledged: one record per segment, with the time of its last
// transmission (RFC 8985 section 5.2), from SND.UNA to SND.NXT without gaps.
//
// A record is in flight, reported by the peer (SACKed), or lost; what was lost and sent again is in
// flight. Whatever a peer reports and whenever a timer looks, each record is touched a bounded
// number of times per transmission: SACKed runs are skipped by links that shorten with use, and the
// two orders in which losses are found (first transmissions by sequence number, retransmissions by
// time) are kept, not searched for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"
#include "seq.h"

namespace sluice::tcp {

struct SentSegment {
  enum State : std::uint8_t { kInFlight, kSacked, kLost };

  Time sent{};               // last transmission
  Seq start;                 // of what is still unacknowledged
  std::uint32_t prev = 0;    // in the list of its state, if it is in one
  std::uint32_t next = 0;    // same; SACKed: a record further on, everything between is SACKed
  std::uint16_t length = 0;  // in sequence numbers: a FIN counts
  State state = kInFlight;
  bool retransmitted = false;  // ever

  Seq end() const { return start + length; }
};

class SentSegments {
 public:
  static constexpr std::size_t kSmallest = 16;
  static constexpr std::size_t kMost = 8192;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  SentSegments() = default;
  ~SentSegments() { release(); }
  SentSegments(const SentSegments&) = delete;
  SentSegments& operator=(const SentSegments&) = delete;

  bool empty() const { return count_ == 0; }
  std::size_t size() const { return count_; }
  std::size_t memory() const { return capacity_ * sizeof(SentSegment); }

  // Sequence numbers that are thought to be in the network.
  std::uint32_t in_flight() const { return in_flight_; }
  std::uint32_t lost() const { return lost_; }  // and not sent again
  std::uint32_t sacked() const { return sacked_; }
  std::uint32_t sacked_segments() const { return sacked_count_; }

  // Room for one more record. What growth would cost, zero at the bound of kMost; the owner
  // accounts for memory.
  bool full() const { return count_ == capacity_; }
  std::size_t spare() const { return capacity_ - count_; }  // records there is room for
  std::size_t growth() const;
  bool grow();     // false: no memory, or at the bound
  void release();  // forgets everything and gives the memory back

  // Records the first transmission of [start, start + length), where the last record ends. There
  // must be room. `repeated`: some of it has been on the way before, as a probe.
  void push(Seq start, std::uint16_t length, Time now, bool repeated);

  // Everything before `una` arrived. Calls each(record) for those it acknowledges in full and that
  // were not SACKed. Returns how many sequence numbers are news.
  template <typename Each>
  std::uint32_t acknowledge(Seq una, Each&& each) {
    std::uint32_t news = 0;
    while (count_ > 0 && front().end() <= una) {
      SentSegment& s = front();
      if (s.state != SentSegment::kSacked) {
        news += s.length;
        each(static_cast<const SentSegment&>(s));
      }
      leave(base_);
      if (s.state == SentSegment::kSacked) sacked_ -= s.length, --sacked_count_;
      ++base_;
      --count_;
      ++visited_;
    }
    return count_ > 0 && front().start < una ? news + trim(una) : news;
  }

  // The peer has [from, to). Records that it covers only in part stay as they are. Calls
  // each(record) for those that were not known to have arrived; returns their sequence numbers.
  template <typename Each>
  std::uint32_t sack(Seq from, Seq to, Each&& each) {
    std::uint32_t news = 0;
    for (std::uint32_t i = unsacked_from(first_at(from)); i != end_index() && at(i).end() <= to;
         i = unsacked_from(i + 1)) {
      SentSegment& s = at(i);
      ++visited_;
      news += s.length;
      each(static_cast<const SentSegment&>(s));
      leave(i);
      s.state = SentSegment::kSacked;
      s.next = i + 1;
      sacked_ += s.length;
      ++sacked_count_;
    }
    return news;
  }

  // RFC 8985 section 6.2 step 5: what was sent before the segment that ends at `newest_end` and was
  // sent at `newest`, and not after `cutoff`, is lost. Returns true if something sent before that
  // segment is left, still to be judged.
  bool detect_lost(Time newest, Seq newest_end, Time cutoff);

  // RFC 8985 section 6.3: the first segment, and whatever was sent not after `cutoff`.
  void timed_out(Time cutoff);
  void lose_first();  // RFC 6582: the first one is lost
  void lose_larger(std::uint32_t mss);
  void lose_all();
  void unlose();         // RFC 4015: what counts as lost is in flight after all
  void forget_sacked();  // RFC 2018 section 8: the peer threw it away; it counts as lost

  // Cuts what is longer than `mss`, and runs of lost segments anew, so that many small ones do not
  // cost as many retransmissions. False: no memory, nothing changed.
  bool repack(std::uint32_t mss);

  // The lost segment to be sent next; null if there is none.
  const SentSegment* next_lost() const {
    return lost_list_.head == kNone ? nullptr : &at(lost_list_.head);
  }
  // Cuts it after `length`, for want of room at the peer. False: no room for one more record.
  bool split_next_lost(std::uint16_t length);
  void resent_next_lost(Time now);
  // The highest one was sent again without being lost: a probe.
  void resent_last(Time now);

  const SentSegment& first() const { return at(base_); }
  const SentSegment& last() const { return at(end_index() - 1); }
  const SentSegment& operator[](std::size_t i) const {
    return at(base_ + static_cast<std::uint32_t>(i));
  }
  // Records looked at since the beginning: what tests bound.
  std::uint32_t visited() const { return visited_; }
  // For tests: lists and sums agree with the records, which cover [una, nxt).
  bool consistent(Seq una, Seq nxt) const;

 private:
  struct List {
    std::uint32_t head = kNone, tail = kNone;
  };

  SentSegment& at(std::uint32_t i) { return records_[i & (capacity_ - 1)]; }
  const SentSegment& at(std::uint32_t i) const { return records_[i & (capacity_ - 1)]; }
  SentSegment& front() { return at(base_); }
  std::uint32_t end_index() const { return base_ + count_; }
  std::uint32_t first_at(Seq seq) const;         // the first record that starts there or later
  std::uint32_t unsacked_from(std::uint32_t i);  // the first at or after i that is not SACKed
  std::uint32_t trim(Seq una);
  void append(List& list, std::uint32_t i);
  void insert_after(List& list, std::uint32_t where, std::uint32_t i);  // kNone: at the head
  void unlink(List& list, std::uint32_t i);
  void leave(std::uint32_t i);  // its list, and the sum it is part of; SACKed: nothing
  void lose(std::uint32_t i);
  void relist();
  bool move_to(std::size_t capacity);

  // Indices count from the first record ever; a power of two of them fits.
  SentSegment* records_ = nullptr;
  std::uint32_t capacity_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t base_ = 0;
  // No record before this one is in flight and sent only once.
  std::uint32_t originals_ = 0;
  List resent_list_;  // in flight and sent more than once, by time
  List lost_list_;    // in the order they are to be sent again
  std::uint32_t in_flight_ = 0, lost_ = 0, sacked_ = 0, sacked_count_ = 0;
  std::uint32_t visited_ = 0;
};

}  // namespace sluice::tcp
