// What one direction of a link does to packets, and its notation.
//
// A profile is written as words separated by spaces or commas; text() writes what parse() reads:
//
//   loss=0.02                        each packet, independently
//   gilbert=0.01/0.3/0/0.9           good→bad, bad→good, loss when good, loss when bad (else 0, 1)
//   duplicate=0.01  corrupt=0.01     a second copy; one bit flipped behind the link header
//   reorder=0.1/3                    held back until 3 later packets went past
//   delay=20ms  jitter=5ms  jitter=5ms/normal      uniform | normal | pareto
//   ordered                          jitter does not let packets overtake each other
//   rate=1250000  queue=64000        bytes per second; bytes waiting, beyond them the tail drops
//   mtu=1400  mtu=1400/silent        answered with "packet too big", or a black hole
//   blackout=2s+500ms                from 2 s after the start for 500 ms; may be repeated
//   drop:flags=F:nth=2               an exact rule; may be repeated, see Rule
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace sluice::impair {

// Acts on exactly the packets it describes: of the TCP segments that match, on the nth and on
// count - 1 more. Written ACTION:CONDITION:…, as in drop:flags=S:count=3, drop:seq=1000:len=1,
// delay=200ms:flags=A:maxlen=0:nth=5.
struct Rule {
  enum class Action : std::uint8_t { drop, duplicate, corrupt, delay };
  Action action = Action::drop;
  Micros delay{0};         // of Action::delay: added to the others'
  std::uint8_t flags = 0;  // flags=SFRPAU: all of these are set
  std::uint8_t clear = 0;  // clear=…: none of these is
  // seq=FROM or seq=FROM-TO: SEG.SEQ relative to the flow's SYN. Needs a SYN that was seen.
  std::uint32_t seq_from = 0, seq_to = UINT32_MAX;
  std::size_t least = 0;        // len=: payload bytes, at least
  std::size_t most = SIZE_MAX;  // maxlen=: at most; 0 is a pure ACK
  std::uint32_t nth = 1;        // nth=: the first match it acts on, counted from 1
  std::uint32_t count = 1;      // count=: how many from there on
  bool operator==(const Rule&) const = default;
};

// A two-state Markov chain that moves with each packet, and is good again after 100 ms of silence:
// a burst is an event in time, not something that waits for a sender that backs off.
struct GilbertElliott {
  double to_bad = 0, to_good = 1;
  double loss_good = 0, loss_bad = 1;
  bool operator==(const GilbertElliott&) const = default;
};

struct Blackout {
  Micros start{0}, length{0};
  bool operator==(const Blackout&) const = default;
};

enum class Jitter : std::uint8_t {
  uniform,  // 0 to `jitter`
  normal,   // mean `jitter`, standard deviation a sixth of it, within 0 and twice of it
  pareto,   // most below `jitter`, one in 2^n around 2^n times as much, up to 64 times
};

struct Profile {
  double loss = 0;
  GilbertElliott gilbert;
  double duplicate = 0, corrupt = 0;
  double reorder = 0;
  std::uint32_t reorder_by = 1;
  Micros delay{0}, jitter{0};
  Jitter distribution = Jitter::uniform;
  bool ordered = false;
  std::uint64_t rate = 0;     // bytes per second; 0: no limit
  std::size_t queue = 65536;  // bytes
  std::uint16_t mtu = 0;      // 0: no limit
  bool mtu_silent = false;
  std::vector<Blackout> blackouts;
  std::vector<Rule> rules;
  bool operator==(const Profile&) const = default;

  // The error names the word.
  static std::expected<Profile, std::string> parse(std::string_view text);
  std::string text() const;
};

}  // namespace sluice::impair
