// How an agent's connection ends: in good order, in time, by drain, by force.
#include <gtest/gtest.h>

#include "agent_bench.h"
#include "agent_connection.h"

namespace sluice::worker {
namespace {

using telemetry::Reason;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
constexpr std::string_view kLastRequest =
    "GET /docs/a HTTP/1.1\r\nHost: kb.tools.example\r\nConnection: close\r\n\r\n";
constexpr std::string_view kOtherTask = "11111111-2222-4333-8444-555555555555";

class AgentEndTest : public AgentBench {};

TEST_F(AgentEndTest, Rfc9112Section9_6_ReadsOnAfterItsEndForATime) {
  test::Peer& agent = connect();
  const Time before = now_;
  agent.say(kLastRequest);
  run();
  EXPECT_NE(agent.received.find("connection: close"), std::string::npos) << agent.received;
  EXPECT_TRUE(agent.ended);
  // An agent that keeps sending is not reset while it may still be reading the answer.
  for (int i = 0; i < 100; ++i) {
    agent.say(std::string(10'000, 'x'));
    run();
  }
  EXPECT_EQ(agent.connection->unsent_and_unacked(), 0u);
  EXPECT_EQ(core_.agents.size(), 1u);
  pass(before + kLingerTime - now_);
  EXPECT_EQ(core_.agents.size(), 1u);
  EXPECT_EQ(agent.reason, tcp::CloseReason::none);
  pass(kDeliveryCheck + Millis{100});
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(agent.reason, tcp::CloseReason::reset_by_peer);
}

TEST_F(AgentEndTest, TheAgentsEndEndsTheReadingOn) {
  test::Peer& agent = connect();
  agent.say(kLastRequest);
  run();
  ASSERT_TRUE(agent.ended);
  agent.connection->shutdown_write();
  run();
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(agent.reason, tcp::CloseReason::graceful);
}

TEST_F(AgentEndTest, AnAnswerIsNotLostWhenTheAgentEndsBeforeItCame) {
  test::Peer& agent = connect();
  agent.say(kLastRequest);
  agent.connection->mark_ready();
  outside_turn();
  gateway_turn();  // answer and FIN
  to_outside_.lose();
  agent.connection->shutdown_write();
  pass(Seconds{5});
  EXPECT_TRUE(agent.received.starts_with("HTTP/1.1 401 ")) << agent.received;
  EXPECT_TRUE(agent.ended);
  EXPECT_EQ(agent.reason, tcp::CloseReason::graceful);
  EXPECT_TRUE(core_.agents.empty());
}

// A send buffer full takes a slow agent longer than we read on.
TEST_F(AgentEndTest, ASlowAgentGetsAllOfTheLastAnswer) {
  test::Peer& agent = connect();
  agent.say(request("GET", "/docs/a", "Connection: close\r\n"));
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  agent.reading = false;
  tool(0).say("HTTP/1.1 200 OK\r\nContent-Length: 800000\r\n\r\n" + std::string(800'000, 'x'));
  run();
  ASSERT_EQ(records_.size(), 1u);
  for (int step = 0; step < 8; ++step) {
    pass(core_.http_limits.idle_time / 2);
    ByteSpan some = agent.connection->peek();
    some = some.first(std::min<std::size_t>(some.size(), 40'000));
    agent.received += as_text(some);
    agent.connection->consume(some.size());
  }
  EXPECT_EQ(core_.agents.size(), 1u);
  agent.reading = true;
  agent.connection->mark_ready();
  run();
  EXPECT_TRUE(agent.ended);
  EXPECT_EQ(agent.received.size() - agent.received.find("\r\n\r\n") - 4, 800'000u);
  pass(kLingerTime + 2 * kDeliveryCheck);
  EXPECT_TRUE(core_.agents.empty());
}

TEST_F(AgentEndTest, AnAgentThatDoesNotTakeTheLastAnswerIsNotWaitedForLong) {
  test::Peer& agent = connect();
  agent.say(request("GET", "/docs/a", "Connection: close\r\n"));
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  agent.reading = false;
  tool(0).say("HTTP/1.1 200 OK\r\nContent-Length: 800000\r\n\r\n" + std::string(800'000, 'x'));
  pass(core_.http_limits.idle_time - Seconds{1});
  EXPECT_EQ(core_.agents.size(), 1u);
  pass(Seconds{2});
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(gateway_->connection_count(), 1u) << "the tool's is left";
}

TEST_F(AgentEndTest, AnIdleConnectionEndsInGoodOrder) {
  test::Peer& agent = connect();
  agent.say("GET / HTTP/1.1\r\nHost: kb.tools.example\r\n\r\n");
  run();
  pass(core_.http_limits.idle_time - Seconds{1});
  EXPECT_FALSE(agent.ended);
  // Answers are not given with the time: at most twice the limit.
  pass(core_.http_limits.idle_time + Seconds{2});
  EXPECT_TRUE(agent.ended);
  pass(kLingerTime);
  EXPECT_TRUE(core_.agents.empty());
}

TEST_F(AgentEndTest, DrainingAnswersWhatRunsAndEndsWhatDoesNot) {
  test::Peer& busy = connect();
  test::Peer& idle = connect();
  busy.say(request("GET", "/docs/a"));
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  core_.drain(now_);
  run();
  EXPECT_TRUE(idle.ended);
  EXPECT_EQ(idle.received, "");
  EXPECT_FALSE(busy.ended);
  tool(0).say(kOk);
  run();
  EXPECT_TRUE(busy.received.starts_with("HTTP/1.1 200 ")) << busy.received;
  EXPECT_NE(busy.received.find("connection: close"), std::string::npos) << busy.received;
  EXPECT_TRUE(busy.received.ends_with("ok"));
  EXPECT_TRUE(busy.ended);
  busy.connection->shutdown_write();
  idle.connection->shutdown_write();
  run();
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(busy.reason, tcp::CloseReason::graceful);
  EXPECT_EQ(idle.reason, tcp::CloseReason::graceful);
}

TEST_F(AgentEndTest, DrainingTakesManyConnectionsAtOnce) {
  for (int i = 0; i < 8; ++i) connect();
  // Half of them have ended their side, which nobody has noticed yet: they go at once.
  for (std::size_t i = 0; i < 8; i += 2) agents_[i]->connection->shutdown_write();
  fill_gateway();
  ASSERT_EQ(core_.agents.size(), 8u);
  core_.drain(now_);
  run();
  EXPECT_EQ(core_.agents.size(), 4u);
  for (const auto& agent : agents_) {
    EXPECT_TRUE(agent->ended);
    if (agent->connection != nullptr) agent->connection->shutdown_write();
  }
  run();
  EXPECT_TRUE(core_.agents.empty());
}

TEST_F(AgentEndTest, AbortingEndsRunningCallsOnBothSides) {
  for (int i = 0; i < 3; ++i) {
    connect().say(request("GET", "/docs/a"));
    run();
  }
  ASSERT_EQ(tool_.peers.size(), 3u);
  EXPECT_EQ(tasks_.list().at(0).in_flight, 3u);
  core_.abort_all();
  run();
  EXPECT_TRUE(core_.agents.empty());
  ASSERT_EQ(records_.size(), 3u);
  for (const auto& record : records_) EXPECT_TRUE(record.agent_gone);
  for (const auto& agent : agents_) EXPECT_EQ(agent->reason, tcp::CloseReason::reset_by_peer);
  for (const auto& peer : tool_.peers) EXPECT_EQ(peer->connection, nullptr);
  EXPECT_EQ(tasks_.list().at(0).in_flight, 0u);
}

TEST_F(AgentEndTest, ARevokedTaskLosesItsRunningCallsAndNoOther) {
  test::Peer& first = connect();
  test::Peer& second = connect();
  first.say(request("GET", "/docs/a"));
  run();
  second.say("GET /docs/b HTTP/1.1\r\nHost: kb.tools.example\r\nTxn-Token: " + token(kOtherTask) +
             "\r\n\r\n");
  run();
  ASSERT_EQ(tool_.peers.size(), 2u);
  for (const auto& task : tasks_.list()) {
    if (task.id[0] == 0x97) core_.revoke_task(task.id);
  }
  run();
  EXPECT_TRUE(first.received.starts_with("HTTP/1.1 401 ")) << first.received;
  EXPECT_NE(first.received.find("token_revoked"), std::string::npos);
  EXPECT_EQ(tool(0).connection, nullptr);
  EXPECT_EQ(second.received, "");
  tool(1).say(kOk);
  run();
  EXPECT_TRUE(second.received.ends_with("ok"));
  ASSERT_EQ(records_.size(), 2u);
  EXPECT_EQ(records_[0].reason, Reason::token_revoked);
  EXPECT_EQ(records_[1].reason, Reason::ok);
}

TEST_F(AgentEndTest, AnAnswerThatHasBegunIsCutOffVisibly) {
  test::Peer& agent = connect();
  agent.say(request("GET", "/docs/a"));
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  tool(0).say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
  run();
  EXPECT_TRUE(agent.received.ends_with("half"));
  core_.revoke_task(tasks_.list().at(0).id);
  run();
  EXPECT_EQ(agent.reason, tcp::CloseReason::reset_by_peer);
  EXPECT_TRUE(core_.agents.empty());
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_EQ(records_[0].reason, Reason::token_revoked);
}

}  // namespace
}  // namespace sluice::worker
