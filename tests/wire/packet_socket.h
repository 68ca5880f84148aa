// Raw Ethernet frames of one interface.
#pragma once

#include <cstddef>
#include <expected>
#include <string>

#include "base/bytes.h"

namespace sluice::wire {

// Owns an AF_PACKET socket bound to the interface: it receives every frame that arrives there,
// whoever it is addressed to, and none that was sent.
class PacketSocket {
 public:
  static std::expected<PacketSocket, std::string> open(const std::string& interface);
  PacketSocket(PacketSocket&& other) noexcept;
  PacketSocket& operator=(PacketSocket&&) = delete;
  ~PacketSocket();

  int descriptor() const { return descriptor_; }
  // The next frame that waits, in `room`; empty when none does.
  ByteSpan receive(MutByteSpan room);
  // False when the interface takes no frame now: it is down, or its queue is full.
  bool send(ByteSpan frame);

 private:
  explicit PacketSocket(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace sluice::wire
