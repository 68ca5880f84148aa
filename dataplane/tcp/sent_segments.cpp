#include "sent_segments.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>
#include <tuple>
#include <utility>
#include <vector>

namespace sluice::tcp {
namespace {

// Indices are made small again from here on, long before they could wrap.
constexpr std::uint32_t kRebase = 1u << 16;

}  // namespace

std::size_t SentSegments::growth() const {
  const std::size_t wanted = std::clamp<std::size_t>(std::size_t{capacity_} * 2, kSmallest,
                                                     std::max<std::size_t>(kMost, capacity_));
  return (wanted - capacity_) * sizeof(SentSegment);
}

bool SentSegments::grow() {
  return growth() > 0 && move_to(std::max<std::size_t>(std::size_t{capacity_} * 2, kSmallest));
}

bool SentSegments::move_to(std::size_t capacity) {
  auto* moved = static_cast<SentSegment*>(std::malloc(capacity * sizeof(SentSegment)));
  if (moved == nullptr) return false;
  for (std::uint32_t i = base_; i != end_index(); ++i) {
    new (&moved[i & (capacity - 1)]) SentSegment(at(i));
  }
  std::free(records_);
  records_ = moved;
  capacity_ = static_cast<std::uint32_t>(capacity);
  return true;
}

void SentSegments::release() {
  std::free(records_);
  records_ = nullptr;
  capacity_ = count_ = 0;
  base_ = originals_ = 0;
  resent_list_ = lost_list_ = {};
  in_flight_ = lost_ = sacked_ = sacked_count_ = 0;
}

void SentSegments::push(Seq start, std::uint16_t length, Time now, bool repeated) {
  if (count_ == 0) base_ = originals_ = 0;
  if (base_ >= kRebase + capacity_) {
    // By a multiple of the capacity: every record stays where it is.
    const std::uint32_t down = base_ & ~(capacity_ - 1);
    const auto lower = [down](std::uint32_t& i) { i -= i == kNone ? 0 : down; };
    for (std::uint32_t i = base_; i != end_index(); ++i) lower(at(i).prev), lower(at(i).next);
    for (List* list : {&resent_list_, &lost_list_}) lower(list->head), lower(list->tail);
    originals_ = std::max(originals_, base_) - down;
    base_ -= down;
  }
  const std::uint32_t i = end_index();
  ++count_;
  at(i) = SentSegment{now, start, kNone, kNone, length, SentSegment::kInFlight, repeated};
  in_flight_ += length;
  if (repeated) append(resent_list_, i);
}

std::uint32_t SentSegments::first_at(Seq seq) const {
  std::uint32_t low = 0, high = count_;
  while (low < high) {
    const std::uint32_t middle = (low + high) / 2;
    if (at(base_ + middle).start < seq) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return base_ + low;
}

std::uint32_t SentSegments::unsacked_from(std::uint32_t i) {
  std::uint32_t found = i;
  for (; found != end_index() && at(found).state == SentSegment::kSacked; ++visited_) {
    found = at(found).next;
  }
  while (i != found) {
    ++visited_;
    i = std::exchange(at(i).next, found);
  }
  return found;
}

std::uint32_t SentSegments::trim(Seq una) {
  SentSegment& s = front();
  const std::uint32_t n = distance(s.start, una);
  s.start = una;
  s.length = static_cast<std::uint16_t>(s.length - n);
  switch (s.state) {
    case SentSegment::kInFlight:
      in_flight_ -= n;
      return n;
    case SentSegment::kLost:
      lost_ -= n;
      return n;
    case SentSegment::kSacked:
      sacked_ -= n;
      break;
  }
  return 0;
}

// -- lists

void SentSegments::append(List& list, std::uint32_t i) { insert_after(list, list.tail, i); }

void SentSegments::insert_after(List& list, std::uint32_t where, std::uint32_t i) {
  SentSegment& s = at(i);
  s.prev = where;
  s.next = where == kNone ? list.head : at(where).next;
  (where == kNone ? list.head : at(where).next) = i;
  (s.next == kNone ? list.tail : at(s.next).prev) = i;
}

void SentSegments::unlink(List& list, std::uint32_t i) {
  SentSegment& s = at(i);
  (s.prev == kNone ? list.head : at(s.prev).next) = s.next;
  (s.next == kNone ? list.tail : at(s.next).prev) = s.prev;
  s.prev = s.next = kNone;
}

void SentSegments::leave(std::uint32_t i) {
  const SentSegment& s = at(i);
  if (s.state == SentSegment::kInFlight) {
    in_flight_ -= s.length;
    if (s.retransmitted) unlink(resent_list_, i);
  } else if (s.state == SentSegment::kLost) {
    lost_ -= s.length;
    unlink(lost_list_, i);
  }
}

void SentSegments::lose(std::uint32_t i) {
  leave(i);
  at(i).state = SentSegment::kLost;
  lost_ += at(i).length;
}

// Lists and sums from the states of the records.
void SentSegments::relist() {
  resent_list_ = lost_list_ = {};
  in_flight_ = lost_ = sacked_ = sacked_count_ = 0;
  originals_ = base_;
  std::vector<std::uint32_t> resent;
  for (std::uint32_t i = base_; i != end_index(); ++i) {
    SentSegment& s = at(i);
    ++visited_;
    s.prev = s.next = kNone;
    switch (s.state) {
      case SentSegment::kInFlight:
        in_flight_ += s.length;
        if (s.retransmitted) resent.push_back(i);
        break;
      case SentSegment::kLost:
        lost_ += s.length;
        append(lost_list_, i);
        break;
      case SentSegment::kSacked:
        sacked_ += s.length;
        ++sacked_count_;
        s.next = i + 1;
        break;
    }
  }
  std::ranges::sort(resent, {}, [&](std::uint32_t i) { return std::tuple(at(i).sent, i); });
  for (const std::uint32_t i : resent) append(resent_list_, i);
}

// -- losses

bool SentSegments::detect_lost(Time newest, Seq newest_end, Time cutoff) {
  const auto before = [&](const SentSegment& s) {
    return s.sent < newest || (s.sent == newest && s.end() < newest_end);
  };
  bool waiting = false;
  // Lost a second time: they are what the peer waits for longest, and go in front of the others.
  std::uint32_t last = kNone;
  while (resent_list_.head != kNone) {
    const std::uint32_t i = resent_list_.head;
    ++visited_;
    if (!before(at(i))) break;
    if (at(i).sent > cutoff) {
      waiting = true;
      break;
    }
    lose(i);
    insert_after(lost_list_, last, i);
    last = i;
  }
  if (static_cast<std::int32_t>(originals_ - base_) < 0) originals_ = base_;
  for (;;) {
    originals_ = unsacked_from(originals_);
    if (originals_ == end_index()) break;
    const SentSegment& s = at(originals_);
    ++visited_;
    if (s.state == SentSegment::kInFlight && !s.retransmitted) {
      if (!before(s)) break;
      if (s.sent > cutoff) {
        waiting = true;
        break;
      }
      lose(originals_);
      append(lost_list_, originals_);
    }
    ++originals_;
  }
  return waiting;
}

void SentSegments::timed_out(Time cutoff) {
  for (std::uint32_t i = base_; i != end_index(); ++i) {
    SentSegment& s = at(i);
    if (s.state == SentSegment::kInFlight && (i == base_ || s.sent <= cutoff)) {
      s.state = SentSegment::kLost;
    }
  }
  relist();
}

void SentSegments::lose_all() { timed_out(Time::max()); }

void SentSegments::lose_larger(std::uint32_t mss) {
  for (std::uint32_t i = base_; i != end_index(); ++i) {
    SentSegment& s = at(i);
    if (s.state == SentSegment::kInFlight && s.length > mss) s.state = SentSegment::kLost;
  }
  relist();
}

void SentSegments::lose_first() {
  if (count_ == 0 || front().state != SentSegment::kInFlight) return;
  lose(base_);
  insert_after(lost_list_, kNone, base_);
}

void SentSegments::unlose() {
  for (std::uint32_t i = base_; i != end_index(); ++i) {
    SentSegment& s = at(i);
    if (s.state == SentSegment::kLost) s.state = SentSegment::kInFlight;
  }
  relist();
}

void SentSegments::forget_sacked() {
  for (std::uint32_t i = base_; i != end_index(); ++i) {
    if (at(i).state == SentSegment::kSacked) at(i).state = SentSegment::kLost;
  }
  relist();
}

bool SentSegments::repack(std::uint32_t mss) {
  // Never more records than this.
  std::size_t pieces = 0;
  for (std::uint32_t i = base_; i != end_index(); ++i) {
    pieces += (at(i).length + mss - 1) / mss;
  }
  const std::size_t capacity = std::bit_ceil(std::max({pieces, kSmallest, std::size_t{capacity_}}));
  auto* packed = static_cast<SentSegment*>(std::malloc(capacity * sizeof(SentSegment)));
  if (packed == nullptr) return false;
  std::size_t n = 0;
  for (std::uint32_t i = base_; i != end_index();) {
    SentSegment s = at(i);
    std::uint32_t length = s.length;
    for (++i; s.state == SentSegment::kLost && i != end_index() && at(i).state == s.state &&
              at(i).retransmitted == s.retransmitted;
         ++i) {
      length += at(i).length;
      s.sent = std::max(s.sent, at(i).sent);
    }
    const std::uint32_t most = s.state == SentSegment::kSacked ? length : mss;
    for (; length > 0; length -= s.length, s.start = s.end()) {
      s.length = static_cast<std::uint16_t>(std::min(length, most));
      new (&packed[n++]) SentSegment(s);
    }
  }
  std::free(records_);
  records_ = packed;
  capacity_ = static_cast<std::uint32_t>(capacity);
  count_ = static_cast<std::uint32_t>(n);
  base_ = 0;
  relist();
  return true;
}

bool SentSegments::split_next_lost(std::uint16_t length) {
  const std::uint32_t i = lost_list_.head;
  if (full()) return false;
  ++count_;
  for (std::uint32_t j = end_index() - 1; j != i + 1; --j) at(j) = at(j - 1);
  const auto moved = [i](std::uint32_t& j) { j += j != kNone && j > i ? 1 : 0; };
  at(i + 1) = at(i);
  for (std::uint32_t j = base_; j != end_index(); ++j) {
    ++visited_;
    moved(at(j).prev);
    moved(at(j).next);
  }
  for (List* list : {&resent_list_, &lost_list_}) moved(list->head), moved(list->tail);
  moved(originals_);
  SentSegment& rest = at(i + 1);
  rest.start = rest.start + length;
  rest.length = static_cast<std::uint16_t>(rest.length - length);
  at(i).length = length;
  insert_after(lost_list_, i, i + 1);
  return true;
}

void SentSegments::resent_next_lost(Time now) {
  const std::uint32_t i = lost_list_.head;
  leave(i);
  SentSegment& s = at(i);
  s.state = SentSegment::kInFlight;
  s.retransmitted = true;
  s.sent = now;
  in_flight_ += s.length;
  append(resent_list_, i);
}

void SentSegments::resent_last(Time now) {
  const std::uint32_t i = end_index() - 1;
  SentSegment& s = at(i);
  if (s.state != SentSegment::kInFlight) return;
  leave(i);
  s.retransmitted = true;
  s.sent = now;
  in_flight_ += s.length;
  append(resent_list_, i);
}

bool SentSegments::consistent(Seq una, Seq nxt) const {
  std::uint32_t sums[3] = {}, sacked_count = 0, resent = 0, lost_count = 0;
  Seq at_seq = una;
  for (std::uint32_t i = base_; i != end_index(); ++i) {
    const SentSegment& s = at(i);
    if (s.start != at_seq || s.length == 0) return false;
    at_seq = s.end();
    sums[s.state] += s.length;
    if (s.state == SentSegment::kSacked) ++sacked_count;
    if (s.state == SentSegment::kLost) ++lost_count;
    if (s.state == SentSegment::kInFlight && s.retransmitted) ++resent;
  }
  if (at_seq != nxt) return false;
  Time before{Time::min()};
  for (std::uint32_t i = resent_list_.head; i != kNone; i = at(i).next) {
    if (at(i).state != SentSegment::kInFlight || !at(i).retransmitted || at(i).sent < before) {
      return false;
    }
    before = at(i).sent;
    --resent;
  }
  for (std::uint32_t i = lost_list_.head; i != kNone; i = at(i).next) {
    if (at(i).state != SentSegment::kLost) return false;
    --lost_count;
  }
  return resent == 0 && lost_count == 0 && sums[SentSegment::kInFlight] == in_flight_ &&
         sums[SentSegment::kLost] == lost_ && sums[SentSegment::kSacked] == sacked_ &&
         sacked_count == sacked_count_;
}

}  // namespace sluice::tcp
