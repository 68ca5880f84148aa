#include "connection.h"

#include <utility>

#include "crypto/contexts.h"

namespace sluice::upstream {

using telemetry::Reason;

namespace {

// One connection's share of a turn (design section 3).
constexpr std::size_t kBytesPerTurn = std::size_t{64} * 1024;

Reason protocol_reason(http::Error error) {
  switch (error) {
    case http::Error::too_large:
      return Reason::response_too_large;
    case http::Error::truncated:
    case http::Error::cancelled:
    case http::Error::refused:
      return Reason::upstream_reset;
    case http::Error::timed_out:
      return Reason::step_timeout;
    default:
      return Reason::upstream_protocol;
  }
}

std::string_view protocol_detail(http::Error error) {
  switch (error) {
    case http::Error::too_large:
      return "the tool's response head is larger than the gateway accepts";
    case http::Error::truncated:
      return "the tool closed the connection before its response was complete";
    case http::Error::cancelled:
    case http::Error::refused:
      return "the tool closed the connection without a response";
    default:
      return "the tool's response is not valid HTTP";
  }
}

}  // namespace

Reason failure_reason(tls::StreamError error, bool connecting) {
  switch (error) {
    case tls::StreamError::tcp_timed_out:
      return connecting ? Reason::connect_timeout : Reason::upstream_reset;
    case tls::StreamError::tls_alert:
    case tls::StreamError::tls_failed:
      return connecting ? Reason::upstream_tls_failed : Reason::upstream_reset;
    default:
      return connecting ? Reason::connect_failed : Reason::upstream_reset;
  }
}

std::string_view failure_detail(tls::StreamError error, bool connecting) {
  switch (error) {
    case tls::StreamError::tcp_refused:
      return "the tool's host refused the connection";
    case tls::StreamError::tcp_timed_out:
      return connecting ? "the tool's host did not answer the connection attempt"
                        : "the tool's host stopped acknowledging";
    case tls::StreamError::tls_alert:
      return "the tool refused the TLS handshake";
    case tls::StreamError::tls_failed:
      return "the tool's TLS certificate or parameters were not acceptable";
    default:
      return connecting ? "the connection to the tool could not be opened"
                        : "the tool closed the connection without a complete response";
  }
}

Connection::Connection(Pools& pools, const Target& target) : pools_(pools), target_(target) {}

bool Connection::begin(tcp::Connection& tcp, std::string& error) {
  if (!target_.tls) {
    stream_ = std::make_unique<tls::Stream>(tcp);
    return true;
  }
  if (target_.tls_context == nullptr) {
    error = "the service's TLS settings could not be loaded";
    return false;
  }
  auto session = static_cast<crypto::ClientContext*>(target_.tls_context.get())
                     ->make_session(target_.server_name);
  if (!session) {
    error = "no memory for a TLS session";
    return false;
  }
  stream_ = std::make_unique<tls::Stream>(tcp, std::move(session));
  return true;
}

void Connection::on_ready(tcp::Connection& tcp, Time now) {
  if (removed_) return;
  now_ = now;
  if (!tcp_up_ && tcp.established()) {
    tcp_up_ = true;
    set_up_deadline_ = now + target_.tls_time;
  }
  stream_->advance(*pools_.handshakes_, now);
  if (!http_) {
    set_up(now);
    if (!http_) return;
  }
  pump(now);
}

void Connection::set_up(Time now) {
  if (stream_->state() == tls::StreamState::connecting) return;
  std::erase(pools_.handshaking_, this);
  if (stream_->state() == tls::StreamState::closed) {
    return lost(failure_reason(stream_->error(), true), failure_detail(stream_->error(), true),
                now);
  }
  http_ = http::make_http1_client(*this, pools_.limits_.http);
  if (exchange_ != nullptr) {
    exchange_->attach(*this, now);
  } else {
    pools_.give_back(*this, now);  // whoever asked has left; the connection is good all the same
  }
}

void Connection::pump(Time now) {
  if (removed_ || !http_) return;
  now_ = now;
  take_input(now);
  if (removed_) return;
  send_output();
  if (http_->finished()) {
    if (exchange_ != nullptr) {
      return lost(protocol_reason(http_->error()), protocol_detail(http_->error()), now);
    }
    return close();
  }
  const auto state = stream_->state();
  if (state == tls::StreamState::closed || (state == tls::StreamState::half_closed && ended_)) {
    if (exchange_ != nullptr && http_->active_streams() > 0 && !stream_->readable() &&
        http_->wants_input()) {
      return lost(failure_reason(stream_->error(), false), failure_detail(stream_->error(), false),
                  now);
    }
    if (exchange_ == nullptr) return close();
  }
}

void Connection::take_input(Time now) {
  std::size_t left = kBytesPerTurn;
  while (http_->wants_input() && left > 0) {
    const std::size_t n = stream_->read(*pools_.scratch_);
    if (n == 0) break;
    http_->feed(ByteSpan{*pools_.scratch_}.first(n), now);
    if (removed_) return;
    left -= n < left ? n : left;
  }
  if (left == 0) stream_->mark_ready();
  const auto state = stream_->state();
  if ((state == tls::StreamState::half_closed || state == tls::StreamState::closed) &&
      !stream_->readable() && !ended_ && http_->wants_input()) {
    ended_ = true;
    // A connection cut off inside TLS or by RST did not end the message: do not let a body that
    // runs until close pass for complete.
    if (stream_->error() == tls::StreamError::none) http_->feed_end(now);
  }
}

void Connection::send_output() {
  for (;;) {
    const ByteSpan out = http_->pending_output();
    if (out.empty()) return;
    const std::size_t n = stream_->write(out);
    if (n == 0) return;
    sent_bytes_ += n;
    http_->consume_output(n);
  }
}

void Connection::on_response(http::StreamId, http::Response&& response, bool end) {
  if (exchange_ == nullptr) return;
  Exchange& exchange = *exchange_;
  exchange.response_begun_ = true;
  exchange.progress_.first_byte = now_;
  if (!end) return exchange.handler_.on_response(std::move(response), false, now_);
  exchange_ = nullptr;
  exchange.connection_ = nullptr;
  exchange.over_ = true;
  const bool reusable = exchange.sent_completely();
  exchange.handler_.on_response(std::move(response), true, now_);
  if (!reusable) return close();
  pools_.mark_dirty(*this);  // given back once the codec has finished with the message
}

void Connection::on_continue(http::StreamId) {}

std::size_t Connection::on_body(http::StreamId, ByteSpan data) {
  if (exchange_ == nullptr) return data.size();
  return exchange_->handler_.on_response_body(data, now_);
}

void Connection::on_message_end(http::StreamId, const http::FieldBlock& trailers) {
  if (exchange_ == nullptr) return;
  Exchange& exchange = *std::exchange(exchange_, nullptr);
  exchange.connection_ = nullptr;
  exchange.over_ = true;
  const bool reusable = exchange.sent_completely();
  exchange.handler_.on_response_end(trailers, now_);
  if (!reusable) return close();
  pools_.mark_dirty(*this);
}

void Connection::on_writable(http::StreamId) {
  if (exchange_ == nullptr) return;
  exchange_->send_kept_body(now_);
}

void Connection::on_stream_closed(http::StreamId, http::Error error) {
  if (exchange_ == nullptr) return;
  lost(protocol_reason(error), protocol_detail(error), now_);
}

bool Connection::nothing_acknowledged() const {
  return sent_bytes_ == 0 || stream_->unacknowledged() >= sent_bytes_;
}

void Connection::lost(Reason reason, std::string_view detail, Time now) {
  Exchange* exchange = std::exchange(exchange_, nullptr);
  const bool untouched = nothing_acknowledged();
  abort();
  if (exchange == nullptr) return;
  exchange->connection_ = nullptr;
  exchange->stream_ = 0;
  exchange->connection_lost(reason, detail, untouched, now);
}

bool Connection::usable() const {
  return !removed_ && http_ && http_->can_start() && stream_->state() == tls::StreamState::open &&
         !stream_->readable();
}

void Connection::abort() {
  if (removed_) return;
  stream_->abort();
  pools_.remove(*this);
}

void Connection::close() {
  if (removed_) return;
  stream_->close();
  pools_.remove(*this);
}

}  // namespace sluice::upstream
