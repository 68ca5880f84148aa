// Active opens: RFC 9293 section 3.10.1, local ports (RFC 6056), initial sequence numbers
// (RFC 6528, now RFC 9293 section 3.4.1) and timestamp offsets (RFC 7323 section 5.4).

#include "impl.h"

namespace sluice::tcp {

// ISN = M + F(tuple, secret), M ticking every 4 microseconds.
Seq Stack::Impl::initial_sequence(const FlowKey& key) const {
  const auto m = static_cast<std::uint32_t>(now.time_since_epoch().count() / 4);
  return Seq(m + static_cast<std::uint32_t>(secret_hash(key, Purpose::isn)));
}

// Milliseconds plus an offset that depends on the tuple only: monotonic for successive connections
// of one tuple, as RFC 6191 needs, and telling nothing about uptime.
std::uint32_t Stack::Impl::timestamp_at(std::uint32_t offset, Time time) {
  return static_cast<std::uint32_t>(time.time_since_epoch().count() / 1000) + offset;
}

// RFC 6056 section 3.3.4, double-hash: successive ports to one peer look unrelated, and counters
// for different peers are apart. Bounded: an exhausted range is an error, not a hang.
bool Stack::Impl::choose_port(FlowKey& key, std::uint64_t& hash,
                              bool (*accept_port)(void*, const FlowKey&), void* ctx) {
  constexpr std::uint32_t kPorts = 65536 - kFirstPort;
  key.local_port = 0;
  const auto offset = static_cast<std::uint32_t>(secret_hash(key, Purpose::port_offset));
  std::uint16_t& counter =
      port_counters[secret_hash(key, Purpose::port_step) % port_counters.size()];
  std::uint32_t reusable = FlowTable::kNone;
  FlowKey reusable_key;
  for (std::size_t tries = 0; tries < kPortTries; ++tries) {
    key.local_port = static_cast<std::uint16_t>(kFirstPort + (offset + counter++) % kPorts);
    if (listening[key.local_port]) continue;
    if (accept_port != nullptr && !accept_port(ctx, key)) continue;
    hash = hash_of(key);
    const std::uint32_t entry = find(key, hash);
    if (entry == FlowTable::kNone) return true;
    // RFC 6191 section 2, seen from the side that opens: with timestamps the peer can tell the new
    // connection from the old once the clock has moved.
    if (reusable == FlowTable::kNone && (entry & kKindMask) == kTimeWait) {
      const TimeWaitEntry& old = time_waits[entry & ~kKindMask];
      if (old.timestamps && now - old.entered > Seconds{1}) {
        reusable = entry;
        reusable_key = key;
      }
    }
  }
  if (reusable == FlowTable::kNone) {
    ++stats.tcp_port_exhausted;
    // The next attempt begins a golden section of the range further on. Right behind this one, two
    // that share a counter and take turns could look at the same parts of it for ever.
    counter = static_cast<std::uint16_t>(counter + 40503 - kPortTries);
    return false;
  }
  ++stats.tcp_time_wait_reused;
  forget(time_waits[reusable & ~kKindMask]);
  key = reusable_key;
  hash = hash_of(key);
  return true;
}

Connection* Stack::Impl::connect(const IpAddress& local, const Endpoint& remote, Observer& observer,
                                 Micros timeout, bool (*accept_port)(void*, const FlowKey&),
                                 void* ctx) {
  if (stopping || remote.port == 0 || remote.address.is_unspecified() ||
      remote.address.is_multicast() || remote.address.is_broadcast() ||
      remote.address.is_v4() != local.is_v4()) {
    return nullptr;
  }
  if (pcbs.used() >= config.max_connections) {
    ++stats.drop_tcp_table_full;
    return nullptr;
  }
  if (refuses_new()) {
    ++stats.drop_tcp_pressure;
    return nullptr;
  }
  FlowKey key{local, remote.address, 0, remote.port};
  std::uint64_t hash = 0;
  if (!choose_port(key, hash, accept_port, ctx)) return nullptr;
  Pcb* p = new_pcb(key, hash);
  if (p == nullptr) return nullptr;
  ++stats.tcp_active_opens;
  p->observer = &observer;
  enter(*p, State::syn_sent);
  p->iss = initial_sequence(key);
  p->ts_offset = timestamp_offset(key);
  p->snd_una = p->snd_nxt = p->snd_max = p->recover = p->iss;
  p->snd_base = p->iss + 1;
  p->syn_due = true;
  arm(*p, kLifetime, now + (timeout > Micros{0} ? timeout : config.connect_timeout));
  want_output(*p);
  return p;
}

}  // namespace sluice::tcp
