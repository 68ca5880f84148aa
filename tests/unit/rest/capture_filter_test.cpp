#include "capture_filter.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::control {
namespace {

// Ethernet, IPv4 and the ports of TCP or UDP; or with a VLAN tag before it.
std::vector<std::uint8_t> frame(std::uint8_t protocol, std::uint8_t host, std::uint16_t port,
                                bool tagged = false) {
  std::vector<std::uint8_t> f(12, 2);
  if (tagged) f.insert(f.end(), {0x81, 0x00, 0, 120});
  f.insert(f.end(), {0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0});
  f.insert(f.end(), {198, 18, 1, host, 198, 18, 1, 1});
  f.insert(f.end(),
           {0x9c, 0x40, static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port)});
  f.resize(f.size() + 16);
  return f;
}
constexpr std::uint8_t kTcp = 6, kUdp = 17;

bool matches(const std::string& text, const std::vector<std::uint8_t>& f, bool tagged = false) {
  const auto filter = compile_filter(text, tagged);
  EXPECT_TRUE(filter) << filter.error();
  return filter && (*filter)->matches(f, f.size());
}

TEST(CaptureFilter, WordsOfPcapFilter) {
  const auto tls = frame(kTcp, 10, 443);
  EXPECT_TRUE(matches("", tls));
  EXPECT_TRUE(matches("tcp port 443", tls));
  EXPECT_FALSE(matches("udp port 443", tls));
  EXPECT_TRUE(matches("udp port 443", frame(kUdp, 10, 443)));
  EXPECT_TRUE(matches("src host 198.18.1.10 and dst port 443", tls));
  EXPECT_FALSE(matches("host 198.18.1.11", tls));
  EXPECT_TRUE(matches("net 198.18.1.0/24 and not portrange 1-100", tls));
  EXPECT_TRUE(matches("host 10.0.0.1 or (ip[9] = 0x6 and len >= 40)", tls));
  EXPECT_FALSE(matches("arp or icmp6 or host 2001:db8::1", tls));
  EXPECT_TRUE(matches("ether src 02:02:02:02:02:02", tls));
  EXPECT_TRUE(matches("ip[2:2] == 40", tls));
  EXPECT_FALSE(matches("tcp[tcpflags] & (tcp-syn|tcp-rst) != 0", tls));
}

TEST(CaptureFilter, ATruncatedFrameMatchesOnlyByWhatIsThere) {
  auto f = frame(kTcp, 10, 443);
  f.resize(20);
  EXPECT_FALSE(matches("tcp port 443", f));
  EXPECT_FALSE(matches("", {}) && matches("ip", {}));
}

TEST(CaptureFilter, OnATaggedPortTagsMakeNoDifference) {
  for (const bool tag : {false, true}) {
    EXPECT_TRUE(matches("tcp port 443", frame(kTcp, 10, 443, tag), true)) << tag;
    EXPECT_FALSE(matches("tcp port 80", frame(kTcp, 10, 443, tag), true)) << tag;
    EXPECT_FALSE(matches("not tcp", frame(kTcp, 10, 443, tag), true)) << tag;
    EXPECT_TRUE(matches("", frame(kTcp, 10, 443, tag), true)) << tag;
    EXPECT_TRUE(matches("tcp or udp", frame(kUdp, 10, 53, tag), true)) << tag;
  }
  EXPECT_FALSE(matches("tcp port 443", frame(kTcp, 10, 443, true), false));
}

TEST(CaptureFilter, NothingIsLookedUp) {
  for (const char* text :
       {"host kb.tools.example", "kb", "port https", "net loopback", "ip proto tcpx", "dead.beef",
        "ether host printer", "host 1.2.3.4.5", "host 1.2.3.256", "host ab:cd", "gateway kb",
        "host cafe", "ip proto \\tcp", "host a-b", "host 12g4::1"}) {
    const auto filter = compile_filter(text, false);
    ASSERT_FALSE(filter) << text;
    EXPECT_NE(filter.error().find("here"), std::string::npos) << filter.error();
  }
}

TEST(CaptureFilter, WrongOnesAreExplained) {
  for (const char* text : {"tcp port", "port 70000", "tcp and", "(tcp", "tcp)", "ip6 protochain 6",
                           "tcp\nport 1", "tcp; udp", "t\xc3\xa4p", ") or (", "net 10.0.0.1/8"}) {
    for (const bool tagged : {false, true}) {
      const auto filter = compile_filter(text, tagged);
      ASSERT_FALSE(filter) << text;
      EXPECT_FALSE(filter.error().empty()) << text;
    }
  }
  EXPECT_FALSE(compile_filter(std::string(kLongestFilter + 1, ' '), false));
  EXPECT_FALSE(compile_filter(std::string("tcp\0port 443", 12), false));
}

// Whatever is said in so many characters, a worker runs a bounded number of steps for a frame.
TEST(CaptureFilter, LargeOnesAreBounded) {
  std::string text = "host 198.18.1.1";
  for (int i = 2; text.size() + 24 < kLongestFilter; ++i) {
    text += " or host 198.18.1." + std::to_string(i);
  }
  EXPECT_TRUE(matches(text, frame(kTcp, 10, 443)));
  std::string deep(kLongestFilter / 3, '(');
  deep += "tcp" + std::string(deep.size(), ')');
  const auto filter = compile_filter(deep, true);
  EXPECT_TRUE(!filter || (*filter)->matches(frame(kTcp, 1, 1), 60));
  std::string ports = "port 1";
  for (int i = 2; ports.size() + 20 < kLongestFilter; ++i) ports += " or port " + std::to_string(i);
  const auto many = compile_filter(ports, true);
  EXPECT_TRUE(many || many.error() == "compiles to more than a worker may run");
}

}  // namespace
}  // namespace sluice::control
