// Our sessions against OpenSSL, in memory: certificates, and how the two exchange.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "certificates.h"
#include "crypto/contexts.h"
#include "openssl_peer.h"

namespace sluice::crypto {
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

}  // namespace sluice::crypto
