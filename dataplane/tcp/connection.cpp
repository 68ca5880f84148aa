// The application's side of a connection: RFC 9293 section 3.9.1 (user/TCP interface), events of
// section 3.10.2 to 3.10.5.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {
namespace {

// Every Connection is a Pcb: nothing else can construct one.
Pcb& pcb(Connection& c) { return static_cast<Pcb&>(c); }
const Pcb& pcb(const Connection& c) { return static_cast<const Pcb&>(c); }

bool may_write(const Pcb& p) {
  return p.reason == CloseReason::none && !p.fin_queued && !p.detached &&
         (p.phase == State::syn_sent || p.phase == State::syn_received ||
          p.phase == State::established || p.phase == State::close_wait);
}

// A writer that found the buffer full is woken when this much is free.
std::size_t low_water(const Pcb& p) { return p.stack->config.send_buffer / 8; }

// The FIN takes its place after what is queued; section 3.10.4.
void queue_fin(Pcb& p) {
  if (p.fin_queued) return;
  p.fin_queued = true;
  if (p.phase == State::established) {
    p.stack->enter(p, State::fin_wait_1);
  } else if (p.phase == State::close_wait) {
    p.stack->enter(p, State::last_ack);
  }
  p.stack->want_output(p);
}

}  // namespace

const FlowKey& Connection::flow() const { return pcb(*this).key; }
State Connection::state() const { return pcb(*this).phase; }

CloseReason Connection::close_reason() const {
  const Pcb& p = pcb(*this);
  return p.reported ? p.reason : CloseReason::none;
}

bool Connection::established() const {
  const Pcb& p = pcb(*this);
  return p.reason == CloseReason::none && p.synchronized();
}

ByteSpan Connection::peek() const {
  const Pcb& p = pcb(*this);
  return p.receive.empty() ? p.direct : p.receive.run();
}

std::size_t Connection::readable() const { return pcb(*this).unread(); }

void Connection::consume(std::size_t n) {
  Pcb& p = pcb(*this);
  if (n == 0) return;
  if (!p.receive.empty()) {
    n = std::min(n, p.receive.size());
    p.receive.drop(n);
  } else {
    n = std::min(n, p.direct.size());
    p.direct = p.direct.subspan(n);
    if (p.direct.empty()) p.stack->direct_list.remove(p);
  }
  p.stack->after_read(p, n);
}

bool Connection::end_of_stream() const {
  const Pcb& p = pcb(*this);
  return p.fin_received && p.unread() == 0;
}

std::size_t Connection::write(ByteSpan bytes) {
  Pcb& p = pcb(*this);
  if (!may_write(p) || bytes.empty()) return 0;
  Stack::Impl& s = *p.stack;
  const std::size_t limit = s.config.send_buffer;
  std::size_t n = std::min(bytes.size(), limit - std::min(limit, p.send.size()));
  while (n > 0 && !s.reserve_for_sending(p.send, p.send.size() + n)) {
    // Short of memory: what there is room for, or else less.
    const std::size_t room = p.send.capacity() - p.send.size();
    n = room > 0 ? std::min(n, room) : n > ByteRing::kSmallest ? n / 2 : 0;
    // No acknowledgement will come to wake a writer whose queue is empty.
    s.arm(p, kHousekeeping, s.now + kMemoryRetryTime);
  }
  if (n < bytes.size()) p.want_write = true;
  if (n == 0) return 0;
  p.send.append(bytes.first(n));
  if (!s.armed(p, kHousekeeping)) s.arm(p, kHousekeeping, s.now + kIdleBufferTime);
  s.want_output(p);
  return n;
}

std::size_t Connection::writable() const {
  const Pcb& p = pcb(*this);
  if (!may_write(p)) return 0;
  const std::size_t limit = p.stack->config.send_buffer;
  return limit - std::min(limit, p.send.size());
}

std::size_t Connection::unsent_and_unacked() const { return pcb(*this).send.size(); }

void Connection::shutdown_write() {
  Pcb& p = pcb(*this);
  if (p.reason == CloseReason::none && !p.detached) queue_fin(p);
}

void Connection::close() {
  Pcb& p = pcb(*this);
  if (p.detached) return;
  Stack::Impl& s = *p.stack;
  p.detached = true;
  s.ready_list.remove(p);
  if (p.reason == CloseReason::none) {
    s.note(p, Happened::closed_by_owner, static_cast<std::uint32_t>(p.send.size()));
  }
  if (p.reason != CloseReason::none || p.phase == State::syn_sent) {
    // Nothing the peer need hear of.
    if (p.phase == State::syn_sent) s.enter(p, State::closed);
    s.free_pcb(p);
    return;
  }
  if (p.unread() > 0 || p.has_overtaken()) {
    // RFC 2525 section 2.17: the peer must learn that its data was not read.
    s.reset_peer(p, CloseReason::aborted);
    return;
  }
  queue_fin(p);
  if (p.phase == State::fin_wait_2) s.arm(p, kLifetime, s.now + kFinWait2Time);
}

void Connection::abort() {
  Pcb& p = pcb(*this);
  if (p.detached) return;
  p.detached = true;
  p.stack->ready_list.remove(p);
  if (p.reason != CloseReason::none) {
    p.stack->free_pcb(p);
  } else {
    p.stack->reset_peer(p, CloseReason::aborted);
  }
}

void Connection::mark_ready() {
  Pcb& p = pcb(*this);
  p.stack->mark_ready(p);
}

void Connection::set_observer(Observer* observer) {
  Pcb& p = pcb(*this);
  p.observer = observer;
  if (observer == nullptr) {
    p.stack->ready_list.remove(p);
  } else if (p.reason != CloseReason::none) {
    p.stack->mark_ready(p);
  }
}

void Connection::set_keepalive(bool on) {
  Pcb& p = pcb(*this);
  p.keepalive = on;
  p.keepalive_probes = 0;
  if (on && p.synchronized() && p.reason == CloseReason::none) {
    p.stack->arm(p, kKeepalive, p.stack->now + p.stack->config.keepalive_idle);
  } else {
    p.stack->disarm(p, kKeepalive);
  }
}

void Connection::set_user_timeout(Micros timeout) {
  Pcb& p = pcb(*this);
  // Less than a millisecond is not none.
  p.user_timeout = timeout > Micros{0} ? std::max(millis32(timeout), 1u) : 0;
}

void Stack::Impl::notify_writer(Pcb& p) {
  if (!p.want_write || !may_write(p)) return;
  const std::size_t used = p.send.size();
  if (used != 0 && config.send_buffer - std::min(config.send_buffer, used) < low_water(p)) return;
  p.want_write = false;
  mark_ready(p);
}

}  // namespace sluice::tcp
