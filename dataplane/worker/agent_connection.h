// One agent's connection: TCP, TLS and HTTP joined, and the calls that run on it.
#pragma once

#include "core.h"

namespace sluice::worker {

class AgentConnection final : public tcp::Observer,
                              public http::ServerHandler,
                              public call::AgentLink {
 public:
  AgentConnection(Core& core, tcp::Connection& tcp, std::unique_ptr<crypto::Session> session,
                  Time now);
  ~AgentConnection();

  // tcp::Observer
  void on_ready(tcp::Connection& tcp, Time now) override;

  // http::ServerHandler
  void on_request(http::StreamId id, http::Request&& request, bool end) override;
  std::size_t on_body(http::StreamId id, ByteSpan data) override;
  void on_message_end(http::StreamId id, const http::FieldBlock& trailers) override;
  void on_writable(http::StreamId id) override;
  void on_stream_closed(http::StreamId id, http::Error error) override;
  void on_request_refused(http::Error error, std::uint16_t status) override;

  // call::AgentLink
  http::ServerConnection& http() override { return *http_; }
  const Endpoint& peer() const override { return peer_; }
  void schedule() override;
  void call_finished(call::Call& call) override;

  // Moves bytes both ways as far as they go.
  void pump(Time now);
  void on_timer(Time now);
  // No new requests; ends once the running ones are done.
  void drain(Time now);
  void revoke_task(const state::TaskId& task);
  void abort();
  // pump() is on its way: schedule() counts again from here.
  void clear_scheduled() { dirty_ = false; }

  struct Timer : TimerNode {
    AgentConnection* owner = nullptr;
  } timer;

 private:
  void take_input(Time now);
  void send_output();
  void end_if_done(Time now);
  bool await_delivery(Time now);
  void lost();
  void remove();
  void count_end();
  void rearm();
  call::Call* find(http::StreamId id);

  Core& core_;
  tls::Stream stream_;
  std::unique_ptr<http::ServerConnection> http_;
  std::vector<std::unique_ptr<call::Call>> calls_;  // ascending by id
  Endpoint peer_;
  Time deadline_;                       // of the handshake, then of lingering
  std::size_t undelivered_ = SIZE_MAX;  // while lingering: what was unacknowledged when last looked
  Time taken_at_{};                     // ... and when it last became less
  std::uint64_t arrived_ = 0;           // nanos() when the bytes now being parsed came
  std::size_t index_ = 0;               // in Core::agents
  bool dirty_ = false;
  bool ended_ = false;  // feed_end() was given
  bool lingering_ = false;
  bool removed_ = false;
};

}  // namespace sluice::worker
