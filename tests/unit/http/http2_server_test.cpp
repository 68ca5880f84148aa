// HTTP/2 server role against RFC 9113, driven by an nghttp2 client.
#include <gtest/gtest.h>

#include "http2_peer.h"

namespace sluice::http::test {
namespace {

constexpr std::size_t kNothing = 0;

TEST(Http2Server, RequestAndResponse) {
  Server2 s;
  s.handler.complete = [&](StreamId id) { s.answer(id, "hello"); };
  const auto id = s.peer.request(with(kGet, {{"x-a", "b"},
                                             {"te", "trailers"},
                                             {"cookie", "a=1"},
                                             {"cookie", "b=2"},
                                             {"txn-token", "t"}}));
  s.talk();
  const Seen& r = s.handler.seen.at(1);
  EXPECT_EQ(r.method, "GET");
  EXPECT_EQ(r.scheme, "https");
  EXPECT_EQ(r.authority, "kb.example");
  EXPECT_EQ(r.path, "/a");
  EXPECT_EQ(r.version, Version::http_2);
  EXPECT_EQ(fields_text(r.fields), "x-a=b;txn-token=t;cookie=a=1; b=2;");
  EXPECT_TRUE(r.ended);
  EXPECT_FALSE(r.closed);
  const Response2& response = s.peer.responses[id];
  EXPECT_EQ(response.field(":status"), "200");
  EXPECT_EQ(response.body, "hello");
  EXPECT_TRUE(response.ended);
  EXPECT_EQ(response.reset, -1);
  EXPECT_EQ(s.connection->active_streams(), 0u);
}

TEST(Http2Server, BodiesAndTrailersBothWaysWhateverThePieces) {
  const std::string body(100'000, 'x');
  for (const std::size_t piece : {std::size_t{16384}, std::size_t{1000}, std::size_t{1}}) {
    Server2 s;
    s.handler.complete = [&](StreamId id) {
      Response r;
      r.status = 201;
      r.fields.add("x-r", "1");
      s.connection->respond(id, r, false);
      EXPECT_EQ(s.connection->write_body(id, as_bytes("created")), 7u);
      FieldBlock trailers;
      trailers.add("x-t", "2");
      trailers.add("connection", "x");
      s.connection->finish(id, trailers);
    };
    const auto id = s.peer.request(with(kPost, {{"content-length", "100000"}}), &body,
                                   {{"x-sum", "3"}, {"authorization", "no"}});
    s.talk(kStart, piece);
    const Seen& r = s.handler.seen.at(1);
    EXPECT_EQ(r.body, body);
    EXPECT_EQ(r.content_length, 100'000u);
    EXPECT_EQ(fields_text(r.trailers), "x-sum=3;");
    EXPECT_TRUE(r.ended);
    const Response2& response = s.peer.responses[id];
    EXPECT_EQ(response.field(":status"), "201");
    EXPECT_EQ(response.field("x-r"), "1");
    EXPECT_EQ(response.body, "created");
    EXPECT_EQ(response.trailers, (Fields{{"x-t", "2"}}));
    EXPECT_TRUE(response.ended);
  }
}

// Head, body and trailers in one piece: the trailers must not become fields of the request.
TEST(Http2Server, TrailersInTheSamePieceStayTrailers) {
  Server2 s;
  s.feed(kPreface + raw_frame(1, 4, 1, raw_block(kPost)) + raw_frame(0, 0, 1, "abc") +
         raw_frame(1, 5, 1, raw_block({{"x-admin", "1"}, {"txn-token", "stolen"}})));
  const Seen& r = s.handler.seen.at(1);
  EXPECT_EQ(fields_text(r.fields), "");
  EXPECT_EQ(r.body, "abc");
  EXPECT_EQ(fields_text(r.trailers), "x-admin=1;");
  EXPECT_TRUE(r.ended);
}

TEST(Http2Server, MessagesWithoutBody) {
  for (const auto& [method, status] : std::vector<std::pair<std::string, std::uint16_t>>{
           {"HEAD", 200}, {"GET", 204}, {"GET", 304}}) {
    Server2 s;
    Fields fields = kGet;
    fields[0].second = method;
    s.handler.complete = [&](StreamId id) {
      Response r;
      r.status = status;
      r.content_length = 7;
      s.connection->respond(id, r, false);
      EXPECT_EQ(s.connection->write_body(id, as_bytes("ignored")), 7u);
      s.connection->finish(id);
    };
    const auto id = s.peer.request(fields);
    s.talk();
    EXPECT_EQ(s.peer.responses[id].body, "");
    EXPECT_TRUE(s.peer.responses[id].ended);
    EXPECT_EQ(s.peer.responses[id].field("content-length"), status == 204 ? "" : "7");
  }
}

TEST(Http2Server, Continue) {
  Server2 s;
  s.handler.request = [&](StreamId id) { s.connection->send_continue(id); };
  s.handler.complete = [&](StreamId id) { s.answer(id, "ok"); };
  const std::string body = "abc";
  const auto id = s.peer.request(with(kPost, {{"expect", "100-continue"}}), &body);
  s.talk();
  EXPECT_TRUE(s.handler.seen.at(1).expect_continue);
  EXPECT_EQ(s.peer.responses[id].interim, std::vector<std::string>{"100"});
  EXPECT_EQ(s.peer.responses[id].body, "ok");
}

TEST(Http2Server, ConnectIsHandedOn) {
  Server2 s;
  s.feed(kPreface +
         raw_frame(1, 5, 1, raw_block({{":method", "CONNECT"}, {":authority", "kb.example:443"}})));
  ASSERT_EQ(s.handler.seen.size(), 1u);
  EXPECT_EQ(s.handler.seen.at(1).method, "CONNECT");
  EXPECT_EQ(s.handler.seen.at(1).authority, "kb.example:443");
  EXPECT_EQ(s.handler.seen.at(1).path, "");
}

struct Malformed {
  const char* name;
  Fields fields;
};
class Http2Malformed : public ::testing::TestWithParam<Malformed> {};
// RFC 9113 section 8.1.1: a stream error of type PROTOCOL_ERROR; the connection goes on.
TEST_P(Http2Malformed, IsAStreamError) {
  for (const std::size_t piece : {std::size_t{16384}, std::size_t{1}}) {
    Server2 s;
    s.handler.complete = [&](StreamId id) { s.answer(id, "fine"); };
    s.feed(kPreface + raw_frame(1, 5, 1, raw_block(GetParam().fields)), kStart, piece);
    EXPECT_TRUE(s.handler.seen.empty()) << s.handler.text();
    EXPECT_EQ(s.handler.refused.size(), 1u);
    EXPECT_NE(s.sent.find(raw_frame(3, 0, 1, std::string("\0\0\0\1", 4))), std::string::npos);
    s.feed(raw_frame(1, 5, 3, raw_block(kGet)), kStart, piece);
    EXPECT_EQ(s.handler.seen.size(), 1u);
    EXPECT_EQ(s.connection->error(), Error::none);
  }
}
Fields without(std::string_view name) {
  Fields fields = kGet;
  std::erase_if(fields, [&](const auto& f) { return f.first == name; });
  return fields;
}
Fields changed(std::string_view name, std::string value) {
  Fields fields = kGet;
  for (auto& f : fields) {
    if (f.first == name) f.second = value;
  }
  return fields;
}
INSTANTIATE_TEST_SUITE_P(
    All, Http2Malformed,
    ::testing::Values(
        Malformed{"NoMethod", without(":method")}, Malformed{"NoScheme", without(":scheme")},
        Malformed{"NoPath", without(":path")}, Malformed{"NoAuthority", without(":authority")},
        Malformed{"TwoPaths", with(kGet, {{":path", "/b"}})},
        Malformed{"UnknownPseudo", with({{":x", "1"}}, kGet)},
        Malformed{"StatusInRequest", with({{":status", "200"}}, kGet)},
        Malformed{"PseudoAfterField", with({{"x-a", "1"}}, kGet)},
        Malformed{"EmptyPath", changed(":path", "")},
        Malformed{"RelativePath", changed(":path", "a")},
        Malformed{"AbsolutePath", changed(":path", "https://kb.example/")},
        Malformed{"SpaceInPath", changed(":path", "/a b")},
        Malformed{"StarForGet", changed(":path", "*")},
        Malformed{"OtherScheme", changed(":scheme", "ftp")},
        Malformed{"MethodNotToken", changed(":method", "G T")},
        Malformed{"AuthorityUserinfo", changed(":authority", "u@kb.example")},
        Malformed{"HostDiffers", with(kGet, {{"host", "other.example"}})},
        Malformed{"TwoHosts", with(kGet, {{"host", "kb.example"}, {"host", "kb.example"}})},
        Malformed{"ConnectWithPath", changed(":method", "CONNECT")},
        Malformed{"ConnectNoPort", {{":method", "CONNECT"}, {":authority", "kb.example"}}},
        Malformed{"UpperCase", with(kGet, {{"X-A", "1"}})},
        Malformed{"NameNotToken", with(kGet, {{"x a", "1"}})},
        Malformed{"EmptyName", with(kGet, {{"", "1"}})},
        Malformed{"LfInValue", with(kGet, {{"x-a", "1\n2"}})},
        Malformed{"CrInValue", with(kGet, {{"x-a", "1\r2"}})},
        Malformed{"NulInValue", with(kGet, {{"x-a", std::string("1\0", 2)}})},
        Malformed{"Connection", with(kGet, {{"connection", "close"}})},
        Malformed{"KeepAlive", with(kGet, {{"keep-alive", "1"}})},
        Malformed{"ProxyConnection", with(kGet, {{"proxy-connection", "close"}})},
        Malformed{"TransferEncoding", with(kGet, {{"transfer-encoding", "chunked"}})},
        Malformed{"Upgrade", with(kGet, {{"upgrade", "h2c"}})},
        Malformed{"TeOther", with(kGet, {{"te", "gzip"}})},
        Malformed{"LengthWithoutBody", with(kGet, {{"content-length", "3"}})},
        Malformed{"TwoLengths", with(kGet, {{"content-length", "0"}, {"content-length", "0"}})},
        Malformed{"LengthText", with(kGet, {{"content-length", "x"}})}),
    [](const auto& test) { return test.param.name; });

TEST(Http2Server, ContentLengthMustMatch) {
  for (const char* body : {"ab", "abcd"}) {
    Server2 s;
    s.feed(kPreface + raw_frame(1, 4, 1, raw_block(with(kPost, {{"content-length", "3"}}))) +
           raw_frame(0, 1, 1, body));
    ASSERT_EQ(s.handler.seen.size(), 1u);
    EXPECT_FALSE(s.handler.seen.at(1).ended);
    EXPECT_TRUE(s.handler.seen.at(1).closed);
    EXPECT_EQ(s.handler.seen.at(1).error, Error::protocol);
    EXPECT_EQ(s.connection->error(), Error::none);
  }
}

TEST(Http2Server, BadTrailersResetTheStream) {
  for (const auto& trailers :
       {Fields{{":path", "/b"}}, Fields{{"x-a", "1\n"}}, Fields{{"X", "1"}}}) {
    Server2 s;
    s.feed(kPreface + raw_frame(1, 4, 1, raw_block(kPost)) +
           raw_frame(1, 5, 1, raw_block(trailers)));
    EXPECT_FALSE(s.handler.seen.at(1).ended);
    EXPECT_TRUE(s.handler.seen.at(1).closed);
    EXPECT_EQ(s.handler.seen.at(1).error, Error::protocol);
  }
}

TEST(Http2Server, TooLargeIsAnswered) {
  ConnectionLimits limits;
  limits.max_uri = 100;
  limits.fields.max_fields = 8;
  limits.fields.max_bytes = 2000;
  const struct {
    Fields fields;
    const char* status;
  } cases[] = {
      {changed(":path", "/" + std::string(100, 'a')), "414"},
      {with(kGet, {{"x-a", std::string(2000, 'a')}}), "431"},
      {with(kGet, Fields(9, {"x-a", "1"})), "431"},
      {with(kGet, {{"cookie", std::string(1000, 'a')}, {"cookie", std::string(900, 'b')}}), "431"},
      {with(kGet, {{"expect", "wonders"}}), "417"}};
  for (const auto& c : cases) {
    Server2 s(limits);
    const std::string body = "abc";
    const auto id = s.peer.request(c.fields, &body);
    s.talk();
    EXPECT_EQ(s.peer.responses[id].field(":status"), c.status);
    EXPECT_TRUE(s.peer.responses[id].ended);
    EXPECT_TRUE(s.handler.seen.empty());
    EXPECT_EQ(s.handler.refused.size(), 1u);
    EXPECT_EQ(s.connection->active_streams(), 0u);
    EXPECT_EQ(s.connection->error(), Error::none);
  }
}

// Many crumbs of a cookie within the limits are one field.
TEST(Http2Server, CookieCrumbs) {
  Server2 s;
  Fields fields = kGet;
  for (int i = 0; i < 60; ++i) fields.push_back({"cookie", "n=" + std::string(400, 'c')});
  s.peer.request(fields);
  s.talk();
  ASSERT_EQ(s.handler.seen.size(), 1u);
  EXPECT_EQ(s.handler.seen.at(1).fields.size(), 1u);
  EXPECT_EQ(s.handler.seen.at(1).fields.find("cookie")->size(), 60 * 402u + 59 * 2u);
}

TEST(Http2Server, BackpressureOnTheRequestBody) {
  ConnectionLimits limits;
  limits.stream_window = 65535;
  Server2 s(limits);
  s.handler.take = 1000;
  const std::string body(300'000, 'x');
  s.peer.request(kPost, &body);
  s.talk();
  EXPECT_EQ(s.handler.seen.at(1).body.size(), 1000u);
  // The peer may not send more than the window.
  EXPECT_GE(s.peer.uploads[1].left.size(), 300'000u - 65'535u - 1000u);
  while (s.handler.seen.at(1).body.size() < body.size()) {
    const std::size_t before = s.handler.seen.at(1).body.size();
    s.handler.take = 10'000;
    s.connection->resume(1);
    s.talk();
    ASSERT_GT(s.handler.seen.at(1).body.size(), before);
  }
  EXPECT_TRUE(s.handler.seen.at(1).ended);
}

// Bodies that nobody takes and streams that are reset give their bytes back to the connection.
TEST(Http2Server, UnreadBodiesReturnTheConnectionWindow) {
  Server2 s;
  s.handler.take = 0;
  const std::string body(200'000, 'x');
  for (int i = 0; i < 20; ++i) {
    const auto id = static_cast<StreamId>(s.peer.request(kPost, &body));
    s.talk();
    ASSERT_EQ(s.handler.seen.size(), static_cast<std::size_t>(i) + 1);
    if (i % 2 == 0) {
      s.connection->reset(id, Error::internal);
    } else {
      nghttp2_submit_rst_stream(s.peer.session, 0, static_cast<std::int32_t>(id), NGHTTP2_CANCEL);
    }
    s.talk();
    ASSERT_EQ(s.connection->active_streams(), kNothing);
  }
  s.handler.take = static_cast<std::size_t>(-1);
  const auto last = static_cast<StreamId>(s.peer.request(kPost, &body));
  s.talk();
  EXPECT_EQ(s.handler.seen.at(last).body.size(), body.size());
}

TEST(Http2Server, BackpressureOnTheResponseBody) {
  ConnectionLimits limits;
  limits.body_buffer = 10'000;
  Server2 s(limits, false);
  s.peer.request(kGet);
  s.talk();
  Response r;
  r.status = 200;
  s.connection->respond(1, r, false);
  const std::string body(300'000, 'y');
  std::size_t given = 0;
  s.handler.more = [&](StreamId id) {
    given += s.connection->write_body(id, as_bytes(body).subspan(given));
  };
  s.handler.more(1);
  EXPECT_EQ(given, 10'000u);
  s.talk();
  // What the peer's window and our buffer hold, and no more.
  EXPECT_EQ(s.peer.responses[1].body.size(), 65'535u);
  EXPECT_LE(given, 65'535u + 10'000u);
  while (given < body.size()) {
    const std::size_t before = given;
    nghttp2_session_consume(s.peer.session, 1, 65'535);
    s.talk();
    ASSERT_GT(given, before);
  }
  s.connection->finish(1);
  nghttp2_session_consume(s.peer.session, 1, 65'535);
  s.talk();
  EXPECT_EQ(s.peer.responses[1].body, body);
  EXPECT_TRUE(s.peer.responses[1].ended);
}

TEST(Http2Server, PeerWithWindowZero) {
  ConnectionLimits limits;
  limits.idle_time = Micros{100};
  Server2 s(limits, true, 0);
  s.peer.request(kGet);
  s.talk();
  s.answer(1, "hello");
  s.talk();
  EXPECT_EQ(s.peer.responses[1].field(":status"), "200");
  EXPECT_EQ(s.peer.responses[1].body, "");
  // It does not hold the stream for ever.
  s.connection->on_timer(kStart + Micros{100});
  s.talk(kStart + Micros{100});
  EXPECT_FALSE(s.handler.seen.at(1).closed);
  s.connection->on_timer(kStart + Micros{200});
  s.talk(kStart + Micros{200});
  EXPECT_TRUE(s.handler.seen.at(1).closed);
  EXPECT_EQ(s.handler.seen.at(1).error, Error::timed_out);
  EXPECT_EQ(s.peer.responses[1].reset, NGHTTP2_CANCEL);
  EXPECT_EQ(s.connection->active_streams(), kNothing);
}

TEST(Http2Server, OneLongBodyDoesNotStarveAnother) {
  Server2 s;
  s.peer.request(kGet);
  s.peer.request(kGet);
  s.talk();
  const std::string body(60'000, 'z');
  Response r;
  r.status = 200;
  for (const StreamId id : {1u, 3u}) {
    s.connection->respond(id, r, false);
    s.connection->write_body(id, as_bytes(body));
  }
  s.talk();
  EXPECT_GT(s.peer.responses[1].body.size(), 20'000u);
  EXPECT_GT(s.peer.responses[3].body.size(), 20'000u);
}

TEST(Http2Server, ResponseShorterThanAnnouncedIsReset) {
  Server2 s;
  s.peer.request(kGet);
  s.talk();
  Response r;
  r.status = 200;
  r.content_length = 5;
  s.connection->respond(1, r, false);
  s.connection->write_body(1, as_bytes("abc"));
  s.connection->finish(1);
  s.talk();
  EXPECT_FALSE(s.peer.responses[1].ended);
  EXPECT_EQ(s.peer.responses[1].reset, NGHTTP2_INTERNAL_ERROR);
}

TEST(Http2Server, ResetByThePeer) {
  Server2 s;
  const std::string body(100, 'x');
  s.peer.request(kPost, &body);
  s.talk();
  nghttp2_submit_rst_stream(s.peer.session, 0, 1, NGHTTP2_CANCEL);
  s.talk();
  EXPECT_TRUE(s.handler.seen.at(1).closed);
  EXPECT_EQ(s.handler.seen.at(1).error, Error::cancelled);
  s.answer(1, "late");  // a dead id does nothing
  s.talk();
  EXPECT_EQ(s.peer.responses[1].body, "");
}

// RFC 9113 section 8.1: the answer is complete, the upload is not wanted. A moderate rest is let in
// all the same: clients lose answers by RST_STREAM(NO_ERROR).
TEST(Http2Server, EarlyAnswerLetsAModerateUploadEnd) {
  Server2 s;
  const std::string body(3'000'000, 'x');
  s.peer.request(kPost, &body);
  s.handler.request = [&](StreamId id) { s.answer(id, "no"); };
  s.talk();
  EXPECT_EQ(s.peer.responses[1].body, "no");
  EXPECT_TRUE(s.peer.responses[1].ended);
  EXPECT_EQ(s.peer.responses[1].reset, -1);
  EXPECT_TRUE(s.peer.uploads[1].left.empty());
  EXPECT_EQ(s.connection->active_streams(), kNothing);
}

// What was held back for a slow tool is thrown away as well: the peer's window opens.
TEST(Http2Server, EarlyAnswerLetsAnUploadEndThatWasHeldBack) {
  Server2 s;
  const std::string body(3'000'000, 'x');
  s.handler.take = 1000;
  s.peer.request(kPost, &body);
  s.talk();
  ASSERT_EQ(s.handler.seen.at(1).body.size(), 1000u);
  s.handler.take = static_cast<std::size_t>(-1);
  s.answer(1, "no");
  s.talk();
  EXPECT_EQ(s.peer.responses[1].body, "no");
  EXPECT_TRUE(s.peer.responses[1].ended);
  EXPECT_TRUE(s.peer.uploads[1].left.empty());
  EXPECT_EQ(s.connection->active_streams(), kNothing);
}

TEST(Http2Server, EarlyAnswerStopsALongUpload) {
  Server2 s;
  const std::string body(18'000'000, 'x');
  s.peer.request(kPost, &body);
  s.handler.request = [&](StreamId id) { s.answer(id, "no"); };
  s.talk();
  EXPECT_EQ(s.peer.responses[1].body, "no");
  EXPECT_EQ(s.peer.responses[1].reset, NGHTTP2_NO_ERROR);
  EXPECT_FALSE(s.peer.uploads[1].left.empty());
  EXPECT_EQ(s.connection->active_streams(), kNothing);
}

TEST(Http2Server, EarlyAnswerDoesNotWaitForASilentUpload) {
  ConnectionLimits limits;
  limits.idle_time = Micros{1000};
  Server2 s(limits);
  const std::string body = "abc";
  s.peer.request(kPost, &body);
  s.peer.uploads[1].ends = false;
  s.handler.request = [&](StreamId id) { s.answer(id, "no"); };
  s.talk();
  EXPECT_EQ(s.connection->active_streams(), 1u);
  for (int looks = 0; looks < 3; ++looks) {
    s.connection->on_timer(kStart + Micros{1000} * (looks + 1));
    s.talk(kStart + Micros{1000} * (looks + 1));
  }
  EXPECT_EQ(s.peer.responses[1].reset, NGHTTP2_NO_ERROR);
  EXPECT_EQ(s.connection->active_streams(), kNothing);
}

TEST(Http2Server, GracefulShutdown) {
  Server2 s;
  s.peer.request(kGet);
  s.talk();
  s.connection->shutdown();
  s.talk();
  // First nothing is refused, then the last stream is named.
  ASSERT_EQ(s.peer.goaways, (std::vector<std::uint32_t>{0, 0}));
  EXPECT_EQ(s.peer.goaway_last[0], 0x7fffffff);
  EXPECT_EQ(s.peer.goaway_last[1], 1);
  EXPECT_FALSE(s.connection->finished());
  s.answer(1, "hello");
  s.talk();
  EXPECT_EQ(s.peer.responses[1].body, "hello");
  EXPECT_TRUE(s.connection->finished());
  EXPECT_FALSE(s.connection->aborted());
}

TEST(Http2Server, ShutdownDoesNotWaitForASilentPeer) {
  Server2 s;
  s.talk();
  s.connection->shutdown();
  s.peer.input(drain(*s.connection));
  EXPECT_FALSE(s.connection->finished());
  const Time due = s.connection->deadline();
  EXPECT_LE(due, kStart + Seconds{1});
  s.connection->on_timer(due);
  drain(*s.connection);
  EXPECT_TRUE(s.connection->finished());
}

TEST(Http2Server, IdleTime) {
  ConnectionLimits limits;
  limits.idle_time = Micros{1000};
  Server2 s(limits);
  s.talk();
  EXPECT_EQ(s.connection->deadline(), kStart + Micros{1000});
  s.connection->on_timer(kStart + Micros{1000});
  s.talk();
  EXPECT_EQ(s.peer.goaways, std::vector<std::uint32_t>{0});
  EXPECT_TRUE(s.connection->finished());
}

TEST(Http2Server, HeaderTime) {
  ConnectionLimits limits;
  limits.header_time = Micros{100};
  // No preface, a part of one, a header section without end, a frame without end.
  const std::string head = raw_frame(1, 5, 1, raw_block(kGet));
  for (const std::string& bytes :
       {std::string(), kPreface.substr(0, 10), kPreface + raw_frame(1, 1, 1, raw_block(kGet)),
        kPreface + head.substr(0, 5), kPreface + head.substr(0, head.size() - 1)}) {
    Server2 s(limits);
    s.feed(bytes);
    EXPECT_EQ(s.connection->deadline(), kStart + Micros{100});
    s.connection->on_timer(kStart + Micros{100});
    drain(*s.connection);
    EXPECT_TRUE(s.connection->finished());
    EXPECT_EQ(s.connection->error(), Error::timed_out);
    EXPECT_TRUE(s.handler.seen.empty());
  }
  // A CONTINUATION gives no more time; the end of the section ends the wait.
  Server2 s(limits);
  s.feed(kPreface + raw_frame(1, 1, 1, raw_block(kGet)));
  s.feed(raw_frame(9, 0, 1, raw_block({{"x-a", "1"}})), kStart + Micros{50});
  EXPECT_EQ(s.connection->deadline(), kStart + Micros{100});
  s.feed(raw_frame(9, 4, 1, raw_block({{"x-b", "1"}})), kStart + Micros{60});
  EXPECT_GT(s.connection->deadline(), kStart + Micros{100});
  EXPECT_EQ(s.handler.seen.size(), 1u);
}

TEST(Http2Server, EndOfInput) {
  Server2 s;
  const std::string body(10, 'x');
  s.peer.request(kGet);
  s.peer.request(kPost, &body);
  s.peer.uploads[3].ends = false;
  s.talk();
  s.connection->feed_end(kStart);
  EXPECT_FALSE(s.handler.seen.at(1).closed);
  EXPECT_EQ(s.handler.seen.at(3).error, Error::truncated);
  EXPECT_FALSE(s.connection->finished());
  s.answer(1, "hello");
  s.talk();
  EXPECT_EQ(s.peer.responses[1].body, "hello");
  EXPECT_TRUE(s.connection->finished());
}

// --- Abuse: the connection ends, with the code that says why, and without growing.

struct Flood {
  const char* name;
  std::string first, repeated;
  std::uint32_t code;
  Error error;
};
// From the bytes: an nghttp2 client gives up over answers it did not ask for.
std::vector<std::uint32_t> goaway_codes(std::string_view bytes) {
  std::vector<std::uint32_t> codes;
  while (bytes.size() >= 9) {
    const ByteSpan head = as_bytes(bytes);
    const std::size_t length = load_be32(head.data()) >> 8;
    if (head[3] == NGHTTP2_GOAWAY) codes.push_back(load_be32(head.data() + 13));
    bytes.remove_prefix(9 + length);
  }
  return codes;
}

class Http2Floods : public ::testing::TestWithParam<Flood> {};
TEST_P(Http2Floods, EndTheConnection) {
  Server2 s;
  s.feed(kPreface + GetParam().first);
  int n = 0;
  std::uint32_t stream = 1;
  for (; n < 20'000 && s.connection->error() == Error::none; ++n) {
    std::string bytes;
    if (GetParam().repeated.empty()) {  // rapid reset: a request and its cancellation
      bytes = raw_frame(1, 5, stream, raw_block(kGet)) +
              raw_frame(3, 0, stream, std::string("\0\0\0\x08", 4));
      stream += 2;
    } else {
      bytes = GetParam().repeated;
    }
    s.feed(bytes);
  }
  EXPECT_LT(n, 2000);
  EXPECT_GT(n, 5);
  EXPECT_EQ(s.connection->error(), GetParam().error);
  EXPECT_EQ(goaway_codes(s.sent), std::vector<std::uint32_t>{GetParam().code});
  EXPECT_EQ(s.connection->active_streams(), kNothing);
  EXPECT_TRUE(s.connection->finished());
  EXPECT_FALSE(s.connection->wants_input());
  EXPECT_LT(s.largest_output, 64u * 1024);
  for (const auto& [id, seen] : s.handler.seen) EXPECT_TRUE(seen.closed) << id;
}
const std::string kOpenPost = raw_frame(1, 4, 1, raw_block(kPost));
INSTANTIATE_TEST_SUITE_P(
    All, Http2Floods,
    ::testing::Values(
        Flood{"RapidReset", "", "", NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse},
        Flood{"Settings", "", raw_frame(4, 0, 0, ""), NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse},
        Flood{"Ping", "", raw_frame(6, 0, 0, "12345678"), NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse},
        Flood{"PingAck", "", raw_frame(6, 1, 0, "12345678"), NGHTTP2_ENHANCE_YOUR_CALM,
              Error::abuse},
        Flood{"Priority", "", raw_frame(2, 0, 1, std::string(5, '\0')), NGHTTP2_ENHANCE_YOUR_CALM,
              Error::abuse},
        Flood{"Unknown", "", raw_frame(0x42, 0, 0, "x"), NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse},
        Flood{"EmptyData", kOpenPost, raw_frame(0, 0, 1, ""), NGHTTP2_ENHANCE_YOUR_CALM,
              Error::abuse},
        Flood{"PaddedEmptyData", kOpenPost, raw_frame(0, 8, 1, std::string(1, '\0')),
              NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse},
        Flood{"WindowUpdate", kOpenPost, raw_frame(8, 0, 1, std::string("\0\0\0\1", 4)),
              NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse},
        Flood{"ConnectionWindowUpdate", "", raw_frame(8, 0, 0, std::string("\0\0\0\1", 4)),
              NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse},
        Flood{"Continuation", raw_frame(1, 1, 1, raw_block(kGet)),
              raw_frame(9, 0, 1, raw_field("x-a", "b")), NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse},
        Flood{"EmptyContinuation", raw_frame(1, 1, 1, raw_block(kGet)), raw_frame(9, 0, 1, ""),
              NGHTTP2_ENHANCE_YOUR_CALM, Error::abuse}),
    [](const auto& test) { return test.param.name; });

// Streams that break a rule so that we must reset them cost the same ("MadeYouReset").
TEST(Http2Server, MadeYouReset) {
  Server2 s;
  s.feed(kPreface);
  std::uint32_t id = 1;
  for (; id < 10'000 && s.connection->error() == Error::none; id += 2) {
    s.feed(raw_frame(1, 4, id, raw_block(kPost)) + raw_frame(8, 0, id, "\x7f\xff\xff\xff"));
  }
  EXPECT_EQ(s.connection->error(), Error::abuse);
  EXPECT_EQ(goaway_codes(s.sent), std::vector<std::uint32_t>{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_LT(id, 5'000u);
  for (const auto& [stream, seen] : s.handler.seen) EXPECT_TRUE(seen.closed) << stream;
}

// One indexed byte stands for 4000: the section is far beyond the limit.
TEST(Http2Server, HpackBomb) {
  Server2 s;
  std::string block = raw_block(kGet);
  block += std::string(1, '\x40') + raw_field("x-bomb", std::string(3900, 'b')).substr(1);
  block.append(10'000, '\xbe');  // index 62: the newest entry
  s.feed(kPreface + raw_frame(1, 5, 1, block));
  EXPECT_EQ(s.connection->error(), Error::abuse);
  EXPECT_EQ(s.peer.goaways, std::vector<std::uint32_t>{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_TRUE(s.handler.seen.empty());
}

TEST(Http2Server, TooManyStreams) {
  ConnectionLimits limits;
  limits.max_concurrent_streams = 10;
  // Before it has acknowledged our settings a peer cannot know better.
  Server2 early(limits);
  std::string bytes = kPreface;
  for (std::uint32_t id = 1; id < 41; id += 2) bytes += raw_frame(1, 5, id, raw_block(kGet));
  early.feed(bytes);
  EXPECT_EQ(early.handler.seen.size(), 10u);
  EXPECT_EQ(early.connection->error(), Error::none);
  EXPECT_NE(early.sent.find(raw_frame(3, 0, 21, std::string("\0\0\0\7", 4))), std::string::npos);
  // Afterwards it is an error of the connection.
  Server2 late(limits);
  late.feed(kPreface + raw_frame(4, 1, 0, ""));
  late.feed(bytes.substr(kPreface.size()));
  EXPECT_EQ(late.connection->error(), Error::protocol);
  EXPECT_EQ(late.peer.goaways, std::vector<std::uint32_t>{NGHTTP2_PROTOCOL_ERROR});
  EXPECT_TRUE(late.connection->finished());
  for (const auto& [id, seen] : late.handler.seen) EXPECT_TRUE(seen.closed) << id;
}

TEST(Http2Server, ConnectionErrors) {
  const struct {
    const char* name;
    std::string bytes;
    std::uint32_t code;
  } cases[] = {
      {"http/1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", NGHTTP2_PROTOCOL_ERROR},
      {"no settings", NGHTTP2_CLIENT_MAGIC + raw_frame(6, 0, 0, "12345678"),
       NGHTTP2_PROTOCOL_ERROR},
      {"frame too large", kPreface + raw_frame(0, 0, 1, std::string(20'000, 'x')),
       NGHTTP2_FRAME_SIZE_ERROR},
      {"even stream", kPreface + raw_frame(1, 5, 2, raw_block(kGet)), NGHTTP2_PROTOCOL_ERROR},
      {"data on idle", kPreface + raw_frame(0, 1, 1, "x"), NGHTTP2_PROTOCOL_ERROR},
      {"bad hpack", kPreface + raw_frame(1, 5, 1, "\xff\xff\xff\xff\xff"),
       NGHTTP2_COMPRESSION_ERROR},
      {"interleaved",
       kPreface + raw_frame(1, 1, 1, raw_block(kGet)) + raw_frame(6, 0, 0, "12345678"),
       NGHTTP2_PROTOCOL_ERROR},
      {"push", kPreface + raw_frame(5, 4, 1, std::string(4, '\2')), NGHTTP2_PROTOCOL_ERROR},
      {"settings size", kPreface + raw_frame(4, 0, 0, "x"), NGHTTP2_FRAME_SIZE_ERROR},
      {"window overflow", kPreface + raw_frame(8, 0, 0, "\x7f\xff\xff\xff"),
       NGHTTP2_FLOW_CONTROL_ERROR},
  };
  for (const auto& c : cases) {
    Server2 s;
    s.feed(c.bytes);
    EXPECT_EQ(s.peer.goaways, std::vector<std::uint32_t>{c.code}) << c.name;
    EXPECT_NE(s.connection->error(), Error::none) << c.name;
    EXPECT_TRUE(s.connection->finished()) << c.name;
    EXPECT_TRUE(s.handler.seen.empty()) << c.name;
  }
}

}  // namespace
}  // namespace sluice::http::test
