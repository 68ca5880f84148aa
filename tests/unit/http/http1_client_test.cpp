// HTTP/1.1 client role: requests as written, responses by RFC 9112 section 6.3.
#include <gtest/gtest.h>

#include "recorder.h"

namespace sluice::http::test {
namespace {

struct Client {
  explicit Client(const ConnectionLimits& limits = {})
      : connection(make_http1_client(handler, limits)) {}
  StreamId start(std::string_view method = "GET", bool end = true,
                 std::optional<std::uint64_t> length = {}) {
    Request r;
    r.method = method;
    r.authority = "kb.example";
    r.path = "/a?b";
    r.fields.add("x-a", "1");
    r.fields.add("connection", "x");
    r.content_length = length;
    return connection->start(r, end, kStart);
  }
  void feed(std::string_view bytes, std::size_t piece = 16 * 1024) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
      connection->feed(as_bytes(bytes.substr(0, piece)), kStart);
    }
  }
  const Seen& only() { return handler.seen[1]; }
  ClientRecorder handler;
  std::unique_ptr<ClientConnection> connection;
};

TEST(Http1Client, Requests) {
  const std::string head = " /a?b HTTP/1.1\r\nhost: kb.example\r\nx-a: 1\r\n";
  Client get;
  get.start();
  EXPECT_EQ(drain(*get.connection), "GET" + head + "\r\n");
  Client empty;
  empty.start("POST");
  EXPECT_EQ(drain(*empty.connection), "POST" + head + "content-length: 0\r\n\r\n");
  Client counted;
  auto id = counted.start("PUT", false, 3);
  counted.connection->write_body(id, as_bytes("abc"));
  counted.connection->finish(id);
  EXPECT_EQ(drain(*counted.connection), "PUT" + head + "content-length: 3\r\n\r\nabc");
  Client chunked;
  id = chunked.start("POST", false);
  chunked.connection->write_body(id, as_bytes("abc"));
  FieldBlock trailers;
  trailers.add("x-t", "u");
  chunked.connection->finish(id, trailers);
  EXPECT_EQ(drain(*chunked.connection),
            "POST" + head + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: u\r\n\r\n");
}

// A body of another length than announced would shift what the tool reads next.
TEST(Http1Client, BodyKeepsToItsLength) {
  Client more;
  auto id = more.start("PUT", false, 3);
  EXPECT_EQ(more.connection->write_body(id, as_bytes("abcGET /evil")), 12u);
  more.connection->finish(id);
  EXPECT_TRUE(drain(*more.connection).ends_with("\r\n\r\nabc"));
  Client less;
  id = less.start("PUT", false, 3);
  less.connection->write_body(id, as_bytes("ab"));
  less.connection->finish(id);
  EXPECT_TRUE(less.connection->finished());
  EXPECT_TRUE(less.only().closed);
}

struct Case {
  const char* name;
  const char* method;
  std::string bytes;
  std::string body;
  bool ended;  // by itself
  bool reusable;
};
class Http1Response : public ::testing::TestWithParam<Case> {};
TEST_P(Http1Response, Framing) {
  const Case& c = GetParam();
  for (const std::size_t piece : {std::size_t{16384}, std::size_t{1}, std::size_t{3}}) {
    Client client;
    client.start(c.method);
    client.feed(c.bytes, piece);
    EXPECT_EQ(client.only().body, c.body);
    EXPECT_EQ(client.only().ended, c.ended);
    EXPECT_FALSE(client.only().closed);
    EXPECT_EQ(client.connection->can_start(), c.reusable);
    EXPECT_EQ(client.connection->finished(), c.ended && !c.reusable);
    if (c.ended) continue;
    client.connection->feed_end(kStart);  // until close
    EXPECT_TRUE(client.only().ended);
    EXPECT_FALSE(client.only().closed);
    EXPECT_TRUE(client.connection->finished());
    EXPECT_EQ(client.connection->error(), Error::none);
  }
}
INSTANTIATE_TEST_SUITE_P(
    All, Http1Response,
    ::testing::Values(
        Case{"Length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true, true},
        Case{"LengthZero", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true, true},
        Case{"Chunked", "GET",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc",
             true, true},
        Case{"NoReason", "GET", "HTTP/1.1 204\r\n\r\n", "", true, true},
        Case{"NoContent", "GET", "HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n", "", true, true},
        Case{"NotModified", "GET", "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n", "", true, true},
        Case{"Head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "", true, true},
        Case{"HeadChunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "",
             true, true},
        Case{"UntilClose", "GET", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", false, false},
        Case{"Http10UntilClose", "GET", "HTTP/1.0 200 OK\r\n\r\nabc", "abc", false, false},
        Case{"Http10Length", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true,
             false},
        Case{"Http10KeepAlive", "GET",
             "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", "abc",
             true, true},
        Case{"Close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
             "abc", true, false},
        Case{"Interim", "GET",
             "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
             "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
             "abc", true, true},
        Case{"Unsolicited", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true,
             true}),
    [](const auto& test) { return test.param.name; });

TEST(Http1Client, RefusedResponses) {
  for (const std::string bytes :
       {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        "HTTP/1.1 200 OK\nA: 1\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"}) {
    for (const std::size_t piece : {std::size_t{16384}, std::size_t{1}}) {
      Client c;
      c.start();
      c.feed(bytes, piece);
      EXPECT_TRUE(c.connection->finished()) << bytes;
      EXPECT_EQ(c.connection->error(), Error::protocol) << bytes;
      EXPECT_TRUE(c.only().closed) << bytes;
      EXPECT_FALSE(c.only().ended) << bytes;
    }
  }
}

TEST(Http1Client, TooLarge) {
  Client c;
  c.start();
  c.feed("HTTP/1.1 200 OK\r\nA: " + std::string(70'000, 'a'));
  EXPECT_EQ(c.connection->error(), Error::too_large);
  EXPECT_EQ(c.only().error, Error::too_large);
}

TEST(Http1Client, Truncated) {
  for (const char* bytes :
       {"", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"}) {
    Client c;
    c.start();
    c.feed(bytes);
    c.connection->feed_end(kStart);
    EXPECT_EQ(c.only().error, Error::truncated) << bytes;
    EXPECT_FALSE(c.only().ended) << bytes;
    EXPECT_TRUE(c.connection->finished());
  }
}

TEST(Http1Client, Continue) {
  Client c;
  c.start("POST", false, 3);
  c.feed("HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(c.handler.continues, 1);
  EXPECT_FALSE(c.connection->finished());
}

TEST(Http1Client, NextRequestFromTheCallback) {
  Client c;
  int begun = 0;
  c.handler.complete = [&](StreamId) {
    if (++begun < 3) {
      EXPECT_NE(c.start(), 0u);
    }
  };
  c.start();
  for (int i = 0; i < 3; ++i) c.feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
  EXPECT_EQ(begun, 3);
  EXPECT_EQ(c.handler.seen.size(), 3u);
  EXPECT_TRUE(c.connection->can_start());
}

// The tool answered before it had the request: what is left of it must not become another one.
TEST(Http1Client, EarlyResponseEndsTheConnection) {
  Client c;
  const auto id = c.start("POST", false, 1000);
  c.connection->write_body(id, as_bytes("abc"));
  c.feed("HTTP/1.1 413 no\r\nContent-Length: 2\r\n\r\nno");
  EXPECT_EQ(c.only().body, "no");
  EXPECT_TRUE(c.only().ended);
  EXPECT_FALSE(c.connection->can_start());
  EXPECT_TRUE(c.connection->finished());
  EXPECT_EQ(c.connection->write_body(id, as_bytes("late")), 4u);
}

TEST(Http1Client, UnsolicitedBytesEndTheConnection) {
  Client behind;
  behind.start();
  behind.feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n");
  EXPECT_TRUE(behind.only().ended);
  EXPECT_EQ(behind.only().body, "x");
  EXPECT_TRUE(behind.connection->finished());
  Client idle;
  idle.feed("H");
  EXPECT_TRUE(idle.connection->finished());
  EXPECT_EQ(idle.connection->error(), Error::protocol);
  EXPECT_EQ(idle.start(), 0u);
}

TEST(Http1Client, BackpressureAndCloseBehindIt) {
  Client c;
  c.handler.take = 2;
  c.start();
  c.feed("HTTP/1.1 200 OK\r\n\r\nabcdef");
  EXPECT_EQ(c.only().body, "ab");
  EXPECT_FALSE(c.connection->wants_input());
  c.connection->feed_end(kStart);  // what came before the end is still delivered
  EXPECT_FALSE(c.connection->finished());
  c.handler.take = 100;
  c.connection->resume(1);
  EXPECT_EQ(c.only().body, "abcdef");
  EXPECT_TRUE(c.only().ended);
  EXPECT_TRUE(c.connection->finished());
}

TEST(Http1Client, UploadWaitsForRoom) {
  ConnectionLimits limits;
  limits.body_buffer = 1000;
  Client c(limits);
  const auto id = c.start("POST", false, 100'000);
  const std::string body(100'000, 'u');
  std::size_t given = 0;
  while (given < body.size()) {
    given += c.connection->write_body(id, as_bytes(body).subspan(given));
    const std::size_t pending = c.connection->pending_output().size();
    ASSERT_LE(pending, 1000u);
    c.connection->consume_output(pending - 1);  // never quite empty
  }
  EXPECT_GT(c.handler.writable, 50);
}

TEST(Http1Client, Reset) {
  Client c;
  const auto id = c.start();
  c.connection->reset(id, Error::cancelled);
  EXPECT_TRUE(c.connection->finished());
  EXPECT_EQ(c.connection->active_streams(), 0u);
  c.feed("HTTP/1.1 200 OK\r\n\r\n");
  EXPECT_TRUE(c.handler.seen.empty());
}

}  // namespace
}  // namespace sluice::http::test
