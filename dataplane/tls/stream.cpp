#include "tls/stream.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace sluice::tls {
namespace {

// What one connection may have done for it in one turn: others wait meanwhile.
constexpr std::size_t kWorkPerTurn = std::size_t{64} * 1024;
constexpr std::size_t kMaxRecord = 16384;  // plaintext, RFC 8446 section 5.1
constexpr std::size_t kProbe = 512;
constexpr std::size_t kRecordOverhead = 22;  // header 5, content type 1, tag 16

StreamError error_of(tcp::CloseReason reason) {
  switch (reason) {
    case tcp::CloseReason::none:
    case tcp::CloseReason::graceful:
      return StreamError::none;
    case tcp::CloseReason::reset_by_peer:
      return StreamError::tcp_reset;
    case tcp::CloseReason::refused:
    case tcp::CloseReason::unreachable:
      return StreamError::tcp_refused;
    case tcp::CloseReason::timed_out:
      return StreamError::tcp_timed_out;
    case tcp::CloseReason::aborted:
      return StreamError::aborted;
    case tcp::CloseReason::count_:
      break;
  }
  return StreamError::none;
}

}  // namespace

struct Stream::Impl final : crypto::CiphertextSink {
  Impl(tcp::Connection& connection, std::unique_ptr<crypto::Session> tls)
      : tcp(&connection), session(std::move(tls)), flow(connection.flow()) {
    if (session) session->set_sink(this);
  }

  // crypto::CiphertextSink
  std::size_t send(ByteSpan bytes) override { return tcp != nullptr ? tcp->write(bytes) : 0; }

  void advance(HandshakeBudget& budget);
  std::size_t read(MutByteSpan room);
  std::size_t write(ByteSpan bytes);
  void shutdown_write();
  void close();
  void abort(StreamError why);

  ByteSpan source() const { return tcp != nullptr ? tcp->peek() : ByteSpan{tail}.subspan(tail_at); }
  void take(std::size_t n) {
    if (n == 0) return;
    if (tcp != nullptr) {
      tcp->consume(n);
    } else {
      tail_at += n;
    }
  }
  bool source_ended() const {
    return tcp != nullptr ? tcp->end_of_stream() : tail_at == tail.size();
  }
  std::size_t pending() const { return session ? session->pending_output().size() : 0; }
  void mark_ready() {
    if (tcp != nullptr) tcp->mark_ready();
  }
  bool spend(std::size_t n);
  std::size_t read_plain(MutByteSpan room);
  std::size_t read_tls(MutByteSpan room);
  void run_handshake(HandshakeBudget& budget);
  void flush();
  void settle();
  void on_tcp_end();
  void fail(StreamError why);
  void let_go();

  tcp::Connection* tcp;  // null once let go
  std::unique_ptr<crypto::Session> session;
  tcp::FlowKey flow;
  StreamState state = StreamState::connecting;
  StreamError error = StreamError::none;
  std::size_t work_left = kWorkPerTurn;
  // What TCP still held when it ended in good order.
  std::vector<std::uint8_t> tail;
  std::size_t tail_at = 0;
  std::size_t last_unacknowledged = 0;
  bool peer_ended = false;
  bool write_ended = false;  // asked for
  bool fin_sent = false;
};

// False when this turn's work is used up; the rest comes next turn.
bool Stream::Impl::spend(std::size_t n) {
  if (tcp == nullptr) return true;  // there will be no next turn
  work_left -= std::min(n, work_left);
  if (work_left > 0) return true;
  mark_ready();
  return false;
}

void Stream::Impl::let_go() {
  if (tcp == nullptr) return;
  last_unacknowledged = tcp->unsent_and_unacked() + pending();
  tcp = nullptr;
}

void Stream::Impl::flush() {
  while (tcp != nullptr && pending() > 0) {
    const std::size_t n = tcp->write(session->pending_output());
    session->consume_output(n);
    if (n == 0) break;
  }
  if (write_ended && !fin_sent && tcp != nullptr && pending() == 0) {
    fin_sent = true;
    tcp->shutdown_write();
  }
}

void Stream::Impl::fail(StreamError why) {
  if (state == StreamState::closed) return;
  flush();
  state = StreamState::closed;
  error = why;
  if (tcp == nullptr) return;
  tcp::Connection* gone = tcp;
  // Our alert must arrive, and a RST for unread bytes would overtake it.
  for (ByteSpan bytes = gone->peek(); !bytes.empty(); bytes = gone->peek()) {
    gone->consume(bytes.size());
  }
  let_go();
  gone->close();
}

void Stream::Impl::on_tcp_end() {
  const tcp::CloseReason reason = tcp->close_reason();
  if (reason == tcp::CloseReason::graceful) {
    for (ByteSpan bytes = tcp->peek(); !bytes.empty(); bytes = tcp->peek()) {
      tail.insert(tail.end(), bytes.begin(), bytes.end());
      tcp->consume(bytes.size());
    }
    let_go();
    work_left = kWorkPerTurn;
    return;
  }
  let_go();
  state = StreamState::closed;
  error = error_of(reason);
}

// Draws the consequences of where TCP and TLS stand.
void Stream::Impl::settle() {
  if (state == StreamState::closed) return;
  if (session && session->status() == crypto::SessionStatus::alert) {
    fail(session->alert_from_peer() ? StreamError::tls_alert : StreamError::tls_failed);
    return;
  }
  if (session && session->handshake_done()) {
    if (session->status() == crypto::SessionStatus::closed) {
      peer_ended = true;
    } else if (source_ended() && !session->has_plaintext()) {
      // RFC 8446 section 6.1: without close_notify an attacker may have cut it.
      fail(StreamError::truncated);
      return;
    }
  } else if (source_ended()) {
    if (session) {
      fail(StreamError::truncated);
      return;
    }
    peer_ended = true;
  }
  if (!peer_ended) return;
  const bool ours_ended = fin_sent || tcp == nullptr;
  state = ours_ended ? StreamState::closed : StreamState::half_closed;
}

void Stream::Impl::run_handshake(HandshakeBudget& budget) {
  while (!session->handshake_done()) {
    std::size_t fed = 0;
    for (ByteSpan bytes = source(); !bytes.empty(); bytes = source()) {
      const std::size_t n = session->feed(bytes);
      take(n);
      fed += n;
      if (n < bytes.size()) break;
    }
    if (session->handshake_expensive()) {
      if (budget.full_handshakes_left == 0) {
        mark_ready();
        return;
      }
      --budget.full_handshakes_left;
    }
    const auto status = session->handshake();
    flush();
    if (status == crypto::SessionStatus::alert || fed == 0) break;
    if (!spend(fed)) break;
  }
  if (session->handshake_done()) state = StreamState::open;
}

void Stream::Impl::advance(HandshakeBudget& budget) {
  if (state == StreamState::closed) {
    // Both sides had ended before TCP was done; now TCP is, and its connection goes.
    if (tcp != nullptr && tcp->close_reason() != tcp::CloseReason::none) let_go();
    return;
  }
  work_left = kWorkPerTurn;
  if (tcp != nullptr && tcp->close_reason() != tcp::CloseReason::none) {
    on_tcp_end();
    if (state == StreamState::closed) return;
  }
  if (state == StreamState::connecting && tcp != nullptr && !tcp->established()) return;
  flush();
  if (state == StreamState::connecting) {
    if (session) {
      run_handshake(budget);
    } else {
      state = StreamState::open;
    }
  }
  // An idle owner must learn of a close_notify without reading. More than a few bytes are data, and
  // best opened into the reader's room.
  if (state == StreamState::open && session && !session->has_plaintext() &&
      source().size() <= kProbe) {
    read_tls({});
  }
  settle();
}

std::size_t Stream::Impl::read(MutByteSpan room) {
  if (state == StreamState::connecting || state == StreamState::closed || room.empty()) return 0;
  if (peer_ended) return 0;
  if (work_left == 0 && tcp != nullptr) {
    mark_ready();
    return 0;
  }
  const std::size_t n = session ? read_tls(room) : read_plain(room);
  settle();
  return n;
}

std::size_t Stream::Impl::read_plain(MutByteSpan room) {
  std::size_t produced = 0;
  while (produced < room.size()) {
    const ByteSpan bytes = source();
    const std::size_t n = std::min({bytes.size(), room.size() - produced, work_left});
    if (n == 0) break;
    std::memcpy(room.data() + produced, bytes.data(), n);
    take(n);
    produced += n;
    if (!spend(n)) break;
  }
  return produced;
}

std::size_t Stream::Impl::read_tls(MutByteSpan room) {
  std::size_t produced = 0;
  for (;;) {
    const ByteSpan bytes = source();
    const auto opened = session->open(bytes, room.subspan(produced));
    take(opened.consumed);
    produced += opened.produced;
    if (opened.consumed == 0 && opened.produced == 0) break;
    if (!spend(std::max(opened.consumed, opened.produced))) break;
    if (produced == room.size() && (!room.empty() || session->has_plaintext())) break;
  }
  flush();  // answers to key updates, alerts
  return produced;
}

std::size_t Stream::Impl::write(ByteSpan bytes) {
  if (tcp == nullptr || write_ended || state == StreamState::connecting ||
      state == StreamState::closed) {
    return 0;
  }
  if (!session) return tcp->write(bytes);
  flush();
  std::size_t taken = 0;
  // At most one record's tail waits here for TCP: enough for TCP to know that we want more room.
  while (taken < bytes.size() && pending() == 0) {
    const std::size_t n =
        session->write(bytes.subspan(taken, std::min(bytes.size() - taken, kMaxRecord)));
    if (n == 0) break;
    taken += n;
  }
  settle();
  return taken;
}

void Stream::Impl::shutdown_write() {
  if (write_ended || state == StreamState::closed) return;
  write_ended = true;
  if (session) session->close_notify();
  flush();
  if (state != StreamState::connecting) settle();
}

void Stream::Impl::close() {
  if (tcp == nullptr) {
    state = StreamState::closed;
    return;
  }
  if (session) session->close_notify();
  write_ended = true;
  flush();
  if (pending() > 0) {
    // The rest cannot be delivered: a FIN here would look like an end in good order.
    abort(StreamError::none);
    return;
  }
  state = StreamState::closed;
  tcp::Connection* gone = tcp;
  if (session) {
    // Often just the peer's own close_notify: no reason for a RST (RFC 2525 section 2.17).
    const std::size_t n = std::min(gone->peek().size(), kWorkPerTurn);
    if (n > 0) gone->consume(n);
  }
  let_go();
  gone->close();
}

void Stream::Impl::abort(StreamError why) {
  if (state != StreamState::closed) error = why;
  state = StreamState::closed;
  if (tcp == nullptr) return;
  tcp::Connection* gone = tcp;
  let_go();
  gone->abort();
}

Stream::Stream(tcp::Connection& tcp) : Stream(tcp, nullptr) {}
Stream::Stream(tcp::Connection& tcp, std::unique_ptr<crypto::Session> session)
    : impl_(std::make_unique<Impl>(tcp, std::move(session))) {}
Stream::~Stream() {
  if (impl_->tcp != nullptr) impl_->close();
  if (impl_->session) impl_->session->set_sink(nullptr);
}

void Stream::advance(HandshakeBudget& budget, Time /*now*/) { impl_->advance(budget); }
StreamState Stream::state() const { return impl_->state; }
StreamError Stream::error() const { return impl_->error; }
std::size_t Stream::read(MutByteSpan room) { return impl_->read(room); }

bool Stream::readable() const {
  if (impl_->state != StreamState::open) return false;
  if (impl_->session && impl_->session->has_plaintext()) return true;
  return !impl_->source().empty();
}

std::size_t Stream::write(ByteSpan bytes) { return impl_->write(bytes); }

std::size_t Stream::writable() const {
  if (impl_->tcp == nullptr || impl_->write_ended || impl_->state == StreamState::connecting ||
      impl_->state == StreamState::closed) {
    return 0;
  }
  const std::size_t room = impl_->tcp->writable();
  if (!impl_->session) return room;
  if (impl_->pending() > 0) return 0;
  const std::size_t records = room / (kMaxRecord + kRecordOverhead) + 1;
  return room - std::min(room, records * kRecordOverhead);
}

void Stream::shutdown_write() { impl_->shutdown_write(); }
void Stream::close() { impl_->close(); }
void Stream::abort() { impl_->abort(StreamError::aborted); }

std::string_view Stream::alpn() const {
  return impl_->session ? impl_->session->alpn() : std::string_view{};
}
std::string_view Stream::server_name() const {
  return impl_->session ? impl_->session->server_name() : std::string_view{};
}
bool Stream::resumed() const { return impl_->session && impl_->session->resumed(); }
bool Stream::secure() const { return impl_->session != nullptr; }
crypto::Session* Stream::session() { return impl_->session.get(); }
bool Stream::drained() const { return unacknowledged() == 0; }

std::size_t Stream::unacknowledged() const {
  return impl_->tcp != nullptr ? impl_->tcp->unsent_and_unacked() + impl_->pending()
                               : impl_->last_unacknowledged;
}

void Stream::mark_ready() { impl_->mark_ready(); }
const tcp::FlowKey& Stream::flow() const { return impl_->flow; }

}  // namespace sluice::tls
