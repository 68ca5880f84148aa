// TIME-WAIT: RFC 9293 sections 3.3.2 and 3.6.1, RFC 6191, RFC 1337.

#include "impl.h"

namespace sluice::tcp {

std::uint32_t Stack::Impl::index_of(const TimeWaitEntry& entry) const {
  return flows.find(entry.hash, [&](std::uint32_t e) {
    return (e & kKindMask) == kTimeWait && &time_waits[e & ~kKindMask] == &entry;
  });
}

void Stack::Impl::forget(TimeWaitEntry& entry) {
  const std::uint32_t e = index_of(entry);
  flows.erase(entry.hash, e);
  time_wait_fifo.remove(entry);
  time_waits.give_back(e & ~kKindMask);
}

// Both FINs are through, and it was us who closed first (or both at once). An ACK that is due goes
// out before the connection is let go; if it is lost the peer repeats its FIN, and the entry
// answers.
void Stack::Impl::enter_time_wait(Pcb& p) {
  if (p.ack_now) send_ack(p);
  const FlowKey key = p.key;
  const std::uint64_t hash = p.hash;
  if (config.time_wait_entries > 0) {
    if (time_wait_fifo.size() >= config.time_wait_entries) {
      ++stats.tcp_time_wait_evicted;
      forget(time_wait_fifo.front());
    }
    remove_from_table(p);
    const std::uint32_t i = time_waits.take();
    // Without memory to remember it by, a late segment meets a closed port.
    if (i == FlowTable::kNone) {
      enter(p, State::time_wait);
      return finish(p, CloseReason::graceful);
    }
    TimeWaitEntry& e = time_waits[i];
    e.key = key;
    e.hash = hash;
    e.snd_nxt = p.snd_max;
    e.rcv_nxt = p.rcv_nxt;
    e.timestamps = p.timestamps;
    e.ts_recent = p.ts_recent;
    e.ts_offset = p.ts_offset;
    e.window = advertise(p);
    e.entered = e.next_ack = now;
    e.expires = now + kMsl2;
    // Cannot fail: the connection's own place has just become free.
    if (flows.insert(hash, kTimeWait | i)) {
      time_wait_fifo.push_back(e);
      ++stats.tcp_time_wait_entered;
    } else {
      time_waits.give_back(i);
    }
  }
  enter(p, State::time_wait);
  finish(p, CloseReason::graceful);
}

void Stack::Impl::time_wait_arrives(TimeWaitEntry& e, const Segment& s) {
  // RFC 1337: a RST does not end it.
  if (s.has(kRst)) {
    ++stats.drop_tcp_time_wait;
    return;
  }
  if (s.has(kSyn) && !s.has(kAck)) {
    // RFC 6191 section 2 and RFC 9293 section 3.6.1: a later connection of the same tuple. One that
    // brings timestamps where there were none is protected by them.
    const bool both = e.timestamps && s.options.has_timestamps;
    const auto newer = both ? static_cast<std::int32_t>(s.options.timestamp - e.ts_recent) : 0;
    const bool fresh = newer > 0 || (!e.timestamps && s.options.has_timestamps) ||
                       (newer == 0 && s.seq > e.rcv_nxt);
    const std::uint32_t l = listener(s.key.local_port);
    if (fresh && l != FlowTable::kNone) {
      ++stats.tcp_time_wait_reused;
      const Seq floor = e.snd_nxt;
      const std::uint64_t hash = e.hash;
      forget(e);
      syn_arrives(s, hash, l, floor, true);
      return;
    }
  }
  ++stats.drop_tcp_time_wait;
  // A bare ACK in order needs no answer; anything else shows a peer that missed our last ACK.
  const bool in_order = s.seq == e.rcv_nxt && s.length() == 0;
  if (in_order) return;
  // "The only thing that can arrive in this state is a retransmission of the remote FIN.
  // Acknowledge it, and restart the 2 MSL timeout." A retransmission of the text before it, which
  // acknowledges our FIN, is as good a sign that the peer still waits for our last ACK.
  const bool fin = s.has(kFin) && s.seq + s.length() == e.rcv_nxt;
  const bool text = s.length() > 0 && s.has(kAck) && !s.has(kSyn) && s.ack == e.snd_nxt &&
                    s.seq + s.length() <= e.rcv_nxt;
  if (fin || text) {
    time_wait_fifo.remove(e);
    e.expires = now + kMsl2;
    time_wait_fifo.push_back(e);
  }
  if (!fin) {
    if (now < e.next_ack) return;
    e.next_ack = now + kChallengeSpacing;
  }
  Outgoing o;
  o.key = e.key;
  o.seq = e.snd_nxt;
  o.ack = e.rcv_nxt;
  o.flags = kAck;
  o.window = e.window;
  o.options.has_timestamps = e.timestamps;
  o.options.timestamp = timestamp_clock(e.ts_offset);
  o.options.timestamp_echo = e.ts_recent;
  send_once(o);
}

void Stack::Impl::poll_time_wait(std::size_t& budget) {
  while (budget > 0 && !time_wait_fifo.empty() && time_wait_fifo.front().expires <= now) {
    --budget;
    forget(time_wait_fifo.front());
  }
}

}  // namespace sluice::tcp
