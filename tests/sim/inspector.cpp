#include "inspector.h"

#include <cstdio>

#include "impl.h"

namespace sluice::tcp {
namespace {

std::string check_pcb(const Pcb& p) {
  if (!(p.snd_una <= p.snd_nxt && p.snd_nxt <= p.snd_max)) return "snd_una <= snd_nxt <= snd_max";
  if (p.reason != CloseReason::none) return {};
  if (p.synchronized() && p.snd_max > p.snd_base + p.max_snd_wnd + 1)
    return "sent beyond the window";
  if (p.rcv_edge < p.rcv_nxt) return "right edge of the window moved left";
  if (p.unread() > p.rcv_limit) return "more unread than the receive buffer holds";
  const auto& hook = static_cast<const ListHook<OutputTag>&>(p);
  const bool timer = p.deadline[kRetransmit] != kNever;
  const bool waits = p.outstanding() > 0 || (p.synchronized() && p.has_unsent());
  if (waits && !timer && !hook.linked()) return "unacknowledged or unsent data and no timer";
  for (const Time deadline : p.deadline) {
    if (deadline != kNever && !p.TimerNode::armed())
      return "deadline set but node not in the wheel";
    if (p.TimerNode::deadline() > deadline) return "node armed too late";
  }
  // Liveness: whatever does not wait for the application waits for something that will come.
  const bool queued = hook.linked();
  switch (p.phase) {
    case State::syn_sent:
    case State::syn_received:
      if (p.deadline[kLifetime] == kNever && p.deadline[kRetransmit] == kNever && !queued) {
        return "opening, and nothing armed";
      }
      break;
    case State::fin_wait_1:
    case State::closing:
    case State::last_ack:
      if (!timer && !queued) return "FIN not acknowledged, and nothing armed";
      break;
    case State::fin_wait_2:
      if (p.detached && p.deadline[kLifetime] == kNever) return "FIN-WAIT-2 without owner or end";
      break;
    default:
      break;
  }
  if (p.ack_now && !queued) return "ACK due and not queued";
  if (p.unacked_in > 0 && !p.ack_now && p.deadline[kDelayedAck] == kNever) {
    return "text neither acknowledged nor about to be";
  }
  if (timer && p.deadline[kRetransmit] - p.stack->now > Seconds{61}) return "timer beyond its cap";
  if (!p.sent.consistent(p.sent.empty() ? p.snd_nxt : p.snd_una, p.snd_nxt)) {
    return "records of what was sent differ from it";
  }
  if (p.sent.lost() > 0 && p.recovery == Recovery::none) return "losses and no recovery";
  if (p.send.size() > p.stack->config.send_buffer) return "send queue over its limit";
  if (p.snd_wnd == 0 && p.synchronized() && p.has_unsent() && !timer && !queued) {
    return "closed window and nobody probes it";
  }
  return {};
}

// RFC 9293 section 3.8.6.3.
constexpr Micros kLongestAckDelay{500'000};
// Limited transmit (RFC 3042) and a loss probe (RFC 8985 section 7) go beyond the window.
constexpr std::uint32_t kBeyondWindow = 3;

}  // namespace

std::string Inspector::check(const Stack& stack, std::vector<std::uint64_t>& edges) {
  const Stack::Impl& s = *stack.impl_;
  std::size_t memory = 0;
  edges.resize(std::max(edges.size(), s.pcbs.slots()), 0);
  for (std::uint32_t i = 0; i < s.pcbs.slots(); ++i) {
    const Pcb& p = s.pcbs[i];
    if (p.stack == nullptr) continue;
    memory += p.send.capacity() + p.receive.capacity() + p.sent.memory();
    if (std::string wrong = check_pcb(p); !wrong.empty()) return wrong;
    // Right edge, with the generation so that a reused slot starts anew.
    if (!p.synchronized()) continue;
    const auto generation = static_cast<std::uint32_t>(edges[i] >> 32);
    const Seq before(static_cast<std::uint32_t>(edges[i]));
    if (generation == p.generation + 1 && p.rcv_edge < before) return "right edge moved left";
    edges[i] = std::uint64_t{p.generation + 1} << 32 | p.rcv_edge.raw();
  }
  std::uint64_t established = 0;
  for (std::uint32_t i = 0; i < s.pcbs.slots(); ++i) {
    const State phase = s.pcbs[i].phase;
    if (phase == State::established || phase == State::close_wait) ++established;
  }
  if (established != s.stats.tcp_curr_estab) return "tcpCurrEstab differs from the connections";
  if (memory != s.memory) return "memory account differs from the buffers";
  if (memory > s.config.memory_limit + 65536) return "memory over its limit";
  std::size_t tabled = s.syn_entries.used() + s.time_wait_fifo.size();
  for (std::uint32_t i = 0; i < s.pcbs.slots(); ++i) {
    if (s.pcbs[i].stack != nullptr && s.pcbs[i].in_table) ++tabled;
  }
  if (s.flows.size() != tabled) {
    return "flow table holds something else than its connections";
  }
  return {};
}

std::string Inspector::check(const Stack& stack, Watch& watch, Time now, Micros lateness) {
  if (std::string wrong = check(stack, watch.edges); !wrong.empty()) return wrong;
  const Stack::Impl& s = *stack.impl_;
  Time first = kNever;
  watch.slots.resize(std::max(watch.slots.size(), s.pcbs.slots()));
  for (std::uint32_t i = 0; i < s.pcbs.slots(); ++i) {
    const Pcb& p = s.pcbs[i];
    if (p.stack == nullptr || p.reason != CloseReason::none) continue;
    first = std::min(first, p.TimerNode::deadline());
    Watch::Slot& slot = watch.slots[i];
    const std::uint32_t acked = p.last_ack_sent.raw();
    if (p.unacked_in == 0 || slot.generation != p.generation || slot.last_ack_sent != acked) {
      slot.generation = p.generation;
      slot.last_ack_sent = acked;
      slot.unacknowledged_since = p.unacked_in > 0 ? now : kNever;
    } else if (slot.unacknowledged_since == kNever) {
      slot.unacknowledged_since = now;
    } else if (now - slot.unacknowledged_since > kLongestAckDelay + lateness) {
      return "text not acknowledged within 500 ms";
    }
  }
  // Timers come up to a tick late.
  if (first != kNever && s.next_deadline() > first + Millis{1})
    return "the stack would sleep past a deadline";
  return {};
}

void Inspector::before_flush(const Stack& stack, Watch& watch) {
  const Stack::Impl& s = *stack.impl_;
  watch.slots.resize(std::max(watch.slots.size(), s.pcbs.slots()));
  for (std::uint32_t i = 0; i < s.pcbs.slots(); ++i) {
    watch.slots[i].snd_max = s.pcbs[i].snd_max.raw();
  }
}

std::string Inspector::after_flush(const Stack& stack, const Watch& watch) {
  const Stack::Impl& s = *stack.impl_;
  for (std::uint32_t i = 0; i < s.pcbs.slots(); ++i) {
    const Pcb& p = s.pcbs[i];
    if (p.stack == nullptr || !p.synchronized() || p.reason != CloseReason::none) continue;
    // In recovery what counts is the pipe, without what is taken for lost.
    if (p.snd_max.raw() == watch.slots[i].snd_max || p.recovery != Recovery::none || p.persisting) {
      continue;
    }
    const std::uint32_t in_flight = p.sent.in_flight();
    const std::uint32_t fresh = p.snd_max.raw() - watch.slots[i].snd_max;
    const std::uint32_t mss = s.send_mss(p);
    // RFC 8985 section 7.3: the one segment of a tail loss probe may go beyond.
    if (p.probing_tail && fresh <= mss) continue;
    if (in_flight > fresh && in_flight > p.congestion.window() + kBeyondWindow * mss) {
      return "more in flight than the congestion window";
    }
  }
  return {};
}

bool Inspector::is_open(const Stack& stack, const FlowKey& flow) {
  const Stack::Impl& s = *stack.impl_;
  const std::uint32_t entry = s.find(flow, s.hash_of(flow));
  if (entry == FlowTable::kNone || (entry & Stack::Impl::kKindMask) != Stack::Impl::kPcb) {
    return false;
  }
  const Pcb& p = s.pcbs[entry & ~Stack::Impl::kKindMask];
  return p.synchronized() && p.reason == CloseReason::none;
}

std::size_t Inspector::slots(const Stack& stack) { return stack.impl_->pcbs.slots(); }

std::string Inspector::leftovers(const Stack& stack) {
  const Stack::Impl& s = *stack.impl_;
  if (s.pcbs.used() != 0) return "connections left: " + std::to_string(s.pcbs.used());
  if (s.memory != 0) return "memory left: " + std::to_string(s.memory);
  if (s.flows.size() != 0) return "table entries left: " + std::to_string(s.flows.size());
  if (s.wheel.armed() != 0) return "timers left";
  if (!s.ready_list.empty() || !s.output_list.empty() || !s.direct_list.empty()) {
    return "lists not empty";
  }
  return {};
}

std::string Inspector::describe(const Stack& stack, Time now) {
  const Stack::Impl& s = *stack.impl_;
  std::string all;
  for (std::uint32_t i = 0; i < s.pcbs.slots(); ++i) {
    const Pcb& p = s.pcbs[i];
    if (p.stack == nullptr) continue;
    char line[512];
    std::snprintf(
        line, sizeof line,
        "    %u>%u phase %d reason %d detached %d out %u unsent %d snd_wnd %u cwnd %u rto %lld "
        "timeouts %u persisting %d unread %u window %u starved %d overtaken %d fin %d/%d",
        p.key.local_port, p.key.remote_port, static_cast<int>(p.phase), static_cast<int>(p.reason),
        p.detached, p.outstanding(), p.has_unsent(), p.snd_wnd, p.congestion.window(),
        static_cast<long long>(p.rtt.rto().count()), p.timeouts, p.persisting, p.unread(),
        distance(p.rcv_nxt, p.rcv_edge), p.starved, p.has_overtaken(), p.fin_queued,
        p.fin_received);
    all += line;
    for (std::size_t t = 0; t < kTimers; ++t) {
      all += p.deadline[t] == kNever
                 ? " -"
                 : " " + std::to_string((p.deadline[t] - now).count() / 1000) + "ms";
    }
    all += "\n";
  }
  return all + "    memory " + std::to_string(s.memory) + " syn " +
         std::to_string(s.syn_entries.used()) + " time-wait " +
         std::to_string(s.time_wait_fifo.size()) + "\n";
}

std::size_t Inspector::out_of_order_ranges(const Stack& stack) {
  std::size_t most = 0;
  const Stack::Impl& s = *stack.impl_;
  for (std::uint32_t i = 0; i < s.pcbs.slots(); ++i) {
    if (s.pcbs[i].overtaken) most = std::max(most, s.pcbs[i].overtaken->ranges.count());
  }
  return most;
}

std::size_t Inspector::syn_cache(const Stack& stack) { return stack.impl_->syn_entries.used(); }

}  // namespace sluice::tcp
