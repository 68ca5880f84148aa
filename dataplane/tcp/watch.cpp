// What a connection remembers and shows of itself: RFC 4022 and RFC 4898 counters, its ring of
// events, and the traces that are kept of what went wrong.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {
namespace {

// RFC 4022: what tcpCurrEstab counts.
bool counts_as_established(State s) { return s == State::established || s == State::close_wait; }

telemetry::ConnectionRecord named(const FlowKey& key) {
  telemetry::ConnectionRecord r;
  r.local = key.local;
  r.remote = key.remote;
  r.local_port = key.local_port;
  r.remote_port = key.remote_port;
  return r;
}

}  // namespace

void Stack::Impl::enter(Pcb& p, State next) {
  const State before = p.phase;
  p.phase = next;
  const bool was = counts_as_established(before), is = counts_as_established(next);
  if (is && !was) ++stats.tcp_curr_estab;
  if (was && !is) --stats.tcp_curr_estab;
  if (next == State::closed) {
    // RFC 4022: direct transitions only.
    if (was) ++stats.tcp_estab_resets;
    if (before == State::syn_sent || before == State::syn_received) ++stats.tcp_attempt_fails;
  }
  note(p, Happened::state, static_cast<std::uint32_t>(next));
}

void Stack::Impl::note(Pcb& p, Happened what, std::uint32_t value) {
  p.events.add(what, value, now);
  if (telemetry::info(what).unusual) keep(p);
}

void Stack::Impl::keep(Pcb& p) {
  if (config.kept_traces == 0) return;
  // One trace per connection, however often it has trouble: others' would be lost to it.
  const bool again = p.kept_at < traces.size() && traces[p.kept_at].index == p.index &&
                     traces[p.kept_at].generation == p.generation;
  if (!again) {
    p.kept_at = static_cast<std::uint32_t>(next_trace);
    if (next_trace == traces.size()) traces.emplace_back();
    next_trace = (next_trace + 1) % config.kept_traces;
  }
  Trace& t = traces[p.kept_at];
  t.trace.connection = describe(p);
  t.trace.events = p.events;
  t.index = p.index;
  t.generation = p.generation;
}

void Stack::Impl::peer_window_turned(Pcb& p) {
  if (p.snd_wnd > 0) return note(p, Happened::peer_window_opened, p.snd_wnd);
  ++p.estats.zero_rwin_rcvd;
  const Seq end = p.data_end();
  note(p, Happened::peer_window_closed, p.snd_nxt < end ? distance(p.snd_nxt, end) : 0);
}

void Stack::Impl::window_turned(Pcb& p, std::uint32_t field) {
  if (p.window_shut == (field == 0)) return;
  p.window_shut = field == 0;
  if (!p.window_shut) return note(p, Happened::window_opened, field << p.rcv_scale);
  ++p.estats.zero_rwin_sent;
  note(p, Happened::window_closed, p.unread());
}

void Stack::Impl::count_sent(Pcb& p, std::uint32_t length, bool repeated) {
  telemetry::TcpEstats& e = p.estats;
  ++e.segs_out;
  if (length > 0) ++e.data_segs_out;
  e.data_octets_out += length;
  if (!repeated) return;
  ++e.segs_retrans;
  e.octets_retrans += length;
}

void Stack::Impl::take_rtt(Pcb& p, Micros sample) {
  if (p.undo && p.undo->adapt) {
    p.rtt.sample_after_spurious_timeout(sample, p.undo->srtt, p.undo->variance);
    p.undo->adapt = false;
  } else {
    p.rtt.sample(sample);
  }
  telemetry::TcpEstats& e = p.estats;
  const std::uint32_t us = std::max<std::uint32_t>(micros32(sample), 1);
  e.min_rtt_us = e.count_rtt == 0 ? us : std::min(e.min_rtt_us, us);
  e.max_rtt_us = std::max(e.max_rtt_us, us);
  ++e.count_rtt;
}

telemetry::ConnectionRecord Stack::Impl::describe(const Pcb& p) const {
  telemetry::ConnectionRecord r = named(p.key);
  r.listener_id = p.listener_id;
  r.state = p.phase;
  r.passive = p.passive;
  r.detached = p.detached;
  r.timestamps = p.timestamps;
  r.sack = p.sack;
  r.window_scaling = p.scaled;
  r.in_recovery = p.recovery != Recovery::none;
  r.win_scale_sent = p.rcv_scale;
  r.win_scale_rcvd = p.snd_scale;
  r.timeouts_in_row = p.timeouts;
  r.age = now - p.opened;
  r.idle = now - p.last_heard;
  r.smoothed_rtt = p.rtt.srtt();
  r.rtt_var = p.rtt.variance();
  r.cur_rto = p.rtt.rto();
  r.cur_mss = send_mss(p);
  r.mss_rcvd = p.peer_mss;
  r.path_mtu = p.path_mtu.value();
  r.cur_cwnd = p.congestion.window();
  r.cur_ssthresh = p.congestion.threshold();
  r.pipe_size = p.sent.in_flight();
  r.cur_rwin_sent = distance(p.rcv_nxt, p.rcv_edge);
  r.cur_rwin_rcvd = p.snd_wnd;
  const Seq end = p.data_end();
  r.cur_app_w_queue = p.snd_nxt < end ? distance(p.snd_nxt, end) : 0;
  r.cur_app_r_queue = p.unread();
  r.memory = static_cast<std::uint32_t>(p.send.capacity() + p.receive.capacity() + p.sent.memory());
  r.estats = p.estats;
  return r;
}

telemetry::ConnectionRecord Stack::Impl::describe(const SynEntry& e) const {
  telemetry::ConnectionRecord r = named(e.key);
  r.listener_id = e.listener_id;
  r.state = State::syn_received;
  r.passive = true;
  r.timestamps = e.timestamps;
  r.sack = e.sack;
  r.window_scaling = e.scaled;
  r.win_scale_sent = e.scaled ? kWindowScale : std::uint8_t{0};
  r.win_scale_rcvd = e.peer_scale;
  r.timeouts_in_row = e.stage;
  r.age = now - e.sent;
  r.mss_rcvd = e.peer_mss;
  return r;
}

telemetry::ConnectionRecord Stack::Impl::describe(const TimeWaitEntry& e) const {
  telemetry::ConnectionRecord r = named(e.key);
  r.state = State::time_wait;
  r.detached = true;
  r.timestamps = e.timestamps;
  r.age = now - e.entered;
  return r;
}

bool Stack::Impl::show(std::uint32_t entry, Visitor& visitor) const {
  const std::uint32_t i = entry & ~kKindMask;
  switch (entry & kKindMask) {
    case kSynEntry: {
      const SynEntry& e = syn_entries[i];
      return !e.linked() || visitor.visit(describe(e));
    }
    case kTimeWait: {
      const TimeWaitEntry& e = time_waits[i];
      return !e.linked() || visitor.visit(describe(e));
    }
    default: {
      const Pcb& p = pcbs[i];
      // One that has ended waits only for its application to hear of it.
      return p.stack == nullptr || p.reason != CloseReason::none || visitor.visit(describe(p));
    }
  }
}

std::uint32_t Stack::walk(std::uint32_t from, std::size_t places, Visitor& visitor,
                          Time now) const {
  Impl& s = *impl_;
  s.tick(now);
  while (true) {
    const std::uint32_t kind = from & Impl::kKindMask, i = from & ~Impl::kKindMask;
    if (kind > Impl::kTimeWait) return kWalkEnd;
    const std::size_t slots = kind == Impl::kPcb        ? s.pcbs.slots()
                              : kind == Impl::kSynEntry ? s.syn_entries.slots()
                                                        : s.time_waits.slots();
    if (i >= slots) {
      from = kind == Impl::kPcb        ? Impl::kSynEntry
             : kind == Impl::kSynEntry ? Impl::kTimeWait
                                       : kWalkEnd;
      continue;
    }
    if (places-- == 0 || !s.show(from, visitor)) return from;
    ++from;
  }
}

std::optional<telemetry::ConnectionTrace> Stack::live_trace(const FlowKey& flow, Time now) const {
  Impl& s = *impl_;
  s.tick(now);
  const std::uint32_t entry = s.find(flow, s.hash_of(flow));
  if (entry == FlowTable::kNone || (entry & Impl::kKindMask) != Impl::kPcb) return std::nullopt;
  const Pcb& p = s.pcbs[entry];
  telemetry::ConnectionTrace trace;
  trace.connection = s.describe(p);
  trace.events = p.events;
  trace.since_last = s.now - p.events.last();
  trace.live = true;
  return trace;
}

std::size_t Stack::kept_traces() const { return impl_->traces.size(); }

telemetry::ConnectionTrace Stack::kept_trace(std::size_t i, Time now) const {
  const Impl& s = *impl_;
  const std::size_t n = s.traces.size();
  const Impl::Trace& t = s.traces[(s.next_trace + 2 * n - 1 - i) % n];
  telemetry::ConnectionTrace trace = t.trace;
  trace.since_last = std::max(now, s.now) - trace.events.last();
  return trace;
}

}  // namespace sluice::tcp
