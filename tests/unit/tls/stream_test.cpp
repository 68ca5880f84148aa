// tls::Stream over two real TCP stacks on a virtual clock.
#include "tls/stream.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>

#include "../crypto/certificates.h"
#include "crypto/contexts.h"
#include "tcp_pair.h"

namespace sluice::tls {
namespace {

using sluice::testing::TcpPair;
using sluice::testing::TestAuthority;

// What an HTTP layer does with a stream: read while there is room, write while something waits.
class End final : public tcp::Observer {
 public:
  void on_ready(tcp::Connection& connection, Time now) override {
    if (!stream) stream.emplace(connection, make_session ? make_session() : nullptr);
    HandshakeBudget budget{handshakes_per_turn};
    stream->advance(budget, now);
    spent += handshakes_per_turn - budget.full_handshakes_left;
    if (stream->state() == StreamState::connecting) return;
    pull();
    push();
  }
  void pull() {
    read_last_turn = 0;
    std::uint8_t room[5000];
    while (reading) {
      const std::size_t n = stream->read(room);
      if (n == 0) break;
      received.append(reinterpret_cast<const char*>(room), n);
      read_last_turn += n;
    }
    most_read = std::max(most_read, read_last_turn);
  }
  void push() {
    while (!to_send.empty()) {
      const std::size_t n = stream->write(as_bytes(to_send));
      to_send.erase(0, n);
      sent += n;
      if (n == 0) break;
    }
    if (to_send.empty() && shutdown_after) stream->shutdown_write();
  }

  std::function<std::unique_ptr<crypto::Session>()> make_session;
  std::optional<Stream> stream;
  unsigned handshakes_per_turn = 1;
  unsigned spent = 0;
  bool reading = true;
  bool shutdown_after = false;
  std::string to_send, received;
  std::size_t sent = 0, read_last_turn = 0, most_read = 0;
};

class StreamTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    authority_ = new TestAuthority;
    const auto files = authority_->issue("server", {});
    server_contexts_ =
        crypto::ServerContexts::load({{"server", files.chain, files.key}})->release();
    client_context_ = crypto::ClientContext::make({authority_->ca_file(), "", "", true})->release();
  }
  static void TearDownTestSuite() {
    delete client_context_;
    delete server_contexts_;
    delete authority_;
  }

  void use_tls() {
    client_.make_session = [] { return client_context_->make_session("kb.tools.example"); };
    server_.make_session = [] { return server_contexts_->make_session("server"); };
  }
  void start(TcpPair::Options options = {}) { pair_.emplace(client_, server_, options); }
  void run(int turns = 60) {
    for (int i = 0; i < turns; ++i) pair_->turn();
  }
  void TearDown() override {
    client_.stream.reset();
    server_.stream.reset();
    pair_.reset();
  }

  inline static TestAuthority* authority_ = nullptr;
  inline static crypto::ServerContexts* server_contexts_ = nullptr;
  inline static crypto::ClientContext* client_context_ = nullptr;
  std::optional<TcpPair> pair_;
  End client_, server_;
};

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 11);
  return text;
}

TEST_F(StreamTest, PlainPassesThrough) {
  client_.to_send = pattern(200'000);
  server_.to_send = pattern(150'000);
  const std::string up = client_.to_send, down = server_.to_send;
  start();
  run(200);
  EXPECT_TRUE(server_.received == up) << server_.received.size();
  EXPECT_TRUE(client_.received == down) << client_.received.size();
  EXPECT_EQ(client_.stream->state(), StreamState::open);
  EXPECT_FALSE(client_.stream->secure());
  EXPECT_TRUE(client_.stream->drained());
  EXPECT_EQ(client_.stream->alpn(), "");
}

TEST_F(StreamTest, PlainHalfClose) {
  client_.to_send = "request";
  client_.shutdown_after = true;
  start();
  run();
  EXPECT_EQ(server_.received, "request");
  ASSERT_EQ(server_.stream->state(), StreamState::half_closed);
  EXPECT_EQ(server_.stream->error(), StreamError::none);
  EXPECT_EQ(server_.stream->write(as_bytes("answer")), 6u);
  run();
  EXPECT_EQ(client_.received, "answer");
  server_.stream->shutdown_write();
  EXPECT_EQ(server_.stream->state(), StreamState::closed);
  run();
  EXPECT_EQ(client_.stream->state(), StreamState::closed);
  EXPECT_EQ(client_.stream->error(), StreamError::none);
}

TEST_F(StreamTest, TlsBothWays) {
  use_tls();
  client_.to_send = pattern(1'000'000);
  server_.to_send = pattern(700'000);
  const std::string up = client_.to_send, down = server_.to_send;
  start();
  run(400);
  EXPECT_TRUE(server_.received == up) << server_.received.size();
  EXPECT_TRUE(client_.received == down) << client_.received.size();
  EXPECT_TRUE(server_.stream->secure());
  EXPECT_EQ(server_.stream->alpn(), "h2");
  EXPECT_EQ(client_.stream->alpn(), "h2");
  EXPECT_EQ(server_.stream->server_name(), "kb.tools.example");
  EXPECT_TRUE(client_.stream->drained());
  EXPECT_EQ(server_.spent, 1u);
}

TEST_F(StreamTest, TlsHalfClose) {
  use_tls();
  client_.to_send = "request";
  client_.shutdown_after = true;
  start();
  run();
  EXPECT_EQ(server_.received, "request");
  ASSERT_EQ(server_.stream->state(), StreamState::half_closed);
  EXPECT_EQ(server_.stream->write(as_bytes("answer")), 6u);
  server_.stream->shutdown_write();
  EXPECT_EQ(server_.stream->state(), StreamState::closed);
  run();
  EXPECT_EQ(client_.received, "answer");
  EXPECT_EQ(client_.stream->state(), StreamState::closed);
  EXPECT_EQ(client_.stream->error(), StreamError::none);
}

TEST_F(StreamTest, HandshakesWaitForTheirBudget) {
  use_tls();
  server_.handshakes_per_turn = 0;
  start();
  run();
  ASSERT_TRUE(server_.stream.has_value());
  EXPECT_EQ(server_.stream->state(), StreamState::connecting);
  EXPECT_EQ(client_.stream->state(), StreamState::connecting);
  server_.handshakes_per_turn = 1;
  run();
  EXPECT_EQ(server_.stream->state(), StreamState::open);
  EXPECT_EQ(client_.stream->state(), StreamState::open);
}

class StreamBothWays : public StreamTest, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(PlainAndTls, StreamBothWays, ::testing::Bool());

TEST_P(StreamBothWays, UnreadBytesHoldTheSenderBack) {
  if (GetParam()) use_tls();
  server_.reading = false;
  client_.to_send = pattern(1'000'000);
  const std::string up = client_.to_send;
  start();
  run(100);
  // Receive buffer, send buffer, and a record or two on the way.
  EXPECT_LT(client_.sent, 64u * 1024 * 2 + 64u * 1024);
  EXPECT_GT(client_.sent, 64u * 1024);
  const std::size_t stuck = client_.sent;
  run(50);
  EXPECT_EQ(client_.sent, stuck);
  server_.reading = true;
  server_.stream->mark_ready();
  run(400);
  EXPECT_TRUE(server_.received == up) << server_.received.size();
}

TEST_P(StreamBothWays, WorkPerTurnIsBounded) {
  if (GetParam()) use_tls();
  server_.reading = false;
  client_.to_send = pattern(900'000);
  start({.receive_buffer = 512 * 1024, .send_buffer = 1024 * 1024});
  run(100);
  server_.reading = true;
  server_.stream->mark_ready();
  run(100);
  EXPECT_EQ(server_.received.size(), 900'000u);
  EXPECT_LE(server_.most_read, 64u * 1024 + 16384);
}

// RFC 8446 section 6.1.
TEST_F(StreamTest, FinWithoutCloseNotifyIsTruncation) {
  use_tls();
  client_.to_send = "half of it";
  start();
  run();
  EXPECT_EQ(server_.received, "half of it");
  pair_->client()->shutdown_write();
  run();
  EXPECT_EQ(server_.stream->state(), StreamState::closed);
  EXPECT_EQ(server_.stream->error(), StreamError::truncated);
}

TEST_F(StreamTest, DataBeforeTruncationIsStillRead) {
  use_tls();
  start();
  run();
  server_.reading = false;
  client_.to_send = pattern(40'000);
  const std::string up = client_.to_send;
  client_.push();
  run();
  pair_->client()->shutdown_write();
  run();
  EXPECT_EQ(server_.stream->state(), StreamState::open);
  EXPECT_TRUE(server_.stream->readable());
  server_.reading = true;
  server_.stream->mark_ready();
  run();
  EXPECT_TRUE(server_.received == up) << server_.received.size();
  EXPECT_EQ(server_.stream->error(), StreamError::truncated);
}

TEST_F(StreamTest, BothSidesLearnOfARefusedCertificate) {
  use_tls();
  client_.make_session = [] { return client_context_->make_session("other.example"); };
  start();
  run();
  EXPECT_EQ(client_.stream->state(), StreamState::closed);
  EXPECT_EQ(client_.stream->error(), StreamError::tls_failed);
  EXPECT_EQ(server_.stream->state(), StreamState::closed);
  EXPECT_EQ(server_.stream->error(), StreamError::tls_alert);
}

TEST_F(StreamTest, GarbageGetsAnAlertNotARst) {
  server_.make_session = [] { return server_contexts_->make_session("server"); };
  client_.to_send = "GET / HTTP/1.1\r\nHost: kb.tools.example\r\n\r\n";
  start();
  run();
  EXPECT_EQ(server_.stream->error(), StreamError::tls_failed);
  ASSERT_GE(client_.received.size(), 7u);
  EXPECT_EQ(client_.received[0], 21);  // alert
  EXPECT_EQ(client_.stream->state(), StreamState::half_closed);
}

TEST_F(StreamTest, AbortIsAReset) {
  use_tls();
  start();
  run();
  client_.stream->abort();
  EXPECT_EQ(client_.stream->error(), StreamError::aborted);
  run();
  EXPECT_EQ(server_.stream->state(), StreamState::closed);
  EXPECT_EQ(server_.stream->error(), StreamError::tcp_reset);
}

TEST_F(StreamTest, CloseIsOrderly) {
  use_tls();
  server_.to_send = pattern(30'000);
  const std::string down = server_.to_send;
  start();
  run();
  server_.stream->close();
  EXPECT_EQ(server_.stream->state(), StreamState::closed);
  run();
  EXPECT_TRUE(client_.received == down);
  EXPECT_EQ(client_.stream->state(), StreamState::half_closed);
  EXPECT_EQ(client_.stream->error(), StreamError::none);
}

TEST_F(StreamTest, RefusedConnection) {
  start({.listen = false});
  client_.stream.emplace(*pair_->client());
  run();
  EXPECT_EQ(client_.stream->state(), StreamState::closed);
  EXPECT_EQ(client_.stream->error(), StreamError::tcp_refused);
}

TEST_F(StreamTest, KeyUpdatesOnTheWay) {
  use_tls();
  start();
  run();
  std::string up;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(client_.stream->session()->update_keys());
    client_.to_send = pattern(5000);
    up += client_.to_send;
    client_.push();
    run(10);
  }
  EXPECT_TRUE(server_.received == up);
  server_.to_send = "back";
  server_.push();
  run();
  EXPECT_EQ(client_.received, "back");
}

}  // namespace
}  // namespace sluice::tls
