// What one worker does for a capture: copies matching frames of all its ports into lent memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "port/port.h"
#include "port/tap.h"
#include "runtime/capture.h"
#include "runtime/clock.h"

namespace sluice::worker {

class CaptureTap final : public port::Tap {
 public:
  using Ports = std::span<const std::unique_ptr<port::Port>>;

  explicit CaptureTap(unsigned worker) : worker_(worker) {}
  CaptureTap(const CaptureTap&) = delete;
  CaptureTap& operator=(const CaptureTap&) = delete;

  // Until control wants it no longer. One at a time: an earlier one ends.
  void begin(runtime::Capture& capture, Ports ports, const runtime::Clock& clock);
  // Once a turn: ends what is wanted no longer.
  void poll() {
    if (capture_ != nullptr && !capture_->wanted.load(std::memory_order_relaxed)) end();
  }
  void end();

  // port::Tap
  void frame(std::uint16_t port, ByteSpan bytes, std::size_t wire_length,
             port::Direction direction) override;

 private:
  const unsigned worker_;
  runtime::Capture* capture_ = nullptr;  // null: none
  Ports ports_;
  const runtime::Clock* clock_ = nullptr;
};

}  // namespace sluice::worker
