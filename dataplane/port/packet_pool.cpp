#include "port/packet_pool.h"

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <algorithm>
#include <cstring>

#include "runtime/eal.h"

namespace sluice::port {

std::expected<std::unique_ptr<PacketPool>, std::string> PacketPool::make(const Config& config) {
  if (config.buffers == 0) return std::unexpected("no packet buffers are configured");
  const std::uint16_t room = runtime::packet_data_room(config.largest_mtu);
  // DPDK wants a cache of at most two thirds of the pool.
  const unsigned cache = std::min(
      {config.per_thread_cache, config.buffers * 2 / 3, unsigned{RTE_MEMPOOL_CACHE_MAX_SIZE}});
  rte_mempool* pool = rte_pktmbuf_pool_create(
      config.name.c_str(), config.buffers, cache, 0,
      static_cast<std::uint16_t>(room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY);
  if (pool == nullptr) {
    return std::unexpected(
        std::to_string(config.buffers) + " packet buffers of " + std::to_string(room) +
        " bytes cannot be had: " + rte_strerror(rte_errno) + "; lower 'memory.packet_buffers'");
  }
  std::unique_ptr<PacketPool> result(new PacketPool);
  result->pool_ = pool;
  result->size_ = config.buffers;
  result->data_room_ = room;
  return result;
}

PacketPool::~PacketPool() { rte_mempool_free(pool_); }

unsigned PacketPool::in_use() const { return rte_mempool_in_use_count(pool_); }

Packet PacketPool::copy_of(ByteSpan frame, std::uint16_t port_index) {
  if (frame.size() > data_room_) return {};
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
  if (mbuf == nullptr) return {};
  char* room = rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(frame.size()));
  if (!frame.empty()) std::memcpy(room, frame.data(), frame.size());
  mbuf->port = port_index;
  return Packet::adopt(mbuf);
}

}  // namespace sluice::port
