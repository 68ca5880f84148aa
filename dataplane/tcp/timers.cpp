// Timers: one node per connection in the wheel, armed at the earliest of its deadlines. A deadline
// that moved is looked at again when the node comes up, so nothing fires that was disarmed.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

void Stack::Impl::arm(Pcb& p, Timer timer, Time at) {
  p.deadline[timer] = at;
  if (at < p.TimerNode::deadline()) wheel.arm(p, at);
}

void Stack::Impl::poll_timers(std::size_t max) {
  std::size_t budget = max;
  poll_syn_cache(budget);
  poll_time_wait(budget);
  wheel.expire(now, budget, [this](TimerNode& node) { wake(static_cast<Pcb&>(node)); });
}

Time Stack::Impl::next_deadline() const {
  Time first = wheel.next_deadline();
  for (const auto& stage : syn_stages) {
    if (!stage.empty()) first = std::min(first, stage.front().due);
  }
  if (!time_wait_fifo.empty()) first = std::min(first, time_wait_fifo.front().expires);
  return first;
}

void Stack::Impl::wake(Pcb& p) {
  const std::uint32_t generation = p.generation;
  for (std::uint8_t t = 0; t < kTimers; ++t) {
    if (p.deadline[t] > now) continue;
    p.deadline[t] = kNever;
    switch (t) {
      case kLossDetection:
        loss_detection_timeout(p);
        break;
      case kRetransmit:
        retransmission_timeout(p);
        break;
      case kDelayedAck:
        p.ack_now = true;
        want_output(p);
        break;
      case kKeepalive:
        keepalive_timeout(p);
        break;
      case kLifetime:
        lifetime_over(p);
        break;
      case kHousekeeping:
        housekeeping(p);
        break;
      default:
        break;
    }
    if (p.generation != generation || p.reason != CloseReason::none) return;
  }
  wheel.arm(p, *std::min_element(p.deadline.begin(), p.deadline.end()));
}

Micros Stack::Impl::give_up_time(const Pcb& p) {
  return p.user_timeout != 0 ? Micros{Millis{p.user_timeout}} : kGiveUpTime;
}

// When the retransmission timer, started now, runs out.
Time Stack::Impl::retransmission_due(const Pcb& p) const {
  const Time due = now + p.rtt.rto();
  if (p.user_timeout == 0) return due;
  const Time since = p.stuck_since == kNever ? now : p.stuck_since;
  return std::max(now, std::min(due, since + give_up_time(p)));
}

// RFC 6298 (5.4) to (5.7), RFC 5681 section 3.1 equation (4).
void Stack::Impl::retransmission_timeout(Pcb& p) {
  if (p.persisting) return persist_timeout(p);
  ++stats.tcp_timeouts;
  ++p.estats.timeouts;
  sink.on_stall(p.key.remote);
  note(p, Happened::retransmission_timeout, micros32(p.rtt.rto()));
  if (p.stuck_since == kNever) {
    // A user timeout counts from the last progress, or when it was sent: so does this timer.
    p.stuck_since = p.user_timeout != 0 ? now - p.rtt.rto() : now;
  }
  // R2: the peer has been silent too long. For a SYN the connect timeout rules.
  if (p.synchronized() && now - p.stuck_since >= give_up_time(p)) {
    ++stats.tcp_give_ups;
    note(p, Happened::gave_up, millis32(now - p.last_heard));
    reset_peer(p, CloseReason::timed_out);
    return;
  }
  if (!p.synchronized()) {
    if (p.timeouts < 255) ++p.timeouts;
    p.rtt.back_off();
    p.timing = false;
    p.syn_due = true;
    want_output(p);
    return;
  }
  if (p.snd_wnd == 0) {
    // The peer took its window back: what is beyond it counts as lost, and is probed for.
    forget_undo(p);
    p.sent.lose_all();
    resend_lost(p);
    p.persisting = true;
    arm(p, kRetransmit, now);
    return;
  }
  path_mtu_timeout(p);
  begin_frto(p);
  // Once per loss: neither a timeout of what was sent again, nor one during fast recovery, which
  // has reduced already, reduces the threshold.
  p.congestion.on_timeout(p.outstanding(), p.timeouts == 0 && p.recovery != Recovery::fast);
  if (p.timeouts < 255) ++p.timeouts;
  p.rtt.back_off();
  lose_after_timeout(p);
}

// RFC 9293 section 3.8.6.1: never ends while the peer answers. An owner that has let go does not
// wait for ever.
void Stack::Impl::persist_timeout(Pcb& p) {
  if (p.stuck_since == kNever) {
    p.stuck_since = now;
  } else if (now - p.stuck_since >= give_up_time(p)) {
    ++stats.tcp_give_ups;
    note(p, Happened::gave_up, millis32(now - p.last_heard));
    reset_peer(p, CloseReason::timed_out);
    return;
  }
  if (p.timeouts < 255) ++p.timeouts;
  if (p.snd_wnd == 0) {
    p.probe_due = true;
  } else {
    p.override_sws = true;  // section 3.8.6.2.1: send what the window takes
    p.persisting = false;
  }
  p.rtt.back_off();
  want_output(p);
}

// RFC 9293 section 3.8.4.
void Stack::Impl::keepalive_timeout(Pcb& p) {
  if (!p.keepalive || !p.synchronized()) return;
  const Time due = p.last_heard + config.keepalive_idle;
  if (p.keepalive_probes == 0 && now < due) {
    arm(p, kKeepalive, due);
    return;
  }
  if (p.outstanding() > 0 || p.persisting) {
    // The retransmission timer watches the peer already.
    arm(p, kKeepalive, now + config.keepalive_interval);
    return;
  }
  if (p.keepalive_probes >= config.keepalive_probes) {
    ++stats.tcp_give_ups;
    note(p, Happened::gave_up, millis32(now - p.last_heard));
    reset_peer(p, CloseReason::timed_out);
    return;
  }
  ++p.keepalive_probes;
  p.keepalive_due = true;
  want_output(p);
  arm(p, kKeepalive, now + config.keepalive_interval);
}

void Stack::Impl::lifetime_over(Pcb& p) {
  if (p.synchronized()) {
    // FIN-WAIT-2 without an owner: the peer may never close.
    reset_peer(p, p.detached ? CloseReason::aborted : CloseReason::timed_out);
  } else {
    reset_peer(p, CloseReason::timed_out);
  }
}

void Stack::Impl::housekeeping(Pcb& p) {
  if (p.send.empty() && p.send.capacity() > 0) release(p.send);
  if (p.receive.empty() && !p.has_overtaken() && p.receive.capacity() > 0) release(p.receive);
  if (p.sent.empty()) {
    release(p.sent);
    if (p.undo && !p.undo->adapt) forget_undo(p);
  }
  if (p.want_write && p.send.empty()) notify_writer(p);
  // A peer whose text was refused waits for its own probe, a minute apart at worst, unless told.
  if (p.starved && may_grow(p.receive, p.unread() + our_mss(p.key.remote))) {
    p.starved = false;
    p.ack_now = true;
    want_output(p);
  }
  if (p.starved) {
    arm(p, kHousekeeping, now + kStarvedRetryTime);
  } else if (p.send.capacity() + p.receive.capacity() + p.sent.memory() > 0) {
    arm(p, kHousekeeping, now + kIdleBufferTime);
  } else if (p.want_write) {
    arm(p, kHousekeeping, now + kMemoryRetryTime);
  }
}

}  // namespace sluice::tcp
