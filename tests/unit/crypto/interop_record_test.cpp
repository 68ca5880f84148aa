// Records, closing, and what both roles refuse.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "interop.h"

namespace sluice::crypto {
namespace {

// RFC 8446 section 6.1: either side may end its writing and go on reading.
TEST_F(Interop, CloseNotifyIsHalfClose) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session);
  peer.shutdown();
  peer.exchange(*session);
  EXPECT_EQ(session->status(), SessionStatus::closed);
  EXPECT_EQ(session->write(as_bytes("late answer")), 11u);
  peer.exchange(*session);
  EXPECT_EQ(peer.received, "late answer");
  session->close_notify();
  peer.exchange(*session);
  EXPECT_TRUE(peer.closed());

  auto ours_first = contexts->make_session("default");
  OpensslPeer other(client_options());
  other.exchange(*ours_first);
  ours_first->close_notify();
  EXPECT_EQ(ours_first->write(as_bytes("x")), 0u);
  other.exchange(*ours_first);
  EXPECT_TRUE(other.closed());
  other.write("still talking");
  other.exchange(*ours_first);
  EXPECT_EQ(other.plain, "still talking");
}

TEST_F(Interop, TamperedRecordIsRefused) {
  for (const bool device : {true, false}) {
    enable_device(device);
    auto contexts = server();
    auto session = contexts->make_session("default");
    OpensslPeer peer(client_options());
    peer.exchange(*session);
    ASSERT_TRUE(session->handshake_done());
    peer.write("precious");
    std::string wire(4096, '\0');
    const int n = BIO_read(SSL_get_wbio(peer.ssl()), wire.data(), 4096);
    ASSERT_GT(n, 10);
    wire.resize(static_cast<std::size_t>(n));
    wire[wire.size() - 20] = static_cast<char>(wire[wire.size() - 20] ^ 1);
    session->feed(as_bytes(wire));
    std::uint8_t room[64];
    EXPECT_EQ(session->read(room), 0u);
    EXPECT_EQ(session->status(), SessionStatus::alert);
    EXPECT_FALSE(session->alert_from_peer());
    peer.exchange(*session);
    EXPECT_NE(peer.error().find("bad record mac"), std::string::npos) << peer.error();
  }
}

TEST_F(Interop, GarbageIsRefusedWithAnAlert) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  session->feed(as_bytes("GET / HTTP/1.1\r\nHost: kb.tools.example\r\n\r\n"));
  session->handshake();
  EXPECT_EQ(session->status(), SessionStatus::alert);
  EXPECT_NE(session->error_text(), "");
  // RFC 8446 sections 5.1 and 6.2.
  const std::vector<std::uint8_t> alert = {21, 3, 3, 0, 2, 2, 10};
  const ByteSpan out = session->pending_output();
  EXPECT_EQ(std::vector<std::uint8_t>(out.begin(), out.end()), alert);
}

TEST_F(Interop, ExpensiveStepsAreForeseen) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  EXPECT_FALSE(session->handshake_expensive());
  OpensslPeer peer(client_options());
  SSL_do_handshake(peer.ssl());
  std::string hello(4096, '\0');
  hello.resize(static_cast<std::size_t>(
      BIO_read(SSL_get_wbio(peer.ssl()), hello.data(), static_cast<int>(hello.size()))));
  session->feed(as_bytes(std::string_view(hello).substr(0, 50)));
  EXPECT_FALSE(session->handshake_expensive());
  session->handshake();
  EXPECT_TRUE(session->pending_output().empty());
  session->feed(as_bytes(std::string_view(hello).substr(50)));
  EXPECT_TRUE(session->handshake_expensive());
  session->handshake();
  EXPECT_FALSE(session->handshake_expensive());
  EXPECT_FALSE(session->pending_output().empty());
  peer.exchange(*session);
  EXPECT_TRUE(session->handshake_done());
}

TEST_F(Interop, OpenTakesLentBytesWithoutFeed) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session);
  peer.write(std::string(20'000, 'z'));
  std::string wire(40'000, '\0');
  wire.resize(static_cast<std::size_t>(
      BIO_read(SSL_get_wbio(peer.ssl()), wire.data(), static_cast<int>(wire.size()))));
  std::string plain;
  std::vector<std::uint8_t> room(3000);
  for (ByteSpan rest = as_bytes(wire);;) {
    const auto opened = session->open(rest.first(std::min<std::size_t>(rest.size(), 1448)), room);
    rest = rest.subspan(opened.consumed);
    plain.append(reinterpret_cast<const char*>(room.data()), opened.produced);
    if (opened.consumed == 0 && opened.produced == 0) break;
  }
  EXPECT_EQ(plain, std::string(20'000, 'z'));
  EXPECT_FALSE(session->has_plaintext());
}

struct Collector final : CiphertextSink {
  std::size_t send(ByteSpan bytes) override {
    const std::size_t n = std::min(bytes.size(), room);
    room -= n;
    wire.append(reinterpret_cast<const char*>(bytes.data()), n);
    return n;
  }
  std::string wire;
  std::size_t room = 10'000;
};

TEST_F(Interop, SinkComesBeforePendingOutput) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session);
  Collector sink;
  session->set_sink(&sink);
  EXPECT_EQ(session->write(as_bytes(std::string(15'000, 'q'))), 15'000u);
  EXPECT_EQ(sink.wire.size(), 10'000u);
  sink.room = 100'000;
  session->write(as_bytes("end"));  // must not overtake what is pending
  EXPECT_EQ(sink.wire.size(), 10'000u);
  BIO_write(SSL_get_rbio(peer.ssl()), sink.wire.data(), static_cast<int>(sink.wire.size()));
  session->set_sink(nullptr);
  peer.exchange(*session);
  EXPECT_EQ(peer.received, std::string(15'000, 'q') + "end");
}

TEST_F(Interop, LoadErrorsNameTheFile) {
  auto missing = ServerContexts::load({{"x", "/nonexistent.pem", p256_.key}});
  ASSERT_FALSE(missing.has_value());
  EXPECT_NE(missing.error().find("/nonexistent.pem"), std::string::npos);
  auto mismatched = ServerContexts::load({{"x", p256_.chain, rsa_.key}});
  ASSERT_FALSE(mismatched.has_value());
  EXPECT_NE(mismatched.error().find(rsa_.key), std::string::npos) << mismatched.error();
  EXPECT_FALSE(ServerContexts::load({}).has_value());
  // Of the same kind, and still not its own.
  for (const KeyKind kind : {KeyKind::p256, KeyKind::ed25519, KeyKind::rsa}) {
    const auto one = authority_->issue("one", {kind, {"one.example"}, 30});
    const auto other = authority_->issue("other", {kind, {"other.example"}, 30});
    EXPECT_TRUE(ServerContexts::load({{"x", one.chain, one.key}}).has_value());
    auto swapped = ServerContexts::load({{"x", one.chain, other.key}});
    ASSERT_FALSE(swapped.has_value()) << static_cast<int>(kind);
    EXPECT_NE(swapped.error().find("does not belong"), std::string::npos) << swapped.error();
  }
  EXPECT_FALSE(ClientContext::make({"/nonexistent.pem", "", "", false}).has_value());
}

}  // namespace
}  // namespace sluice::crypto
