// HTTP/1.1 server role against RFC 9112: what is accepted, what is refused, and how it is framed.
#include <gtest/gtest.h>

#include "recorder.h"

namespace sluice::http::test {
namespace {

using namespace std::string_literals;

struct Server {
  explicit Server(const ConnectionLimits& limits = {}, bool answers = true)
      : connection(make_http1_server(handler, "https", limits, kStart)) {
    if (answers) {
      handler.complete = [this](StreamId id) { answer(id, "hello"); };
    }
  }
  void answer(StreamId id, std::string_view body) {
    Response r;
    r.status = 200;
    r.content_length = body.size();
    connection->respond(id, r, false);
    connection->write_body(id, as_bytes(body));
    connection->finish(id);
  }
  // Feeds all that is wanted; what is not, waits in `rest`.
  std::string feed(std::string_view bytes, Time now = kStart) {
    rest += bytes;
    std::string out;
    while (!rest.empty() && connection->wants_input()) {
      const std::size_t n = std::min<std::size_t>(rest.size(), 16 * 1024);
      connection->feed(as_bytes(rest).first(n), now);
      rest.erase(0, n);
      out += drain(*connection);
    }
    return out + drain(*connection);
  }
  const Seen& only() { return handler.seen.at(1); }

  ServerRecorder handler;
  std::unique_ptr<ServerConnection> connection;
  std::string rest;
};

constexpr std::string_view kHello = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

std::string get(std::string_view fields, std::string_view line = "GET /a HTTP/1.1") {
  return std::string(line) + "\r\nHost: kb.example\r\n" + std::string(fields) + "\r\n";
}

TEST(Http1Server, MessageModel) {
  Server s;
  EXPECT_EQ(
      s.feed("GET /a?b=c HTTP/1.1\r\nHost: KB.Example:443\r\nX-One:  two \t\r\n"
             "Connection: x-drop, Keep-Alive\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
             "Upgrade: h2c\r\nTxn-Token: t\r\n\r\n"),
      kHello);
  const Seen& r = s.only();
  EXPECT_EQ(r.method, "GET");
  EXPECT_EQ(r.scheme, "https");
  EXPECT_EQ(r.authority, "kb.example:443");
  EXPECT_EQ(r.path, "/a?b=c");
  EXPECT_EQ(fields_text(r.fields), "x-one=two;txn-token=t;");
  EXPECT_TRUE(r.ended);
  EXPECT_FALSE(s.connection->finished());
}

TEST(Http1Server, ConnectionCannotRemoveTheToken) {
  Server s;
  s.feed(get("Connection: txn-token, authorization\r\nTxn-Token: t\r\nAuthorization: a\r\n"));
  EXPECT_EQ(fields_text(s.only().fields), "txn-token=t;authorization=a;");
}

struct Refused {
  const char* name;
  std::string bytes;
  std::uint16_t status;
  Error error = Error::protocol;
};
class Http1Refused : public ::testing::TestWithParam<Refused> {};

std::string post(std::string_view fields, std::string_view body = "") {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n" + std::string(body);
}

// Each is refused with the status, no request or body passes, and the connection ends. The same in
// one piece and byte by byte.
TEST_P(Http1Refused, EndsTheConnection) {
  const std::string& bytes = GetParam().bytes;
  for (const std::size_t piece : {bytes.size(), std::size_t{1}, std::size_t{7}}) {
    Server s;
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      out += s.feed(std::string_view(bytes).substr(at, piece));
    }
    EXPECT_TRUE(s.handler.seen.empty()) << s.handler.text();
    ASSERT_EQ(s.handler.refused.size(), 1u);
    EXPECT_EQ(s.handler.refused[0].first, GetParam().error);
    EXPECT_EQ(s.handler.refused[0].second, GetParam().status);
    EXPECT_TRUE(out.starts_with("HTTP/1.1 " + std::to_string(GetParam().status) + " ")) << out;
    EXPECT_NE(out.find("\r\nconnection: close\r\n"), std::string::npos);
    EXPECT_TRUE(s.connection->finished());
    EXPECT_FALSE(s.connection->aborted());
    EXPECT_EQ(s.connection->error(), GetParam().error);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Framing, Http1Refused,
    ::testing::Values(
        Refused{"TwoLengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400},
        Refused{"EqualLengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400},
        Refused{"LengthList", post("Content-Length: 5, 5\r\n", "hello"), 400},
        Refused{"LengthPlus", post("Content-Length: +5\r\n", "hello"), 400},
        Refused{"LengthMinus", post("Content-Length: -5\r\n", "hello"), 400},
        Refused{"LengthHex", post("Content-Length: 0x5\r\n", "hello"), 400},
        Refused{"LengthEmpty", post("Content-Length:\r\n", "hello"), 400},
        Refused{"LengthSpace", post("Content-Length: 1 2\r\n", "hello"), 400},
        Refused{"LengthOverflow", post("Content-Length: 18446744073709551621\r\n"), 400},
        Refused{"LengthAndChunked",
                post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
        Refused{"ChunkedAndLength",
                post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400},
        Refused{"ChunkedNotLast", post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), 400},
        Refused{"ChunkedTwice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400},
        Refused{"ChunkedTwoLines",
                post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                400},
        Refused{"CodingWithoutChunked", post("Transfer-Encoding: gzip\r\n", "x"), 400},
        Refused{"IdentityCoding", post("Transfer-Encoding: identity\r\n", "x"), 400},
        Refused{"GzipChunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501},
        Refused{"CodingParameter", post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 400},
        Refused{"CodingVerticalTab",
                post("Transfer-Encoding: \x0b"
                     "chunked\r\n",
                     "0\r\n\r\n"),
                400},
        Refused{"ChunkedInHttp10",
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Syntax, Http1Refused,
    ::testing::Values(
        Refused{"Folding", get("X-A: 1\r\n folded\r\n"), 400},
        Refused{"FoldingWithTab", get("X-A: 1\r\n\tfolded\r\n"), 400},
        Refused{"SpaceFirst", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
        Refused{"BareLfAfterLine", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
        Refused{"BareLfAfterField", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
        Refused{"BareLfAtEnd", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
        Refused{"BareCrInValue", get("X-A: 1\rX-B: 2\r\n"), 400},
        Refused{"BareCrInName", get("X\r-A: 1\r\n"), 400},
        Refused{"BareCrInLine", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Refused{"CrCrLf", get("X-A: 1\r\r\n"), 400},
        Refused{"NulInValue", get("X-A: a\0b\r\n"s), 400},
        Refused{"NulInName", get("X\0A: b\r\n"s), 400},
        Refused{"DelInValue", get("X-A: a\x7f\r\n"), 400},
        Refused{"SpaceBeforeColon", get("X-A : 1\r\n"), 400},
        Refused{"TabBeforeColon", get("Content-Length\t: 1\r\n"), 400},
        Refused{"NoColon", get("X-A\r\n"), 400}, Refused{"EmptyName", get(": 1\r\n"), 400},
        Refused{"NameNotToken", get("X(A): 1\r\n"), 400},
        Refused{"NoHost", "GET / HTTP/1.1\r\n\r\n", 400},
        Refused{"TwoHosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
        Refused{"TwoHostsHttp10", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        Refused{"HostEmpty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
        Refused{"HostList", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
        Refused{"HostUserinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
        Refused{"HostPath", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        Refused{"HostTwoPorts", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400},
        Refused{"HostPortText", "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", 400},
        Refused{"HostOpenBracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
        Refused{"TwoEmptyLinesFirst", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Refused{"UnknownExpectation", post("Expect: wonders\r\n"), 417}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    RequestLine, Http1Refused,
    ::testing::Values(
        Refused{"NoVersion", get("", "GET /"), 400},
        Refused{"LeadingSpace", get("", " GET / HTTP/1.1"), 400},
        Refused{"TwoSpaces", get("", "GET  / HTTP/1.1"), 400},
        Refused{"TrailingSpace", get("", "GET / HTTP/1.1 "), 400},
        Refused{"TabSeparator", get("", "GET\t/\tHTTP/1.1"), 400},
        Refused{"SpaceInTarget", get("", "GET /a b HTTP/1.1"), 400},
        Refused{"Fragment", get("", "GET /a#b HTTP/1.1"), 400},
        Refused{"NonAsciiTarget", get("", "GET /\xc3\xa9 HTTP/1.1"), 400},
        Refused{"RelativeTarget", get("", "GET a HTTP/1.1"), 400},
        Refused{"StarForGet", get("", "GET * HTTP/1.1"), 400},
        Refused{"MethodNotToken", get("", "G@T / HTTP/1.1"), 400},
        Refused{"LowerCaseVersion", get("", "GET / http/1.1"), 400},
        Refused{"VersionText", get("", "GET / HTTP/1.x"), 400},
        Refused{"Http09", "GET /\r\n\r\n", 400}, Refused{"Http20", get("", "GET / HTTP/2.0"), 505},
        Refused{"Http12", get("", "GET / HTTP/1.2"), 505},
        Refused{"AbsoluteOtherHost", get("", "GET https://other.example/ HTTP/1.1"), 400},
        Refused{"AbsoluteOtherPort", get("", "GET https://kb.example:1/ HTTP/1.1"), 400},
        Refused{"AbsoluteOtherScheme", get("", "GET http://kb.example/ HTTP/1.1"), 400},
        Refused{"AbsoluteUserinfo", get("", "GET https://u@kb.example/ HTTP/1.1"), 400},
        Refused{"AbsoluteNoHost", "GET https://kb.example/ HTTP/1.1\r\n\r\n", 400},
        Refused{"ConnectNoPort", get("", "CONNECT kb.example HTTP/1.1"), 400},
        Refused{"ConnectEmptyPort", get("", "CONNECT kb.example: HTTP/1.1"), 400},
        Refused{"ConnectPath", get("", "CONNECT /a HTTP/1.1"), 400},
        Refused{"ConnectOtherHost", get("", "CONNECT other.example:443 HTTP/1.1"), 400}),
    [](const auto& test) { return test.param.name; });

TEST(Http1Server, TargetForms) {
  const struct {
    const char *line, *authority, *path;
  } cases[] = {
      {"GET https://KB.example/x?y HTTP/1.1", "kb.example", "/x?y"},
      {"GET HTTPS://kb.example HTTP/1.1", "kb.example", "/"},
      {"GET https://kb.example?q HTTP/1.1", "kb.example", "/?q"},
      {"OPTIONS * HTTP/1.1", "kb.example", "*"},
      {"OPTIONS https://kb.example HTTP/1.1", "kb.example", "*"},
      {"CONNECT kb.example:443 HTTP/1.1", "kb.example:443", ""},
  };
  for (const auto& c : cases) {
    Server s;
    s.feed(get("", c.line));
    ASSERT_EQ(s.handler.seen.size(), 1u) << c.line;
    EXPECT_EQ(s.only().authority, c.authority) << c.line;
    EXPECT_EQ(s.only().path, c.path) << c.line;
  }
}

TEST(Http1Server, OneEmptyLineBeforeARequestIsIgnored) {
  Server s;
  EXPECT_EQ(s.feed("\r\n" + get("")), kHello);
  EXPECT_EQ(s.feed("\r\n" + get("")), kHello);
}

// A chunked body that is wrong after its head was accepted.
class Http1BadChunks : public ::testing::TestWithParam<Refused> {};
TEST_P(Http1BadChunks, EndTheConnection) {
  const std::string bytes = post("Transfer-Encoding: chunked\r\n", GetParam().bytes);
  for (const std::size_t piece : {bytes.size(), std::size_t{1}}) {
    Server s;
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      out += s.feed(std::string_view(bytes).substr(at, piece));
    }
    ASSERT_EQ(s.handler.seen.size(), 1u);
    EXPECT_FALSE(s.only().ended);
    EXPECT_TRUE(s.only().closed);
    EXPECT_EQ(s.only().error, GetParam().error);
    EXPECT_TRUE(out.starts_with("HTTP/1.1 " + std::to_string(GetParam().status))) << out;
    EXPECT_TRUE(s.connection->finished());
  }
}
INSTANTIATE_TEST_SUITE_P(
    Chunks, Http1BadChunks,
    ::testing::Values(
        Refused{"SizeOverflow", "10000000000000000\r\n", 400},
        Refused{"SizeSixteenDigits", "ffffffffffffffff\r\n", 400},
        Refused{"SizeEmpty", "\r\n", 400}, Refused{"SizeNotHex", "g\r\n", 400},
        Refused{"SizeSigned", "+5\r\nhello\r\n0\r\n\r\n", 400},
        Refused{"SizePrefix", "0x5\r\nhello\r\n0\r\n\r\n", 400},
        Refused{"SizeSpaceFirst", " 5\r\nhello\r\n0\r\n\r\n", 400},
        Refused{"SizeSpaceAfter", "5 \r\nhello\r\n0\r\n\r\n", 400},
        Refused{"SizeBareLf", "5\nhello\r\n0\r\n\r\n", 400},
        Refused{"DataTooLong", "5\r\nhello!\r\n0\r\n\r\n", 400},
        Refused{"DataBareLf", "5\r\nhello\n0\r\n\r\n", 400},
        Refused{"ExtensionTooLong", "5;" + std::string(300, 'a') + "\r\nhello\r\n0\r\n\r\n", 400},
        Refused{"ExtensionBareCr", "5;a\rb\r\nhello\r\n0\r\n\r\n", 400},
        Refused{"ExtensionNul", "5;a\0\r\nhello\r\n0\r\n\r\n"s, 400},
        Refused{"ExtensionsInAll",
                [] {
                  std::string s;
                  for (int i = 0; i < 100; ++i) s += "1;" + std::string(200, 'x') + "\r\na\r\n";
                  return s;
                }(),
                400},
        Refused{"TrailerBareLf", "0\r\nX-A: 1\n\r\n", 400},
        Refused{"TrailerFolded", "0\r\nX-A: 1\r\n 2\r\n\r\n", 400},
        Refused{"TrailerSpaceBeforeColon", "0\r\nX-A : 1\r\n\r\n", 400},
        Refused{"TrailerNoColon", "0\r\nX-A\r\n\r\n", 400},
        Refused{"TrailersTooMany",
                [] {
                  std::string s = "0\r\n";
                  for (int i = 0; i < 200; ++i) s += "X-A: 1\r\n";
                  return s;
                }(),
                431, Error::too_large},
        Refused{"TrailersTooLarge", "0\r\nX-A: " + std::string(70'000, 'a') + "\r\n\r\n", 431,
                Error::too_large}),
    [](const auto& test) { return test.param.name; });

TEST(Http1Server, ChunkedBodyAndTrailers) {
  Server s;
  EXPECT_EQ(s.feed(post("Transfer-Encoding: Chunked\r\nTrailer: x-sum\r\n",
                        "5;name=\"v\"\r\nhello\r\n00A\r\n, world...\r\n0\r\nX-Sum: 9\r\n"
                        "Content-Length: 3\r\nAuthorization: no\r\n\r\n")),
            kHello);
  EXPECT_EQ(s.only().body, "hello, world...");
  EXPECT_FALSE(s.only().content_length.has_value());
  EXPECT_EQ(fields_text(s.only().trailers), "x-sum=9;");
}

// Whatever the pieces, the result is the same.
TEST(Http1Server, SplitAtEveryByte) {
  const std::string bytes = "\r\n" + post("Content-Length: 11\r\nX-A: b\r\n", "hello world") +
                            post("Transfer-Encoding: chunked\r\n",
                                 "6;e=1\r\nhello \r\n5\r\nworld\r\n0\r\nX-T: u\r\n\r\n") +
                            get("Connection: close\r\n");
  Server whole;
  const std::string out = whole.feed(bytes);
  const std::string seen = whole.handler.text();
  ASSERT_EQ(whole.handler.seen.size(), 3u) << seen;
  EXPECT_TRUE(whole.connection->finished());
  for (std::size_t at = 1; at < bytes.size(); ++at) {
    Server s;
    std::string got = s.feed(std::string_view(bytes).substr(0, at));
    got += s.feed(std::string_view(bytes).substr(at));
    ASSERT_EQ(got, out) << at;
    // Body pieces join to the same text.
    ASSERT_EQ(s.handler.text(), seen) << at;
  }
}

TEST(Http1Server, PipelinedRequestsAreAnsweredInOrder) {
  Server s({}, false);
  s.connection->feed(as_bytes(get("", "GET /1 HTTP/1.1") + get("", "GET /2 HTTP/1.1") +
                              get("", "GET /3 HTTP/1.1")),
                     kStart);
  for (StreamId id = 1; id <= 3; ++id) {
    ASSERT_EQ(s.handler.order.size(), id);  // the next is not looked at before the answer
    EXPECT_FALSE(s.connection->wants_input());
    EXPECT_EQ(s.handler.seen.at(id).path, "/" + std::to_string(id));
    s.answer(id, std::to_string(id));
  }
  EXPECT_EQ(drain(*s.connection),
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1"
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2"
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n3");
  EXPECT_TRUE(s.connection->wants_input());
}

// Many small requests in one piece do not make more output than the limit and one answer.
TEST(Http1Server, PipelinedAnswersWaitForRoom) {
  ConnectionLimits limits;
  limits.output_buffer = 4096;
  Server s(limits);
  std::string bytes;
  for (int i = 0; i < 200; ++i) bytes += get("");
  s.connection->feed(as_bytes(bytes), kStart);
  EXPECT_LT(s.connection->pending_output().size(), 4096 + 100u);
  EXPECT_LT(s.handler.seen.size(), 200u);
  std::string out;
  while (!s.connection->pending_output().empty()) {
    out += as_text(s.connection->pending_output().first(1));
    s.connection->consume_output(1);
    ASSERT_LT(s.connection->pending_output().size(), 4096 + 100u);
  }
  EXPECT_EQ(s.handler.seen.size(), 200u);
  EXPECT_EQ(out.size(), 200 * kHello.size());
}

// An error record is written whole or not at all: its request waits until it would fit.
TEST(Http1Server, PipelinedAnswersAreWholeHoweverManyThereAre) {
  Server s({}, false);
  const std::string body(10'000, 'x');
  s.handler.complete = [&](StreamId id) { s.answer(id, body); };
  std::string bytes;
  for (int i = 0; i < 100; ++i) bytes += get("");
  s.connection->feed(as_bytes(bytes), kStart);
  EXPECT_FALSE(s.connection->wants_input());
  const std::string out = drain(*s.connection);
  EXPECT_EQ(s.handler.seen.size(), 100u);
  EXPECT_EQ(std::ranges::count(out, 'x'), 100 * 10'000);
  EXPECT_FALSE(s.connection->finished());
  EXPECT_TRUE(s.connection->wants_input());
}

TEST(Http1Server, ThePeersEndBehindPipelinedRequestsIsNotForgotten) {
  Server s({}, false);
  const std::string body(50'000, 'x');
  s.handler.complete = [&](StreamId id) { s.answer(id, body); };
  s.connection->feed(as_bytes(get("") + get("")), kStart);
  s.connection->feed_end(kStart);
  EXPECT_FALSE(s.connection->finished());
  EXPECT_EQ(std::ranges::count(drain(*s.connection), 'x'), 2 * 50'000);
  EXPECT_TRUE(s.connection->finished());
  EXPECT_FALSE(s.connection->aborted());
}

TEST(Http1Server, KeepAliveAndClose) {
  const struct {
    const char *version, *field;
    bool goes_on;
    const char* says;  // field of the answer, or nothing
  } cases[] = {
      {"1.1", "", true, ""},
      {"1.1", "Connection: keep-alive\r\n", true, ""},
      {"1.1", "Connection: close\r\n", false, "connection: close\r\n"},
      {"1.1", "Connection: foo, CLOSE\r\n", false, "connection: close\r\n"},
      {"1.1", "Connection: closed\r\n", true, ""},
      {"1.0", "", false, "connection: close\r\n"},
      {"1.0", "Connection: Keep-Alive\r\n", true, "connection: keep-alive\r\n"},
      {"1.0", "Connection: keep-alive, close\r\n", false, "connection: close\r\n"},
  };
  for (const auto& c : cases) {
    Server s;
    const std::string out = s.feed(get(c.field, std::string("GET / HTTP/") + c.version));
    EXPECT_EQ(out, std::string("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n") + c.says + "\r\nhello")
        << c.version << c.field;
    EXPECT_EQ(s.connection->finished(), !c.goes_on) << c.version << c.field;
  }
}

TEST(Http1Server, Http10WithoutLengthEndsByClose) {
  Server s({}, false);
  s.feed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(s.only().authority, "");
  Response r;
  r.status = 200;
  s.connection->respond(1, r, false);
  s.connection->write_body(1, as_bytes("abc"));
  s.connection->finish(1);
  EXPECT_EQ(drain(*s.connection), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc");
  EXPECT_TRUE(s.connection->finished());
  EXPECT_FALSE(s.connection->aborted());
}

TEST(Http1Server, ExpectContinue) {
  Server s;
  s.handler.request = [&](StreamId id) { s.connection->send_continue(id); };
  EXPECT_EQ(s.feed(post("Expect: 100-Continue\r\nContent-Length: 2\r\n")),
            "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_TRUE(s.only().expect_continue);
  EXPECT_EQ(s.feed("ab"), kHello);
  EXPECT_FALSE(s.connection->finished());
  // An HTTP/1.0 client has no expectations (RFC 9110 section 10.1.1).
  Server old;
  old.feed("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab");
  EXPECT_FALSE(old.only().expect_continue);
}

Response response(std::uint16_t status, std::optional<std::uint64_t> length = {}) {
  Response r;
  r.status = status;
  r.content_length = length;
  return r;
}

TEST(Http1Server, MessagesWithoutBody) {
  const struct {
    const char* line;
    Response response;
    bool end;
    const char* expected;
  } cases[] = {
      {"HEAD / HTTP/1.1", response(200, 7), false, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"},
      {"HEAD / HTTP/1.1", response(200, 7), true, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"},
      {"HEAD / HTTP/1.1", response(200), false, "HTTP/1.1 200 OK\r\n\r\n"},
      {"GET / HTTP/1.1", response(204), false, "HTTP/1.1 204 No Content\r\n\r\n"},
      {"GET / HTTP/1.1", response(204, 0), true, "HTTP/1.1 204 No Content\r\n\r\n"},
      {"GET / HTTP/1.1", response(304, 7), true,
       "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"},
      {"GET / HTTP/1.1", response(304), false, "HTTP/1.1 304 Not Modified\r\n\r\n"},
      {"GET / HTTP/1.1", response(200), true, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"},
  };
  for (const auto& c : cases) {
    Server s({}, false);
    s.feed(get("", c.line));
    s.connection->respond(1, c.response, c.end);
    if (!c.end) {
      EXPECT_EQ(s.connection->write_body(1, as_bytes("ignored")), 7u);
      s.connection->finish(1);
    }
    EXPECT_EQ(drain(*s.connection), c.expected);
    EXPECT_FALSE(s.connection->finished());
    s.handler.complete = [&](StreamId id) { s.answer(id, "hello"); };
    EXPECT_EQ(s.feed(get("")), kHello);
  }
}

TEST(Http1Server, ChunkedResponseWithTrailers) {
  Server s({}, false);
  s.feed(get(""));
  Response r = response(200);
  r.fields.add("x-a", "b");
  r.fields.add("connection", "x");
  s.connection->respond(1, r, false);
  s.connection->write_body(1, as_bytes("0123456789abcdef!"));
  s.connection->write_body(1, {});
  FieldBlock trailers;
  trailers.add("x-sum", "1");
  s.connection->finish(1, trailers);
  EXPECT_EQ(drain(*s.connection),
            "HTTP/1.1 200 OK\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n"
            "11\r\n0123456789abcdef!\r\n0\r\nx-sum: 1\r\n\r\n");
}

TEST(Http1Server, BodyNeverExceedsTheAnnouncedLength) {
  Server s({}, false);
  s.feed(get(""));
  s.connection->respond(1, response(200, 3), false);
  EXPECT_EQ(s.connection->write_body(1, as_bytes("abcdef")), 6u);
  EXPECT_EQ(s.connection->write_body(1, as_bytes("g")), 1u);
  s.connection->finish(1);
  EXPECT_EQ(drain(*s.connection), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
  EXPECT_FALSE(s.connection->finished());
}

TEST(Http1Server, BodyShorterThanAnnouncedEndsUnclean) {
  Server s({}, false);
  s.feed(get(""));
  s.connection->respond(1, response(200, 3), false);
  s.connection->write_body(1, as_bytes("ab"));
  s.connection->finish(1);
  EXPECT_TRUE(s.connection->finished());
  EXPECT_TRUE(s.connection->aborted());
}

TEST(Http1Server, ResetEndsUnclean) {
  Server s({}, false);
  s.feed(get(""));
  s.connection->respond(1, response(200), false);
  s.connection->reset(1, Error::internal);
  EXPECT_TRUE(s.connection->finished());
  EXPECT_TRUE(s.connection->aborted());
  EXPECT_EQ(s.connection->active_streams(), 0u);
}

TEST(Http1Server, Limits) {
  ConnectionLimits limits;
  limits.max_uri = 100;
  limits.max_request_line = 200;
  limits.fields.max_fields = 3;
  limits.fields.max_bytes = 400;
  const auto status = [&](std::string_view bytes) -> int {
    int result = -1;
    for (const std::size_t piece : {bytes.size(), std::size_t{1}}) {
      Server s(limits);
      for (std::size_t at = 0; at < bytes.size(); at += piece) s.feed(bytes.substr(at, piece));
      const int now = s.handler.refused.empty() ? 200 : s.handler.refused[0].second;
      EXPECT_TRUE(result == -1 || result == now) << result << " " << now;
      result = now;
    }
    return result;
  };
  const std::string uri(99, 'a');
  EXPECT_EQ(status(get("", "GET /" + uri + " HTTP/1.1")), 200);
  EXPECT_EQ(status(get("", "GET /" + uri + "a HTTP/1.1")), 414);
  EXPECT_EQ(status("GET /" + std::string(300, 'a')), 414);  // before the line ends
  EXPECT_EQ(status(get("A: 1\r\nB: 2\r\n")), 200);
  EXPECT_EQ(status(get("A: 1\r\nB: 2\r\nC: 3\r\n")), 431);
  EXPECT_EQ(status(get("A: " + std::string(300, 'a') + "\r\n")), 200);
  EXPECT_EQ(status(get("A: " + std::string(340, 'a') + "\r\n")), 431);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nA: " + std::string(500, 'a')), 431);
}

TEST(Http1Server, HeaderTime) {
  ConnectionLimits limits;
  limits.header_time = Micros{10};
  limits.idle_time = Micros{100};
  Server s(limits);
  EXPECT_EQ(s.connection->deadline(), kStart + Micros{100});
  s.feed("GET / HT", kStart + Micros{50});
  EXPECT_EQ(s.connection->deadline(), kStart + Micros{60});
  s.feed("TP/1.1\r\n", kStart + Micros{59});  // more bytes give no more time
  EXPECT_EQ(s.connection->deadline(), kStart + Micros{60});
  s.connection->on_timer(kStart + Micros{59});
  EXPECT_FALSE(s.connection->finished());
  s.connection->on_timer(kStart + Micros{60});
  EXPECT_TRUE(s.connection->finished());
  EXPECT_EQ(s.connection->error(), Error::timed_out);
  EXPECT_TRUE(drain(*s.connection).starts_with("HTTP/1.1 408 "));
}

TEST(Http1Server, IdleTime) {
  ConnectionLimits limits;
  limits.idle_time = Micros{100};
  Server s(limits, false);
  s.feed(get(""), kStart + Micros{10});
  EXPECT_EQ(s.connection->deadline(), kNever);  // while a request is answered
  s.answer(1, "hello");
  drain(*s.connection);
  // The answer came 500 later, which only the timer tells: the idle time starts then.
  s.connection->on_timer(kStart + Micros{510});
  EXPECT_FALSE(s.connection->finished());
  EXPECT_EQ(s.connection->deadline(), kStart + Micros{610});
  s.connection->on_timer(kStart + Micros{610});
  EXPECT_TRUE(s.connection->finished());
  EXPECT_EQ(drain(*s.connection), "");
  EXPECT_EQ(s.connection->error(), Error::none);
}

TEST(Http1Server, PeerThatDoesNotReadIsCutOff) {
  ConnectionLimits limits;
  limits.idle_time = Micros{100};
  Server s(limits, false);
  s.connection->feed(as_bytes(get("")), kStart);
  s.connection->respond(1, response(200), false);
  s.connection->write_body(1, as_bytes(std::string(1000, 'a')));
  EXPECT_EQ(s.connection->deadline(), kStart + Micros{100});
  s.connection->on_timer(kStart + Micros{100});
  s.connection->consume_output(1);  // slow is not stuck
  s.connection->on_timer(kStart + Micros{200});
  EXPECT_FALSE(s.connection->finished());
  s.connection->on_timer(kStart + Micros{300});
  EXPECT_TRUE(s.connection->finished());
  EXPECT_TRUE(s.connection->aborted());
  EXPECT_TRUE(s.only().closed);
  EXPECT_EQ(s.only().error, Error::timed_out);
}

TEST(Http1Server, BackpressureOnTheRequestBody) {
  Server s;
  s.handler.take = 3;
  s.feed(post("Content-Length: 10\r\n", "01234"));
  EXPECT_EQ(s.only().body, "012");
  EXPECT_FALSE(s.connection->wants_input());
  s.handler.take = 1;
  s.connection->resume(1);
  EXPECT_EQ(s.only().body, "0123");
  EXPECT_FALSE(s.connection->wants_input());
  s.handler.take = 100;
  s.connection->resume(1);
  EXPECT_EQ(s.only().body, "01234");
  EXPECT_TRUE(s.connection->wants_input());
  EXPECT_EQ(s.feed("56789"), kHello);
  EXPECT_EQ(s.only().body, "0123456789");
}

TEST(Http1Server, BackpressureOnTheResponseBody) {
  ConnectionLimits limits;
  limits.body_buffer = 1000;
  Server s(limits, false);
  s.connection->feed(as_bytes(get("")), kStart);
  s.connection->respond(1, response(200, 100'000), false);
  const std::string body(100'000, 'x');
  std::size_t sent = 0;
  s.handler.more = [&](StreamId id) {
    sent += s.connection->write_body(id, as_bytes(body).subspan(sent));
  };
  s.handler.more(1);
  EXPECT_LT(sent, 1000u);
  std::size_t out = 0;
  // Never quite emptied: memory must not grow with what has passed.
  while (sent < body.size()) {
    const std::size_t pending = s.connection->pending_output().size();
    ASSERT_LE(pending, 1100u);
    ASSERT_GT(pending, 1u);
    s.connection->consume_output(pending - 1);
    out += pending - 1;
  }
  EXPECT_GT(s.handler.writable, 50);
  s.connection->finish(1);
  out += drain(*s.connection).size();
  EXPECT_EQ(out,
            body.size() + std::string("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").size());
}

TEST(Http1Server, RefusedUploadIsReadAwayWhenShort) {
  Server s({}, false);
  s.handler.request = [&](StreamId id) {
    if (id > 1) return s.answer(id, "hello");
    s.connection->respond(id, response(403), true);
  };
  EXPECT_EQ(s.feed(post("Content-Length: 1000\r\n", "abc")),
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
  EXPECT_FALSE(s.connection->finished());
  EXPECT_TRUE(s.connection->wants_input());
  EXPECT_EQ(s.feed(std::string(997, 'x') + get("")), kHello);
  EXPECT_EQ(s.only().body, "");
  EXPECT_FALSE(s.only().closed);
}

TEST(Http1Server, RefusedUploadEndsTheConnectionWhenLong) {
  Server s({}, false);
  s.handler.request = [&](StreamId id) { s.connection->respond(id, response(403), true); };
  EXPECT_EQ(s.feed(post("Content-Length: 1000000\r\n", "abc")),
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_TRUE(s.connection->finished());
  EXPECT_FALSE(s.connection->aborted());
  // Chunked: only as much as is worth it.
  Server chunked({}, false);
  chunked.handler.request = [&](StreamId id) {
    chunked.connection->respond(id, response(403), true);
  };
  chunked.feed(post("Transfer-Encoding: chunked\r\n"));
  EXPECT_FALSE(chunked.connection->finished());
  for (int i = 0; i < 5; ++i) chunked.feed("4000\r\n" + std::string(0x4000, 'x') + "\r\n");
  EXPECT_TRUE(chunked.connection->finished());
  EXPECT_EQ(chunked.handler.seen.size(), 1u);
}

// Whether the body follows is the client's choice once it got a final answer instead of 100.
TEST(Http1Server, RefusedExpectationEndsTheConnection) {
  Server s({}, false);
  s.handler.request = [&](StreamId id) { s.connection->respond(id, response(401), true); };
  EXPECT_NE(s.feed(post("Content-Length: 5\r\nExpect: 100-continue\r\n")).find("connection: close"),
            std::string::npos);
  EXPECT_TRUE(s.connection->finished());
}

TEST(Http1Server, BadBytesBehindAnAnswerGetNoSecondAnswer) {
  Server s({}, false);
  s.handler.request = [&](StreamId id) { s.connection->respond(id, response(403), true); };
  s.feed(post("Transfer-Encoding: chunked\r\n"));
  EXPECT_EQ(s.feed("zz\r\n"), "");
  EXPECT_TRUE(s.connection->finished());
}

TEST(Http1Server, Shutdown) {
  Server idle;
  idle.connection->shutdown();
  EXPECT_TRUE(idle.connection->finished());
  Server busy({}, false);
  busy.feed(get(""));
  busy.connection->shutdown();
  EXPECT_FALSE(busy.connection->finished());
  busy.answer(1, "hello");
  EXPECT_EQ(drain(*busy.connection),
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
  EXPECT_TRUE(busy.connection->finished());
  EXPECT_FALSE(busy.connection->aborted());
}

TEST(Http1Server, EndOfInput) {
  Server between;
  between.feed(get(""));
  between.connection->feed_end(kStart);
  EXPECT_TRUE(between.connection->finished());
  EXPECT_FALSE(between.connection->aborted());

  Server in_head;
  in_head.feed("GET / HTTP/1.1\r\nHo");
  in_head.connection->feed_end(kStart);
  EXPECT_TRUE(in_head.connection->finished());
  EXPECT_TRUE(in_head.handler.seen.empty());

  for (const char* framing : {"Content-Length: 9\r\n", "Transfer-Encoding: chunked\r\n"}) {
    Server in_body;
    in_body.feed(post(framing, "1\r\na"));
    in_body.connection->feed_end(kStart);
    EXPECT_TRUE(in_body.connection->finished());
    EXPECT_TRUE(in_body.connection->aborted());
    EXPECT_TRUE(in_body.only().closed);
    EXPECT_EQ(in_body.only().error, Error::truncated);
  }
}

// A client that half-closes after its requests gets every answer.
TEST(Http1Server, HalfClosedClientIsAnswered) {
  Server s({}, false);
  s.connection->feed(as_bytes(get("") + get("")), kStart);
  s.connection->feed_end(kStart);
  EXPECT_FALSE(s.connection->finished());
  s.answer(1, "1");
  EXPECT_FALSE(s.connection->finished());
  s.answer(2, "2");
  EXPECT_TRUE(s.connection->finished());
  EXPECT_FALSE(s.connection->aborted());
  EXPECT_TRUE(drain(*s.connection).ends_with("\r\n\r\n2"));
}

TEST(Http1Server, DeadIdsDoNothing) {
  Server s;
  s.feed(get(""));
  s.connection->respond(1, response(500), true);
  EXPECT_EQ(s.connection->write_body(1, as_bytes("abc")), 3u);
  s.connection->finish(1);
  s.connection->reset(1, Error::internal);
  s.connection->resume(7);
  s.connection->send_continue(7);
  EXPECT_EQ(drain(*s.connection), "");
  EXPECT_FALSE(s.connection->finished());
}

}  // namespace
}  // namespace sluice::http::test
