// A TLS session fed and drained by spans (sans-I/O), over wolfSSL.
//
// The caller moves ciphertext: feed() what TCP received, drain() what must be sent. TLS 1.3
// (RFC 8446) for agents; towards tools 1.2 is allowed too. Single-threaded; contexts are shared
// read-only between the sessions of one worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"

namespace sluice::crypto {

enum class SessionStatus : std::uint8_t {
  want,    // needs more ciphertext, or has output to drain
  data,    // plaintext is (or may be) available
  closed,  // close_notify received
  alert,   // fatal: see alert(); the session is dead, but drain() may hold our own alert
};

// Takes sealed bytes as they are made, saving a copy through pending_output().
class CiphertextSink {
 public:
  // Returns how many bytes were taken; the rest stays in pending_output().
  virtual std::size_t send(ByteSpan ciphertext) = 0;

 protected:
  ~CiphertextSink() = default;
};

class Session {
 public:
  virtual ~Session() = default;

  // Ciphertext in. Returns how much was taken (bounded internally: at most a record or so is held).
  virtual std::size_t feed(ByteSpan ciphertext) = 0;
  // Ciphertext out, to be sent in order. peek, send some, consume what was sent.
  virtual ByteSpan pending_output() const = 0;
  virtual void consume_output(std::size_t n) = 0;

  // Optional; must outlive the session or be replaced by nullptr. Output goes to the sink first, as
  // long as nothing older is pending.
  virtual void set_sink(CiphertextSink* sink) = 0;

  // Runs the handshake as far as the fed bytes allow.
  virtual SessionStatus handshake() = 0;
  virtual bool handshake_done() const = 0;
  // True if the next handshake() call will run expensive public-key operations.
  virtual bool handshake_expensive() const = 0;

  // Plaintext out. 0 with status(): want, closed or alert.
  virtual std::size_t read(MutByteSpan room) = 0;
  // feed() and read() in one, without the copy of feed(): bytes fed before come first. Only after
  // the handshake. consumed < size means that `room` is full, that output is over its bound, or the
  // end. With an empty `room` it goes as far as to the next plaintext: alerts, key updates and
  // tickets on the way take effect.
  struct Opened {
    std::size_t consumed = 0;
    std::size_t produced = 0;
  };
  virtual Opened open(ByteSpan ciphertext, MutByteSpan room) = 0;
  // True if read() may yield plaintext without more ciphertext.
  virtual bool has_plaintext() const = 0;
  // Plaintext in; seals at most `bytes` into records appended to pending_output(). Returns how much
  // was taken; 0 if output is over its bound.
  virtual std::size_t write(ByteSpan bytes) = 0;
  virtual void close_notify() = 0;
  // New traffic keys for our direction, and asks the peer for the same (RFC 8446 section 4.6.3).
  virtual bool update_keys() = 0;
  virtual SessionStatus status() const = 0;

  virtual std::string_view alpn() const = 0;
  virtual std::string_view server_name() const = 0;
  virtual bool resumed() const = 0;
  virtual std::string_view version() const = 0;  // "TLSv1.3"
  virtual std::string_view cipher() const = 0;
  virtual std::string_view error_text() const = 0;  // after alert, for the record
  virtual bool alert_from_peer() const = 0;         // after alert: the peer's, not ours
};

}  // namespace sluice::crypto
