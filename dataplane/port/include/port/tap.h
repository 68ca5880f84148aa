// Somebody who looks at the frames of a port as the device gives and takes them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace sluice::port {

enum class Direction : std::uint8_t { in, out };

class Tap {
 public:
  // [worker] One frame, before anything is taken off or dropped, or with all that was put on.
  // `port` is PortConfig::index. `bytes` may be the beginning of a frame of `wire_length` bytes.
  virtual void frame(std::uint16_t port, ByteSpan bytes, std::size_t wire_length,
                     Direction direction) = 0;

 protected:
  ~Tap() = default;
};

}  // namespace sluice::port
