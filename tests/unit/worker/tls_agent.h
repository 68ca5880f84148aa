// An agent that speaks TLS and says what it is told to.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "crypto/contexts.h"
#include "tls/stream.h"

namespace sluice::worker {

struct TlsAgent final : tcp::Observer {
  void on_ready(tcp::Connection& tcp, Time now) override {
    if (!stream) stream.emplace(tcp, context->make_session("kb.tools.example"));
    tls::HandshakeBudget budget{1};
    stream->advance(budget, now);
    std::array<std::uint8_t, 4096> room;
    std::size_t n = SIZE_MAX;
    while (reading && n > 0) {
      n = stream->read(room);
      received += as_text(ByteSpan{room}.first(n));
    }
    if (stream->state() == tls::StreamState::open && !to_say.empty()) {
      to_say.erase(0, stream->write(as_bytes(to_say)));
    }
    if (tcp.close_reason() != tcp::CloseReason::none) reason = tcp.close_reason();
  }
  std::unique_ptr<crypto::ClientContext> context;
  std::optional<tls::Stream> stream;
  std::string to_say, received;
  bool reading = true;
  tcp::CloseReason reason = tcp::CloseReason::none;
};

}  // namespace sluice::worker
