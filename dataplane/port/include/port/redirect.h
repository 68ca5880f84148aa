// Packets on their way to the worker that owns their flow: one bounded ring per pair of workers.
//
// The receiving worker computes the owner (packet/steer.h), stages packets per owner, and hands
// them over in bursts; a sleeping owner is woken. Order within a flow is kept.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "port/packet.h"
#include "runtime/idle.h"
#include "telemetry/counters.h"

namespace sluice::port {

class Redirect {
 public:
  // `ring_size` packets can wait per pair of workers.
  explicit Redirect(unsigned workers, std::size_t ring_size = 2048);
  ~Redirect();  // frees what is waiting
  Redirect(const Redirect&) = delete;
  Redirect& operator=(const Redirect&) = delete;

  // [control, before the worker runs]
  void attach(unsigned worker, telemetry::CounterBlock& counters, runtime::Waker* waker);

  // [worker `from`] Stages; the hand-over is at the latest in flush().
  void push(unsigned from, unsigned to, Packet packet);
  // [worker `from`] After a receive burst. What does not fit is dropped and counted.
  void flush(unsigned from);
  // [worker `to`] Up to out.size() packets others received for it.
  std::size_t pop(unsigned to, std::span<Packet> out);
  // [worker `to`] Is something there?
  bool pending(unsigned to) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::port
