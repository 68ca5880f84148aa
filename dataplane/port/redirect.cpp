#include "port/redirect.h"

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <vector>

namespace sluice::port {
namespace {

constexpr std::size_t kStage = 32;

struct FreeRing {
  void operator()(rte_ring* ring) const { std::free(ring); }
};
using Ring = std::unique_ptr<rte_ring, FreeRing>;

Ring make_ring(std::size_t size) {
  const auto slots = static_cast<unsigned>(std::bit_ceil(size + 1));
  const ssize_t bytes = rte_ring_get_memsize(slots);
  if (bytes < 0) std::abort();
  const auto rounded = (static_cast<std::size_t>(bytes) + 63) & ~std::size_t{63};
  Ring ring(static_cast<rte_ring*>(std::aligned_alloc(64, rounded)));
  if (ring == nullptr ||
      rte_ring_init(ring.get(), "redirect", slots, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
    std::abort();
  }
  return ring;
}

}  // namespace

struct Redirect::Impl {
  // Packets of one receiving worker for one owner, until the next hand-over.
  struct Stage {
    std::array<rte_mbuf*, kStage> mbufs;
    unsigned count = 0;
  };
  struct alignas(64) PerWorker {
    std::vector<Stage> stages;  // by owner; the worker's own
    std::vector<Ring> from;     // by receiving worker: producer writes, this worker reads
    telemetry::CounterBlock* counters = nullptr;
    runtime::Waker* waker = nullptr;
    unsigned next = 0;  // where pop() goes on: each producer gets its turn
  };
  std::vector<PerWorker> workers;
  telemetry::CounterBlock unattached;

  void hand_over(unsigned from, unsigned to);
};

Redirect::Redirect(unsigned workers, std::size_t ring_size) : impl_(std::make_unique<Impl>()) {
  impl_->workers.resize(workers);
  for (unsigned to = 0; to < workers; ++to) {
    auto& worker = impl_->workers[to];
    worker.stages.resize(workers);
    worker.counters = &impl_->unattached;
    for (unsigned from = 0; from < workers; ++from) {
      worker.from.push_back(from == to ? nullptr : make_ring(ring_size));
    }
  }
}

Redirect::~Redirect() {
  for (auto& worker : impl_->workers) {
    for (auto& stage : worker.stages) rte_pktmbuf_free_bulk(stage.mbufs.data(), stage.count);
    for (auto& ring : worker.from) {
      void* mbuf = nullptr;
      while (ring && rte_ring_sc_dequeue(ring.get(), &mbuf) == 0) {
        rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
      }
    }
  }
}

void Redirect::attach(unsigned worker, telemetry::CounterBlock& counters, runtime::Waker* waker) {
  impl_->workers[worker].counters = &counters;
  impl_->workers[worker].waker = waker;
}

void Redirect::Impl::hand_over(unsigned from, unsigned to) {
  Stage& stage = workers[from].stages[to];
  if (stage.count == 0) return;
  const unsigned sent =
      rte_ring_sp_enqueue_burst(workers[to].from[from].get(),
                                reinterpret_cast<void**>(stage.mbufs.data()), stage.count, nullptr);
  telemetry::CounterBlock& counters = *workers[from].counters;
  counters.add(telemetry::Counter::redirected_packets, sent);
  if (sent < stage.count) {
    counters.add(telemetry::Counter::drop_redirect_full, stage.count - sent);
    rte_pktmbuf_free_bulk(stage.mbufs.data() + sent, stage.count - sent);
  }
  stage.count = 0;
  if (sent > 0 && workers[to].waker != nullptr) workers[to].waker->wake();
}

void Redirect::push(unsigned from, unsigned to, Packet packet) {
  if (!packet || to >= impl_->workers.size() || from == to) return;  // freed here
  Impl::Stage& stage = impl_->workers[from].stages[to];
  stage.mbufs[stage.count++] = packet.release();
  if (stage.count == kStage) impl_->hand_over(from, to);
}

void Redirect::flush(unsigned from) {
  for (unsigned to = 0; to < impl_->workers.size(); ++to) impl_->hand_over(from, to);
}

std::size_t Redirect::pop(unsigned to, std::span<Packet> out) {
  Impl::PerWorker& worker = impl_->workers[to];
  const auto producers = static_cast<unsigned>(worker.from.size());
  std::array<void*, kStage> mbufs;
  std::size_t got = 0;
  for (unsigned tried = 0; tried < producers && got < out.size(); ++tried) {
    worker.next = (worker.next + 1) % producers;
    rte_ring* ring = worker.from[worker.next].get();
    if (ring == nullptr) continue;
    const auto room = static_cast<unsigned>(std::min(out.size() - got, mbufs.size()));
    const unsigned n = rte_ring_sc_dequeue_burst(ring, mbufs.data(), room, nullptr);
    for (unsigned i = 0; i < n; ++i) {
      out[got++] = Packet::adopt(static_cast<rte_mbuf*>(mbufs[i]));
    }
  }
  return got;
}

bool Redirect::pending(unsigned to) const {
  const auto& from = impl_->workers[to].from;
  return std::any_of(from.begin(), from.end(), [](const Ring& ring) {
    return ring != nullptr && rte_ring_empty(ring.get()) == 0;
  });
}

}  // namespace sluice::port
