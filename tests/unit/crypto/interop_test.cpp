// Our sessions against OpenSSL, in memory.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "certificates.h"
#include "crypto/contexts.h"
#include "openssl_peer.h"

namespace sluice::crypto {
namespace {

using sluice::testing::CertificateRequest;
using sluice::testing::IssuedFiles;
using sluice::testing::KeyKind;
using sluice::testing::OpensslPeer;
using sluice::testing::TestAuthority;

class Interop : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    initialise();
    authority_ = new TestAuthority;
    p256_ = authority_->issue("p256", {KeyKind::p256, {"kb.tools.example"}, 30});
    ed25519_ = authority_->issue("ed", {KeyKind::ed25519, {"ed.tools.example"}, 30});
    rsa_ = authority_->issue("rsa", {KeyKind::rsa, {"*.rsa.example", "rsa.example"}, 30});
    expired_ = authority_->issue("expired", {KeyKind::p256, {"kb.tools.example"}, -1});
    address_ = authority_->issue("address", {KeyKind::p256, {"IP:198.18.0.9"}, 30});
  }
  static void TearDownTestSuite() { delete authority_; }
  void TearDown() override { enable_device(true); }

  static std::unique_ptr<ServerContexts> server() {
    auto contexts = ServerContexts::load({{"default", p256_.chain, p256_.key},
                                          {"ed", ed25519_.chain, ed25519_.key},
                                          {"rsa", rsa_.chain, rsa_.key}});
    EXPECT_TRUE(contexts.has_value()) << (contexts ? "" : contexts.error());
    return std::move(*contexts);
  }
  static OpensslPeer::Options client_options(std::string name = "kb.tools.example") {
    OpensslPeer::Options options;
    options.ca_file = authority_->ca_file();
    options.server_name = std::move(name);
    return options;
  }
  static OpensslPeer::Options server_options(const IssuedFiles& files) {
    OpensslPeer::Options options;
    options.server = true;
    options.chain = files.chain;
    options.key = files.key;
    return options;
  }
  static std::unique_ptr<ClientContext> client(bool offer_h2 = false) {
    auto context = ClientContext::make({authority_->ca_file(), "", "", offer_h2});
    EXPECT_TRUE(context.has_value()) << (context ? "" : context.error());
    return std::move(*context);
  }
  // Sends a text each way.
  static void expect_traffic(OpensslPeer& peer, Session& session) {
    ASSERT_TRUE(session.handshake_done()) << session.error_text() << " / " << peer.error();
    ASSERT_TRUE(peer.handshake_done()) << peer.error();
    peer.write("question");
    EXPECT_EQ(session.write(as_bytes("answer")), 6u);
    peer.exchange(session);
    EXPECT_EQ(peer.plain, "question");
    EXPECT_EQ(peer.received, "answer");
  }

  inline static TestAuthority* authority_ = nullptr;
  inline static IssuedFiles p256_, ed25519_, rsa_, expired_, address_;
};

TEST_F(Interop, ServerDefaults) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session);
  expect_traffic(peer, *session);
  EXPECT_EQ(session->version(), "TLSv1.3");
  EXPECT_STREQ(SSL_get_cipher(peer.ssl()), "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(SSL_get_negotiated_group(peer.ssl()), NID_X25519);
  EXPECT_EQ(session->server_name(), "kb.tools.example");
  EXPECT_EQ(session->alpn(), "");
  EXPECT_FALSE(session->resumed());
}

struct Matrix {
  const char* host;
  const char* groups;
  const char* cipher;
};
class InteropMatrix : public Interop, public ::testing::WithParamInterface<Matrix> {};

TEST_P(InteropMatrix, Server) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  auto options = client_options(GetParam().host);
  options.groups = GetParam().groups;
  options.ciphers13 = GetParam().cipher;
  OpensslPeer peer(options);
  peer.exchange(*session);
  expect_traffic(peer, *session);
  EXPECT_STREQ(SSL_get_cipher(peer.ssl()), GetParam().cipher);
}

TEST_P(InteropMatrix, Client) {
  const std::string host = GetParam().host;
  auto options = server_options(host == "kb.tools.example"   ? p256_
                                : host == "ed.tools.example" ? ed25519_
                                                             : rsa_);
  options.groups = GetParam().groups;
  options.ciphers13 = GetParam().cipher;
  auto context = client();
  auto session = context->make_session(host);
  OpensslPeer peer(options);
  peer.exchange(*session);
  expect_traffic(peer, *session);
  EXPECT_STREQ(SSL_get_cipher(peer.ssl()), GetParam().cipher);
}

INSTANTIATE_TEST_SUITE_P(
    CertificatesGroupsCiphers, InteropMatrix,
    ::testing::Values(Matrix{"kb.tools.example", "X25519", "TLS_AES_128_GCM_SHA256"},
                      Matrix{"kb.tools.example", "P-256", "TLS_AES_256_GCM_SHA384"},
                      Matrix{"kb.tools.example", "X25519", "TLS_CHACHA20_POLY1305_SHA256"},
                      Matrix{"ed.tools.example", "X25519", "TLS_AES_128_GCM_SHA256"},
                      Matrix{"ed.tools.example", "P-256", "TLS_AES_128_GCM_SHA256"},
                      Matrix{"a.rsa.example", "X25519", "TLS_AES_128_GCM_SHA256"},
                      Matrix{"rsa.example", "P-256", "TLS_AES_256_GCM_SHA384"}));

// RFC 8446 section 4.1.4: the key share is in a group we lack, but the list has ours.
TEST_F(Interop, HelloRetryRequest) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  auto options = client_options();
  options.groups = "P-384:X25519";
  OpensslPeer peer(options);
  peer.exchange(*session);
  expect_traffic(peer, *session);
  EXPECT_EQ(SSL_get_negotiated_group(peer.ssl()), NID_X25519);
}

TEST_F(Interop, ServerRefusesTls12WithProtocolVersion) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  auto options = client_options();
  options.max_version = TLS1_2_VERSION;
  OpensslPeer peer(options);
  peer.exchange(*session);
  EXPECT_EQ(session->status(), SessionStatus::alert);
  EXPECT_FALSE(session->alert_from_peer());
  EXPECT_NE(peer.error().find("protocol version"), std::string::npos) << peer.error();
}

TEST_F(Interop, ServerPrefersH2) {
  auto contexts = server();
  for (const bool h2_first : {true, false}) {
    auto session = contexts->make_session("default");
    auto options = client_options();
    options.alpn = h2_first ? std::vector<std::string>{"h2", "http/1.1"}
                            : std::vector<std::string>{"http/1.1", "h2"};
    OpensslPeer peer(options);
    peer.exchange(*session);
    expect_traffic(peer, *session);
    EXPECT_EQ(peer.alpn(), "h2");
    EXPECT_EQ(session->alpn(), "h2");
  }
  auto session = contexts->make_session("default");
  auto options = client_options();
  options.alpn = {"spdy/3", "http/1.1"};
  OpensslPeer peer(options);
  peer.exchange(*session);
  expect_traffic(peer, *session);
  EXPECT_EQ(session->alpn(), "http/1.1");
}

// RFC 7301 section 3.2.
TEST_F(Interop, NoCommonAlpnIsNoApplicationProtocol) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  auto options = client_options();
  options.alpn = {"spdy/3"};
  OpensslPeer peer(options);
  peer.exchange(*session);
  EXPECT_EQ(session->status(), SessionStatus::alert);
  EXPECT_NE(peer.error().find("no application protocol"), std::string::npos) << peer.error();
}

TEST_F(Interop, UnknownNameGetsTheDefaultCertificate) {
  auto contexts = server();
  auto session = contexts->make_session("ed");
  OpensslPeer::Options options;
  options.server_name = "Unknown.Example";
  OpensslPeer peer(options);
  peer.exchange(*session);
  expect_traffic(peer, *session);
  EXPECT_EQ(session->server_name(), "unknown.example");
  EXPECT_EQ(EVP_PKEY_get_id(X509_get0_pubkey(SSL_get0_peer_certificate(peer.ssl()))),
            EVP_PKEY_ED25519);
}

TEST_F(Interop, ByteByByteBothWays) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session, 1);
  ASSERT_TRUE(session->handshake_done()) << session->error_text();
  peer.write("one byte at a time");
  session->write(as_bytes("and back"));
  peer.exchange(*session, 1);
  EXPECT_EQ(peer.plain, "one byte at a time");
  EXPECT_EQ(peer.received, "and back");
}

TEST_F(Interop, LargeTransfersWithBoundedBuffers) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session);
  ASSERT_TRUE(session->handshake_done());
  std::string sent(3'000'000, '\0');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 2654435761u >> 13);
  std::size_t at = 0;
  while (at < sent.size()) {
    const std::size_t taken = session->write(as_bytes(std::string_view(sent).substr(at)));
    EXPECT_LT(session->pending_output().size(), 64u * 1024 + 17'000);
    EXPECT_EQ(session->write(as_bytes("x")) == 0, session->pending_output().size() >= 64u * 1024);
    sent.insert(at + taken, session->pending_output().size() >= 64u * 1024 ? "" : "x");
    at += taken + (session->pending_output().size() >= 64u * 1024 ? 0u : 1u);
    peer.exchange(*session, 7001);
    if (at > sent.size()) break;
  }
  EXPECT_EQ(peer.received.size(), sent.size());
  EXPECT_TRUE(peer.received == sent);
  for (std::size_t i = 0; i < sent.size();) {
    i += peer.write(std::string_view(sent).substr(i, 50'000));
    peer.exchange(*session, 4099);
  }
  EXPECT_TRUE(peer.plain == sent);
}

// RFC 8446 section 4.6.3, from either side, with and without the device.
TEST_F(Interop, KeyUpdates) {
  for (const bool device : {true, false}) {
    enable_device(device);
    auto contexts = server();
    auto session = contexts->make_session("default");
    OpensslPeer peer(client_options());
    peer.exchange(*session);
    expect_traffic(peer, *session);
    for (int i = 0; i < 3; ++i) {
      SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_REQUESTED);
      peer.write("a");
      peer.exchange(*session);
      session->write(as_bytes("b"));
      peer.exchange(*session);
      EXPECT_TRUE(session->update_keys());
      session->write(as_bytes("c"));
      peer.exchange(*session);
      peer.write("d");
      peer.exchange(*session);
    }
    EXPECT_EQ(peer.plain, "questionadadad") << session->error_text();
    EXPECT_EQ(peer.received, "answerbcbcbc") << peer.error();
  }
}

TEST_F(Interop, SessionKeepsItsDevice) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session);
  for (int i = 0; i < 4; ++i) {
    enable_device(i % 2 == 0);
    session->write(as_bytes("out"));
    peer.write("in");
    peer.exchange(*session);
  }
  EXPECT_EQ(peer.received, "outoutoutout");
  EXPECT_EQ(peer.plain, "inininin");
}

// RFC 8446 section 5.4.
TEST_F(Interop, PaddedRecords) {
  for (const bool device : {true, false}) {
    enable_device(device);
    auto contexts = server();
    auto session = contexts->make_session("default");
    OpensslPeer peer(client_options());
    SSL_set_block_padding(peer.ssl(), 4096);
    peer.exchange(*session);
    std::string sent;
    for (std::size_t size = 1; size < 16384; size = size * 3 + 1) {
      sent += std::string(size, static_cast<char>('a' + size % 26));
      peer.write(std::string_view(sent).substr(sent.size() - size));
    }
    peer.exchange(*session, 1000);
    EXPECT_TRUE(peer.plain == sent) << peer.plain.size() << " " << session->error_text();
  }
}

// RFC 6066 section 4.
TEST_F(Interop, ClientAsksForSmallRecords) {
  for (const bool device : {true, false}) {
    enable_device(device);
    auto contexts = server();
    auto session = contexts->make_session("default");
    OpensslPeer peer(client_options());
    SSL_set_tlsext_max_fragment_length(peer.ssl(), TLSEXT_max_fragment_length_512);
    peer.exchange(*session);
    expect_traffic(peer, *session);
    const std::string sent(3000, 'f');
    session->write(as_bytes(sent));
    const ByteSpan out = session->pending_output();
    for (std::size_t at = 0; at + 5 <= out.size(); at += 5u + load_be16(&out[at + 3])) {
      EXPECT_LE(load_be16(&out[at + 3]), 512 + 17);
    }
    peer.exchange(*session);
    EXPECT_EQ(peer.received, "answer" + sent) << peer.error();
  }
}

// Rooms of every size, records of every size, wire pieces of every size.
TEST_F(Interop, AnySizesAnywhere) {
  for (const char* cipher : {"TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"}) {
    auto contexts = server();
    auto session = contexts->make_session("default");
    auto options = client_options();
    options.ciphers13 = cipher;
    OpensslPeer peer(options);
    peer.exchange(*session);
    std::string sent, got;
    std::uint32_t random = 12345;
    const auto next = [&random](std::uint32_t below) {
      random = random * 1664525u + 1013904223u;
      return (random >> 8) % below;
    };
    std::string wire;
    std::vector<std::uint8_t> room(40'000);
    for (int i = 0; i < 400; ++i) {
      if (i % 50 == 7) SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED);
      std::string text(next(i % 3 == 0 ? 40'000 : 300) + 1, static_cast<char>('a' + i % 26));
      sent += text;
      peer.write(text);
      std::string more(100'000, '\0');
      more.resize(static_cast<std::size_t>(
          BIO_read(SSL_get_wbio(peer.ssl()), more.data(), static_cast<int>(more.size()))));
      wire += more;
      for (int k = 0; k < 200 && !wire.empty(); ++k) {
        const std::size_t size = next(k % 4 == 0 ? 40'000 : 2000);
        const ByteSpan piece = as_bytes(std::string_view(wire).substr(0, next(5000) + 1));
        const auto opened = session->open(piece, MutByteSpan(room).first(size));
        got.append(reinterpret_cast<const char*>(room.data()), opened.produced);
        wire.erase(0, opened.consumed);
      }
    }
    for (std::size_t n = 0; (n = session->read(room)) > 0;) {
      got.append(reinterpret_cast<const char*>(room.data()), n);
    }
    EXPECT_TRUE(wire.empty());
    EXPECT_TRUE(got == sent) << got.size() << " of " << sent.size() << session->error_text();
    EXPECT_EQ(session->status(), SessionStatus::want);
  }
}

TEST_F(Interop, ServerResumesWithTicket) {
  auto contexts = server();
  auto first = contexts->make_session("default");
  OpensslPeer one(client_options());
  one.exchange(*first);
  expect_traffic(one, *first);
  auto options = client_options();
  options.resume = one.session();
  auto second = contexts->make_session("default");
  OpensslPeer two(one, options);
  two.exchange(*second);
  expect_traffic(two, *second);
  EXPECT_TRUE(second->resumed());
  EXPECT_EQ(SSL_session_reused(two.ssl()), 1);

  // One rotation: still good. Two: a full handshake.
  contexts->rotate_ticket_keys();
  auto third = contexts->make_session("default");
  OpensslPeer three(one, options);
  three.exchange(*third);
  expect_traffic(three, *third);
  EXPECT_TRUE(third->resumed());
  contexts->rotate_ticket_keys();
  auto fourth = contexts->make_session("default");
  OpensslPeer four(one, options);
  four.exchange(*fourth);
  expect_traffic(four, *fourth);
  EXPECT_FALSE(fourth->resumed());
  SSL_SESSION_free(options.resume);
}

TEST_F(Interop, TicketOfOneHostIsNoTicketOfAnother) {
  auto contexts = server();
  auto first = contexts->make_session("default");
  OpensslPeer one(client_options());
  one.exchange(*first);
  expect_traffic(one, *first);
  auto options = client_options("ed.tools.example");
  options.resume = one.session();
  auto second = contexts->make_session("default");
  OpensslPeer two(one, options);
  two.exchange(*second);
  EXPECT_FALSE(second->resumed());
  SSL_SESSION_free(options.resume);
}

TEST_F(Interop, TicketSurvivesReload) {
  auto contexts = server();
  auto first = contexts->make_session("default");
  OpensslPeer one(client_options());
  one.exchange(*first);
  expect_traffic(one, *first);
  ASSERT_TRUE(contexts->reload().has_value());
  // The old session goes on.
  first->write(as_bytes("still"));
  one.exchange(*first);
  EXPECT_EQ(one.received, "answerstill");
  auto options = client_options();
  options.resume = one.session();
  auto second = contexts->make_session("default");
  OpensslPeer two(one, options);
  two.exchange(*second);
  expect_traffic(two, *second);
  EXPECT_TRUE(second->resumed());
  SSL_SESSION_free(options.resume);
}

// A new certificate under the same name: the old one may have been withdrawn for a reason.
TEST_F(Interop, TicketEndsWithItsCertificate) {
  const auto files = authority_->issue("renewed", {});
  auto loaded = ServerContexts::load({{"default", files.chain, files.key}});
  ASSERT_TRUE(loaded.has_value()) << loaded.error();
  auto contexts = std::move(*loaded);
  auto first = contexts->make_session("default");
  OpensslPeer one(client_options());
  one.exchange(*first);
  expect_traffic(one, *first);
  authority_->issue("renewed", {});
  ASSERT_TRUE(contexts->reload().has_value());
  auto options = client_options();
  options.resume = one.session();
  auto second = contexts->make_session("default");
  OpensslPeer two(one, options);
  two.exchange(*second);
  expect_traffic(two, *second);
  EXPECT_FALSE(second->resumed());
  SSL_SESSION_free(options.resume);
}

TEST_F(Interop, FailedReloadKeepsTheOldCertificates) {
  const auto files = authority_->issue("broken", {});
  auto loaded = ServerContexts::load({{"default", files.chain, files.key}});
  ASSERT_TRUE(loaded.has_value()) << loaded.error();
  std::ofstream(files.chain) << "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const auto reloaded = (*loaded)->reload();
  ASSERT_FALSE(reloaded.has_value());
  EXPECT_NE(reloaded.error().find(files.chain), std::string::npos) << reloaded.error();
  auto session = (*loaded)->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session);
  expect_traffic(peer, *session);
}

// Two workers serve while the control thread reloads and rotates.
TEST_F(Interop, WorkersServeDuringReloads) {
  auto contexts = server();
  std::atomic<int> served{0}, failed{0};
  std::atomic<bool> stop{false};
  const auto worker = [&] {
    for (int i = 0; i < 40; ++i) {
      auto session = contexts->make_session("default");
      OpensslPeer peer(client_options(i % 2 == 0 ? "kb.tools.example" : "ed.tools.example"));
      peer.exchange(*session);
      ++(session->handshake_done() && peer.handshake_done() ? served : failed);
    }
  };
  std::thread control([&] {
    while (!stop) {
      if (!contexts->reload()) ++failed;
      contexts->rotate_ticket_keys();
    }
  });
  std::thread one(worker), two(worker);
  one.join();
  two.join();
  stop = true;
  control.join();
  EXPECT_EQ(served, 80);
  EXPECT_EQ(failed, 0);
}

// Each request demands an answer; who never drains must not make us buffer without end.
TEST_F(Interop, KeyUpdateFloodIsBounded) {
  auto contexts = server();
  auto session = contexts->make_session("default");
  OpensslPeer peer(client_options());
  peer.exchange(*session);
  ASSERT_TRUE(session->handshake_done());
  std::vector<std::uint8_t> room(4096);
  std::size_t most = 0;
  for (int i = 0; i < 6000; ++i) {
    SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_REQUESTED);
    peer.write("x");
    std::string wire(256, '\0');
    wire.resize(static_cast<std::size_t>(
        BIO_read(SSL_get_wbio(peer.ssl()), wire.data(), static_cast<int>(wire.size()))));
    ByteSpan rest = as_bytes(wire);
    const auto opened = session->open(rest, room);
    most = std::max(most, session->pending_output().size());
    if (opened.consumed == 0) break;
  }
  EXPECT_GT(most, 60u * 1024);
  EXPECT_LT(most, 130u * 1024);
}

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
