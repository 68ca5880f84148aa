// GET /v1/connections and /v1/connections/events, with workers played by the test.
#include <gtest/gtest.h>

#include "controlplane/connections.h"
#include "controlplane/rest.h"
#include "fake_gateway.h"

namespace sluice::control {
namespace {
namespace json = boost::json;
using telemetry::ConnectionEvent;
using telemetry::ConnectionRecord;
using telemetry::ConnectionTrace;
using telemetry::TcpState;

class ConnectionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ControlOptions options;
    options.state = folder.path / "state";
    options.unix_now = [] { return 1'800'000'000; };
    auto opened = Control::open(std::move(options), gateway);
    ASSERT_TRUE(opened) << opened.error();
    control = std::move(*opened);
    gateway.port_views = {{"agents", true, "", "", {}}, {"tools", true, "", "", {}}};
    gateway.listener_names = {"tools-https", "tools-http"};
    for (auto& commands : gateway.commands) commands.clear();
    tables.resize(gateway.commands.size());
    traces.resize(gateway.commands.size());
  }
  static ConnectionRecord connection(std::uint16_t remote_port, bool passive = true) {
    ConnectionRecord c;
    c.local = *IpAddress::parse("198.18.1.1");
    c.remote = *IpAddress::parse("198.18.1.10");
    c.local_port = 443;
    c.remote_port = remote_port;
    c.state = TcpState::established;
    c.passive = passive;
    c.cur_mss = 1460;
    return c;
  }
  // Each worker answers what it was asked, as worker::Queries does: in the order of its table.
  void serve(unsigned worker) {
    for (const auto& command : std::exchange(gateway.commands[worker], {})) {
      if (command.kind == runtime::Command::Kind::query_traces) {
        auto& query = *static_cast<runtime::TraceQuery*>(command.loan);
        for (const auto& trace : traces[worker]) {
          if (query.filter.matches(trace.connection) && query.found.size() < query.most) {
            query.found.push_back(trace);
          }
        }
        query.give_back();
        continue;
      }
      ASSERT_EQ(command.kind, runtime::Command::Kind::query_connections);
      auto& query = *static_cast<runtime::ConnectionQuery*>(command.loan);
      ASSERT_GE(query.found.capacity(), query.most);
      query.refused = refuse;
      std::uint64_t at = query.from;
      for (; at < tables[worker].size() && query.found.size() < query.most; ++at) {
        if (query.filter.matches(tables[worker][at])) query.found.push_back(tables[worker][at]);
      }
      query.next = at < tables[worker].size() ? at : runtime::ConnectionQuery::kEnd;
      query.give_back();
    }
  }
  RestResponse ask(const std::string& target) {
    RestRequest request;
    request.method = "GET";
    request.target = target;
    RestResponse response = handle(*control, request);
    if (!response.later) return response;
    const auto later = std::exchange(response.later, nullptr);
    for (int rounds = 0; !later(response); ++rounds) {
      EXPECT_LT(rounds, 100);
      if (rounds >= 100) break;
      for (unsigned w = 0; w < tables.size(); ++w) serve(w);
    }
    return response;
  }
  static json::object parsed(const RestResponse& response) {
    EXPECT_EQ(response.status, 200u) << response.body;
    return json::parse(response.body).get_object();
  }
  std::vector<std::int64_t> remote_ports(const std::string& target) {
    std::vector<std::int64_t> ports;
    const auto out = parsed(ask(target));
    for (const auto& item : out.at("items").get_array()) {
      ports.push_back(item.at("remote").at("port").get_int64());
    }
    return ports;
  }
  std::string refusal(const std::string& target) {
    const RestResponse response = ask(target);
    EXPECT_EQ(response.status, 400u) << target << " " << response.body;
    return std::string(json::parse(response.body).at("detail").get_string());
  }

  TempFolder folder;
  FakeGateway gateway;
  std::vector<std::vector<ConnectionRecord>> tables;
  std::vector<std::vector<ConnectionTrace>> traces;
  std::unique_ptr<Control> control;
  bool refuse = false;
};

TEST_F(ConnectionsTest, AllWorkersInTheirOrder) {
  tables[0] = {connection(1), connection(2)};
  tables[1] = {connection(3)};
  const auto out = parsed(ask("/v1/connections"));
  EXPECT_EQ(out.at("items").get_array().size(), 3u);
  EXPECT_FALSE(out.contains("next_page_token"));
  EXPECT_EQ(remote_ports("/v1/connections"), (std::vector<std::int64_t>{1, 2, 3}));
}

TEST_F(ConnectionsTest, PagesShowEachOnce) {
  for (std::uint16_t i = 1; i <= 5; ++i) tables[0].push_back(connection(i));
  for (std::uint16_t i = 6; i <= 8; ++i) tables[1].push_back(connection(i));
  for (const char* limit : {"1", "2", "3", "5", "7", "8"}) {
    std::vector<std::int64_t> seen;
    std::string token;
    do {
      const auto page = parsed(ask("/v1/connections?limit=" + std::string(limit) +
                                   (token.empty() ? "" : "&page_token=" + token)));
      EXPECT_LE(page.at("items").get_array().size(), std::stoul(limit));
      for (const auto& item : page.at("items").get_array()) {
        seen.push_back(item.at("remote").at("port").get_int64());
      }
      const auto* next = page.if_contains("next_page_token");
      token = next != nullptr ? std::string(next->get_string()) : std::string();
    } while (!token.empty() && seen.size() < 100);
    EXPECT_EQ(seen, (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8})) << limit;
  }
}

TEST_F(ConnectionsTest, Filters) {
  tables[0] = {connection(1000), connection(2000, false), connection(3000), connection(4000)};
  tables[0][0].listener_id = 1;
  tables[0][2].state = TcpState::close_wait;
  tables[0][3].remote = *IpAddress::parse("2001:db8::7");
  const auto is = [&](const std::string& query, std::vector<std::int64_t> ports) {
    EXPECT_EQ(remote_ports("/v1/connections?" + query), ports) << query;
  };
  is("state=close_wait", {3000});
  is("side=tool", {2000});
  is("side=agent&state=established", {1000, 4000});
  is("listener=tools-http", {1000});
  is("listener=tools-https", {3000, 4000});
  is("remote=:2000", {2000});
  is("remote=198.18.1.10", {1000, 2000, 3000});
  is("remote=198.18.1.0/24", {1000, 2000, 3000});
  is("remote=198.18.1.10:3000", {3000});
  is("remote=%5B2001:db8::7%5D:4000", {4000});
  is("remote=2001:db8::/32", {4000});
  is("remote=198.18.1.10:3000&local=198.18.1.1:443", {3000});
  is("local=:80", {});
}

TEST_F(ConnectionsTest, BadParametersAreNamed) {
  EXPECT_TRUE(refusal("/v1/connections?state=open").starts_with("state: "));
  EXPECT_TRUE(refusal("/v1/connections?state=closed").starts_with("state: "));
  EXPECT_TRUE(refusal("/v1/connections?side=left").starts_with("side: "));
  EXPECT_TRUE(refusal("/v1/connections?listener=x").starts_with("listener: "));
  EXPECT_TRUE(refusal("/v1/connections?limit=0").starts_with("limit: "));
  EXPECT_TRUE(refusal("/v1/connections?limit=1001").starts_with("limit: "));
  for (const char* token : {"x", "1", "1.", ".5", "-1.0", "0.5g", "0.5.6", "99999999999.0"}) {
    EXPECT_TRUE(
        refusal("/v1/connections?page_token=" + std::string(token)).starts_with("page_token: "));
  }
  for (const char* endpoint :
       {"", "198.18.1.1:", ":0", ":65536", ":", "1.2.3", "198.18.1.1:x", "%5B2001:db8::1",
        "%5B2001:db8::1%5D80", "%5B2001:db8::1%5D:", "%5B%5D", "198.18.1.1/33", "host:80"}) {
    EXPECT_TRUE(refusal("/v1/connections?remote=" + std::string(endpoint)).starts_with("remote: "))
        << endpoint;
  }
  EXPECT_TRUE(refusal("/v1/connections?foo=1").starts_with("query: "));
}

// A token of a gateway that had more workers.
TEST_F(ConnectionsTest, TokenBeyondTheLastWorkerIsTheEnd) {
  tables[0] = {connection(1)};
  EXPECT_EQ(remote_ports("/v1/connections?page_token=7.0"), (std::vector<std::int64_t>{}));
}

TEST_F(ConnectionsTest, Fields) {
  ConnectionRecord c = connection(40000);
  c.worker = 1;
  c.age = Micros{61'500'000};
  c.idle = Micros{250};
  c.smoothed_rtt = Micros{1700};
  c.rtt_var = Micros{600};
  c.cur_rto = Micros{200'000};
  c.cur_cwnd = 14600;
  c.pipe_size = 2920;
  c.cur_app_w_queue = 77;
  c.estats.thru_octets_received = 5'000'000'000;
  c.estats.segs_retrans = 3;
  c.estats.max_rtt_us = 5900;
  c.sack = true;
  tables[0] = {c};
  const auto out = parsed(ask("/v1/connections"));
  const auto& item = out.at("items").at(0).get_object();
  const json::value expected = json::parse(R"({
    "local": {"address": "198.18.1.1", "port": 443},
    "remote": {"address": "198.18.1.10", "port": 40000},
    "worker": 1, "port": "agents", "side": "agent", "listener": "tools-https",
    "state": "established", "age_us": 61500000, "idle_us": 250, "rtt_us": 1700, "rto_us": 200000,
    "mss": 1460, "cwnd": 14600, "in_flight": 2920, "unsent": 77, "bytes_in": 5000000000,
    "retransmits": 3, "sack": true, "timestamps": false, "let_go": false})");
  for (const auto& member : expected.get_object()) {
    const auto* got = item.if_contains(member.key());
    ASSERT_NE(got, nullptr) << member.key();
    EXPECT_EQ(*got, member.value()) << member.key();
  }
  const auto& estats = item.at("estats").get_object();
  EXPECT_EQ(estats.at("ElapsedSecs"), 61);
  EXPECT_EQ(estats.at("ElapsedMicroSecs"), 500000);
  EXPECT_EQ(estats.at("SmoothedRTT"), 1);
  EXPECT_EQ(estats.at("MaxRTT"), 5u);
  EXPECT_EQ(estats.at("SegsRetrans"), 3u);
  EXPECT_EQ(estats.at("PipeSize"), 2920u);
}

TEST_F(ConnectionsTest, HalfOpenOnesHaveNoMoreThanTheyHave) {
  tables[0] = {connection(1)};
  tables[0][0].state = TcpState::syn_received;
  tables[0][0].cur_mss = 0;
  const auto out = parsed(ask("/v1/connections?state=syn_received"));
  EXPECT_FALSE(out.at("items").at(0).get_object().contains("rtt_us"));
  EXPECT_TRUE(out.at("items").at(0).get_object().contains("age_us"));
}

TEST_F(ConnectionsTest, ABusyWorkerIs503) {
  refuse = true;
  const auto response = ask("/v1/connections");
  EXPECT_EQ(response.status, 503u);
}

TEST_F(ConnectionsTest, AFullMailboxIsTriedAgain) {
  tables[0] = {connection(1)};
  gateway.mailbox_full = true;
  RestRequest request;
  request.method = "GET";
  request.target = "/v1/connections";
  RestResponse response = handle(*control, request);
  ASSERT_TRUE(response.later);
  const auto later = std::exchange(response.later, nullptr);
  EXPECT_FALSE(later(response));
  EXPECT_TRUE(gateway.loans.empty());
  gateway.mailbox_full = false;
  EXPECT_FALSE(later(response));
  EXPECT_FALSE(later(response));
  EXPECT_EQ(gateway.loans.size(), 1u) << "asked once, however often its answer is looked for";
  serve(0);
  EXPECT_FALSE(later(response));
  serve(1);
  EXPECT_TRUE(later(response));
  EXPECT_EQ(parsed(response).at("items").get_array().size(), 1u);
}

// Whoever asked has gone: the worker still writes to what it was lent.
TEST_F(ConnectionsTest, AnAnswerNobodyWaitsForHasAPlace) {
  tables[0] = {connection(1)};
  RestRequest request;
  request.method = "GET";
  request.target = "/v1/connections";
  {
    const RestResponse response = handle(*control, request);
    RestResponse ignored;
    EXPECT_FALSE(response.later(ignored));
  }
  ASSERT_EQ(gateway.loans.size(), 1u);
  serve(0);
  EXPECT_TRUE(gateway.loans[0]->is_back());
}

class TraceTest : public ConnectionsTest {
 protected:
  static ConnectionTrace trace(std::uint16_t remote_port, Micros ago) {
    ConnectionTrace t;
    t.connection = connection(remote_port);
    const Time begun{Micros{1'000'000}};
    t.events.add(ConnectionEvent::state, static_cast<std::uint32_t>(TcpState::established), begun);
    t.events.add(ConnectionEvent::retransmission_timeout, 200'000, begun + Micros{200'000});
    t.events.add(ConnectionEvent::reset_sent,
                 static_cast<std::uint32_t>(telemetry::TcpCloseReason::timed_out),
                 begun + Micros{300'000});
    t.events.add(ConnectionEvent::challenge_ack, 0, begun + Micros{300'010});
    t.since_last = ago;
    return t;
  }
};

TEST_F(TraceTest, EventsWithTheirTimes) {
  traces[1] = {trace(40000, Micros{5000})};
  const auto out =
      parsed(ask("/v1/connections/events?local=198.18.1.1:443"
                 "&remote=198.18.1.10:40000"));
  ASSERT_EQ(out.at("items").get_array().size(), 1u);
  const auto& item = out.at("items").at(0).get_object();
  EXPECT_EQ(item.at("live"), false);
  EXPECT_EQ(item.at("events_total"), 4u);
  EXPECT_EQ(item.at("port"), "agents");
  EXPECT_EQ(json::serialize(item.at("events")),
            R"([{"event":"state","ago_us":305010,"state":"established"},)"
            R"({"event":"retransmission_timeout","ago_us":105010,"rto_us":200000},)"
            R"({"event":"reset_sent","ago_us":5010,"reason":"timed_out"},)"
            R"({"event":"challenge_ack","ago_us":5000}])");
}

TEST_F(TraceTest, LiveOnesFirstThenTheLatest) {
  traces[0] = {trace(1, Micros{300}), trace(2, Micros{100})};
  traces[1] = {trace(3, Micros{200}), trace(4, Micros{900})};
  traces[1][1].live = true;
  EXPECT_EQ(remote_ports("/v1/connections/events"), (std::vector<std::int64_t>{4, 2, 3, 1}));
  EXPECT_EQ(remote_ports("/v1/connections/events?limit=2"), (std::vector<std::int64_t>{4, 2}));
  EXPECT_EQ(remote_ports("/v1/connections/events?remote=:3"), (std::vector<std::int64_t>{3}));
}

TEST_F(TraceTest, BadParametersAreNamed) {
  EXPECT_TRUE(refusal("/v1/connections/events?limit=257").starts_with("limit: "));
  EXPECT_TRUE(refusal("/v1/connections/events?local=x").starts_with("local: "));
  EXPECT_TRUE(refusal("/v1/connections/events?state=x").starts_with("query: "));
}

}  // namespace
}  // namespace sluice::control
