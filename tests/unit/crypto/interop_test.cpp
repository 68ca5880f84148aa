// Our server sessions against OpenSSL.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "interop.h"

namespace sluice::crypto {
namespace {

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

}  // namespace
}  // namespace sluice::crypto
