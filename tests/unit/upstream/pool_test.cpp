// Keep-alive pools towards tools (RFC 9112 section 9.3) and what happens when a tool lets go.
#include "upstream/pool.h"

#include <gtest/gtest.h>

#include "crypto/contexts.h"
#include "wire.h"

namespace sluice::upstream {
namespace {

using telemetry::Reason;

struct Refuse final : tcp::Acceptor {
  tcp::Observer* on_accept(tcp::Connection&, std::uint32_t, Time) override { return nullptr; }
};

// The call's side of an exchange, recording what it was told.
struct Caller final : ExchangeHandler {
  void on_sent(Time) override { sent++; }
  void on_response(http::Response&& r, bool end, Time) override {
    status = r.status;
    done = end;
  }
  std::size_t on_response_body(ByteSpan data, Time) override {
    const std::size_t n = std::min(data.size(), appetite);
    body += as_text(data.first(n));
    appetite -= n;
    return n;
  }
  void on_response_end(const http::FieldBlock&, Time) override { done = true; }
  void on_request_writable(Time) override { writable++; }
  void on_failed(Reason r, std::string_view text, bool b, Time) override {
    failed = r;
    detail = text;
    begun = b;
  }
  std::string body, detail;
  std::size_t appetite = SIZE_MAX;
  int status = 0, sent = 0, writable = 0;
  bool done = false, begun = false;
  Reason failed = Reason::ok;
};

class PoolTest : public testing::Test {
 protected:
  PoolTest() {
    tcp::StackConfig config;
    config.secret[0] = 11;
    ours_ = std::make_unique<tcp::Stack>(config, to_tool_, refuse_);
    config.secret[0] = 22;
    theirs_ = std::make_unique<tcp::Stack>(config, to_us_, tool_);
    EXPECT_TRUE(theirs_->listen(8080, 0));
    pools_ = std::make_unique<Pools>(*ours_, PoolLimits{});
    pools_->set_local_addresses({*IpAddress::parse("198.18.2.1")});
    pools_->set_handshake_budget(budget_);
    service_.name = "kb";
    endpoint_ = {"198.18.2.10", 8080, {*IpAddress::parse("198.18.2.10")}, 7};
  }
  ~PoolTest() override {
    pools_.reset();
    ours_->abort_all(now_);
    theirs_->abort_all(now_);
    EXPECT_EQ(ours_->memory_in_use(), 0u);
  }

  Target target() { return make_target(service_, endpoint_, endpoint_.addresses[0]); }

  static http::Request get(std::string_view method = "GET") {
    http::Request r;
    r.method = method;
    r.scheme = "http";
    r.authority = "kb.tools.example";
    r.path = "/docs/a";
    return r;
  }

  // Turns until nothing moves any more; time stands still unless a delayed ACK holds things up.
  void run() {
    for (int quiet = 0; quiet < 3;) {
      std::size_t moved = 0;
      moved += to_us_.deliver(*ours_, now_);
      moved += to_tool_.deliver(*theirs_, now_);
      ours_->poll_timers(now_);
      theirs_->poll_timers(now_);
      pools_->poll_timers(now_);
      moved += ours_->dispatch(now_);
      moved += theirs_->dispatch(now_);
      pools_->flush(now_);
      ours_->flush(now_);
      theirs_->flush(now_);
      ours_->end_turn();
      theirs_->end_turn();
      to_us_.end_turn();
      to_tool_.end_turn();
      quiet = moved + to_us_.waiting() + to_tool_.waiting() == 0 ? quiet + 1 : 0;
      now_ += Micros{50};
    }
  }

  test::Peer& peer(std::size_t i) { return *tool_.peers.at(i); }

  Time now_{Seconds{1}};
  test::Cable to_tool_, to_us_;
  test::Tool tool_;
  Refuse refuse_;
  std::unique_ptr<tcp::Stack> ours_, theirs_;
  tls::HandshakeBudget budget_;
  std::unique_ptr<Pools> pools_;
  policy::Service service_;
  policy::ServiceEndpoint endpoint_;
};

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

TEST_F(PoolTest, AConnectionIsReusedForTheNextCall) {
  for (int i = 0; i < 3; ++i) {
    const auto request = get();
    Caller caller;
    Exchange exchange(*pools_, caller, request, false, true);
    exchange.start(target(), now_);
    run();
    ASSERT_EQ(tool_.peers.size(), 1u);
    peer(0).say(kOk);
    run();
    EXPECT_TRUE(caller.done) << i;
    EXPECT_EQ(caller.status, 200);
    EXPECT_EQ(caller.body, "ok");
    EXPECT_EQ(exchange.progress().pooled, i > 0);
    EXPECT_EQ(pools_->idle_count(), 1u);
  }
  EXPECT_EQ(pools_->stats().opened, 1u);
  EXPECT_EQ(pools_->stats().reused, 2u);
}

// The last bytes lie in the codec when the call asks for them: with them the message ends, and the
// exchange lets go of its connection, within resume().
TEST_F(PoolTest, ResumingReachesTheEndOfTheResponse) {
  for (const bool close : {false, true}) {
    const auto request = get();
    Caller caller;
    caller.appetite = 1;
    Exchange exchange(*pools_, caller, request, false, true);
    exchange.start(target(), now_);
    run();
    peer(tool_.peers.size() - 1)
        .say(close ? "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok" : kOk);
    run();
    EXPECT_EQ(caller.body, "o");
    EXPECT_FALSE(caller.done);
    caller.appetite = SIZE_MAX;
    exchange.resume(now_);
    EXPECT_EQ(caller.body, "ok");
    EXPECT_TRUE(caller.done);
    run();
    EXPECT_EQ(pools_->idle_count(), close ? 0u : 1u);
  }
}

TEST_F(PoolTest, AnIdleConnectionThatTheToolClosedIsNotUsed) {
  const auto request = get("POST");
  {
    Caller caller;
    Exchange exchange(*pools_, caller, request, false, false);
    exchange.start(target(), now_);
    run();
    peer(0).say(kOk);
    run();
    ASSERT_TRUE(caller.done);
  }
  peer(0).close();
  run();
  EXPECT_EQ(pools_->idle_count(), 0u);
  EXPECT_EQ(pools_->connection_count(), 0u);
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, false);
  exchange.start(target(), now_);
  run();
  ASSERT_EQ(tool_.peers.size(), 2u);
  peer(1).say(kOk);
  run();
  EXPECT_TRUE(caller.done);
  EXPECT_EQ(caller.failed, Reason::ok);
}

// RFC 9112 section 9.3.1: the close may cross the request.
TEST_F(PoolTest, ACloseThatCrossesASafeRequestIsReplaced) {
  const auto request = get();
  {
    Caller caller;
    Exchange exchange(*pools_, caller, request, false, true);
    exchange.start(target(), now_);
    run();
    peer(0).say(kOk);
    run();
  }
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(target(), now_);  // goes out on the pooled connection
  peer(0).close();                 // while the tool lets it go
  run();
  ASSERT_EQ(tool_.peers.size(), 2u);
  peer(1).say(kOk);
  run();
  EXPECT_TRUE(caller.done);
  EXPECT_EQ(caller.failed, Reason::ok);
  EXPECT_EQ(pools_->stats().replaced, 1u);
}

TEST_F(PoolTest, AnUnsafeRequestTheToolAcknowledgedIsNotRepeated) {
  const auto request = get("POST");
  {
    Caller caller;
    Exchange exchange(*pools_, caller, request, false, false);
    exchange.start(target(), now_);
    run();
    peer(0).say(kOk);
    run();
  }
  peer(0).received.clear();
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, false);
  exchange.start(target(), now_);
  run();  // the tool has it, and acknowledged it
  ASSERT_FALSE(peer(0).received.empty());
  now_ += Millis{100};
  run();
  peer(0).abort();
  run();
  EXPECT_EQ(tool_.peers.size(), 1u) << "the tool may have acted on it: no second try";
  EXPECT_EQ(caller.failed, Reason::upstream_reset);
  EXPECT_FALSE(caller.begun);
}

TEST_F(PoolTest, AFreshConnectionThatIsResetIsAFailure) {
  const auto request = get();
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(target(), now_);
  run();
  peer(0).abort();
  run();
  EXPECT_EQ(caller.failed, Reason::upstream_reset);
  EXPECT_EQ(pools_->connection_count(), 0u);
}

TEST_F(PoolTest, ARefusedConnectionIsConnectFailed) {
  endpoint_.port = 8081;  // nobody listens: RST
  const auto request = get();
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(target(), now_);
  run();
  EXPECT_EQ(caller.failed, Reason::connect_failed);
  EXPECT_EQ(pools_->connection_count(), 0u);
}

// The time for TLS begins when TCP is there, however little of its own that took.
TEST_F(PoolTest, AToolSilentInTheTlsHandshakeHasItsTimeForTlsAlone) {
  auto context = crypto::ClientContext::make({});
  ASSERT_TRUE(context.has_value()) << context.error();
  service_.tls.enabled = true;
  service_.tls.context = std::shared_ptr<void>(std::move(*context));
  service_.tls.server_name = "kb.backend.example";
  service_.timeouts.connect = Millis{5000};
  service_.timeouts.tls = Millis{500};
  const auto request = get();
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(target(), now_);
  run();
  ASSERT_EQ(tool_.peers.size(), 1u);
  EXPECT_FALSE(peer(0).received.empty());  // a ClientHello
  now_ += Micros{495'000};
  run();
  EXPECT_EQ(caller.failed, Reason::ok);
  now_ += Micros{10'000};
  run();
  EXPECT_EQ(caller.failed, Reason::connect_timeout);
  EXPECT_EQ(caller.detail, "the TLS handshake with the tool took too long");
}

TEST_F(PoolTest, AHostOfAnotherFamilyIsConnectFailedAtOnce) {
  const auto request = get();
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(make_target(service_, endpoint_, *IpAddress::parse("2001:db8:2::10")), now_);
  EXPECT_EQ(caller.failed, Reason::connect_failed);
}

TEST_F(PoolTest, AResponseThatIsNoHttpIsUpstreamProtocol) {
  const auto request = get();
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(target(), now_);
  run();
  peer(0).say("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  run();
  EXPECT_EQ(caller.failed, Reason::upstream_protocol);
  EXPECT_EQ(pools_->connection_count(), 0u);
}

TEST_F(PoolTest, ABodyCutShortIsNotComplete) {
  const auto request = get();
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(target(), now_);
  run();
  peer(0).say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  peer(0).close();
  run();
  EXPECT_EQ(caller.body, "half");
  EXPECT_FALSE(caller.done);
  EXPECT_EQ(caller.failed, Reason::upstream_reset);
  EXPECT_TRUE(caller.begun);
}

TEST_F(PoolTest, ABodyIsStreamedUpAndArrivesWhole) {
  const auto request = [] {
    auto r = get("PUT");
    r.content_length = 300'000;
    return r;
  }();
  Caller caller;
  Exchange exchange(*pools_, caller, request, true, true);
  exchange.start(target(), now_);
  std::string body(300'000, '\0');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 26);
  std::size_t at = 0;
  while (at < body.size()) {
    const std::size_t n = exchange.write_body(as_bytes(body).subspan(at), now_);
    at += n;
    run();
    ASSERT_TRUE(n > 0 || caller.writable > 0) << at;
  }
  exchange.finish_body({}, now_);
  run();
  const std::string& got = peer(0).received;
  const std::size_t start = got.find("\r\n\r\n");
  ASSERT_NE(start, std::string::npos);
  EXPECT_TRUE(got.substr(start + 4) == body);
}

TEST_F(PoolTest, ASlowCallerHoldsTheToolBack) {
  const auto request = get();
  Caller caller;
  caller.appetite = 1000;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(target(), now_);
  run();
  peer(0).say("HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n");
  std::string chunk(100'000, 'x');
  std::size_t sent = 0;
  for (int i = 0; i < 40; ++i) {
    sent += peer(0).connection->write(as_bytes(chunk));
    run();
  }
  EXPECT_EQ(caller.body.size(), 1000u);
  EXPECT_LT(sent, 4'000'000u) << "somebody buffered it all";
  while (!caller.done) {
    caller.appetite = SIZE_MAX;
    const std::size_t before = caller.body.size();
    exchange.resume(now_);
    run();
    if (sent < 4'000'000) {
      sent += peer(0).connection->write(
          as_bytes(chunk).first(std::min<std::size_t>(chunk.size(), 4'000'000 - sent)));
    }
    run();
    ASSERT_GT(caller.body.size(), before);
  }
  EXPECT_EQ(caller.body.size(), 4'000'000u);
}

TEST_F(PoolTest, IdleConnectionsAreClosedBeforeTheToolDoesIt) {
  const auto request = get();
  {
    Caller caller;
    Exchange exchange(*pools_, caller, request, false, true);
    exchange.start(target(), now_);
    run();
    peer(0).say(kOk);
    run();
  }
  ASSERT_EQ(pools_->idle_count(), 1u);
  EXPECT_LT(pools_->next_deadline(), kNever);
  now_ += PoolLimits{}.idle_time + Seconds{1};
  run();
  EXPECT_EQ(pools_->idle_count(), 0u);
  EXPECT_TRUE(peer(0).ended);
}

TEST_F(PoolTest, ACancelledExchangeTellsNothingMore) {
  const auto request = get();
  Caller caller;
  Exchange exchange(*pools_, caller, request, false, true);
  exchange.start(target(), now_);
  run();
  exchange.cancel();
  run();
  EXPECT_EQ(caller.failed, Reason::ok);
  EXPECT_FALSE(caller.done);
  EXPECT_EQ(pools_->connection_count(), 0u);
}

}  // namespace
}  // namespace sluice::upstream
