// Link addresses of neighbours, IPv4 and IPv6 alike: the states of RFC 4861 section 7.3.2, which
// RFC 1122 section 2.3.2.1 permits for ARP, plus a short negative one.
//
// Pure state: what is to be sent, and what becomes of waiting packets, is told to NeighbourEvents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/ip_address.h"
#include "base/time.h"
#include "hold_queue.h"
#include "ip/interface.h"
#include "packet/ethernet.h"

namespace sluice::ip {

struct Neighbour {
  IpAddress address;
  packet::MacAddress mac;
  NeighbourState state = NeighbourState::incomplete;
  bool in_use = false;
  bool router = false;
  bool pinned = false;        // a gateway: never evicted
  std::uint8_t attempts = 0;  // solicitations sent in this state
  Time deadline = kNever;     // of incomplete, delay, probe and failed
  Time confirmed = Time::min();
  Time used = Time::min();
  HoldList held;

  bool resolved() const {
    return state != NeighbourState::incomplete && state != NeighbourState::failed;
  }
};

class NeighbourEvents {
 public:
  // Ask for its MAC: everybody, or (`unicast`) the neighbour itself.
  virtual void on_solicit(Neighbour& neighbour, bool unicast) = 0;
  // The MAC is known; send what waits.
  virtual void on_resolved(Neighbour& neighbour) = 0;
  // It did not answer, or was evicted: drop what waits.
  virtual void on_lost(Neighbour& neighbour, bool evicted) = 0;

 protected:
  ~NeighbourEvents() = default;
};

// What a neighbour said of itself.
struct Advertisement {
  std::optional<packet::MacAddress> mac;
  bool solicited = false;
  bool override_mac = false;
  std::optional<bool> router;
};

class NeighbourTable {
 public:
  static constexpr Micros kReachableTime{30'000'000};  // RFC 4861 section 10, times 0.5 to 1.5
  static constexpr Micros kRetransTime{1'000'000};     // RFC 4861 section 10; RFC 1122 2.3.2.1
  static constexpr Micros kDelayFirstProbe{5'000'000};
  static constexpr Micros kNegativeTime{3'000'000};
  static constexpr Micros kDoubtPause{1'000'000};
  static constexpr Micros kIdleTime{1'200'000'000};  // unused this long: forgotten
  static constexpr std::uint8_t kMaxSolicits = 3;

  NeighbourTable(std::size_t capacity, const std::uint64_t (&secret)[2], NeighbourEvents& events);

  Neighbour* find(const IpAddress& address);
  const Neighbour* find(const IpAddress& address) const;
  // For a packet about to be sent: moves the state on, solicits if it must. Null: no room.
  Neighbour* use(const IpAddress& address, Time now);
  // An entry to learn into; null if there is no room.
  Neighbour* obtain(const IpAddress& address, Time now);

  // RFC 4861 section 7.2.5. True: others should hear of it.
  bool advertised(Neighbour& neighbour, const Advertisement& said, Time now);
  // A solicitation, ARP request or gratuitous ARP from it (RFC 4861 section 7.2.3). True: news.
  bool heard_from(Neighbour& neighbour, const packet::MacAddress& mac, Time now);
  void confirm(Neighbour& neighbour, Time now);
  // Upper layers get no answer by way of it: probes it at once, a gateway by asking everybody. Not
  // when it was confirmed within the last second, nor more often.
  void doubt(Neighbour& neighbour, Time now);

  void expire(Time now);
  Time next_deadline() const { return next_; }
  // Something of this entry is to be done at `when`.
  void schedule(Neighbour& neighbour, Time when);
  std::size_t size() const { return size_; }

 private:
  static constexpr Micros kSweep{60'000'000};

  std::size_t home(const IpAddress& address) const;
  void link(std::size_t entry);
  void unlink(std::size_t entry);
  void remove(Neighbour& neighbour);
  Neighbour* make_room(Time now);
  void set_mac(Neighbour& neighbour, const packet::MacAddress& mac, bool reachable, Time now);
  void expire_one(Neighbour& neighbour, Time now);
  Micros reachable_time();
  bool is_reachable(const Neighbour& neighbour, Time now) const;

  std::vector<Neighbour> entries_;
  std::vector<std::int32_t> free_;
  std::vector<std::int32_t> index_;  // open addressed, twice the capacity, -1 empty
  std::uint64_t secret_[2];
  NeighbourEvents& events_;
  std::size_t size_ = 0;
  std::size_t hand_ = 0;
  std::uint64_t random_;
  Micros reachable_time_;
  Time next_ = kNever;
  Time sweep_ = kNever;
};

}  // namespace sluice::ip
