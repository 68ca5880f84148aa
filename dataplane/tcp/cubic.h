// CUBIC's window growth in congestion avoidance, RFC 9438, in integers.
//
// Windows are bytes; the RFC's are segments. Time is counted only while the window is used to the
// full (section 5.8): a stage's clock stands still while the application is what limits.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace sluice::tcp {

class Cubic {
 public:
  // C = 0.4, section 5; beta = 0.7, section 4.6.
  static constexpr std::uint32_t kBetaTenths = 7;

  // A congestion event takes `window` down: W_max, with fast convergence (section 4.7), and
  // cwnd_prior. The next growth() begins a new stage.
  void reduce(std::uint32_t window);
  // Section 4.8: what was reached before a timeout is no goal.
  void timeout(std::uint32_t window);
  // The next growth() begins a new stage towards the same W_max.
  void end_stage() { running_ = false; }
  // Time up to `now` does not count; with kNever, none up to the next growth().
  void pause(Time now) { seen_ = now; }

  // By how much an ACK of `acked` bytes opens a window that was full; never negative. `rtt` is the
  // smoothed one.
  std::uint32_t growth(std::uint32_t window, std::uint32_t acked, std::uint32_t mss, Time now,
                       Micros rtt);

  // Largest integer whose cube is not above x.
  static std::uint32_t cube_root(std::uint64_t x);
  // K, figure 2: how long the curve takes from `below` bytes under W_max up to it.
  static Micros time_to_rise(std::uint32_t below, std::uint32_t mss);
  // C * |t - K|^3 in bytes, at most 2^32 - 1.
  static std::uint32_t rise(Micros from_inflection, std::uint32_t mss);

 private:
  void begin_stage(std::uint32_t window, std::uint32_t mss, Time now);
  std::uint32_t curve(Micros t, std::uint32_t mss) const;  // W_cubic(t), figure 1

  Time seen_{};
  Micros elapsed_{0};  // t, since the stage began
  Micros k_{0};
  std::uint32_t w_max_ = 0;
  std::uint32_t prior_ = 0;  // cwnd_prior
  std::uint32_t w_est_ = 0;  // what Reno would have, section 4.3
  bool running_ = false;
  std::uint64_t growth_rest_ = 0;  // of the divisions, so that small ACKs are not lost
  std::uint64_t est_rest_ = 0;
};

}  // namespace sluice::tcp
