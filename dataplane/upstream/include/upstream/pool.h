// Connections to tools: keep-alive pools of one worker, and one attempt at a tool.
//
// An Exchange is one request on its way to one endpoint. It waits for a connection (pooled or new),
// sends head and body, and hands the response up as it comes. A pooled connection that the tool has
// meanwhile closed is replaced without the caller noticing, where that is safe: nothing of the
// request was acknowledged, or the request may be repeated (RFC 9110 section 9.2.2).
//
// Identity never rides on an upstream connection, so connections are shared by tasks.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/time.h"
#include "http/connection.h"
#include "policy/snapshot.h"
#include "tcp/stack.h"
#include "telemetry/reasons.h"
#include "tls/stream.h"

namespace sluice::upstream {

// Where to, and how. Copied from the snapshot: it outlives the turn.
struct Target {
  std::uint64_t pool_key = 0;  // endpoint id mixed with address and TLS settings
  Endpoint address;
  bool tls = false;
  std::string server_name;
  std::shared_ptr<void> tls_context;  // the service's crypto::ClientContext
  Millis connect{1000};
  Millis tls_time{3000};
};
Target make_target(const policy::Service& service, const policy::ServiceEndpoint& endpoint,
                   const IpAddress& address);

struct Progress {
  bool pooled = false;      // on a reused connection
  Time connection_ready{};  // when the request could be sent
  Time first_byte{};        // response head complete
  Endpoint address;
};

// What the call is told. Callbacks come from the worker's loop only.
class ExchangeHandler {
 public:
  // The connection is there, head and what there was of the body are on their way.
  virtual void on_sent(Time now) = 0;
  virtual void on_response(http::Response&& response, bool end, Time now) = 0;
  // Returns how much was taken; Exchange::resume() asks for the rest.
  virtual std::size_t on_response_body(ByteSpan data, Time now) = 0;
  virtual void on_response_end(const http::FieldBlock& trailers, Time now) = 0;
  // More request body is welcome.
  virtual void on_request_writable(Time now) = 0;
  // The attempt is over without a complete response; `begun`: its head had been handed up.
  virtual void on_failed(telemetry::Reason reason, std::string_view detail, bool begun,
                         Time now) = 0;

 protected:
  ~ExchangeHandler() = default;
};

class Connection;
class Pools;

class Exchange {
 public:
  // `request` and `handler` outlive the exchange. `repeatable`: safe or idempotent (RFC 9110).
  Exchange(Pools& pools, ExchangeHandler& handler, const http::Request& request, bool has_body,
           bool repeatable);
  ~Exchange();  // cancels what runs
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Begins. A failure may be reported before this returns.
  void start(const Target& target, Time now);
  // Request body; returns how much was taken. Before the connection is there a bounded amount is
  // kept (and stays kept for replacement, up to kReplayBytes in all).
  std::size_t write_body(ByteSpan data, Time now);
  void finish_body(const http::FieldBlock& trailers, Time now);
  void resume(Time now);
  // The caller lost interest. No callback comes any more.
  void cancel();

  const Progress& progress() const { return progress_; }
  bool sent_completely() const { return body_finished_ && replay_sent_ == replay_.size(); }

  static constexpr std::size_t kReplayBytes = std::size_t{64} * 1024;

 private:
  friend class Connection;
  friend class Pools;

  void attach(Connection& connection, Time now);
  void send_kept_body(Time now);
  void connection_lost(telemetry::Reason reason, std::string_view detail, bool replaceable,
                       Time now);

  Pools& pools_;
  ExchangeHandler& handler_;
  const http::Request& request_;
  const bool has_body_;
  const bool repeatable_;
  Target target_;
  Connection* connection_ = nullptr;
  http::StreamId stream_ = 0;
  Progress progress_;
  std::string replay_;           // body bytes kept for (re)sending
  std::size_t replay_sent_ = 0;  // of replay_, on the current connection
  bool replay_complete_ = true;  // replay_ holds all the body given so far
  bool body_finished_ = false;
  bool finish_sent_ = false;
  bool response_begun_ = false;
  bool over_ = false;
  std::uint8_t replacements_ = 0;
  http::FieldBlock trailers_;
};

struct PoolLimits {
  std::size_t idle_per_endpoint = 256;
  std::size_t connections = 8192;  // of this worker, all endpoints
  Micros idle_time{60'000'000};    // below common keep-alive limits of tools (nginx 75 s)
  http::ConnectionLimits http;
};

struct PoolStats {
  std::uint64_t opened = 0, reused = 0, replaced = 0, closed_idle = 0;
};

class Pools {
 public:
  Pools(tcp::Stack& stack, const PoolLimits& limits);
  ~Pools();
  Pools(const Pools&) = delete;
  Pools& operator=(const Pools&) = delete;

  // Source addresses of the tools' port, one per family at most is used.
  void set_local_addresses(const std::vector<IpAddress>& addresses);
  // Source ports whose answers come back to this worker; null (the default) takes any.
  using PortFilter = bool (*)(void* context, const tcp::FlowKey& flow);
  void set_port_filter(PortFilter filter, void* context) {
    port_filter_ = filter;
    port_filter_context_ = context;
  }
  void set_handshake_budget(tls::HandshakeBudget& budget) { handshakes_ = &budget; }

  // [each turn] Moves out what calls wrote in this turn.
  void flush(Time now);
  bool has_work() const { return !dirty_.empty(); }
  // [each turn] Connect, TLS and idle limits; bounded.
  void poll_timers(Time now);
  Time next_deadline() const;
  // Closes idle connections; running ones close when done. For drain and stop.
  void shut_idle(Time now);

  std::size_t connection_count() const { return connections_.size(); }
  std::size_t idle_count() const;
  const PoolStats& stats() const { return stats_; }

 private:
  friend class Connection;
  friend class Exchange;
  struct Group;

  Connection* take_idle(std::uint64_t key);
  Connection* open(const Target& target, Exchange& exchange, Time now, std::string& error);
  void give_back(Connection& connection, Time now);
  void remove(Connection& connection);
  void mark_dirty(Connection& connection);
  const IpAddress* local_for(const IpAddress& remote) const;

  tcp::Stack& stack_;
  PoolLimits limits_;
  tls::HandshakeBudget* handshakes_ = nullptr;
  PortFilter port_filter_ = nullptr;
  void* port_filter_context_ = nullptr;
  std::vector<IpAddress> locals_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> dirty_;
  std::vector<std::unique_ptr<Connection>> graveyard_;  // destroyed at the end of the turn
  std::vector<Connection*> handshaking_;                // TCP and TLS set-up, with a time limit
  std::unique_ptr<std::array<std::uint8_t, 16384>> scratch_;  // one read of clear bytes
  Time next_idle_check_{};
  PoolStats stats_;
};

}  // namespace sluice::upstream
