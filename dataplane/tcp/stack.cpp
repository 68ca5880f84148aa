#include "tcp/stack.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/siphash.h"
#include "impl.h"

namespace sluice::tcp {

namespace {
constexpr Micros kTick{100};
}

bool RateLimit::allow(Time now, std::uint32_t per_second, std::uint64_t jitter) {
  if (now >= window_end_) {
    window_end_ = now + Seconds{1};
    left_ = per_second - per_second / 4 +
            static_cast<std::uint32_t>(jitter % (per_second / 2 + std::uint32_t{1}));
  }
  if (left_ == 0) return false;
  --left_;
  return true;
}

Stack::Impl::Impl(const StackConfig& configuration, TransmitSink& transmit, Acceptor& acceptor_)
    : config(configuration),
      sink(transmit),
      acceptor(acceptor_),
      flows(configuration.max_connections + configuration.syn_cache_entries +
            configuration.time_wait_entries),
      wheel(Time{}, kTick) {
#ifdef SLUICE_FUZZING
  config.secret[0] = config.secret[1] = 0;
#endif
  config.receive_buffer = std::clamp<std::size_t>(
      config.receive_buffer, std::size_t{4} * kWindowPad, std::size_t{64} << 20);
}

Stack::Impl::~Impl() {
  // Nodes must leave the wheel before either dies.
  for (std::uint32_t i = 0; i < pcbs.slots(); ++i) {
    wheel.cancel(pcbs[i]);
    drop_buffers(pcbs[i]);
  }
}

std::uint64_t Stack::Impl::secret_hash(const FlowKey& key, Purpose purpose) const {
  std::array<std::uint8_t, 37> bytes;
  // Each segment is looked up by this: IPv4 addresses in four octets halve the work.
  const std::size_t skip = key.local.is_v4() && key.remote.is_v4() ? 12 : 0;
  const std::size_t size = 16 - skip;
  std::memcpy(bytes.data(), key.local.mapped().data() + skip, size);
  std::memcpy(bytes.data() + size, key.remote.mapped().data() + skip, size);
  store_be16(&bytes[2 * size], key.local_port);
  store_be16(&bytes[2 * size + 2], key.remote_port);
  bytes[2 * size + 4] = static_cast<std::uint8_t>(purpose);
  return siphash24(config.secret[0], config.secret[1], ByteSpan{bytes}.first(2 * size + 5));
}

std::uint64_t Stack::Impl::hash_of(const FlowKey& key) const {
  return secret_hash(key, Purpose::table);
}

const FlowKey& Stack::Impl::key_at(std::uint32_t entry) const {
  const std::uint32_t i = entry & ~kKindMask;
  switch (entry & kKindMask) {
    case kSynEntry:
      return syn_entries[i].key;
    case kTimeWait:
      return time_waits[i].key;
    default:
      return pcbs[i].key;
  }
}

std::uint32_t Stack::Impl::find(const FlowKey& key, std::uint64_t hash) const {
  return flows.find(hash, [&](std::uint32_t entry) { return key_at(entry) == key; });
}

Pcb* Stack::Impl::new_pcb(const FlowKey& key, std::uint64_t hash) {
  if (pcbs.used() >= config.max_connections) {
    ++stats.drop_tcp_table_full;
    return nullptr;
  }
  const std::uint32_t i = pcbs.take();
  if (i == FlowTable::kNone) {
    ++stats.drop_tcp_memory;
    return nullptr;
  }
  Pcb& p = pcbs[i];
  if (!flows.insert(hash, kPcb | i)) {
    pcbs.give_back(i);
    ++stats.drop_tcp_table_full;
    return nullptr;
  }
  p.key = key;
  p.stack = this;
  p.hash = hash;
  p.index = i;
  p.in_table = true;
  p.path_mtu.start(config.mtu);
  p.rcv_limit = static_cast<std::uint32_t>(config.receive_buffer);
  p.deadline.fill(kNever);
  p.opened = now;
  p.last_sent = p.last_heard = p.round_began = p.next_challenge = now;
  return &p;
}

void Stack::Impl::remove_from_table(Pcb& p) {
  if (!p.in_table) return;
  flows.erase(p.hash, kPcb | p.index);
  p.in_table = false;
}

void Stack::Impl::drop_buffers(Pcb& p) {
  direct_list.remove(p);
  p.direct = {};
  release(p.send);
  release(p.receive);
  if (p.overtaken) {
    if (spare_overtaken.size() < 64) spare_overtaken.push_back(std::move(p.overtaken));
    p.overtaken.reset();
  }
  release(p.sent);
  forget_undo(p);
}

void Stack::Impl::free_pcb(Pcb& p) {
  remove_from_table(p);
  wheel.cancel(p);
  ready_list.remove(p);
  output_list.remove(p);
  drop_buffers(p);
  const std::uint32_t index = p.index;
  const std::uint32_t generation = p.generation + 1;
  // A fresh object in the same place: no field can be forgotten.
  p.~Pcb();
  Pcb* fresh = new (&p) Pcb;
  fresh->index = index;
  fresh->generation = generation;
  pcbs.give_back(index);
}

void Stack::Impl::finish(Pcb& p, CloseReason reason) {
  if (p.reason != CloseReason::none) return;
  remove_from_table(p);
  wheel.cancel(p);
  p.deadline.fill(kNever);
  output_list.remove(p);
  p.reason = reason;
  if (p.phase != State::time_wait) enter(p, State::closed);
  if (p.kept_at != kNotKept) keep(p);  // how it ended
  release(p.send);
  release(p.sent);
  if (p.detached || p.accepting) {
    free_pcb(p);
    return;
  }
  mark_ready(p);
}

void Stack::Impl::reset_peer(Pcb& p, CloseReason reason) {
  if (p.phase != State::syn_sent && p.phase != State::closed && p.phase != State::time_wait) {
    send_reset(p, reason);
  }
  finish(p, reason);
}

void Stack::Impl::mark_ready(Pcb& p) {
  if (p.observer != nullptr && !p.detached) ready_list.push_back(p);
}

namespace {
// The ring without which a connection can do nothing at all.
bool is_least(const ByteRing& ring, std::size_t growth) {
  return ring.capacity() == 0 && growth == ByteRing::kSmallest;
}
}  // namespace

// The last eighth is for least rings alone: however much others hold, whoever runs can receive a
// little and answer it.
bool Stack::Impl::may_grow(const ByteRing& ring, std::size_t bytes) const {
  const std::size_t growth = ring.capacity_for(bytes) - ring.capacity();
  return growth == 0 ||
         memory + growth <= config.memory_limit / 8 * (is_least(ring, growth) ? 8 : 7);
}

bool Stack::Impl::reserve(ByteRing& ring, std::size_t bytes, bool beyond_limit) {
  const std::size_t before = ring.capacity();
  if (bytes <= before) return true;
  if (!beyond_limit && !may_grow(ring, bytes)) return false;
  if (!ring.reserve(bytes)) return false;
  memory += ring.capacity() - before;
  return true;
}

// What waits to be sent may not take all there is: acknowledgements that free it come only to who
// can still receive.
bool Stack::Impl::reserve_for_sending(ByteRing& ring, std::size_t bytes) {
  const std::size_t growth = ring.capacity_for(bytes) - ring.capacity();
  if (!is_least(ring, growth) && growth > 0 && memory + growth > config.memory_limit / 8 * 6) {
    return false;
  }
  return reserve(ring, bytes);
}

void Stack::Impl::release(ByteRing& ring) {
  memory -= ring.capacity();
  ring.release();
}

void Stack::Impl::release(SentSegments& sent) {
  memory -= sent.memory();
  sent.release();
}

std::size_t Stack::Impl::dispatch(std::size_t max) {
  // Those that become ready meanwhile come with the next call.
  std::size_t left = std::min(max, ready_list.size());
  std::size_t done = 0;
  for (; left > 0 && !ready_list.empty(); --left) {
    Pcb& p = ready_list.pop_front();
    const std::uint32_t generation = p.generation;
    // After a close in good order the rest is read first.
    p.reported =
        p.reason != CloseReason::none && (p.reason != CloseReason::graceful || p.unread() == 0);
    ++done;
    p.observer->on_ready(p, now);
    if (p.generation != generation) continue;
    if (p.reported) {
      free_pcb(p);
    } else if (p.reason != CloseReason::none && p.unread() == 0) {
      mark_ready(p);
    }
  }
  return done;
}

void Stack::Impl::flush() {
  for (std::size_t left = output_list.size(); left > 0 && !output_list.empty(); --left) {
    Pcb& p = output_list.pop_front();
    if (!output(p)) {
      want_output(p);
      return;
    }
  }
}

void Stack::Impl::end_turn() {
  while (!direct_list.empty()) settle_direct(direct_list.front(), true);
}

void Stack::Impl::abort_all() {
  stopping = true;
  for (std::uint32_t i = 0; i < pcbs.slots(); ++i) {
    Pcb& p = pcbs[i];
    if (p.stack == nullptr) continue;
    if (p.reason == CloseReason::none) {
      reset_peer(p, CloseReason::aborted);
    }
  }
  while (!ready_list.empty()) {
    Pcb& p = ready_list.front();
    // What was left unread after a close in good order is gone too.
    if (p.reason == CloseReason::graceful) p.reason = CloseReason::aborted;
    dispatch(1);
  }
  for (std::uint32_t i = 0; i < pcbs.slots(); ++i) {
    if (pcbs[i].stack != nullptr) free_pcb(pcbs[i]);
  }
  for (auto& stage : syn_stages) {
    while (!stage.empty()) forget(stage.front());
  }
  while (!time_wait_fifo.empty()) forget(time_wait_fifo.front());
  stopping = false;
}

std::uint32_t Stack::Impl::listener(std::uint16_t port) const {
  if (!listening[port]) return FlowTable::kNone;
  for (std::uint32_t i = 0; i < listeners.size(); ++i) {
    if (listeners[i].port == port) return i;
  }
  return FlowTable::kNone;
}

Stack::Stack(const StackConfig& config, TransmitSink& sink, Acceptor& acceptor)
    : impl_(std::make_unique<Impl>(config, sink, acceptor)) {}

Stack::~Stack() = default;

bool Stack::listen(std::uint16_t port, std::uint32_t listener_id) {
  if (port == 0 || impl_->listening[port]) return false;
  impl_->listening[port] = true;
  impl_->listeners.push_back({port, listener_id});
  return true;
}

void Stack::unlisten(std::uint16_t port) {
  impl_->listening[port] = false;
  impl_->forget_half_open(port);
  std::erase_if(impl_->listeners, [&](const Impl::Listener& l) { return l.port == port; });
}

Connection* Stack::connect(const IpAddress& local, const Endpoint& remote, Observer& observer,
                           Time now, Micros timeout, bool (*accept_port)(void* ctx, const FlowKey&),
                           void* accept_port_ctx) {
  impl_->tick(now);
  return impl_->connect(local, remote, observer, timeout, accept_port, accept_port_ctx);
}

void Stack::input(const InputSegment& segment, Time now) {
  impl_->tick(now);
  impl_->input(segment);
}

void Stack::icmp_error(const FlowKey& flow, ByteSpan quoted, bool hard, std::uint16_t next_hop_mtu,
                       Time now) {
  impl_->tick(now);
  impl_->icmp_error(flow, quoted, hard, next_hop_mtu);
}

void Stack::poll_timers(Time now, std::size_t max_expiries) {
  impl_->tick(now);
  impl_->poll_timers(max_expiries);
}

std::size_t Stack::dispatch(Time now, std::size_t max_connections) {
  impl_->tick(now);
  return impl_->dispatch(max_connections);
}

void Stack::flush(Time now) {
  impl_->tick(now);
  impl_->flush();
}

void Stack::end_turn() { impl_->end_turn(); }

bool Stack::has_ready() const { return !impl_->ready_list.empty() || !impl_->output_list.empty(); }

Time Stack::next_deadline() const { return impl_->next_deadline(); }

std::size_t Stack::connection_count() const { return impl_->pcbs.used(); }
std::size_t Stack::time_wait_count() const { return impl_->time_wait_fifo.size(); }
std::size_t Stack::memory_in_use() const { return impl_->memory; }
const Stats& Stack::stats() const { return impl_->stats; }

void Stack::abort_all(Time now) {
  impl_->tick(now);
  impl_->abort_all();
}

}  // namespace sluice::tcp
