// Replies byte by byte: RFC 1035 section 4, RFC 2782, RFC 3596.
#include <ares.h>
#include <gtest/gtest.h>

#include <string>

#include "reply.h"

namespace sluice::control {
namespace {

using namespace std::string_literals;

std::string name(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto dot = std::min(text.find('.'), text.size());
    out += static_cast<char>(dot);
    out += text.substr(0, dot);
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return out + '\0';
}

std::string be16(unsigned v) { return {static_cast<char>(v >> 8), static_cast<char>(v)}; }
std::string be32(std::uint32_t v) { return be16(v >> 16) + be16(v & 0xffff); }

std::string record(const std::string& owner, unsigned type, std::uint32_t ttl,
                   const std::string& data) {
  return owner + be16(type) + be16(1) + be32(ttl) + be16(static_cast<unsigned>(data.size())) + data;
}

std::string reply(unsigned type, const std::vector<std::string>& answers) {
  std::string out = be16(7) + be16(0x8180) + be16(1) + be16(static_cast<unsigned>(answers.size())) +
                    be16(0) + be16(0);
  out += name("kb.example") + be16(type) + be16(1);
  for (const auto& answer : answers) out += answer;
  return out;
}

const std::string kOwner = "\xc0\x0c"s;  // the name of the question

DnsAnswer read(RecordType type, const std::string& message) {
  return read_reply(type, ARES_SUCCESS, as_bytes(message));
}

TEST(DnsReply, Addresses) {
  auto answer = read(RecordType::a, reply(1, {record(kOwner, 1, 300, "\xc6\x12\x02\x0a"),
                                              record(kOwner, 1, 200, "\xc6\x12\x02\x0b")}));
  EXPECT_EQ(answer.kind, DnsAnswer::Kind::records);
  ASSERT_EQ(answer.addresses.size(), 2u);
  EXPECT_EQ(answer.addresses[0].to_string(), "198.18.2.10");
  EXPECT_EQ(answer.ttl, Seconds{200}) << "the shortest";
  answer = read(RecordType::aaaa,
                reply(28, {record(kOwner, 28, 60, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"s)}));
  ASSERT_EQ(answer.addresses.size(), 1u);
  EXPECT_EQ(answer.addresses[0].to_string(), "2001:db8::1");
}

TEST(DnsReply, AliasesCountForTheTtl) {
  const auto answer =
      read(RecordType::a, reply(1, {record(kOwner, 5, 30, name("real.example")),
                                    record(name("real.example"), 1, 300, "\xc6\x12\x02\x0a")}));
  ASSERT_EQ(answer.addresses.size(), 1u);
  EXPECT_EQ(answer.ttl, Seconds{30});
}

TEST(DnsReply, Services) {
  const auto target = [](unsigned priority, unsigned port, const std::string& host) {
    return be16(priority) + be16(5) + be16(port) + host;
  };
  auto answer = read(RecordType::srv,
                     reply(33, {record(kOwner, 33, 90, target(10, 8443, name("A.example"))),
                                record(kOwner, 33, 90, target(10, 0, name("zero.example")))}));
  ASSERT_EQ(answer.targets.size(), 1u) << "port 0 cannot be dialled";
  EXPECT_EQ(answer.targets[0], (SrvTarget{"a.example", 8443, 10, 5}));
  EXPECT_EQ(answer.ttl, Seconds{90});
  answer = read(RecordType::srv, reply(33, {record(kOwner, 33, 90, target(0, 0, "\0"s))}));
  EXPECT_EQ(answer.kind, DnsAnswer::Kind::none) << "\".\": there is no such service";
}

TEST(DnsReply, AddressesOfNoToolAreLeftOut) {
  std::vector<std::string> records;
  for (const char* text : {"127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.2.10"}) {
    const auto address = *IpAddress::parse(text);
    const ByteSpan bytes = address.bytes();
    records.push_back(record(kOwner, 1, 60, std::string(bytes.begin(), bytes.end())));
  }
  const auto answer = read(RecordType::a, reply(1, records));
  ASSERT_EQ(answer.addresses.size(), 1u);
  EXPECT_EQ(answer.addresses[0].to_string(), "198.18.2.10");
  records.pop_back();
  const auto useless = read(RecordType::a, reply(1, records));
  EXPECT_EQ(useless.kind, DnsAnswer::Kind::none);
  EXPECT_EQ(useless.error, "the reply holds nothing that can be dialled");
}

TEST(DnsReply, TtlWithTheTopBitIsZero) {  // RFC 2181 section 8
  const auto answer =
      read(RecordType::a, reply(1, {record(kOwner, 1, 0x80000001u, "\xc6\x12\x02\x0a")}));
  EXPECT_EQ(answer.kind, DnsAnswer::Kind::records);
  EXPECT_EQ(answer.ttl, Seconds{0});
}

TEST(DnsReply, FailuresAndNothingAreToldApart) {
  for (const int status : {ARES_ENOTFOUND, ARES_ENODATA}) {
    EXPECT_EQ(read_reply(RecordType::a, status, {}).kind, DnsAnswer::Kind::none) << status;
  }
  for (const int status : {ARES_ESERVFAIL, ARES_EREFUSED, ARES_ETIMEOUT, ARES_ECONNREFUSED,
                           ARES_EFORMERR, ARES_ENOTIMP, ARES_EBADRESP}) {
    const auto answer = read_reply(RecordType::a, status, {});
    EXPECT_EQ(answer.kind, DnsAnswer::Kind::failed) << status;
    EXPECT_FALSE(answer.error.empty());
  }
  EXPECT_EQ(read(RecordType::a, reply(1, {})).kind, DnsAnswer::Kind::none);
}

// Every prefix of a good reply, and every byte of it changed: never more than the reply says.
TEST(DnsReply, BrokenReplies) {
  const std::string good = reply(33, {record(kOwner, 5, 30, name("real.example")),
                                      record(name("real.example"), 33, 300,
                                             be16(1) + be16(2) + be16(443) + name("t.example"))});
  for (std::size_t size = 0; size < good.size(); ++size) {
    const std::string cut = good.substr(0, size);
    for (const auto type : {RecordType::a, RecordType::aaaa, RecordType::srv}) {
      EXPECT_NE(read(type, cut).kind, DnsAnswer::Kind::records) << size;
    }
  }
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const int change : {0x01, 0x3f, 0x80, 0xc0, 0xff}) {
      std::string bent = good;
      bent[i] = static_cast<char>(bent[i] ^ change);
      const auto answer = read(RecordType::srv, bent);
      EXPECT_LE(answer.targets.size(), 1u);
      EXPECT_GE(answer.ttl, Seconds{0});
    }
  }
}

}  // namespace
}  // namespace sluice::control
