#include "runtime/idle.h"

#include <emmintrin.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace sluice::runtime {

Waker::Waker() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) std::abort();
}

Waker::~Waker() { ::close(fd_); }

void Waker::wake() {
  // Pairs with the store in IdleLadder::idle(): either the sleeper sees the work when it looks
  // again, or we see that it sleeps. The exchange is the full barrier that a store-load pair needs,
  // and keeps a crowd of producers to one system call.
  if (asleep_.exchange(false, std::memory_order_seq_cst)) {
    const std::uint64_t one = 1;
    // Full means that it is signalled already.
    [[maybe_unused]] const ssize_t ignored = ::write(fd_, &one, sizeof one);
  }
}

IdleLadder::IdleLadder(unsigned worker, Qsbr& qsbr, Waker& waker, const IdleConfig& config)
    : worker_(worker), qsbr_(qsbr), waker_(waker), config_(config), sleep_(config.shortest_sleep) {
  polled_[0] = {.fd = waker.fd_, .events = POLLIN, .revents = 0};
}

void IdleLadder::watch(const WaitSource& source) {
  const bool hooked = source.arm != nullptr || source.disarm != nullptr;
  if (hooked && armed_count_ < kMaxSources) armed_[armed_count_++] = source;
  if (source.fd == WaitSource::kNothing) return;
  if (source.fd < 0 || polled_count_ == kMaxSources) {
    all_can_wake_ = false;
    return;
  }
  for (std::size_t i = 0; i < polled_count_; ++i) {
    if (polled_[i].fd == source.fd) return;
  }
  polled_[polled_count_++] = {.fd = source.fd, .events = POLLIN, .revents = 0};
}

void IdleLadder::idle(Time now, Time deadline, bool (*has_work)(void*), void* context) {
  if (now - last_work_ < config_.spin) {
    _mm_pause();
    return;
  }
  if (deadline <= now) return;
  Micros longest = all_can_wake_ ? config_.longest_wait : sleep_;
  if (deadline != kNever) longest = std::min(longest, deadline - now);

  qsbr_.offline(worker_);
  waker_.asleep_.exchange(true, std::memory_order_seq_cst);
  for (std::size_t i = 0; i < armed_count_; ++i) {
    if (armed_[i].arm != nullptr) longest = std::min(longest, armed_[i].arm(armed_[i].context));
  }
  if (longest > Micros{0} && !has_work(context)) sleep(longest);
  waker_.asleep_.store(false, std::memory_order_relaxed);
  for (std::size_t i = 0; i < armed_count_; ++i) {
    if (armed_[i].disarm != nullptr) armed_[i].disarm(armed_[i].context);
  }
  qsbr_.online(worker_);
  sleep_ = std::min(sleep_ * 2, config_.longest_sleep);
}

void IdleLadder::sleep(Micros longest) {
  const auto ns = std::chrono::duration_cast<Nanos>(longest).count();
  const timespec timeout{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  ++sleeps_;
  const int ready = ::ppoll(polled_.data(), polled_count_, &timeout, nullptr);
  if (ready <= 0) return;
  ++wakeups_;
  if ((polled_[0].revents & POLLIN) != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t ignored = ::read(polled_[0].fd, &count, sizeof count);
  }
  for (std::size_t i = 1; i < polled_count_; ++i) {
    if ((polled_[i].revents & (POLLERR | POLLNVAL | POLLHUP)) != 0) forgive(polled_[i]);
  }
}

// "Interface is down" is reported until somebody asks for it; then the descriptor works again. One
// that stays broken is given up for short sleeps.
void IdleLadder::forgive(pollfd& descriptor) {
  int error = 0;
  socklen_t length = sizeof error;
  const bool cleared = (descriptor.revents & (POLLNVAL | POLLHUP)) == 0 &&
                       ::getsockopt(descriptor.fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 &&
                       error != 0;
  if (cleared) return;
  all_can_wake_ = false;
  descriptor.fd = -1;
}

}  // namespace sluice::runtime
