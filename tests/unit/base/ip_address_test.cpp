#include "base/ip_address.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

TEST(IpAddress, ParsesAndPrintsRfc5952) {
  for (const char* text : {"0.0.0.0", "198.18.1.1", "255.255.255.255", "::", "::1", "2001:db8::1",
                           "fe80::1:2:3:4", "2001:db8:0:1:1:1:1:1", "ff02::1:ff00:1"}) {
    const auto a = IpAddress::parse(text);
    ASSERT_TRUE(a.has_value()) << text;
    EXPECT_EQ(a->to_string(), text);
  }
  EXPECT_EQ(ip("2001:DB8:0:0:0:0:0:1").to_string(), "2001:db8::1");
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
  for (const char* text : {"", " ", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ", "01.2.3.4",
                           "::1%lo", "[::1]", "1::2::3", "12345::", "1.2.3.4/24", "example",
                           "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"}) {
    EXPECT_FALSE(IpAddress::parse(text).has_value()) << text;
  }
  EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0x", 9)).has_value());
}

TEST(IpAddress, FamiliesAndForms) {
  EXPECT_TRUE(ip("198.18.1.1").is_v4());
  EXPECT_EQ(ip("198.18.1.1").v4_host_order(), 0xc6120101u);
  EXPECT_EQ(ip("198.18.1.1").bytes().size(), 4u);
  EXPECT_EQ(ip("2001:db8::1").bytes().size(), 16u);
  EXPECT_EQ(IpAddress::v4(0xc6120101), ip("198.18.1.1"));
  // RFC 4291 section 2.5.5.2: the mapped form is the IPv4 address.
  EXPECT_EQ(ip("::ffff:198.18.1.1"), ip("198.18.1.1"));
  EXPECT_NE(ip("::"), ip("0.0.0.0"));
  EXPECT_EQ(IpAddress{}, ip("::"));
}

TEST(IpAddress, Kinds) {
  EXPECT_TRUE(ip("0.0.0.0").is_unspecified());
  EXPECT_TRUE(ip("::").is_unspecified());
  EXPECT_FALSE(ip("0.0.0.1").is_unspecified());
  EXPECT_TRUE(ip("224.0.0.1").is_multicast());
  EXPECT_TRUE(ip("239.255.255.255").is_multicast());
  EXPECT_FALSE(ip("240.0.0.0").is_multicast());
  EXPECT_FALSE(ip("223.255.255.255").is_multicast());
  EXPECT_TRUE(ip("ff02::1").is_multicast());
  EXPECT_TRUE(ip("255.255.255.255").is_broadcast());
  EXPECT_FALSE(ip("198.18.1.255").is_broadcast());
  EXPECT_TRUE(ip("127.0.0.1").is_loopback());
  EXPECT_TRUE(ip("127.255.0.9").is_loopback());
  EXPECT_TRUE(ip("::1").is_loopback());
  EXPECT_FALSE(ip("::2").is_loopback());
  EXPECT_TRUE(ip("169.254.9.9").is_link_local());
  EXPECT_TRUE(ip("fe80::1").is_link_local());
  EXPECT_TRUE(ip("febf::1").is_link_local());
  EXPECT_FALSE(ip("fec0::1").is_link_local());
}

TEST(IpPrefix, Parses) {
  EXPECT_EQ(IpPrefix::parse("198.18.1.0/24")->to_string(), "198.18.1.0/24");
  EXPECT_EQ(IpPrefix::parse("198.18.1.7")->bits, 32);
  EXPECT_EQ(IpPrefix::parse("2001:db8::1")->bits, 128);
  EXPECT_EQ(IpPrefix::parse("0.0.0.0/0")->bits, 0);
  for (const char* text :
       {"", "/", "198.18.1.0/", "198.18.1.0/33", "198.18.1.0/-1", "198.18.1.0/+8", "198.18.1.0/8x",
        "198.18.1.0/ 8", "2001:db8::/129", "198.18.1.0/24/24", "198.18.1.0/99999999999"}) {
    EXPECT_FALSE(IpPrefix::parse(text).has_value()) << text;
  }
}

TEST(IpPrefix, Contains) {
  const auto in = [](const char* prefix, const char* address) {
    return IpPrefix::parse(prefix)->contains(ip(address));
  };
  EXPECT_TRUE(in("198.18.1.9/24", "198.18.1.255"));  // host bits of the prefix do not count
  EXPECT_FALSE(in("198.18.1.0/24", "198.18.2.0"));
  EXPECT_TRUE(in("198.18.0.0/15", "198.19.255.255"));
  EXPECT_FALSE(in("198.18.0.0/15", "198.20.0.0"));
  EXPECT_TRUE(in("198.18.1.1/32", "198.18.1.1"));
  EXPECT_FALSE(in("198.18.1.1/32", "198.18.1.0"));
  EXPECT_TRUE(in("0.0.0.0/0", "203.0.113.1"));
  EXPECT_FALSE(in("0.0.0.0/0", "2001:db8::1"));
  EXPECT_FALSE(in("::/0", "203.0.113.1"));  // families do not mix, mapped or not
  EXPECT_TRUE(in("2001:db8:8000::/33", "2001:db8:ffff::1"));
  EXPECT_FALSE(in("2001:db8:8000::/33", "2001:db8:7fff::1"));
}

TEST(Endpoint, Text) {
  EXPECT_EQ((Endpoint{ip("198.18.1.1"), 443}).to_string(), "198.18.1.1:443");
  EXPECT_EQ((Endpoint{ip("2001:db8::1"), 443}).to_string(), "[2001:db8::1]:443");
}

}  // namespace
}  // namespace sluice
