#include "runtime/qsbr.h"

#include <rte_rcu_qsbr.h>

#include <cstdlib>
#include <deque>

namespace sluice::runtime {

struct Qsbr::Impl {
  struct Waiting {
    std::uint64_t token = 0;
    std::function<void()> free_it;
  };
  struct Free {
    void operator()(rte_rcu_qsbr* v) const { std::free(v); }
  };
  std::unique_ptr<rte_rcu_qsbr, Free> state;
  std::deque<Waiting> waiting;  // control only; tokens ascend
};

Qsbr::Qsbr(unsigned max_workers) : impl_(std::make_unique<Impl>()) {
  const unsigned threads = max_workers == 0 ? 1 : max_workers;
  const std::size_t size = rte_rcu_qsbr_get_memsize(threads);
  const std::size_t rounded = (size + RTE_CACHE_LINE_SIZE - 1) & ~std::size_t{RTE_CACHE_LINE_MASK};
  impl_->state.reset(static_cast<rte_rcu_qsbr*>(std::aligned_alloc(RTE_CACHE_LINE_SIZE, rounded)));
  if (impl_->state == nullptr || rte_rcu_qsbr_init(impl_->state.get(), threads) != 0) std::abort();
}

// No worker reads any more when this is destroyed.
Qsbr::~Qsbr() {
  for (auto& waiting : impl_->waiting) waiting.free_it();
}

void Qsbr::register_worker(unsigned worker) {
  rte_rcu_qsbr_thread_register(impl_->state.get(), worker);
  rte_rcu_qsbr_thread_online(impl_->state.get(), worker);
}

void Qsbr::unregister_worker(unsigned worker) {
  rte_rcu_qsbr_thread_offline(impl_->state.get(), worker);
  rte_rcu_qsbr_thread_unregister(impl_->state.get(), worker);
}

void Qsbr::quiescent(unsigned worker) { rte_rcu_qsbr_quiescent(impl_->state.get(), worker); }

void Qsbr::offline(unsigned worker) { rte_rcu_qsbr_thread_offline(impl_->state.get(), worker); }

void Qsbr::online(unsigned worker) { rte_rcu_qsbr_thread_online(impl_->state.get(), worker); }

void Qsbr::defer(std::function<void()> free_it) {
  const std::uint64_t token = rte_rcu_qsbr_start(impl_->state.get());
  impl_->waiting.push_back({token, std::move(free_it)});
}

std::size_t Qsbr::poll() {
  while (!impl_->waiting.empty() &&
         rte_rcu_qsbr_check(impl_->state.get(), impl_->waiting.front().token, false) == 1) {
    // Taken out first: what it frees may defer more.
    auto due = std::move(impl_->waiting.front().free_it);
    impl_->waiting.pop_front();
    due();
  }
  return impl_->waiting.size();
}

}  // namespace sluice::runtime
