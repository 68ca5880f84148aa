// An agent's connection while it lives: calls, bounds, and being one of many.
#include "agent_connection.h"

#include "agent_bench.h"

namespace sluice::worker {
namespace {

using telemetry::Counter;
using telemetry::Reason;

class AgentConnectionTest : public AgentBench {};

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
constexpr std::string_view kNoToken = "GET /docs/a HTTP/1.1\r\nHost: kb.tools.example\r\n\r\n";

TEST_F(AgentConnectionTest, ACallWithoutATokenIsRefusedAndRecorded) {
  test::Peer& agent = connect();
  agent.say(kNoToken);
  run();
  EXPECT_TRUE(agent.received.starts_with("HTTP/1.1 401 ")) << agent.received;
  EXPECT_NE(agent.received.find("\"code\":\"token_missing\""), std::string::npos);
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_EQ(records_[0].reason, Reason::token_missing);
  EXPECT_EQ(records_[0].status, 401);
  EXPECT_EQ(records_[0].agent.address.to_string(), "198.18.1.10");
  EXPECT_NE(records_[0].agent.port, 0);
  EXPECT_EQ(records_[0].path.view(), "/docs/a");
  EXPECT_TRUE(tool_.peers.empty());
  // The connection lives on.
  agent.received.clear();
  agent.say(kNoToken);
  run();
  EXPECT_TRUE(agent.received.starts_with("HTTP/1.1 401 "));
  EXPECT_EQ(records_.size(), 2u);
}

TEST_F(AgentConnectionTest, AnAllowedCallReachesTheToolAndItsAnswerTheAgent) {
  test::Peer& agent = connect();
  agent.say(request("GET", "/docs/a"));
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  EXPECT_TRUE(tool(0).received.starts_with("GET /docs/a HTTP/1.1\r\n")) << tool(0).received;
  EXPECT_EQ(tool(0).received.find("Txn-Token"), std::string::npos);
  EXPECT_TRUE(records_.empty());
  tool(0).say(kOk);
  run();
  EXPECT_TRUE(agent.received.starts_with("HTTP/1.1 200 OK\r\n")) << agent.received;
  EXPECT_TRUE(agent.received.ends_with("\r\n\r\nok"));
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_EQ(records_[0].reason, Reason::ok);
  EXPECT_EQ(records_[0].tool.view(), "lookup");
}

TEST_F(AgentConnectionTest, AMalformedRequestIsAnsweredAndCounted) {
  test::Peer& agent = connect();
  agent.say("GET /docs/a HTTP/1.1\r\nHost : kb.tools.example\r\n\r\n");
  run();
  EXPECT_TRUE(agent.received.starts_with("HTTP/1.1 400 ")) << agent.received;
  EXPECT_TRUE(agent.ended);
  EXPECT_EQ(count(Counter::requests_malformed), 1u);
  EXPECT_TRUE(records_.empty());
}

TEST_F(AgentConnectionTest, AnUploadReachesTheToolWhole) {
  test::Peer& agent = connect();
  std::string body(700'000, '\0');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>((i * 2654435761u) >> 9);
  agent.say(request("POST", "/docs/a", "Content-Length: 700000\r\n") + body);
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  const auto head = tool(0).received.find("\r\n\r\n");
  ASSERT_NE(head, std::string::npos);
  EXPECT_TRUE(tool(0).received.substr(head + 4) == body) << tool(0).received.size();
  tool(0).say(kOk);
  run();
  EXPECT_TRUE(agent.received.ends_with("ok"));
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_EQ(records_[0].bytes_in, body.size());
}

TEST_F(AgentConnectionTest, ASlowAgentHoldsTheToolBack) {
  test::Peer& agent = connect();
  agent.say(request("GET", "/docs/a"));
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  agent.reading = false;
  const std::string body(8'000'000, 'x');
  std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + body;
  std::size_t said = 0;
  const auto say = [&] {
    said += tool(0).connection->write(as_bytes(std::string_view(answer).substr(said)));
    run();
  };
  std::size_t before = SIZE_MAX;
  while (before != said) {
    before = said;
    say();
  }
  EXPECT_LT(said, answer.size());
  EXPECT_LT(gateway_->memory_in_use(), std::size_t{4} << 20);
  agent.reading = true;
  agent.connection->mark_ready();
  while (said < answer.size()) say();
  EXPECT_EQ(agent.received.size() - agent.received.find("\r\n\r\n") - 4, body.size());
  EXPECT_EQ(records_.size(), 1u);
}

TEST_F(AgentConnectionTest, OneTurnTakesSoManyBytesAndNoMore) {
  test::Peer& agent = connect();
  // Answered, and then read to its end for the sake of the answer: all of it is wanted.
  agent.say("GET / HTTP/1.1\r\nHost: kb.tools.example\r\nConnection: close\r\n\r\n");
  run();
  ASSERT_TRUE(agent.ended);
  agent.say(std::string(200'000, 'x'));
  fill_gateway();
  const std::size_t waiting = accepted_->readable();
  ASSERT_GT(waiting, 2 * kBytesPerTurn);
  EXPECT_EQ(gateway_->dispatch(now_), 1u);
  EXPECT_EQ(accepted_->readable(), waiting - kBytesPerTurn);
  EXPECT_EQ(gateway_->dispatch(now_), 1u) << "who has more to read is ready again";
  EXPECT_EQ(accepted_->readable(), waiting - 2 * kBytesPerTurn);
}

TEST_F(AgentConnectionTest, ManyPipelinedRequestsAreAllAnswered) {
  test::Peer& agent = connect();
  constexpr std::size_t kCalls = 2000;
  std::string all;
  for (std::size_t i = 0; i < kCalls; ++i) all += kNoToken;
  agent.say(all);
  run();
  EXPECT_EQ(records_.size(), kCalls);
  EXPECT_EQ(agent.reason, tcp::CloseReason::none);
}

TEST_F(AgentConnectionTest, AHalfClosedAgentGetsItsAnswer) {
  test::Peer& agent = connect();
  agent.say(request("GET", "/docs/a"));
  agent.connection->shutdown_write();
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  EXPECT_EQ(core_.agents.size(), 1u);
  EXPECT_FALSE(agent.ended);
  tool(0).say(kOk);
  run();
  EXPECT_TRUE(agent.received.ends_with("\r\n\r\nok")) << agent.received;
  EXPECT_TRUE(agent.ended);
  EXPECT_EQ(agent.reason, tcp::CloseReason::graceful);
  EXPECT_TRUE(core_.agents.empty());
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_FALSE(records_[0].agent_gone);
}

TEST_F(AgentConnectionTest, AHalfCloseInsideARequestEndsIt) {
  test::Peer& agent = connect();
  agent.say(request("POST", "/docs/a", "Content-Length: 10\r\n") + "abc");
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  agent.connection->shutdown_write();
  run();
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(agent.reason, tcp::CloseReason::reset_by_peer);
  EXPECT_EQ(tool(0).connection, nullptr) << "the tool must not take half a request for a whole one";
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_TRUE(records_[0].agent_gone);
}

TEST_F(AgentConnectionTest, AnAgentThatVanishesEndsItsCall) {
  test::Peer& agent = connect();
  agent.say(request("GET", "/docs/a"));
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  EXPECT_EQ(tasks_.list().at(0).in_flight, 1u);
  agent.abort();
  run();
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(tool(0).connection, nullptr);
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_TRUE(records_[0].agent_gone);
  EXPECT_EQ(records_[0].status, 0);
  EXPECT_EQ(tasks_.list().at(0).in_flight, 0u);
}

TEST_F(AgentConnectionTest, ConnectionsComeAndGoInAnyOrder) {
  std::vector<test::Peer*> open;
  for (int i = 0; i < 5; ++i) open.push_back(&connect());
  // The middle, the first, the last, and all of one turn.
  for (const std::size_t gone : {std::size_t{2}, std::size_t{0}, std::size_t{2}}) {
    open[gone]->close();
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(gone));
    run();
    ASSERT_EQ(core_.agents.size(), open.size());
    for (test::Peer* agent : open) {
      agent->received.clear();
      agent->say(kNoToken);
    }
    run();
    for (test::Peer* agent : open) EXPECT_TRUE(agent->received.starts_with("HTTP/1.1 401 "));
  }
  EXPECT_EQ(records_.size(), 4u + 3 + 2);
  for (test::Peer* agent : open) agent->abort();
  run();
  EXPECT_TRUE(core_.agents.empty());
  EXPECT_EQ(gateway_->connection_count(), 0u);
  EXPECT_EQ(core_.agent_timers.next_deadline(), kNever);
}

}  // namespace
}  // namespace sluice::worker
