// What happens in one world, drawn from a seed: hosts, links, streams, and what goes wrong.
//
// Each seed has its own subset of the faults (swarm testing: what all runs have in common hides
// what some of them would find). Every fault draws its figures from random numbers of its own, so
// a world without one of them is otherwise the same, and a failing world can be shrunk.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "impair/profile.h"
#include "tcp/stack.h"

namespace sluice::sim {

#define SLUICE_SIM_FAULTS(X)                                                        \
  X(loss)           /* packets lost at random */                                    \
  X(burst)          /* packets lost in bursts */                                    \
  X(reorder)        /* packets held back until others went past */                  \
  X(jitter)         /* delay that varies */                                         \
  X(duplicate)      /* packets arrive twice */                                      \
  X(corrupt)        /* bits flip */                                                 \
  X(far)            /* long round trips */                                          \
  X(narrow)         /* a bottleneck with a short queue */                           \
  X(small_path_mtu) /* a link that answers "packet too big" */                      \
  X(blackout)       /* nothing arrives for a while */                               \
  X(exact_drops)    /* the nth SYN, FIN, ACK or segment is lost */                  \
  X(full_tx_ring)   /* the sink takes nothing, now and then */                      \
  X(little_memory)  /* a limit that few connections reach */                        \
  X(no_allocation)  /* the allocator gives nothing, now and then */                 \
  X(late_timers)    /* polled up to a fifth of a second late */                     \
  X(paused_worker)  /* no turn for a while; the receive ring overflows */           \
  X(slow_reader)    /* an application does not read for seconds */                  \
  X(short_writes)   /* an application writes little at a time */                    \
  X(half_close)     /* one end speaks only after the other has finished */          \
  X(abort)          /* a connection ends by abort() or close() in the middle */     \
  X(vanish)         /* a client goes down without a word, and perhaps comes back */ \
  X(small_buffers)  /* of receiver and sender */                                    \
  X(odd_mtu)        /* of the hosts */                                              \
  X(few_ports)      /* clients use them again and again */                          \
  X(ipv6)                                                                           \
  X(crowd)          /* many clients and connections, in both directions */          \
  X(relay)          /* the gateway passes on between two clients */                 \
  X(mtu_black_hole) /* a link that drops large packets without a word */            \
  X(large_segments) /* a port that cuts them (TSO) */

enum class Fault : std::uint8_t {
#define X(name) name,
  SLUICE_SIM_FAULTS(X)
#undef X
      count_,
};
inline constexpr std::size_t kFaults = static_cast<std::size_t>(Fault::count_);
using FaultSet = std::bitset<kFaults>;

std::string_view name_of(Fault fault);
// Names separated by commas. False when one is unknown.
bool parse_faults(std::string_view text, FaultSet& faults);
std::string text_of(const FaultSet& faults);

// Host 0 is the gateway, the others are clients.
struct HostPlan {
  tcp::StackConfig tcp;
  double refuse = 0;      // chance that the transmit sink has no room
  double refuse_all = 0;  // chance per turn that it has none for up to `refuse_time`
  Micros refuse_time{0};
  double no_allocation = 0;  // chance that a buffer cannot be allocated
  Micros late{0};            // timers are polled up to this late
  double pause = 0;          // chance per turn of a pause of up to `pause_time`
  Micros pause_time{0};
  Time down = kNever, up = kNever;  // vanishes; comes back with nothing remembered
  unsigned ports = 0;               // of connect(); 0: all
  std::size_t large = 0;            // octets of text in a large segment; 0: the port does not cut
};

struct LinkPlan {
  std::array<impair::Profile, 2> direction;  // from the gateway, to the gateway
};

// One end of a stream.
struct EndPlan {
  std::size_t to_send = 0;
  std::size_t abort_after = SIZE_MAX;  // bytes received
  bool abort_politely = false;         // by close() with data unread
  double pause = 0;                    // chance per turn that it does not read for a while
  Micros pause_time{0};
  std::size_t write_size = 8192;  // at most, at a time
  Micros write_gap{0};            // between two writes, at most
  bool wait_for_end = false;      // writes only after the other end has finished
  bool close_early = false;       // lets go as soon as both directions have ended
};

struct StreamPlan {
  enum class Kind : std::uint8_t { to_gateway, from_gateway, relayed } kind = Kind::to_gateway;
  std::size_t client = 1;  // host
  std::size_t server = 0;  // host, of a relayed stream
  Micros start{0};
  bool absent = false;         // never begins
  std::array<EndPlan, 2> end;  // who opens, who accepts
};

struct Scenario {
  std::uint64_t seed = 0;
  FaultSet faults;
  bool ipv6 = false;
  Time begins{};
  std::vector<HostPlan> hosts;
  std::vector<LinkPlan> links;  // of client i + 1
  std::vector<StreamPlan> streams;
  // Packets are lost: a connection may be given up, but rarely.
  bool lossy() const;

  // The faults that the seed draws.
  static FaultSet draw(std::uint64_t seed);
  static Scenario make(std::uint64_t seed, const FaultSet& faults);
  std::string text() const;
};

}  // namespace sluice::sim
