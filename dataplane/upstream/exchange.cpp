#include <algorithm>
#include <utility>

#include "connection.h"

namespace sluice::upstream {

using telemetry::Reason;

namespace {

// A replaced connection is a fresh one; more than this many in a row is not staleness.
constexpr std::uint8_t kMaxReplacements = 2;

}  // namespace

Exchange::Exchange(Pools& pools, ExchangeHandler& handler, const http::Request& request,
                   bool has_body, bool repeatable)
    : pools_(pools),
      handler_(handler),
      request_(request),
      has_body_(has_body),
      repeatable_(repeatable),
      body_finished_(!has_body) {}

Exchange::~Exchange() { cancel(); }

void Exchange::start(const Target& target, Time now) {
  target_ = target;
  progress_.address = target.address;
  if (Connection* pooled = pools_.take_idle(target.pool_key)) {
    progress_.pooled = true;
    pools_.stats_.reused++;
    attach(*pooled, now);
    return;
  }
  std::string error;
  Connection* fresh = pools_.open(target_, *this, now, error);
  if (fresh == nullptr) {
    over_ = true;
    return handler_.on_failed(Reason::connect_failed, error, false, now);
  }
  connection_ = fresh;
}

void Exchange::attach(Connection& connection, Time now) {
  connection_ = &connection;
  connection.exchange_ = this;
  connection.sent_bytes_ = 0;
  connection.now_ = now;
  progress_.connection_ready = now;
  replay_sent_ = 0;
  finish_sent_ = false;
  const bool end = body_finished_ && replay_.empty() && trailers_.empty();
  stream_ = connection.http().start(request_, end, now);
  if (stream_ == 0) return connection.lost(Reason::upstream_reset, "connection not usable", now);
  finish_sent_ = end;
  pools_.mark_dirty(connection);
  handler_.on_sent(now);
  if (connection_ != nullptr) send_kept_body(now);
}

void Exchange::send_kept_body(Time now) {
  if (stream_ == 0 || over_) return;
  auto& http = connection_->http();
  while (replay_sent_ < replay_.size()) {
    const auto rest = as_bytes(replay_).subspan(replay_sent_);
    const std::size_t n = http.write_body(stream_, rest);
    if (n == 0) return;
    replay_sent_ += n;
    pools_.mark_dirty(*connection_);
  }
  if (body_finished_) {
    if (!finish_sent_) {
      finish_sent_ = true;
      http.finish(stream_, trailers_);
      pools_.mark_dirty(*connection_);
    }
    return;
  }
  handler_.on_request_writable(now);
}

std::size_t Exchange::write_body(ByteSpan data, Time) {
  if (over_) return data.size();
  const bool all_sent = replay_sent_ == replay_.size();
  if (stream_ == 0 || !all_sent) {
    const std::size_t room = kReplayBytes - std::min(kReplayBytes, replay_.size());
    const std::size_t n = std::min(room, data.size());
    replay_.append(as_text(data.first(n)));
    return n;
  }
  const std::size_t n = connection_->http().write_body(stream_, data);
  if (n > 0) pools_.mark_dirty(*connection_);
  if (replay_complete_ && replay_.size() + n <= kReplayBytes && !response_begun_) {
    replay_.append(as_text(data.first(n)));
  } else if (n > 0) {
    replay_complete_ = false;
    replay_.clear();
    replay_.shrink_to_fit();
  }
  replay_sent_ = replay_.size();
  return n;
}

void Exchange::finish_body(const http::FieldBlock& trailers, Time now) {
  if (over_ || body_finished_) return;
  body_finished_ = true;
  trailers_ = trailers;
  send_kept_body(now);
}

void Exchange::resume(Time) {
  if (over_ || stream_ == 0) return;
  // With the rest the message may end and the exchange let go of the connection, or be gone itself.
  Connection& connection = *connection_;
  Pools& pools = pools_;
  connection.http().resume(stream_);
  pools.mark_dirty(connection);
}

void Exchange::cancel() {
  over_ = true;
  if (connection_ == nullptr) return;
  Connection& connection = *std::exchange(connection_, nullptr);
  connection.exchange_ = nullptr;
  // A connection still being opened stays: the next call will be glad of it.
  if (stream_ != 0) connection.abort();
  stream_ = 0;
}

void Exchange::connection_lost(Reason reason, std::string_view detail, bool untouched, Time now) {
  const bool stale = progress_.pooled && !response_begun_;
  if (stale && replay_complete_ && (repeatable_ || untouched) && replacements_ < kMaxReplacements) {
    replacements_++;
    pools_.stats_.replaced++;
    progress_.pooled = false;
    std::string error;
    if (Connection* fresh = pools_.open(target_, *this, now, error)) {
      connection_ = fresh;
      replay_sent_ = 0;
      return;
    }
  }
  over_ = true;
  handler_.on_failed(reason, detail, response_begun_, now);
}

}  // namespace sluice::upstream
