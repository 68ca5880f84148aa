// How large a packet the path takes: what ICMP tells (RFC 1191, RFC 8201) with the checks of RFC
// 5927 section 7.2, black holes, where nobody tells (RFC 4821 section 7.7), and the search for more
// (RFC 4821 section 7). Sizes are of IP packets.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"
#include "seq.h"

namespace sluice::tcp {

class PathMtu {
 public:
  // Less than this is not believed: of IPv4, as TCP works with less only badly; of IPv6 by RFC 8201
  // section 4.
  static constexpr std::uint16_t kLeastV4 = 552, kLeastV6 = 1280;
  // RFC 1191 section 6.3, RFC 8201 section 4: so long after it was lowered more is tried.
  static constexpr Seconds kRaiseAfter{600};
  // Between two probes of one search, and after a black hole: it may have been an outage.
  static constexpr Seconds kProbeAfter{10};
  static constexpr std::uint16_t kCloseEnough = 16;
  // Timeouts in a row of one segment that make a black hole; more if one of its size got through
  // before or should get through nearly everywhere: an outage is more likely.
  static constexpr unsigned kTimeouts = 3, kTimeoutsIfUnlikely = 4;
  // Where timeouts are long so many come too late, or never before the connection is given up: two
  // are enough after so long without progress.
  static constexpr Seconds kLongStuck{10};

  void start(std::uint16_t mtu) { value_ = mtu; }
  std::uint16_t value() const { return value_; }

  // An ICMP message about the segment at `quoted`, which is in flight.
  enum class Verdict : std::uint8_t { refused, held, lowered, probe_lost };
  Verdict told(std::uint16_t mtu, bool v4, Seq quoted, Time now) {
    if (mtu < least(v4)) return Verdict::refused;
    if (probe_ != 0 && mtu < probe_ && mtu >= value_) {
      high_ = static_cast<std::uint16_t>(mtu + 1);
      end_probe(now);
      return Verdict::probe_lost;
    }
    if (mtu >= value_) return Verdict::refused;
    if (mtu < largest_) {
      held_ = held_ != 0 ? std::min(held_, mtu) : mtu;
      held_seq_ = quoted;
      return Verdict::held;
    }
    lower(mtu, now + kRaiseAfter);
    return Verdict::lowered;
  }

  // A packet of `size` got through.
  void got_through(std::uint32_t size) {
    fell_ = false;
    largest_ =
        std::max(largest_, static_cast<std::uint16_t>(std::min<std::uint32_t>(size, value_)));
  }
  // What the message was about got through after all.
  void acknowledged(Seq una) {
    if (held_ != 0 && una > held_seq_) held_ = 0;
  }

  // The retransmission timer ran out for the `timeouts`th time in a row, of a packet of `size`;
  // it did so first `stuck` ago.
  enum class Timeout : std::uint8_t { nothing, told, black_hole };
  Timeout timed_out(unsigned timeouts, Micros stuck, std::uint32_t size, bool v4, Time now) {
    if (held_ != 0) {
      lower(held_, now + kRaiseAfter);
      return Timeout::told;
    }
    const bool unlikely = !fell_ && size <= std::max(largest_, kLeastV6);
    const bool long_stuck = timeouts >= 2 && stuck >= kLongStuck;
    if (timeouts < (unlikely ? kTimeoutsIfUnlikely : kTimeouts) && !long_stuck) {
      return Timeout::nothing;
    }
    const std::uint16_t smaller = below(std::min<std::uint32_t>(value_, size), v4);
    if (smaller == 0) return Timeout::nothing;
    lower(smaller, now + kProbeAfter);
    fell_ = true;
    return Timeout::black_hole;
  }

  // The size to be probed for, zero if none is. `most`: what both ends can take.
  std::uint16_t next_probe(std::uint16_t most, Time now) const {
    if (value_ >= most || probe_ != 0 || now < Time{Seconds{probe_at_}}) return 0;
    if (high_ <= value_ || high_ > most) return most;
    return static_cast<std::uint16_t>((value_ + high_) / 2);
  }
  void probing(std::uint16_t size, Seq start) {
    probe_ = size;
    probe_seq_ = start;
  }
  bool probing() const { return probe_ != 0; }
  Seq probe_seq() const { return probe_seq_; }
  std::uint16_t probe_size() const { return probe_; }
  void probe_arrived(Time now) {
    value_ = largest_ = probe_;
    end_probe(now);
  }
  void probe_lost(Time now) {
    high_ = probe_;
    end_probe(now);
  }
  // Other segments got lost as well, so that it tells nothing.
  void probe_undecided(Time now) {
    probe_ = 0;
    set_probe_at(now + kProbeAfter);
  }

 private:
  static std::uint16_t least(bool v4) { return v4 ? kLeastV4 : kLeastV6; }
  // RFC 4821 section 7.7: what is tried when larger packets vanish; zero if there is nothing less.
  // Two steps, as timeouts become longer and longer: what most tunnels take, and the least.
  static std::uint16_t below(std::uint32_t size, bool v4) {
    if (size > kLeastV6) return kLeastV6;
    return v4 && size > kLeastV4 ? kLeastV4 : std::uint16_t{0};
  }
  void lower(std::uint16_t mtu, Time probe_at) {
    value_ = mtu;
    largest_ = std::min(largest_, mtu);
    high_ = held_ = probe_ = 0;
    set_probe_at(probe_at);
  }
  void end_probe(Time now) {
    probe_ = 0;
    const bool found = high_ > value_ && high_ - value_ <= kCloseEnough;
    if (found) high_ = 0;
    set_probe_at(now + (found ? kRaiseAfter : kProbeAfter));
  }
  void set_probe_at(Time at) {
    probe_at_ = static_cast<std::uint32_t>(
        std::chrono::duration_cast<Seconds>(at.time_since_epoch()).count() + 1);
  }

  std::uint16_t value_ = 1500;
  std::uint16_t largest_ = 0;  // that got through; a hint, as segments are cut anew
  std::uint16_t held_ = 0;     // what a message told that waits for a timeout; zero: none does
  std::uint16_t high_ = 0;     // did not get through; not above value_: not known
  bool fell_ = false;          // into a black hole, and nothing got through since
  std::uint16_t probe_ = 0;    // the size of the probe that is out; zero: none is
  Seq held_seq_, probe_seq_;
  std::uint32_t probe_at_ = 0;  // seconds: the next probe not before
};

}  // namespace sluice::tcp
