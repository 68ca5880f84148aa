// Frames shown to whoever looks at them.
#include "port/tap.h"

#include <rte_mbuf.h>

#include <algorithm>
#include <array>

#include "port_impl.h"

namespace sluice::port {
namespace {

constexpr std::size_t kLongest = 16384;  // of what is shown of a frame

void show(Tap& tap, std::uint16_t port, const rte_mbuf* mbuf, Direction direction) {
  std::array<std::uint8_t, kLongest> room;  // for a frame in several pieces
  const std::size_t length = rte_pktmbuf_pkt_len(mbuf);
  const std::size_t shown = std::min(length, room.size());
  const void* bytes = rte_pktmbuf_read(mbuf, 0, static_cast<std::uint32_t>(shown), room.data());
  if (bytes == nullptr) return;
  tap.frame(port, {static_cast<const std::uint8_t*>(bytes), shown}, length, direction);
}

}  // namespace

void Port::set_tap(unsigned worker, Tap* tap) {
  impl_->workers[worker].tap = tap;
  impl_->workers[worker].tapped = 0;
}

void Port::Impl::show_received(PerWorker& worker, std::span<rte_mbuf* const> frames) const {
  for (const rte_mbuf* mbuf : frames) show(*worker.tap, config.index, mbuf, Direction::in);
}

void Port::Impl::show_sent(PerWorker& worker, std::size_t first, std::size_t count) const {
  for (std::size_t i = std::max(first, worker.tapped); i < first + count; ++i) {
    show(*worker.tap, config.index, worker.backlog[i], Direction::out);
  }
  worker.tapped = std::max(worker.tapped, first + count);
}

}  // namespace sluice::port
