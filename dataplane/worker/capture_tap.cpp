#include "capture_tap.h"

#include <algorithm>
#include <utility>

namespace sluice::worker {
namespace {

// One writer.
void count(std::atomic<std::uint64_t>& cell) {
  cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

void CaptureTap::begin(runtime::Capture& capture, Ports ports, const runtime::Clock& clock) {
  end();
  capture_ = &capture;
  ports_ = ports;
  clock_ = &clock;
  for (const auto& port : ports_) {
    const bool looked_at =
        port->index() < capture.ports.size() && capture.ports[port->index()].filter != nullptr;
    if (looked_at) port->set_tap(worker_, this);
  }
  capture.begun.store(true, std::memory_order_release);
}

void CaptureTap::end() {
  if (capture_ == nullptr) return;
  for (const auto& port : ports_) port->set_tap(worker_, nullptr);
  std::exchange(capture_, nullptr)->give_back();
}

void CaptureTap::frame(std::uint16_t port, ByteSpan bytes, std::size_t wire_length,
                       port::Direction direction) {
  runtime::Capture::Port& share = capture_->ports[port];
  count(share.seen);
  if (!share.filter->matches(bytes, wire_length)) return;
  count(share.matched);
  const auto time = static_cast<std::uint64_t>(clock_->wall().count());
  const bool kept =
      capture_->frames.push({.time = time,
                             .wire_length = static_cast<std::uint32_t>(wire_length),
                             .port = port,
                             .outbound = direction == port::Direction::out},
                            bytes.first(std::min(bytes.size(), capture_->snap_length)));
  if (!kept) count(share.lost);
}

}  // namespace sluice::worker
