#include "neighbour_table.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "packet/steer.h"

namespace sluice::ip {

using packet::MacAddress;
using State = NeighbourState;

NeighbourTable::NeighbourTable(std::size_t capacity, const std::uint64_t (&secret)[2],
                               NeighbourEvents& events)
    : entries_(capacity),
      index_(std::bit_ceil(capacity * 2), -1),
      secret_{secret[0], secret[1]},
      events_(events),
      random_(secret[0] | 1),
      reachable_time_(kReachableTime) {
  free_.reserve(capacity);
  for (std::size_t i = capacity; i-- > 0;) free_.push_back(static_cast<std::int32_t>(i));
  reachable_time_ = reachable_time();
}

// RFC 4861 section 6.3.2: uniform between 0.5 and 1.5 times the base, so that hosts do not probe
// in step.
Micros NeighbourTable::reachable_time() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return Micros{
      kReachableTime.count() / 2 +
      static_cast<std::int64_t>(random_ % static_cast<std::uint64_t>(kReachableTime.count()))};
}

std::size_t NeighbourTable::home(const IpAddress& address) const {
  return packet::FlowHash(secret_)(address, IpAddress{}, 0, 0) & (index_.size() - 1);
}

const Neighbour* NeighbourTable::find(const IpAddress& address) const {
  const std::size_t mask = index_.size() - 1;
  for (std::size_t i = home(address); index_[i] >= 0; i = (i + 1) & mask) {
    const Neighbour& n = entries_[static_cast<std::size_t>(index_[i])];
    if (n.address == address) return &n;
  }
  return nullptr;
}

Neighbour* NeighbourTable::find(const IpAddress& address) {
  return const_cast<Neighbour*>(std::as_const(*this).find(address));
}

void NeighbourTable::link(std::size_t entry) {
  const std::size_t mask = index_.size() - 1;
  std::size_t i = home(entries_[entry].address);
  while (index_[i] >= 0) i = (i + 1) & mask;
  index_[i] = static_cast<std::int32_t>(entry);
}

// Backward-shift deletion: no tombstones to sweep up later.
void NeighbourTable::unlink(std::size_t entry) {
  const std::size_t mask = index_.size() - 1;
  std::size_t hole = home(entries_[entry].address);
  while (index_[hole] != static_cast<std::int32_t>(entry)) hole = (hole + 1) & mask;
  for (std::size_t i = (hole + 1) & mask; index_[i] >= 0; i = (i + 1) & mask) {
    const std::size_t want = home(entries_[static_cast<std::size_t>(index_[i])].address);
    if (((i - want) & mask) >= ((i - hole) & mask)) {
      index_[hole] = index_[i];
      hole = i;
    }
  }
  index_[hole] = -1;
}

void NeighbourTable::remove(Neighbour& neighbour) {
  if (neighbour.pinned) {
    const Neighbour old = neighbour;
    neighbour = Neighbour{};
    neighbour.address = old.address;
    neighbour.in_use = neighbour.pinned = true;
    neighbour.used = old.used;
    return;
  }
  const auto entry = static_cast<std::size_t>(&neighbour - entries_.data());
  unlink(entry);
  neighbour = Neighbour{};
  free_.push_back(static_cast<std::int32_t>(entry));
  --size_;
}

// A full table gives up the least useful of a few entries: failed, then unresolved, then the one
// unused longest. Looking at all of them would be the attacker's lever.
Neighbour* NeighbourTable::make_room(Time now) {
  constexpr std::size_t kSample = 16;
  Neighbour* victim = nullptr;
  const auto rank = [&](const Neighbour& n) {
    if (n.state == State::failed) return 0;
    if (n.state == State::incomplete) return 1;
    return is_reachable(n, now) ? 3 : 2;
  };
  const std::size_t looks = std::min(kSample, entries_.size());
  for (std::size_t i = 0; i < looks; ++i) {
    Neighbour& n = entries_[hand_];
    hand_ = (hand_ + 1) % entries_.size();
    if (!n.in_use || n.pinned) continue;
    if (victim == nullptr || rank(n) < rank(*victim) ||
        (rank(n) == rank(*victim) && n.used < victim->used)) {
      victim = &n;
    }
  }
  if (victim != nullptr) {
    events_.on_lost(*victim, true);
    remove(*victim);
  }
  return victim;
}

Neighbour* NeighbourTable::obtain(const IpAddress& address, Time now) {
  if (Neighbour* n = find(address)) return n;
  if (free_.empty() && make_room(now) == nullptr) return nullptr;
  const auto entry = static_cast<std::size_t>(free_.back());
  free_.pop_back();
  Neighbour& n = entries_[entry];
  n.address = address;
  n.in_use = true;
  n.used = now;
  link(entry);
  ++size_;
  if (sweep_ == kNever) {
    sweep_ = now + kSweep;
    next_ = std::min(next_, sweep_);
  }
  return &n;
}

void NeighbourTable::schedule(Neighbour& neighbour, Time when) {
  neighbour.deadline = when;
  next_ = std::min(next_, when);
}

bool NeighbourTable::is_reachable(const Neighbour& n, Time now) const {
  return n.state == State::reachable && now - n.confirmed < reachable_time_;
}

Neighbour* NeighbourTable::use(const IpAddress& address, Time now) {
  Neighbour* n = find(address);
  if (n == nullptr) {
    n = obtain(address, now);
    if (n == nullptr) return nullptr;
  }
  n->used = now;
  if (n->state == State::incomplete && n->attempts == 0) {
    n->attempts = 1;
    schedule(*n, now + kRetransTime);
    events_.on_solicit(*n, false);
  } else if (n->state == State::stale || (n->state == State::reachable && !is_reachable(*n, now))) {
    // RFC 4861 section 7.3.3: leave the upper layers time to confirm before asking.
    n->state = State::delay;
    schedule(*n, now + kDelayFirstProbe);
  }
  return n;
}

void NeighbourTable::set_mac(Neighbour& n, const MacAddress& mac, bool reachable, Time now) {
  n.mac = mac;
  n.state = reachable ? State::reachable : State::stale;
  n.attempts = 0;
  n.deadline = kNever;
  if (reachable) n.confirmed = now;
  events_.on_resolved(n);
}

bool NeighbourTable::advertised(Neighbour& n, const Advertisement& said, Time now) {
  const bool new_router = said.router.has_value() && n.router != *said.router;
  if (!n.resolved()) {
    if (!said.mac) return false;
    if (said.router) n.router = *said.router;
    set_mac(n, *said.mac, said.solicited, now);
    return true;
  }
  const bool different = said.mac.has_value() && *said.mac != n.mac;
  if (different && !said.override_mac) {
    // A second claimant: keep the known one, but ask again soon.
    if (n.state == State::reachable) n.state = State::stale;
    return false;
  }
  if (said.router) n.router = *said.router;
  if (different || said.solicited) {
    set_mac(n, different ? *said.mac : n.mac, said.solicited, now);
    return true;
  }
  return new_router;
}

bool NeighbourTable::heard_from(Neighbour& n, const MacAddress& mac, Time now) {
  if (n.resolved() && n.mac == mac) return false;
  set_mac(n, mac, false, now);
  return true;
}

void NeighbourTable::confirm(Neighbour& n, Time now) {
  if (!n.resolved()) return;
  n.state = State::reachable;
  n.attempts = 0;
  // Frames may wait although the MAC is known, for want of a buffer; then the deadline is theirs.
  if (n.held.count == 0) n.deadline = kNever;
  n.confirmed = now;
}

// RFC 9293 section 3.8.3, negative advice. A gateway that failed may have left its address to
// another without a word, which only a question to everybody finds out (RFC 7048 allows it).
void NeighbourTable::doubt(Neighbour& n, Time now) {
  if (!n.resolved() || n.state == State::probe) return;
  if (n.confirmed != Time::min() && now - n.confirmed < kDoubtPause) return;
  n.state = State::probe;
  n.attempts = 1;
  schedule(n, now + kRetransTime);
  events_.on_solicit(n, !n.pinned);
}

void NeighbourTable::expire_one(Neighbour& n, Time now) {
  switch (n.state) {
    case State::incomplete:
      if (n.attempts >= kMaxSolicits) {
        n.state = State::failed;
        schedule(n, now + kNegativeTime);
        events_.on_lost(n, false);
        return;
      }
      break;
    case State::failed:
      remove(n);
      return;
    case State::delay:
      n.state = State::probe;
      n.attempts = 0;
      break;
    case State::probe:
      if (n.attempts >= kMaxSolicits) {
        events_.on_lost(n, false);
        remove(n);  // RFC 4861 section 7.3.3: the next packet begins anew
        return;
      }
      break;
    case State::reachable:
    case State::stale:
      n.deadline = kNever;
      if (n.held.count > 0) events_.on_resolved(n);
      return;
  }
  ++n.attempts;
  schedule(n, now + kRetransTime);
  events_.on_solicit(n, n.state == State::probe);
}

void NeighbourTable::expire(Time now) {
  if (now < next_) return;
  const bool sweep = now >= sweep_;
  if (sweep) {
    sweep_ = now + kSweep;
    reachable_time_ = reachable_time();
  }
  next_ = kNever;
  for (Neighbour& n : entries_) {
    if (!n.in_use) continue;
    if (n.deadline <= now) expire_one(n, now);
    if (sweep && n.in_use && !n.pinned && n.deadline == kNever && now - n.used > kIdleTime) {
      remove(n);
    }
    if (n.in_use) next_ = std::min(next_, n.deadline);
  }
  if (size_ == 0) sweep_ = kNever;
  next_ = std::min(next_, sweep_);
}

}  // namespace sluice::ip
