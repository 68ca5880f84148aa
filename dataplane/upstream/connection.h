// One connection to a tool, carrying one exchange at a time (HTTP/1.1).
#pragma once

#include "upstream/pool.h"

namespace sluice::upstream {

class Connection final : public tcp::Observer, public http::ClientHandler {
 public:
  Connection(Pools& pools, const Target& target);

  // Takes over the TCP connection. False with `error` if no TLS session could be made.
  bool begin(tcp::Connection& tcp, std::string& error);

  void on_ready(tcp::Connection& tcp, Time now) override;

  void on_response(http::StreamId id, http::Response&& response, bool end) override;
  void on_continue(http::StreamId id) override;
  std::size_t on_body(http::StreamId id, ByteSpan data) override;
  void on_message_end(http::StreamId id, const http::FieldBlock& trailers) override;
  void on_writable(http::StreamId id) override;
  void on_stream_closed(http::StreamId id, http::Error error) override;

  // Moves bytes both ways as far as they go.
  void pump(Time now);
  void abort();
  void close();

  http::ClientConnection& http() { return *http_; }
  tls::Stream& stream() { return *stream_; }
  const Target& target() const { return target_; }
  bool usable() const;

 private:
  friend class Exchange;
  friend class Pools;

  void set_up(Time now);
  void take_input(Time now);
  void send_output();
  void response_complete(const http::FieldBlock* trailers);
  void lost(telemetry::Reason reason, std::string_view detail, Time now);
  bool nothing_acknowledged() const;

  Pools& pools_;
  Target target_;
  std::unique_ptr<tls::Stream> stream_;
  std::unique_ptr<http::ClientConnection> http_;
  Exchange* exchange_ = nullptr;
  Time now_{};              // of the call in progress; handlers need it
  Time set_up_deadline_{};  // of TCP (which has its own, too), then of TLS
  Time idle_since_{};
  std::uint64_t sent_bytes_ = 0;  // for the exchange in progress, as written to the stream
  std::size_t index_ = 0;         // in Pools::connections_
  bool dirty_ = false;
  bool pooled_ = false;  // in its group's idle list
  bool ended_ = false;   // feed_end() was given
  bool tcp_up_ = false;
  bool removed_ = false;
};

// What a stream's end means to a call that had not been answered.
telemetry::Reason failure_reason(tls::StreamError error, bool connecting);
std::string_view failure_detail(tls::StreamError error, bool connecting);

}  // namespace sluice::upstream
