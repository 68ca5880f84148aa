// The API over a real socket.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <future>
#include <thread>

#include "controlplane/client.h"
#include "controlplane/rest.h"
#include "controlplane/server.h"
#include "fake_gateway.h"

namespace sluice::control {
namespace {
namespace json = boost::json;

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ControlOptions options;
    options.state = folder.path / "state";
    auto opened = Control::open(std::move(options), gateway);
    ASSERT_TRUE(opened) << opened.error();
    control = std::move(*opened);
  }
  void start(ServerOptions options = {}) {
    options.socket = socket;
    options.metrics_listen = "127.0.0.1:0";
    auto started = Server::start(io, *control, std::move(options));
    ASSERT_TRUE(started) << started.error();
    server = std::move(*started);
    ticker = std::make_unique<Ticker>(io, *control);
    thread = std::thread([this] { io.run(); });
  }
  // Runs on the control thread, like everything that touches Control.
  void on_control(const std::function<void()>& work) {
    std::promise<void> done;
    post(io, work, done);
    done.get_future().wait();
  }
  static void post(boost::asio::io_context& io, const std::function<void()>& work,
                   std::promise<void>& done);
  void TearDown() override {
    if (thread.joinable()) {
      on_control([this] {
        ticker.reset();
        server.reset();
        io.stop();
      });
      thread.join();
    }
  }
  ClientResponse call(std::string_view method, std::string_view target, std::string_view body = {},
                      const std::vector<std::pair<std::string, std::string>>& headers = {}) {
    auto r = request(socket, method, target, body, headers, 20);
    EXPECT_TRUE(r) << r.error();
    return r ? *r : ClientResponse{};
  }
  int raw_connection() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket.c_str(), socket.size() + 1);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  static std::string read_all(int fd) {
    std::string out;
    char room[4096];
    for (ssize_t n = 0; (n = ::recv(fd, room, sizeof room, 0)) > 0;) {
      out.append(room, static_cast<std::size_t>(n));
    }
    return out;
  }
  std::string raw(std::string_view bytes) const {
    const int fd = raw_connection();
    EXPECT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    ::shutdown(fd, SHUT_WR);
    std::string out = read_all(fd);
    ::close(fd);
    return out;
  }

  TempFolder folder;
  std::string socket = (folder.path / "control.sock").string();
  FakeGateway gateway;
  std::unique_ptr<Control> control;
  boost::asio::io_context io;
  std::unique_ptr<Server> server;
  std::unique_ptr<Ticker> ticker;
  std::thread thread;
};

TEST_F(ServerTest, AnswersAndKeepsTheSocketPrivate) {
  start();
  EXPECT_EQ(call("GET", "/v1/livez").status, 200u);
  struct stat facts{};
  ASSERT_EQ(::stat(socket.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0660u);
  ASSERT_EQ(::stat((folder.path / "state" / "issuer-key.pem").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0600u);
}

TEST_F(ServerTest, ApplyAnswersOnceEveryWorkerFollows) {
  start();
  gateway.hold = true;
  auto answer = std::async(std::launch::async, [this] {
    return call("POST", "/v1/apply", std::string("[") + kClass + "," + kService + "]");
  });
  // Other requests are served meanwhile, and show that it is stored but not in use.
  bool stored = false;
  while (!stored) {
    stored = call("GET", "/v1/services/kb").status == 200;
  }
  const auto view = json::parse(call("GET", "/v1/services/kb").body);
  EXPECT_FALSE(view.at("status").at("in_use").get_bool());
  EXPECT_EQ(answer.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  on_control([this] { gateway.follow(); });
  const auto r = answer.get();
  EXPECT_EQ(r.status, 200u) << r.body;
}

TEST_F(ServerTest, ApplyThatWorkersDoNotTakeIsAnsweredWith202) {
  ServerOptions options;
  options.apply_timeout = std::chrono::milliseconds(30);
  start(options);
  gateway.hold = true;
  EXPECT_EQ(call("PUT", "/v1/services/kb", kService).status, 202u);
}

// Who asks: the other side of an apply that brings new names.
TEST_F(ServerTest, ApplyWaitsForFirstAnswersAboutNames) {
  ServerOptions options;
  options.names_timeout = std::chrono::milliseconds(50);
  FakeNames names;
  control->set_name_service(&names);
  start(options);
  on_control([&] { names.waiting = true; });
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(call("PUT", "/v1/services/kb", kService).status, 201u) << "in use all the same";
  EXPECT_GE(std::chrono::steady_clock::now() - begun, options.names_timeout);
  EXPECT_EQ(call("POST", "/v1/dns:refresh").status, 202u);
  on_control([&] { names.waiting = false; });
  const auto refreshed = call("POST", "/v1/dns:refresh");
  EXPECT_EQ(refreshed.status, 200u);
  EXPECT_EQ(refreshed.body, "{\"items\":[]}\n");
  on_control([&] { control->set_name_service(nullptr); });
}

TEST_F(ServerTest, ConditionalHeadersReachTheApi) {
  start();
  const auto created = call("PUT", "/v1/services/kb", kService);
  ASSERT_EQ(created.status, 201u) << created.body;
  const auto tag = created.headers.at("etag");
  EXPECT_EQ(call("GET", "/v1/services/kb", "", {{"If-None-Match", tag}}).status, 304u);
  EXPECT_EQ(call("DELETE", "/v1/services/kb", "", {{"If-Match", "\"g0\""}}).status, 412u);
  EXPECT_EQ(call("DELETE", "/v1/services/kb", "", {{"If-Match", "\"g0\", " + tag}}).status, 200u);
}

TEST_F(ServerTest, TooLargeBodiesGetTheirAnswer) {
  start();
  const auto r = call("POST", "/v1/apply", std::string((4u << 20) + 1, ' '));
  EXPECT_EQ(r.status, 413u);
  EXPECT_EQ(r.headers.at("content-type"), "application/problem+json");
  // Exactly at the limit it is read; and is no JSON.
  EXPECT_EQ(call("POST", "/v1/apply", std::string(4u << 20, ' ')).status, 400u);
}

TEST_F(ServerTest, BrokenHttpGetsAProblem) {
  start();
  EXPECT_TRUE(raw("nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(raw("GET /v1/livez HTTP/1.1\r\nBad Header: x\r\n\r\n").starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(raw("GET /v1/livez HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n")
                  .starts_with("HTTP/1.1 431"));
  EXPECT_TRUE(raw("BREW /v1/livez HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 405"));
  EXPECT_EQ(call("GET", "/v1/livez").status, 200u);
}

TEST_F(ServerTest, KeepAliveAndPipelining) {
  start();
  const std::string one = "GET /v1/livez HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string answers = raw(one + one + one);
  std::size_t count = 0;
  for (auto at = answers.find("HTTP/1.1 200"); at != std::string::npos;
       at = answers.find("HTTP/1.1 200", at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 3u);
}

TEST_F(ServerTest, ExpectContinue) {
  start();
  const int fd = raw_connection();
  const std::string head =
      "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
      "Content-Length: 2\r\n\r\n";
  ASSERT_EQ(::send(fd, head.data(), head.size(), 0), static_cast<ssize_t>(head.size()));
  char room[64];
  const ssize_t n = ::recv(fd, room, sizeof room, 0);
  ASSERT_GT(n, 0);
  EXPECT_TRUE(std::string_view(room, static_cast<std::size_t>(n)).starts_with("HTTP/1.1 100"));
  ASSERT_EQ(::send(fd, "{}", 2, 0), 2);
  EXPECT_TRUE(read_all(fd).starts_with("HTTP/1.1 400"));
  ::close(fd);
}

TEST_F(ServerTest, HeadHasTheLengthWithoutTheBody) {
  start();
  const std::string answer =
      raw("HEAD /v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
  EXPECT_EQ(answer.find("Content-Length: 0\r\n"), std::string::npos);
}

TEST_F(ServerTest, StuckClientsAreCutAndConnectionsBounded) {
  ServerOptions options;
  options.request_timeout = std::chrono::milliseconds(50);
  options.idle_timeout = std::chrono::milliseconds(200);
  options.max_connections = 3;
  start(options);
  const int stuck = raw_connection();
  ASSERT_EQ(::send(stuck, "GET /v1", 7, 0), 7);
  EXPECT_EQ(read_all(stuck), "");  // ends by the server's doing
  ::close(stuck);
  const int a = raw_connection(), b = raw_connection(), c = raw_connection();
  std::size_t open = 0;
  while (open < 3) on_control([&] { open = server->connections(); });
  EXPECT_EQ(call("GET", "/v1/livez").status, 503u);
  read_all(a), read_all(b), read_all(c);
  for (const int fd : {a, b, c}) ::close(fd);
  while (open > 0) on_control([&] { open = server->connections(); });
  EXPECT_EQ(call("GET", "/v1/livez").status, 200u);
}

TEST_F(ServerTest, EventsFollow) {
  start();
  std::string got;
  auto follower = std::async(std::launch::async, [&] {
    return stream(socket, {.target = "/v1/events?follow=1&type=policy", .timeout_s = 20},
                  [&](std::string_view text) {
                    got += text;
                    return got.find("\"generation\"") == std::string::npos;
                  });
  });
  std::size_t open = 0;
  while (open < 1) on_control([&] { open = server->connections(); });
  // Until it has subscribed, further changes may pass it by.
  for (int i = 0; follower.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready;
       ++i) {
    std::string body = kClass;
    call("PUT", "/v1/agent-classes/c" + std::to_string(i), R"({"spec":{"allow":[]}})");
  }
  const auto status = follower.get();
  ASSERT_TRUE(status) << status.error();
  EXPECT_EQ(status->status, 200u);
  EXPECT_NE(got.find("\"type\":\"policy\""), std::string::npos) << got;
}

TEST_F(ServerTest, MetricsListenerServesMetricsOnly) {
  start();
  const auto get = [this](const std::string& path) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server->metrics_port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::string text = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(::send(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    std::string out = read_all(fd);
    ::close(fd);
    return out;
  };
  EXPECT_NE(get("/metrics").find("# EOF\n"), std::string::npos);
  EXPECT_TRUE(get("/v1/tasks").starts_with("HTTP/1.1 404"));
}

TEST_F(ServerTest, LiveSocketRefusedStaleOneReplaced) {
  start();
  boost::asio::io_context other;
  ServerOptions options;
  options.socket = socket;
  const auto second = Server::start(other, *control, options);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().find("another process"), std::string::npos);
  EXPECT_EQ(call("GET", "/v1/livez").status, 200u) << "the first one's socket is still there";

  // What a killed process leaves: a bound file nobody listens on.
  const std::string stale = (folder.path / "stale.sock").string();
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, stale.c_str(), stale.size() + 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  options.socket = stale;
  EXPECT_TRUE(Server::start(other, *control, options));

  options.socket = folder.path / "file";
  std::ofstream(options.socket) << "precious";
  EXPECT_FALSE(Server::start(other, *control, options));
  EXPECT_TRUE(std::filesystem::exists(options.socket));
}

void ServerTest::post(boost::asio::io_context& io, const std::function<void()>& work,
                      std::promise<void>& done) {
  io.get_executor().execute([&] {
    work();
    done.set_value();
  });
}

}  // namespace
}  // namespace sluice::control
