// Our client sessions against OpenSSL.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "interop.h"

namespace sluice::crypto {
namespace {

TEST_F(Interop, ClientResumesWithTicket) {
  auto context = client();
  OpensslPeer one(server_options(p256_));
  auto first = context->make_session("kb.tools.example");
  one.exchange(*first);
  expect_traffic(one, *first);
  EXPECT_FALSE(first->resumed());
  for (int i = 0; i < 3; ++i) {
    OpensslPeer two(one, server_options(p256_));
    auto second = context->make_session("kb.tools.example");
    two.exchange(*second);
    expect_traffic(two, *second);
    EXPECT_TRUE(second->resumed());
    EXPECT_EQ(SSL_session_reused(two.ssl()), 1);
  }
  OpensslPeer other(server_options(p256_));  // knows nothing of the ticket
  auto third = context->make_session("kb.tools.example");
  other.exchange(*third);
  expect_traffic(other, *third);
  EXPECT_FALSE(third->resumed());
}

// Connections to one tool leave from every worker under one context, and so do their tickets.
TEST_F(Interop, WorkersShareAClientContext) {
  auto context = client();
  std::atomic<int> good{0}, resumed{0};
  const auto worker = [&] {
    OpensslPeer first(server_options(p256_));
    for (int i = 0; i < 40; ++i) {
      OpensslPeer peer(first, server_options(p256_));
      auto session = context->make_session("kb.tools.example");
      peer.exchange(*session);
      peer.write("question");
      peer.exchange(*session);
      if (session->handshake_done() && peer.plain == "question") ++good;
      if (session->resumed()) ++resumed;
    }
  };
  std::thread one(worker), two(worker);
  one.join();
  two.join();
  EXPECT_EQ(good, 80);
  // Each end only knows its own tickets, and the other worker's is often the latest.
  EXPECT_GT(resumed, 0);
}

TEST_F(Interop, ServerGoingBackToTls12CostsOneAttempt) {
  auto context = client();
  auto options = server_options(p256_);
  OpensslPeer one(options);
  auto first = context->make_session("kb.tools.example");
  one.exchange(*first);
  expect_traffic(one, *first);
  options.max_version = TLS1_2_VERSION;
  OpensslPeer two(options);
  auto second = context->make_session("kb.tools.example");
  two.exchange(*second);
  EXPECT_EQ(second->status(), SessionStatus::alert);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    options.max_version = version;
    OpensslPeer three(options);
    auto third = context->make_session("kb.tools.example");
    three.exchange(*third);
    expect_traffic(three, *third);
    EXPECT_EQ(third->version(), version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
  }
}

TEST_F(Interop, ClientSpeaksTls12) {
  for (const char* cipher : {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                             "ECDHE-ECDSA-CHACHA20-POLY1305"}) {
    auto options = server_options(p256_);
    options.max_version = TLS1_2_VERSION;
    options.ciphers12 = cipher;
    OpensslPeer peer(options);
    auto context = client();
    auto session = context->make_session("kb.tools.example");
    peer.exchange(*session);
    expect_traffic(peer, *session);
    EXPECT_EQ(session->version(), "TLSv1.2");
  }
}

TEST_F(Interop, ClientRefusesTls11AndCbc) {
  auto options = server_options(p256_);
  options.max_version = TLS1_2_VERSION;
  options.ciphers12 = "ECDHE-ECDSA-AES128-SHA";
  OpensslPeer peer(options);
  auto context = client();
  auto session = context->make_session("kb.tools.example");
  peer.exchange(*session);
  EXPECT_EQ(session->status(), SessionStatus::alert);
  EXPECT_TRUE(session->alert_from_peer());
}

TEST_F(Interop, ClientOffersAlpn) {
  auto options = server_options(p256_);
  options.alpn = {"h2", "http/1.1"};
  OpensslPeer one(options);
  auto h2 = client(true)->make_session("kb.tools.example");
  one.exchange(*h2);
  EXPECT_EQ(h2->alpn(), "h2");
  OpensslPeer two(options);
  auto h1 = client(false)->make_session("kb.tools.example");
  two.exchange(*h1);
  EXPECT_EQ(h1->alpn(), "http/1.1");
  // A server without ALPN: RFC 7301 leaves us with http/1.1.
  OpensslPeer three(server_options(p256_));
  auto none = client(true)->make_session("kb.tools.example");
  three.exchange(*none);
  expect_traffic(three, *none);
  EXPECT_EQ(none->alpn(), "");
}

TEST_F(Interop, ClientRefusesWrongNameExpiredAndUnknownAuthority) {
  auto context = client();
  for (const bool expired : {false, true}) {
    OpensslPeer peer(server_options(expired ? expired_ : p256_));
    auto session = context->make_session(expired ? "kb.tools.example" : "other.tools.example");
    peer.exchange(*session);
    EXPECT_EQ(session->status(), SessionStatus::alert);
    EXPECT_FALSE(session->handshake_done());
    EXPECT_FALSE(session->alert_from_peer());
    EXPECT_NE(session->error_text(), "");
    EXPECT_TRUE(peer.failed());
  }
  TestAuthority other;
  auto stranger = ClientContext::make({other.ca_file(), "", "", false});
  ASSERT_TRUE(stranger.has_value());
  OpensslPeer peer(server_options(p256_));
  auto session = (*stranger)->make_session("kb.tools.example");
  peer.exchange(*session);
  EXPECT_EQ(session->status(), SessionStatus::alert);
  EXPECT_FALSE(session->handshake_done());
}

TEST_F(Interop, ClientChecksAddresses) {
  auto context = client();
  OpensslPeer good(server_options(address_));
  auto session = context->make_session("198.18.0.9");
  good.exchange(*session);
  expect_traffic(good, *session);
  OpensslPeer bad(server_options(address_));
  auto refused = context->make_session("198.18.0.10");
  bad.exchange(*refused);
  EXPECT_EQ(refused->status(), SessionStatus::alert);
  OpensslPeer name(server_options(p256_));
  auto named = context->make_session("198.18.0.9");
  name.exchange(*named);
  EXPECT_EQ(named->status(), SessionStatus::alert);
}

TEST_F(Interop, ClientCertificate) {
  auto options = server_options(p256_);
  options.ca_file = authority_->ca_file();  // asks for one, and checks it
  auto context = ClientContext::make({authority_->ca_file(), ed25519_.chain, ed25519_.key, false});
  ASSERT_TRUE(context.has_value()) << context.error();
  OpensslPeer peer(options);
  auto session = (*context)->make_session("kb.tools.example");
  peer.exchange(*session);
  expect_traffic(peer, *session);
}

}  // namespace
}  // namespace sluice::crypto
