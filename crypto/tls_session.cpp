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
constexpr std::size_t kOutputBound = std::size_t{64} * 1024;
// What may come on top: our handshake flight, or answers to the peer's post-handshake messages.
constexpr std::size_t kOutputHardBound = kOutputBound + std::size_t{64} * 1024;
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
  const std::size_t n = std::min(static_cast<std::size_t>(size), session.given_.size());
  if (n == 0) return WOLFSSL_CBIO_ERR_WANT_READ;
  std::memcpy(room, session.given_.data(), n);
  session.given_ = session.given_.subspan(n);
  return static_cast<int>(n);
}

int TlsSession::send(WOLFSSL* /*ssl*/, char* bytes, int size, void* self) {
  auto& session = *static_cast<TlsSession*>(self);
  if (session.output_size() > kOutputHardBound) return WOLFSSL_CBIO_ERR_WANT_WRITE;
  session.sent_anything_ = true;
  session.emit({reinterpret_cast<const std::uint8_t*>(bytes), static_cast<std::size_t>(size)});
  return size;
}

void TlsSession::emit(ByteSpan bytes) {
  if (sink_ != nullptr && output_size() == 0) {
    bytes = bytes.subspan(std::min(bytes.size(), sink_->send(bytes)));
  }
  out_.insert(out_.end(), bytes.begin(), bytes.end());
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

// How far in_ consists of whole records.
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
  given_ = ByteSpan(in_).subspan(in_at_, limit - in_at_);
  const int result = server_ ? wolfSSL_accept(ssl_) : wolfSSL_connect(ssl_);
  in_at_ = limit - given_.size();
  given_ = {};
  if (in_at_ == in_.size()) {
    in_ = {};
    in_at_ = 0;
  }
  hello_sent_ = true;
  if (result == WOLFSSL_SUCCESS) {
    finish_handshake();
    return status_;
  }
  const int error = wolfSSL_get_error(ssl_, result);
  if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE) {
    fail(error);
    owner_->on_refused(*this);
  }
  return status_;
}

void TlsSession::finish_handshake() {
  done_ = true;
  resumed_ = wolfSSL_session_reused(ssl_) != 0;
  // RFC 6066 section 4: the client may have asked for small records.
  const int fragment = wolfSSL_GetMaxOutputSize(ssl_);
  if (fragment > 0) max_fragment_ = std::min(kMaxPlaintext, static_cast<std::size_t>(fragment));
  owner_->on_established(*this);
  wolfSSL_FreeArrays(ssl_);
  schedules_.forget_epochs();  // the handshake's keys are not those of the data
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
  const std::size_t offered = ciphertext.size();
  while (can_read() && output_size() <= kOutputBound) {
    if (take_plain(opened, room)) break;
    if (!next_record(ciphertext)) break;
    if (!open_ourselves(opened, room) && !open_by_wolfssl(opened, room)) break;
  }
  opened.consumed = offered - ciphertext.size();
  if (can_read()) status_ = has_plaintext() ? SessionStatus::data : SessionStatus::want;
  return opened;
}

// Plaintext already at hand, into the room. True when there is no room left, or when there is
// plaintext and the caller only asked for that.
bool TlsSession::take_plain(Opened& opened, MutByteSpan room) {
  if (plain_at_ < plain_.size()) {
    const std::size_t n = std::min(plain_.size() - plain_at_, room.size() - opened.produced);
    if (n > 0) std::memcpy(room.data() + opened.produced, plain_.data() + plain_at_, n);
    plain_at_ += n;
    opened.produced += n;
    if (plain_at_ < plain_.size()) return true;
    plain_ = {};
    plain_at_ = 0;
  }
  if (wolfSSL_pending(ssl_) > 0) {
    const std::size_t left = room.size() - opened.produced;
    if (left == 0) return true;
    const int n = wolfSSL_read(ssl_, room.data() + opened.produced, static_cast<int>(left));
    if (n > 0) opened.produced += static_cast<std::size_t>(n);
    if (wolfSSL_pending(ssl_) > 0) return true;
  }
  return !room.empty() && opened.produced == room.size();
}

// Sets record_ to the next whole record, from what was fed, then from `ciphertext`, which shrinks
// by what was taken. Without a whole one, keeps the part.
bool TlsSession::next_record(ByteSpan& ciphertext) {
  const auto view = [this](ByteSpan from, bool lent) {
    if (from.size() < kRecordHeader) return false;
    const std::size_t size = record_size(from.data());
    // What is no record goes to wolfSSL as far as it has come: it knows the right alert.
    if (size <= kMaxRecord && from.size() < size) return false;
    record_ = from.first(std::min(from.size(), size));
    record_lent_ = lent;
    return true;
  };
  if (in_.empty() && view(ciphertext, true)) {
    ciphertext = ciphertext.subspan(record_.size());
    return true;
  }
  while (!view(ByteSpan(in_).subspan(in_at_), false)) {
    if (ciphertext.empty()) return false;
    const std::size_t held = in_.size() - in_at_;
    const std::size_t whole =
        held < kRecordHeader ? kRecordHeader : record_size(in_.data() + in_at_);
    const std::size_t n = std::min(ciphertext.size(), whole - held);
    in_.reserve(in_at_ + whole);
    in_.insert(in_.end(), ciphertext.begin(), ciphertext.begin() + static_cast<std::ptrdiff_t>(n));
    ciphertext = ciphertext.subspan(n);
  }
  return true;
}

void TlsSession::drop_record() {
  if (!record_lent_) {
    in_at_ += record_.size();
    if (in_at_ == in_.size()) {
      in_ = {};
      in_at_ = 0;
    }
  }
  record_ = {};
}

// Straight from the record into the room where it fits.
bool TlsSession::open_ourselves(Opened& opened, MutByteSpan room) {
  if (!schedules_.can_open() || record_.size() > kMaxRecord) return false;
  thread_local std::array<std::uint8_t, kMaxRecord> scratch;
  const MutByteSpan left = room.subspan(opened.produced);
  const bool direct = left.size() + kRecordHeader + 16 >= record_.size();
  const auto size = schedules_.open(record_, direct ? left : MutByteSpan(scratch));
  if (!size) return false;
  drop_record();
  if (direct) {
    opened.produced += *size;
    return true;
  }
  const std::size_t n = std::min(*size, left.size());
  if (n > 0) std::memcpy(left.data(), scratch.data(), n);
  opened.produced += n;
  plain_.assign(scratch.begin() + static_cast<std::ptrdiff_t>(n),
                scratch.begin() + static_cast<std::ptrdiff_t>(*size));
  return true;
}

// All that is not plain data, other ciphers, and the first record of each key. False at the end.
bool TlsSession::open_by_wolfssl(Opened& opened, MutByteSpan room) {
  const MutByteSpan left = room.subspan(opened.produced);
  std::uint8_t first = 0;
  given_ = record_;
  const int n = left.empty() ? wolfSSL_peek(ssl_, &first, 1)
                             : wolfSSL_read(ssl_, left.data(), static_cast<int>(left.size()));
  given_ = {};
  drop_record();
  if (n > 0) {
    if (!left.empty()) opened.produced += static_cast<std::size_t>(n);
    return true;
  }
  settle_read(wolfSSL_get_error(ssl_, n));
  schedules_.forget_epochs();  // it may have been a key update
  if (ticket_arrived_) {
    ticket_arrived_ = false;
    owner_->on_ticket(*this);
  }
  return can_read();
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
  return can_read() &&
         (plain_at_ < plain_.size() || complete_records() > in_at_ || wolfSSL_pending(ssl_) > 0);
}

std::size_t TlsSession::write(ByteSpan bytes) {
  if (!done_ || notified_ || status_ == SessionStatus::alert) return 0;
  DeviceScope scope(&schedules_);
  std::size_t taken = 0;
  while (taken < bytes.size() && output_size() < kOutputBound) {
    const ByteSpan chunk = bytes.subspan(taken, std::min(bytes.size() - taken, max_fragment_));
    if (schedules_.seal_limit_reached()) update_keys();
    if (schedules_.can_seal()) {
      write_ourselves(chunk);
    } else if (!write_by_wolfssl(chunk)) {
      break;
    }
    taken += chunk.size();
  }
  return taken;
}

void TlsSession::write_ourselves(ByteSpan bytes) {
  constexpr std::size_t kOverhead = KeySchedules::kOverhead;
  if (sink_ == nullptr || output_size() > 0) {
    const std::size_t at = out_.size();
    out_.resize(at + bytes.size() + kOverhead);
    schedules_.seal(bytes, MutByteSpan(out_).subspan(at));
    return;
  }
  thread_local std::array<std::uint8_t, kMaxPlaintext + kOverhead> scratch;
  const MutByteSpan record = MutByteSpan(scratch).first(bytes.size() + kOverhead);
  schedules_.seal(bytes, record);
  emit(record);
}

bool TlsSession::write_by_wolfssl(ByteSpan bytes) {
  const int n = wolfSSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
  if (n == static_cast<int>(bytes.size())) return true;
  const int error = wolfSSL_get_error(ssl_, n);
  // Our send() takes everything below the hard bound, so this is no full buffer.
  fail(error);
  return false;
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
  const bool updated = wolfSSL_update_keys(ssl_) == WOLFSSL_SUCCESS;
  schedules_.forget_epochs();
  return updated;
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
