// A capture as one worker sees it: which frames to copy, and where to
// (docs/decisions/0009-capture.md).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "runtime/frame_ring.h"
#include "runtime/loan.h"

namespace sluice::runtime {

// Decides which frames are copied. Immutable; asked by several workers at once.
class FrameFilter {
 public:
  virtual ~FrameFilter() = default;
  // `frame` may be the beginning of one of `wire_length` bytes. Bounded work.
  virtual bool matches(ByteSpan frame, std::size_t wire_length) const noexcept = 0;
};

struct Capture final : Loan {
  static constexpr std::size_t kRing = 4u << 20;
  static constexpr std::size_t kLongest = 16384;  // of a frame's copy

  explicit Capture(std::size_t port_count, std::size_t ring = kRing)
      : ports(port_count), frames(ring) {}

  struct Port {
    // Control: writes before the hand-over. Null: this port's frames are not looked at.
    std::shared_ptr<const FrameFilter> filter;
    // Worker: writes; control: reads.
    std::atomic<std::uint64_t> seen{0};     // frames that were looked at
    std::atomic<std::uint64_t> matched{0};  // of these those to copy
    std::atomic<std::uint64_t> lost{0};     // of these those the ring had no room for
  };
  std::vector<Port> ports;             // by port index
  std::size_t snap_length = kLongest;  // control: writes before the hand-over
  std::atomic<bool> begun{false};      // worker: sets when it looks at frames; control: reads
  std::atomic<bool> wanted{true};      // control: clears; worker: reads each turn, then gives back
  FrameRing frames;                    // worker to control
};

}  // namespace sluice::runtime
