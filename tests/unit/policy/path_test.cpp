#include <gtest/gtest.h>

#include <array>

#include "policy/decide.h"

namespace sluice::policy {
namespace {

std::string canonical(std::string_view path) {
  std::array<char, 4096> room;
  const auto result = canonical_path(path, room);
  return result ? std::string(*result) : "error: " + std::string(to_string(result.error()));
}

TEST(CanonicalPath, WhatStandsForItself) {
  for (const char* path : {"/", "/docs", "/docs/", "/a/b-c_d.e~f", "/..a", "/a..", "/...",
                           "/.well-known/x", "/v1/models/m:generate", "/u/@me", "/a!$&'()*+,=b"}) {
    EXPECT_EQ(canonical(path), path);
  }
}

TEST(CanonicalPath, QueryIsNotPartOfIt) {
  EXPECT_EQ(canonical("/a?b=/../c%00;"), "/a");
  EXPECT_EQ(canonical("/?"), "/");
}

TEST(CanonicalPath, OneFormPerByte) {
  EXPECT_EQ(canonical("/%61%62%2D%7e"), "/ab-~") << "RFC 3986 section 6.2.2.2";
  EXPECT_EQ(canonical("/a%20b%c3%a9"), "/a%20b%C3%A9") << "RFC 3986 section 6.2.2.1";
  EXPECT_EQ(canonical("/a%21b%3A"), "/a!b:");
  EXPECT_EQ(canonical("/{id}|x"), "/%7Bid%7D%7Cx");
  EXPECT_EQ(canonical("/100%25"), "/100%25");
  EXPECT_EQ(canonical("/a%3Fb%23"), "/a%3Fb%23") << "an escaped '?' does not start a query";
}

struct Refused {
  std::string_view path;
  PathError error;
};

TEST(CanonicalPath, WhatServersReadDifferentlyIsRefused) {
  const std::vector<Refused> rows = {
      {"", PathError::not_absolute},
      {"*", PathError::not_absolute},
      {"a/b", PathError::not_absolute},
      {"?x", PathError::not_absolute},
      {"%2fa", PathError::not_absolute},
      {"http://h/a", PathError::not_absolute},
      {"/.", PathError::dot_segment},
      {"/..", PathError::dot_segment},
      {"/a/../b", PathError::dot_segment},
      {"/a/./b", PathError::dot_segment},
      {"/a/..", PathError::dot_segment},
      {"/a/%2e%2e/b", PathError::dot_segment},
      {"/a/.%2E/b", PathError::dot_segment},
      {"/%2e", PathError::dot_segment},
      {"//", PathError::empty_segment},
      {"//a", PathError::empty_segment},
      {"/a//b", PathError::empty_segment},
      {"/a//", PathError::empty_segment},
      {"/a%2fb", PathError::hidden},
      {"/a%2Fb", PathError::hidden},
      {"/a%5cb", PathError::hidden},
      {"/a%00", PathError::hidden},
      {"/a%0a", PathError::hidden},
      {"/a%7f", PathError::hidden},
      {"/a%3bb", PathError::hidden},
      {"/%252e%252e/", PathError::hidden},
      {"/%2561", PathError::hidden},
      {"/%252%65%252%65/", PathError::hidden},
      {"/%25%32%65", PathError::hidden},
      {"/a;b=c/d", PathError::path_parameter},
      {"/..;/admin", PathError::path_parameter},
      {"/a%", PathError::bad_escape},
      {"/a%2", PathError::bad_escape},
      {"/a%2g", PathError::bad_escape},
      {"/a%u002f", PathError::bad_escape},
      {"/a\\b", PathError::bad_character},
      {"/a b", PathError::bad_character},
      {"/a\tb", PathError::bad_character},
      {"/a#b", PathError::bad_character},
      {"/a\xc3\xa9", PathError::bad_character},
      {std::string_view("/a\0b", 4), PathError::bad_character},
  };
  for (const Refused& row : rows) {
    std::array<char, 256> room;
    const auto result = canonical_path(row.path, room);
    ASSERT_FALSE(result) << row.path;
    EXPECT_EQ(to_string(result.error()), to_string(row.error)) << row.path;
  }
}

TEST(CanonicalPath, BoundIsTheBuffer) {
  std::array<char, 8> room;
  EXPECT_EQ(canonical_path("/1234567", room).value_or(""), "/1234567");
  EXPECT_EQ(canonical_path("/12345678", room).error(), PathError::too_long);
  EXPECT_EQ(canonical_path("/12345|", room).error(), PathError::too_long) << "after escaping";
  EXPECT_EQ(canonical_path("/%31%32%33%34%35%36%37", room).value_or(""), "/1234567");
}

TEST(CanonicalPath, IsItsOwnCanonicalForm) {
  for (const char* path : {"/a%20b", "/%7Bx%7D", "/100%25", "/x/y/", "/%C3%A9"}) {
    EXPECT_EQ(canonical(canonical(path)), canonical(path));
  }
}

std::string host(std::string_view authority) {
  std::array<char, 256> room;
  return std::string(canonical_host(authority, room).value_or("none"));
}

TEST(CanonicalHost, CaseTrailingDotAndPort) {
  EXPECT_EQ(host("KB.Tools.Example"), "kb.tools.example");
  EXPECT_EQ(host("kb.tools.example."), "kb.tools.example");
  EXPECT_EQ(host("kb.tools.example:443"), "kb.tools.example");
  EXPECT_EQ(host("kb.tools.example.:65535"), "kb.tools.example");
  EXPECT_EQ(host("198.18.1.1:80"), "198.18.1.1");
  EXPECT_EQ(host("[2001:DB8::1]:443"), "[2001:db8::1]");
  EXPECT_EQ(host("[2001:db8::1]"), "[2001:db8::1]");
  EXPECT_EQ(host("a_b-c.example"), "a_b-c.example");
}

TEST(CanonicalHost, WhatIsNoHost) {
  for (const char* text : {"",
                           ".",
                           ":80",
                           "a..b",
                           ".a",
                           "a.:x",
                           "a:",
                           "a:65536",
                           "a:123456",
                           "a:8x",
                           "user@a",
                           "a b",
                           "a/b",
                           "a%2eb",
                           "[::1",
                           "[]",
                           "[1.2.3.4]",
                           "[::1]x",
                           "[::1]:",
                           "a:1:2",
                           "::1",
                           "a..",
                           "\xc3\xa9.example",
                           "*.example"}) {
    EXPECT_EQ(host(text), "none") << text;
  }
  EXPECT_EQ(host(std::string(254, 'a')), "none");
  EXPECT_EQ(host(std::string_view("a\0b", 3)), "none");
}

}  // namespace
}  // namespace sluice::policy
