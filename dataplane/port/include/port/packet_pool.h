// The packet buffers of the process. All ports and workers share one pool; each EAL thread has a
// cache in front of it. Every buffer is accounted for: when traffic has stopped and ports are
// closed, in_use() is zero.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "port/packet.h"

struct rte_mempool;

namespace sluice::port {

class PacketPool {
 public:
  struct Config {
    std::string name = "packets";
    unsigned buffers = 65536;
    std::uint16_t largest_mtu = 1500;
    unsigned per_thread_cache = 256;
  };
  // After Eal::start().
  static std::expected<std::unique_ptr<PacketPool>, std::string> make(const Config& config);
  ~PacketPool();
  PacketPool(const PacketPool&) = delete;
  PacketPool& operator=(const PacketPool&) = delete;

  unsigned size() const { return size_; }
  unsigned in_use() const;  // [any thread] approximate while others allocate
  std::uint16_t data_room() const { return data_room_; }

  // A packet with a copy of these bytes, as if the port had received it; empty when the pool is
  // exhausted or it does not fit.
  Packet copy_of(ByteSpan frame, std::uint16_t port_index = 0);

  rte_mempool* raw() { return pool_; }

 private:
  PacketPool() = default;
  rte_mempool* pool_ = nullptr;
  unsigned size_ = 0;
  std::uint16_t data_room_ = 0;
};

}  // namespace sluice::port
