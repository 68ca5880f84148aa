#include "agent_connection.h"

#include <algorithm>
#include <utility>

namespace sluice::worker {

using telemetry::Counter;

AgentConnection::AgentConnection(Core& core, tcp::Connection& tcp,
                                 std::unique_ptr<crypto::Session> session, Time now)
    : core_(core),
      stream_(tcp, std::move(session)),
      peer_{tcp.flow().remote, tcp.flow().remote_port},
      deadline_(now + kHandshakeTime),
      index_(core.agents.size()) {
  timer.owner = this;
  rearm();
}

AgentConnection::~AgentConnection() { core_.agent_timers.cancel(timer); }

void AgentConnection::on_ready(tcp::Connection&, Time now) {
  if (removed_) return;
  stream_.advance(core_.handshakes, now);
  pump(now);
}

void AgentConnection::pump(Time now) {
  if (removed_) return;
  if (!http_) {
    if (stream_.state() == tls::StreamState::connecting) return;
    if (stream_.state() == tls::StreamState::closed) return lost();
    const bool h2 = stream_.alpn() == "h2";
    const std::string_view scheme = stream_.secure() ? "https" : "http";
    http_ = h2 ? http::make_http2_server(*this, scheme, core_.http_limits, now)
               : http::make_http1_server(*this, scheme, core_.http_limits, now);
    deadline_ = kNever;
    if (core_.draining) http_->shutdown();
  }
  take_input(now);
  if (removed_) return;
  const bool held_back = !http_->wants_input();
  send_output();
  // Output made room for input that is here already: nothing else would tell.
  if (held_back && http_->wants_input()) stream_.mark_ready();
  end_if_done(now);
  if (!removed_) rearm();
}

void AgentConnection::take_input(Time now) {
  std::size_t left = kBytesPerTurn;
  while (left > 0 && (lingering_ || http_->wants_input())) {
    const std::size_t n = stream_.read(core_.scratch);
    if (n == 0) break;
    left -= std::min(left, n);
    if (lingering_) continue;  // read and thrown away: the peer must get our last bytes, not RST
    arrived_ = core_.context.host->nanos();
    http_->feed(ByteSpan{core_.scratch}.first(n), now);
    if (removed_) return;
  }
  if (left == 0) stream_.mark_ready();
  const auto state = stream_.state();
  if (!ended_ && !lingering_ && !stream_.readable() && http_->wants_input() &&
      (state == tls::StreamState::half_closed || state == tls::StreamState::closed)) {
    ended_ = true;
    http_->feed_end(now);
  }
}

void AgentConnection::send_output() {
  if (lingering_) return;
  for (;;) {
    const ByteSpan out = http_->pending_output();
    if (out.empty()) return;
    const std::size_t n = stream_.write(out);
    if (n == 0) return;
    http_->consume_output(n);
  }
}

void AgentConnection::end_if_done(Time now) {
  if (!lingering_) {
    if (stream_.state() == tls::StreamState::closed) return lost();
    if (!http_->finished()) return;
    if (http_->aborted()) return abort();
    if (!http_->pending_output().empty()) return;
    stream_.shutdown_write();
    lingering_ = true;
    await_delivery(now);
  }
  if (stream_.state() != tls::StreamState::closed) return;
  // Both have ended. What is still under way is TCP's to deliver; an abort would take it back.
  stream_.close();
  lost();
}

// kLingerTime counts from when the agent has everything. Until then it may take its time, as long
// as it takes something. False when it does not.
bool AgentConnection::await_delivery(Time now) {
  const std::size_t left = stream_.unacknowledged();
  if (left < undelivered_) {
    undelivered_ = left;
    taken_at_ = now;
  }
  if (now - taken_at_ >= core_.http_limits.idle_time) return false;
  deadline_ = now + (left == 0 ? kLingerTime : kDeliveryCheck);
  return true;
}

void AgentConnection::lost() {
  // Calls remove themselves from calls_ as they end.
  while (!calls_.empty()) {
    call::Call& call = *calls_.back();
    call.on_agent_gone();
    if (!calls_.empty() && calls_.back().get() == &call) {
      core_.dead_calls.push_back(std::move(calls_.back()));
      calls_.pop_back();
    }
  }
  stream_.abort();
  remove();
}

void AgentConnection::abort() { lost(); }

void AgentConnection::remove() {
  if (removed_) return;
  removed_ = true;
  count_end();
  core_.agent_timers.cancel(timer);
  auto& agents = core_.agents;
  core_.dead_agents.push_back(std::move(agents[index_]));
  if (index_ + 1 != agents.size()) {
    agents[index_] = std::move(agents.back());
    agents[index_]->index_ = index_;
  }
  agents.pop_back();
}

// Under a name of its own, whatever the peer did wrong.
void AgentConnection::count_end() {
  telemetry::CounterBlock& counters = *core_.context.counters;
  if (!http_) {
    const auto error = stream_.error();
    if (error == tls::StreamError::tls_alert || error == tls::StreamError::tls_failed) {
      counters.add(Counter::handshakes_failed);
    }
    return;
  }
  switch (http_->error()) {
    case http::Error::abuse:
      return counters.add(Counter::http_ended_abuse);
    case http::Error::protocol:
    case http::Error::too_large:
    case http::Error::flow_control:
      return counters.add(Counter::http_ended_protocol);
    case http::Error::timed_out:
      return counters.add(Counter::http_ended_timeout);
    default:
      return;
  }
}

void AgentConnection::schedule() {
  if (dirty_ || removed_) return;
  dirty_ = true;
  core_.dirty.push_back(this);
}

call::Call* AgentConnection::find(http::StreamId id) {
  const auto it = std::ranges::lower_bound(calls_, id, {}, [](const auto& c) { return c->id(); });
  return it != calls_.end() && (*it)->id() == id ? it->get() : nullptr;
}

void AgentConnection::on_request(http::StreamId id, http::Request&& request, bool end) {
  auto call =
      std::make_unique<call::Call>(core_.context, *this, id, std::move(request), !end, arrived_);
  call::Call& running = *call;
  const auto at = std::ranges::upper_bound(calls_, id, {}, [](const auto& c) { return c->id(); });
  calls_.insert(at, std::move(call));
  running.run();
}

std::size_t AgentConnection::on_body(http::StreamId id, ByteSpan data) {
  call::Call* call = find(id);
  return call != nullptr ? call->on_request_body(data) : data.size();
}

void AgentConnection::on_message_end(http::StreamId id, const http::FieldBlock& trailers) {
  if (call::Call* call = find(id)) call->on_request_end(trailers);
}

void AgentConnection::on_writable(http::StreamId id) {
  if (call::Call* call = find(id)) call->on_agent_writable();
}

void AgentConnection::on_stream_closed(http::StreamId id, http::Error) {
  if (call::Call* call = find(id)) call->on_agent_gone();
}

void AgentConnection::on_request_refused(http::Error, std::uint16_t) {
  core_.context.counters->add(Counter::requests_malformed);
}

void AgentConnection::call_finished(call::Call& call) {
  const auto it =
      std::ranges::lower_bound(calls_, call.id(), {}, [](const auto& c) { return c->id(); });
  if (it == calls_.end() || it->get() != &call) return;
  core_.dead_calls.push_back(std::move(*it));
  calls_.erase(it);
}

void AgentConnection::rearm() {
  const Time t = http_ && !lingering_ ? std::min(deadline_, http_->deadline()) : deadline_;
  if (t == kNever) return core_.agent_timers.cancel(timer);
  core_.agent_timers.arm(timer, t);
}

void AgentConnection::on_timer(Time now) {
  if (removed_) return;
  if (now >= deadline_) {
    if (lingering_ && undelivered_ > 0 && await_delivery(now)) return rearm();
    if (!http_) core_.context.counters->add(Counter::handshakes_timed_out);
    return lost();
  }
  if (http_ && !lingering_) {
    http_->on_timer(now);
    pump(now);
  }
  if (!removed_) rearm();
}

void AgentConnection::drain(Time now) {
  if (removed_ || !http_) return;
  http_->shutdown();
  pump(now);
}

void AgentConnection::revoke_task(const state::TaskId& task) {
  for (std::size_t i = calls_.size(); i-- > 0;) {
    if (i < calls_.size() && calls_[i]->task() == task) calls_[i]->revoke();
  }
}

}  // namespace sluice::worker
