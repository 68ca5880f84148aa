// One direction of a link, and a link of two, that impair what passes through them.
//
// Packets go in with the time and come out when the time has come; nothing here reads a clock.
// Everything follows from profile, seed and input. Packets are IP packets; with `link_header` bytes
// before them (14 for Ethernet) what is no IP is only delayed.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "path_mtu.h"
#include "profile.h"
#include "random.h"

namespace sluice::impair {

struct LineStats {
  std::uint64_t offered = 0, delivered = 0;
  // Dropped, by reason.
  std::uint64_t blackout = 0, rule = 0, loss = 0, burst = 0, too_big = 0, queue_full = 0;
  std::uint64_t duplicated = 0, corrupted = 0, reordered = 0, fragmented = 0;
  // TCP payload bytes in what was dropped or corrupted: what has to be sent again.
  std::uint64_t lost_payload = 0;
  std::uint64_t dropped() const { return blackout + rule + loss + burst + too_big + queue_full; }
};

class Line {
 public:
  // `start` is the instant from which blackouts count.
  Line(const Profile& profile, std::uint64_t seed, Time start = Time{},
       std::size_t link_header = 0);

  // Takes a packet. What it returns, if anything, is for the opposite direction: an ICMP error.
  std::optional<Bytes> push(ByteSpan packet, Time now);
  // Passes a packet on after the delay alone: for the ICMP error of the opposite line.
  void pass(Bytes packet, Time now);
  // When pop() next has something; kNever when nothing is under way.
  Time next() const;
  // The next packet whose time has come, in order of arrival.
  std::optional<Bytes> pop(Time now);

  std::size_t in_flight() const { return flying_.size() + held_.size(); }
  const LineStats& stats() const { return stats_; }
  const Profile& profile() const { return profile_; }

 private:
  struct Flying {
    Time at;
    std::uint64_t order;
    Bytes packet;
    bool operator>(const Flying& o) const { return at != o.at ? at > o.at : order > o.order; }
  };
  // Waits until `behind` more packets went past, or until `latest`.
  struct Held {
    Bytes packet;
    std::uint32_t behind;
    Time latest;
  };
  struct Verdict {
    bool drop = false, duplicate = false, corrupt = false;
    Micros delay{0};
  };
  bool blacked_out(Time now) const;
  Verdict apply_rules(ByteSpan packet);
  bool lost(Time now);
  bool enqueue(std::size_t bytes, Time now, Time& leaves);
  Micros jitter();
  void corrupt(Bytes& packet);
  std::optional<Bytes> refuse(ByteSpan link, ByteSpan packet);
  void transmit(Bytes frame, const Verdict& verdict, Time now);
  void send_on(Bytes packet, Time now, Micros extra, bool may_hold);
  void fly(Bytes packet, Time at);
  void release(Time now);

  const Profile profile_;
  const Time start_;
  const std::size_t link_header_;
  Random loss_, burst_, duplicate_, corrupt_, reorder_, jitter_;
  bool bad_ = false;  // of the Gilbert-Elliott chain
  Time last_packet_{};
  std::vector<std::uint32_t> matches_;              // of each rule
  std::map<std::uint64_t, std::uint32_t> origins_;  // the sequence number of a flow's SYN
  Time line_free_{Time::min()};
  Time last_arrival_{Time::min()};
  std::uint64_t order_ = 0;
  std::vector<Flying> flying_;  // a heap, the earliest in front
  std::deque<Held> held_;       // in order of `latest`
  LineStats stats_;
};

// Both directions. Side 0 sends into line 0, which ends at side 1, and the other way round.
class Link {
 public:
  Link(const Profile& from_0, const Profile& from_1, std::uint64_t seed, Time start = Time{},
       std::size_t link_header = 0);
  void push(unsigned from, ByteSpan packet, Time now);
  Time next() const;
  // The next packet that arrives at `side`.
  std::optional<Bytes> pop(unsigned side, Time now) { return lines_[1 - side].pop(now); }
  const Line& line(unsigned from) const { return lines_[from]; }

 private:
  std::array<Line, 2> lines_;
};

}  // namespace sluice::impair
