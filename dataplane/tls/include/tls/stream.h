// One TCP connection with clear bytes on top: plain, TLS server, or TLS client.
//
// Joins a tcp::Connection and a crypto::Session. All that HTTP above needs is here; nothing above
// knows whether TLS is in use. Owned by the connection object that also observes the TCP
// connection; single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"
#include "crypto/session.h"
#include "tcp/stack.h"

namespace sluice::tls {

enum class StreamState : std::uint8_t {
  connecting,   // TCP or TLS handshake still under way
  open,         // clear bytes flow both ways
  half_closed,  // the peer ended its side (close_notify, or FIN on a plain stream); we may write
  closed,       // nothing more will come or go; error() says why
};

enum class StreamError : std::uint8_t {
  none,
  tcp_refused,  // RST to our SYN or ICMP hard error
  tcp_timed_out,
  tcp_reset,
  tls_alert,   // the peer sent a fatal alert
  tls_failed,  // we refused: bad record, no common version or cipher, bad certificate
  truncated,   // FIN without close_notify inside TLS (RFC 8446 section 6.1)
  aborted,     // by us
};

// What one worker may spend per turn on handshakes, so that they stay off other calls' latency.
struct HandshakeBudget {
  unsigned full_handshakes_left = 1;  // refilled by the worker at each turn
};

class Stream {
 public:
  // Plain.
  explicit Stream(tcp::Connection& tcp);
  // TLS; `session` is a fresh server or client session. A null one means plain.
  Stream(tcp::Connection& tcp, std::unique_ptr<crypto::Session> session);
  ~Stream();  // closes TCP if still held
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Call from Observer::on_ready() first: takes in what TCP has, continues the handshake, notices
  // the end. Cheap when there is nothing to do. If the handshake budget is used up the TCP
  // connection is marked ready again for the next turn.
  void advance(HandshakeBudget& budget, Time now);

  StreamState state() const;
  StreamError error() const;

  // Clear bytes into `room`; 0 when there are none now (or ever: see state()). Bytes that fit no
  // room stay inside, and hold back the TCP window: backpressure.
  std::size_t read(MutByteSpan room);
  // True if read() would likely yield bytes.
  bool readable() const;

  // Clear bytes out; returns how many were taken. Bounded by the TCP send buffer. on_ready() comes
  // when there is room again.
  std::size_t write(ByteSpan bytes);
  std::size_t writable() const;

  // close_notify (TLS) and FIN after what was written.
  void shutdown_write();
  // Ends both ways in an orderly manner; keeps no resources. The stream is closed afterwards.
  void close();
  // RST.
  void abort();

  // After the handshake; empty on plain streams or if not negotiated.
  std::string_view alpn() const;
  std::string_view server_name() const;  // SNI the client sent, lower case
  bool resumed() const;
  bool secure() const;
  crypto::Session* session();

  // Everything written has been acknowledged by the peer's TCP.
  bool drained() const;
  // Bytes handed to TCP (ciphertext under TLS) that the peer has not acknowledged. Keeps its last
  // value after the connection was lost: tells whether a request can have reached the peer.
  std::size_t unacknowledged() const;
  // Ask for another on_ready() in the next turn (work budget used up).
  void mark_ready();
  const tcp::FlowKey& flow() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::tls
