#include "tls_session.h"

#include <wolfssl/error-ssl.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

namespace sluice::crypto {
namespace {

constexpr std::size_t kRecordHeader = 5;
constexpr std::size_t kMaxPlaintext = 16384;                              // RFC 8446 section 5.1
constexpr std::size_t kMaxRecord = kRecordHeader + kMaxPlaintext + 2048;  // RFC 5246 section 6.2.3
constexpr std::size_t kInputBound = 2 * kMaxRecord;
constexpr std::size_t kOutputBound = 64 * 1024;
// What may come on top: our handshake flight, or answers to the peer's post-handshake messages.
constexpr std::size_t kOutputHardBound = kOutputBound + 64 * 1024;
constexpr std::uint8_t kHandshakeType = 22;

// RFC 8446 section 5.1. Something that is no record at all gets an impossible size.
std::size_t record_size(const std::uint8_t* header) {
  const bool plausible = header[0] >= 20 && header[0] <= 24 && header[1] == 3;
  return plausible ? kRecordHeader + load_be16(header + 3) : kMaxRecord + 1;
}

}  // namespace

TlsSession::TlsSession(std::shared_ptr<SessionOwner> owner, bool server, std::string name)
    : owner_(std::move(owner)), requested_(std::move(name)), server_(server) {
  if (!server) name_ = requested_;
}

TlsSession::~TlsSession() {
  if (ssl_ != nullptr) {
    sink_ = nullptr;
    DeviceScope scope(&schedules_);
    // Without this wolfSSL_free() would think of a broken connection and drop the resumable
    // session.
    wolfSSL_set_quiet_shutdown(ssl_, 1);
    wolfSSL_free(ssl_);
  }
}

bool TlsSession::ensure_ssl() {
  if (ssl_ != nullptr) return true;
  note_curve_thread();
  ssl_ = owner_->make_ssl(*this);
  if (ssl_ == nullptr) {
    fail("out of memory");
    return false;
  }
  wolfSSL_SSLSetIORecv(ssl_, receive);
  wolfSSL_SSLSetIOSend(ssl_, send);
  wolfSSL_SetIOReadCtx(ssl_, this);
  wolfSSL_SetIOWriteCtx(ssl_, this);
  return true;
}

int TlsSession::receive(WOLFSSL* /*ssl*/, char* room, int size, void* self) {
  auto& session = *static_cast<TlsSession*>(self);
  const auto wanted = static_cast<std::size_t>(size);
  if (session.in_at_ < session.in_limit_) {
    const std::size_t n = std::min(wanted, session.in_limit_ - session.in_at_);
    std::memcpy(room, session.in_.data() + session.in_at_, n);
    session.in_at_ += n;
    if (session.in_at_ == session.in_.size()) {
      session.in_ = {};
      session.in_at_ = session.in_limit_ = 0;
    }
    return static_cast<int>(n);
  }
  if (!session.lent_.empty()) {
    const std::size_t n = std::min(wanted, session.lent_.size());
    std::memcpy(room, session.lent_.data(), n);
    session.lent_ = session.lent_.subspan(n);
    return static_cast<int>(n);
  }
  return WOLFSSL_CBIO_ERR_WANT_READ;
}

int TlsSession::send(WOLFSSL* /*ssl*/, char* bytes, int size, void* self) {
  auto& session = *static_cast<TlsSession*>(self);
  ByteSpan rest{reinterpret_cast<const std::uint8_t*>(bytes), static_cast<std::size_t>(size)};
  if (session.output_size() > kOutputHardBound) return WOLFSSL_CBIO_ERR_WANT_WRITE;
  session.sent_anything_ = true;
  if (session.sink_ != nullptr && session.output_size() == 0) {
    rest = rest.subspan(std::min(rest.size(), session.sink_->send(rest)));
  }
  session.out_.insert(session.out_.end(), rest.begin(), rest.end());
  return size;
}

std::size_t TlsSession::feed(ByteSpan ciphertext) {
  if (status_ == SessionStatus::alert) return ciphertext.size();  // nobody will look at it
  const std::size_t held = in_.size() - in_at_;
  const std::size_t n = std::min(ciphertext.size(), kInputBound - std::min(held, kInputBound));
  if (n == 0) return 0;
  if (in_at_ > 0) {
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(in_at_));
    in_at_ = 0;
  }
  in_.insert(in_.end(), ciphertext.begin(), ciphertext.begin() + static_cast<std::ptrdiff_t>(n));
  in_limit_ = in_.size();
  return n;
}

ByteSpan TlsSession::pending_output() const {
  return {out_.data() + out_at_, out_.size() - out_at_};
}

void TlsSession::consume_output(std::size_t n) {
  out_at_ += std::min(n, output_size());
  if (out_at_ == out_.size()) {
    out_ = {};  // an idle session holds no buffer
    out_at_ = 0;
  } else if (out_at_ > kOutputBound) {
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(out_at_));
    out_at_ = 0;
  }
}

// How far in_ consists of whole records. wolfSSL is only given those during the handshake, so that
// handshake_expensive() can see what lies ahead.
std::size_t TlsSession::complete_records() const {
  std::size_t at = in_at_;
  while (in_.size() - at >= kRecordHeader) {
    const std::size_t size = record_size(in_.data() + at);
    if (size > kMaxRecord) return in_.size();  // wolfSSL will refuse it
    if (in_.size() - at < size) break;
    at += size;
  }
  return at;
}

bool TlsSession::handshake_expensive() const {
  if (done_ || status_ == SessionStatus::alert) return false;
  if (!server_) return hello_sent_ && complete_records() > in_at_;
  // The client's second flight is encrypted (RFC 8446 section 5.2) and costs little.
  std::size_t at = in_at_;
  while (in_.size() - at >= kRecordHeader) {
    const std::size_t size = record_size(in_.data() + at);
    if (size > kMaxRecord || in_.size() - at < size) break;
    if (in_[at] == kHandshakeType) return true;
    at += size;
  }
  return false;
}

SessionStatus TlsSession::handshake() {
  if (done_ || status_ == SessionStatus::alert) return status_;
  const std::size_t limit = complete_records();
  if (limit == in_at_ && (server_ || hello_sent_)) return status_;
  if (!ensure_ssl()) return status_;
  DeviceScope scope(&schedules_);
  in_limit_ = limit;
  const int result = server_ ? wolfSSL_accept(ssl_) : wolfSSL_connect(ssl_);
  hello_sent_ = true;
  if (result == WOLFSSL_SUCCESS) {
    finish_handshake();
  } else {
    const int error = wolfSSL_get_error(ssl_, result);
    if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE) {
      fail(error);
      owner_->on_refused(*this);
    }
  }
  in_limit_ = in_.size();
  return status_;
}

void TlsSession::finish_handshake() {
  done_ = true;
  resumed_ = wolfSSL_session_reused(ssl_) != 0;
  owner_->on_established(*this);
  wolfSSL_FreeArrays(ssl_);
  status_ = in_at_ < in_.size() ? SessionStatus::data : SessionStatus::want;
}

bool TlsSession::can_read() const {
  return done_ && status_ != SessionStatus::alert && status_ != SessionStatus::closed;
}

std::size_t TlsSession::read(MutByteSpan room) { return open({}, room).produced; }

Session::Opened TlsSession::open(ByteSpan ciphertext, MutByteSpan room) {
  Opened opened;
  if (!can_read()) return opened;
  DeviceScope scope(&schedules_);
  lent_ = ciphertext;
  if (room.empty() && output_size() <= kOutputBound) {
    std::uint8_t first = 0;
    const int n = wolfSSL_peek(ssl_, &first, 1);
    if (n <= 0) settle_read(wolfSSL_get_error(ssl_, n));
  }
  while (opened.produced < room.size() && output_size() <= kOutputBound) {
    const auto wanted = std::min<std::size_t>(room.size() - opened.produced, 1u << 30);
    const int n = wolfSSL_read(ssl_, room.data() + opened.produced, static_cast<int>(wanted));
    if (n <= 0) {
      settle_read(wolfSSL_get_error(ssl_, n));
      break;
    }
    opened.produced += static_cast<std::size_t>(n);
    status_ = SessionStatus::data;
  }
  opened.consumed = ciphertext.size() - lent_.size();
  lent_ = {};
  if (ticket_arrived_) {
    ticket_arrived_ = false;
    owner_->on_ticket(*this);
  }
  return opened;
}

void TlsSession::settle_read(int error) {
  if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE) {
    status_ = SessionStatus::want;
  } else if (error == WOLFSSL_ERROR_ZERO_RETURN) {
    status_ = SessionStatus::closed;
  } else {
    fail(error);
  }
}

bool TlsSession::has_plaintext() const {
  return can_read() && (in_at_ < in_.size() || wolfSSL_pending(ssl_) > 0);
}

std::size_t TlsSession::write(ByteSpan bytes) {
  if (!done_ || notified_ || status_ == SessionStatus::alert) return 0;
  DeviceScope scope(&schedules_);
  std::size_t taken = 0;
  while (taken < bytes.size() && output_size() < kOutputBound) {
    const std::size_t n = std::min(bytes.size() - taken, kMaxPlaintext);
    const int written = wolfSSL_write(ssl_, bytes.data() + taken, static_cast<int>(n));
    if (written <= 0) {
      const int error = wolfSSL_get_error(ssl_, written);
      if (error != WOLFSSL_ERROR_WANT_WRITE && error != WOLFSSL_ERROR_WANT_READ) fail(error);
      break;
    }
    taken += static_cast<std::size_t>(written);
  }
  return taken;
}

void TlsSession::close_notify() {
  if (notified_ || !done_ || status_ == SessionStatus::alert) return;
  DeviceScope scope(&schedules_);
  notified_ = true;
  wolfSSL_shutdown(ssl_);
}

bool TlsSession::update_keys() {
  if (!done_ || notified_ || status_ == SessionStatus::alert) return false;
  DeviceScope scope(&schedules_);
  return wolfSSL_update_keys(ssl_) == WOLFSSL_SUCCESS;
}

void TlsSession::fail(std::string_view text) {
  status_ = SessionStatus::alert;
  std::snprintf(error_text_.data(), error_text_.size(), "%.*s", static_cast<int>(text.size()),
                text.data());
}

void TlsSession::fail(int error) {
  WOLFSSL_ALERT_HISTORY history{};
  wolfSSL_get_alert_history(ssl_, &history);
  constexpr int kFatal = 2;
  alert_from_peer_ = history.last_rx.level == kFatal;
  if (alert_from_peer_) {
    status_ = SessionStatus::alert;
    std::snprintf(error_text_.data(), error_text_.size(), "the peer sent alert %d",
                  history.last_rx.code);
    return;
  }
  if (history.last_tx.level != kFatal && !sent_anything_) {
    // wolfSSL is silent about what is no TLS record at all; RFC 8446 section 5.1 is not. No keys
    // yet: the alert goes in the clear.
    constexpr std::uint8_t kUnexpectedMessage[] = {21, 3, 3, 0, 2, kFatal, 10};
    out_.insert(out_.end(), std::begin(kUnexpectedMessage), std::end(kUnexpectedMessage));
  }
  const char* reason = wolfSSL_ERR_reason_error_string(static_cast<unsigned long>(error));
  status_ = SessionStatus::alert;
  std::snprintf(error_text_.data(), error_text_.size(), "%s (%d)",
                reason != nullptr ? reason : "TLS failure", error);
}

void TlsSession::set_server_name(std::string_view name) {
  name_.assign(name.substr(0, 255));
  for (char& c : name_) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
}

std::string_view TlsSession::alpn() const {
  if (!done_) return {};
  char* name = nullptr;
  unsigned short size = 0;
  if (wolfSSL_ALPN_GetProtocol(ssl_, &name, &size) != WOLFSSL_SUCCESS || name == nullptr) return {};
  return {name, size};
}

std::string_view TlsSession::version() const {
  return ssl_ != nullptr ? wolfSSL_get_version(ssl_) : std::string_view{};
}

std::string_view TlsSession::cipher() const {
  const char* name = done_ ? wolfSSL_get_cipher_name(ssl_) : nullptr;
  return name != nullptr ? name : std::string_view{};
}

}  // namespace sluice::crypto
