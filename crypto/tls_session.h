// crypto::Session over a WOLFSSL object. The object is made when the first bytes are at hand: a
// connection that never speaks costs nothing.
#pragma once

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/session.h"
#include "device.h"

namespace sluice::crypto {

class TlsSession;

// What a context does for its sessions at certain moments.
class SessionOwner {
 public:
  virtual ~SessionOwner() = default;
  // A new WOLFSSL with names, tickets and ALPN set; nullptr if memory is out.
  virtual WOLFSSL* make_ssl(TlsSession& session) = 0;
  // The handshake succeeded.
  virtual void on_established(TlsSession&) {}
  // The handshake failed.
  virtual void on_refused(TlsSession&) {}
  // [client] The server sent a ticket, already taken in.
  virtual void on_ticket(TlsSession&) {}
};

class TlsSession final : public Session {
 public:
  TlsSession(std::shared_ptr<SessionOwner> owner, bool server, std::string name);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;
  ~TlsSession() override;

  std::size_t feed(ByteSpan ciphertext) override;
  ByteSpan pending_output() const override;
  void consume_output(std::size_t n) override;
  void set_sink(CiphertextSink* sink) override { sink_ = sink; }

  SessionStatus handshake() override;
  bool handshake_done() const override { return done_; }
  bool handshake_expensive() const override;

  std::size_t read(MutByteSpan room) override;
  Opened open(ByteSpan ciphertext, MutByteSpan room) override;
  bool has_plaintext() const override;
  std::size_t write(ByteSpan bytes) override;
  void close_notify() override;
  bool update_keys() override;
  SessionStatus status() const override { return status_; }

  std::string_view alpn() const override;
  std::string_view server_name() const override { return name_; }
  bool resumed() const override { return resumed_; }
  std::string_view version() const override;
  std::string_view cipher() const override;
  std::string_view error_text() const override { return error_text_.data(); }
  bool alert_from_peer() const override { return alert_from_peer_; }

  // For contexts.
  WOLFSSL* ssl() const { return ssl_; }
  // [server] The listener's default certificate, until SNI says more. [client] the host.
  const std::string& requested_name() const { return requested_; }
  void set_server_name(std::string_view name);
  void set_certificate_id(const std::array<std::uint8_t, 32>& id) { certificate_id_ = id; }
  const std::array<std::uint8_t, 32>& certificate_id() const { return certificate_id_; }
  void note_ticket() { ticket_arrived_ = true; }

 private:
  static int receive(WOLFSSL* ssl, char* room, int size, void* self);
  static int send(WOLFSSL* ssl, char* bytes, int size, void* self);
  bool ensure_ssl();
  bool next_record(ByteSpan& ciphertext);
  void drop_record();
  bool take_plain(Opened& opened, MutByteSpan room);
  bool open_ourselves(Opened& opened, MutByteSpan room);
  bool open_by_wolfssl(Opened& opened, MutByteSpan room);
  bool write_by_wolfssl(ByteSpan bytes);
  void write_ourselves(ByteSpan bytes);
  void emit(ByteSpan bytes);
  void fail(int error);
  void fail(std::string_view text);
  void finish_handshake();
  void settle_read(int error);
  std::size_t complete_records() const;
  std::size_t output_size() const { return out_.size() - out_at_; }
  bool can_read() const;

  std::shared_ptr<SessionOwner> owner_;
  WOLFSSL* ssl_ = nullptr;
  KeySchedules schedules_;
  CiphertextSink* sink_ = nullptr;
  // Ciphertext fed and not yet used; out_ waits to be drained.
  std::vector<std::uint8_t> in_, out_;
  std::size_t in_at_ = 0, out_at_ = 0;
  // The whole record being opened, in in_ or in the caller's bytes.
  ByteSpan record_;
  bool record_lent_ = false;
  // What wolfSSL may take: whole records only, so that it never holds a part of one.
  ByteSpan given_;
  // Plaintext that found no room.
  std::vector<std::uint8_t> plain_;
  std::size_t plain_at_ = 0;
  std::string requested_, name_;
  std::array<std::uint8_t, 32> certificate_id_{};
  std::array<char, 96> error_text_{};
  std::size_t max_fragment_ = 16384;
  SessionStatus status_ = SessionStatus::want;
  bool server_;
  bool done_ = false;
  bool resumed_ = false;
  bool hello_sent_ = false;
  bool sent_anything_ = false;
  bool notified_ = false;
  bool alert_from_peer_ = false;
  bool ticket_arrived_ = false;
};

}  // namespace sluice::crypto
