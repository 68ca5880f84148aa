// Agents' connections under TLS: handshakes, and ends that must not look like attacks.
#include <gtest/gtest.h>

#include <algorithm>

#include "agent_bench.h"
#include "agent_connection.h"
#include "crypto/certificates.h"
#include "tls_agent.h"

namespace sluice::worker {
namespace {

using telemetry::Counter;

constexpr std::string_view kLastRequest =
    "GET /docs/a HTTP/1.1\r\nHost: kb.tools.example\r\nConnection: close\r\n\r\n";

class AgentTlsTest : public AgentBench {
 protected:
  static void SetUpTestSuite() {
    authority_ = new testing::TestAuthority;
    const auto files = authority_->issue("server", {});
    server_ = crypto::ServerContexts::load({{"server", files.chain, files.key}})->release();
  }
  static void TearDownTestSuite() {
    delete server_;
    delete authority_;
  }
  AgentTlsTest() { certificates_ = server_; }

  // The handshake is still to come.
  void connect_tls(TlsAgent& agent, bool offer_h2) {
    agent.context = *crypto::ClientContext::make({authority_->ca_file(), "", "", offer_h2});
    outside_->connect(*IpAddress::parse("198.18.1.10"), {*IpAddress::parse("198.18.1.1"), 443},
                      agent, now_);
  }

  inline static testing::TestAuthority* authority_ = nullptr;
  inline static crypto::ServerContexts* server_ = nullptr;
};

TEST_F(AgentTlsTest, ACallAndAnEndInGoodOrder) {
  TlsAgent agent;
  connect_tls(agent, false);
  agent.to_say = kLastRequest;
  run();
  EXPECT_TRUE(agent.received.starts_with("HTTP/1.1 401 ")) << agent.received;
  EXPECT_EQ(agent.stream->state(), tls::StreamState::half_closed) << "close_notify has come";
  ASSERT_EQ(core_.agents.size(), 1u);
  // RFC 8446 section 6.1: the agent's close_notify in return. No reason for a RST.
  agent.stream->shutdown_write();
  run();
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(agent.reason, tcp::CloseReason::graceful);
}

TEST_F(AgentTlsTest, TheProtocolIsTheOneAgreedOn) {
  TlsAgent agent;
  connect_tls(agent, true);
  run();
  EXPECT_EQ(agent.stream->alpn(), "h2");
  ASSERT_GE(agent.received.size(), 9u);
  EXPECT_EQ(agent.received[3], 4) << "RFC 9113 section 3.4: SETTINGS first";
  agent.stream->abort();
  run();
  EXPECT_TRUE(core_.agents.empty());
}

TEST_F(AgentTlsTest, AHandshakeThatDoesNotEndIsCountedAndCut) {
  test::Peer& silent = connect();
  test::Peer& slow = connect();
  const Time began = now_;
  while (now_ - began < kHandshakeTime - Millis{100}) {
    // A record of 256 bytes that never completes.
    slow.say(now_ - began < Millis{10} ? std::string_view("\x16\x03\x01\x01\x00", 5) : "x");
    pass(Millis{100});
  }
  EXPECT_EQ(core_.agents.size(), 2u);
  EXPECT_EQ(count(Counter::handshakes_timed_out), 0u);
  pass(Millis{200});
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(count(Counter::handshakes_timed_out), 2u);
  EXPECT_EQ(silent.reason, tcp::CloseReason::reset_by_peer);
  EXPECT_EQ(slow.reason, tcp::CloseReason::reset_by_peer);
}

TEST_F(AgentTlsTest, WhatIsNotTlsIsRefused) {
  test::Peer& agent = connect();
  agent.say("GET / HTTP/1.1\r\n\r\n");
  run();
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_TRUE(agent.ended);
  EXPECT_EQ(count(Counter::handshakes_timed_out), 0u);
}

TEST_F(AgentTlsTest, AHandshakeUnderWayWhenDrainingBeginsEndsWithoutACall) {
  TlsAgent agent;
  connect_tls(agent, false);
  agent.to_say = kLastRequest;
  outside_turn();
  gateway_turn();
  outside_turn();
  gateway_turn();
  ASSERT_EQ(core_.agents.size(), 1u);
  core_.drain(now_);
  run();
  EXPECT_TRUE(records_.empty());
  EXPECT_EQ(agent.received, "");
  EXPECT_EQ(agent.stream->state(), tls::StreamState::half_closed);
  agent.stream->shutdown_write();
  run();
  EXPECT_TRUE(core_.agents.empty());
}

TEST_F(AgentTlsTest, AHalfClosedSlowAgentGetsAllOfItsAnswer) {
  TlsAgent agent;
  connect_tls(agent, false);
  agent.to_say = request("GET", "/docs/a");
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  agent.reading = false;
  agent.stream->shutdown_write();
  const std::string answer =
      "HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + std::string(8'000'000, 'x');
  std::size_t said = 0;
  std::size_t before = SIZE_MAX;
  while (before != said) {
    before = said;
    said += tool(0).connection->write(as_bytes(std::string_view(answer).substr(said)));
    run();
  }
  ASSERT_LT(said, answer.size());
  agent.reading = true;
  while (said < answer.size() && tool(0).connection != nullptr) {
    agent.stream->mark_ready();
    said += tool(0).connection->write(as_bytes(std::string_view(answer).substr(said)));
    run();
  }
  EXPECT_EQ(agent.received.size() - agent.received.find("\r\n\r\n") - 4, 8'000'000u);
  EXPECT_EQ(agent.reason, tcp::CloseReason::graceful);
  EXPECT_TRUE(core_.agents.empty());
}

TEST_F(AgentTlsTest, OneFullHandshakePerTurn) {
  std::array<TlsAgent, 4> agents;
  for (TlsAgent& agent : agents) connect_tls(agent, false);
  outside_turn();
  gateway_turn();  // SYN and SYN-ACK
  outside_turn();  // ACK and ClientHello
  std::size_t open = 0;
  for (int turn = 0; turn < 20; ++turn) {
    gateway_turn();
    outside_turn();
    now_ += Micros{50};
    const auto now_open = static_cast<std::size_t>(std::ranges::count_if(
        agents, [](TlsAgent& a) { return a.stream->state() == tls::StreamState::open; }));
    EXPECT_LE(now_open, open + kFullHandshakesPerTurn);
    open = now_open;
  }
  EXPECT_EQ(open, agents.size());
  for (TlsAgent& agent : agents) agent.stream->abort();
  run();
}

}  // namespace
}  // namespace sluice::worker
