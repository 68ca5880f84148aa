#include "controlplane/upstream_tls.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "certificates.h"
#include "controlplane/documents.h"

namespace sluice::control {
namespace {

using sluice::testing::CertificateRequest;
using sluice::testing::IssuedFiles;
using sluice::testing::KeyKind;
using sluice::testing::TestAuthority;

class UpstreamTls : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    authority_ = new TestAuthority;
    issued_ = authority_->issue("client", {KeyKind::p256, {"sluice.example"}, 30});
    other_ = authority_->issue("other", {KeyKind::p256, {"other.example"}, 30});
  }
  static void TearDownTestSuite() { delete authority_; }
  void SetUp() override {
    ca_ = authority_->directory() + "/used-ca.pem";
    key_ = authority_->directory() + "/used.key";
    copy(authority_->ca_file(), ca_);
    copy(issued_.key, key_);
  }
  static void copy(const std::string& from, const std::string& to) {
    std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  }
  static void write(const std::string& file, const std::string& text) {
    std::ofstream(file, std::ios::trunc) << text;
  }
  static policy::UpstreamTls settings(std::string ca, std::string certificate = "") {
    policy::UpstreamTls tls;
    tls.enabled = true;
    tls.ca_file = std::move(ca);
    tls.certificate = std::move(certificate);
    return tls;
  }
  UpstreamContexts contexts() {
    return UpstreamContexts({{"client-a", {issued_.chain, key_}},
                             {"mixed", {issued_.chain, other_.key}},
                             {"gone", {issued_.chain, "/nonexistent/key.pem"}}});
  }
  static policy::Snapshot snapshot(const policy::UpstreamTls& tls, std::shared_ptr<void> context) {
    policy::Snapshot s;
    s.services.emplace_back();
    s.services[0].tls = tls;
    s.services[0].tls.context = std::move(context);
    return s;
  }

  inline static TestAuthority* authority_ = nullptr;
  inline static IssuedFiles issued_, other_;
  std::string ca_, key_;
};

TEST_F(UpstreamTls, OneContextPerSettings) {
  auto cache = contexts();
  const auto plain = cache.get(settings(ca_));
  ASSERT_TRUE(plain) << plain.error().message;
  const auto named = cache.get(settings(ca_, "client-a"));
  ASSERT_TRUE(named) << named.error().message;
  EXPECT_NE(*plain, *named);
  EXPECT_EQ(*cache.get(settings(ca_)), *plain);
  EXPECT_EQ(*cache.get(settings(ca_, "client-a")), *named);
  auto other_name = settings(ca_);
  other_name.server_name = "kb.backend.example";
  EXPECT_EQ(*cache.get(other_name), *plain) << "the name belongs to the session";
}

TEST_F(UpstreamTls, RefusalsNameFieldAndFile) {
  auto cache = contexts();
  const auto complaint = [&](const std::string& ca, const std::string& certificate) {
    const auto made = cache.get(settings(ca, certificate));
    return made ? TlsComplaint{"", "accepted"} : made.error();
  };
  const std::string folder = authority_->directory();
  auto c = complaint("/nonexistent/ca.pem", "");
  EXPECT_EQ(c.field, "ca");
  EXPECT_EQ(c.message,
            "/nonexistent/ca.pem cannot be read: No such file or directory; expected a PEM file of "
            "the authorities' certificates");
  c = complaint(folder, "");
  EXPECT_EQ(c.field, "ca");
  EXPECT_NE(c.message.find("not a regular file"), std::string::npos) << c.message;
  write(ca_, "no certificate\n");
  c = complaint(ca_, "");
  EXPECT_EQ(c.field, "ca");
  EXPECT_NE(c.message.find(ca_ + ": no usable PEM authority"), std::string::npos) << c.message;
  write(ca_, "");
  EXPECT_EQ(complaint(ca_, "").field, "ca");
  copy(authority_->ca_file(), ca_);
  c = complaint(ca_, "client-b");
  EXPECT_EQ(c.field, "certificate");
  EXPECT_EQ(c.message,
            "the boot file has no certificate \"client-b\"; did you mean \"client-a\"? "
            "(certificates: client-a, gone, mixed)");
  c = complaint(ca_, "gone");
  EXPECT_EQ(c.field, "certificate");
  EXPECT_EQ(c.message, "/nonexistent/key.pem cannot be read: No such file or directory");
  c = complaint(ca_, "mixed");
  EXPECT_EQ(c.field, "certificate");
  EXPECT_NE(c.message.find("does not belong"), std::string::npos) << c.message;
  write(key_, "no key\n");
  c = complaint(ca_, "client-a");
  EXPECT_EQ(c.field, "certificate");
  EXPECT_NE(c.message.find(key_ + ": no usable PEM private key"), std::string::npos) << c.message;
}

TEST_F(UpstreamTls, ContextGoesWithItsLastOwner) {
  auto cache = contexts();
  std::weak_ptr<void> watched;
  {
    const auto context = cache.get(settings(ca_));
    ASSERT_TRUE(context);
    watched = *context;
    cache.published(snapshot(settings(ca_), *context));
  }
  EXPECT_TRUE(watched.expired()) << "the cache must not keep it";
  EXPECT_EQ(cache.in_use(settings(ca_)), nullptr);
}

TEST_F(UpstreamTls, ChangedFilesAreNoticedAndReadAgain) {
  auto cache = contexts();
  const auto tls = settings(ca_, "client-a");
  const auto first = *cache.get(tls);
  EXPECT_FALSE(cache.files_changed()) << "not of the policy in use";
  cache.published(snapshot(tls, first));
  EXPECT_FALSE(cache.files_changed());
  TestAuthority another;
  copy(another.ca_file(), ca_);
  EXPECT_TRUE(cache.files_changed());
  const auto second = cache.get(tls);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_NE(*second, first);
  EXPECT_FALSE(cache.files_changed());
  // Broken: what was read stays, and is asked for again only when the file changes once more.
  write(key_, "half a k");
  EXPECT_TRUE(cache.files_changed());
  EXPECT_FALSE(cache.get(tls));
  EXPECT_EQ(cache.in_use(tls), *second);
  EXPECT_FALSE(cache.files_changed());
  copy(issued_.key, key_);
  EXPECT_TRUE(cache.files_changed());
  EXPECT_TRUE(cache.get(tls));
}

TEST_F(UpstreamTls, OneNotePerStateOfTheFiles) {
  auto cache = contexts();
  const auto tls = settings(ca_);
  const auto held = *cache.get(tls);
  write(ca_, "broken");
  EXPECT_FALSE(cache.get(tls));
  cache.note(tls, "first");
  EXPECT_FALSE(cache.get(tls));
  cache.note(tls, "again");
  EXPECT_EQ(cache.take_notes(), std::vector<std::string>{"first"});
  write(ca_, "broken otherwise");
  EXPECT_FALSE(cache.get(tls));
  cache.note(tls, "second");
  EXPECT_EQ(cache.take_notes(), std::vector<std::string>{"second"});
}

// Refused when it comes in, kept when it has come in before.
TEST_F(UpstreamTls, CompileIsStrictWithNewDocumentsOnly) {
  auto cache = contexts();
  Document d;
  d.kind = Kind::service;
  d.name = "kb";
  d.generation = 5;
  d.spec = boost::json::parse(R"({"hosts":["kb.tools.example"],"tls":{"enabled":true,"ca":")" +
                              ca_ + R"(","server_name":"kb.backend.example"},)" +
                              R"("endpoints":[{"host":"198.18.2.10","port":8443}]})")
               .get_object();
  const std::map<std::string, std::vector<IpAddress>> resolved;
  const policy::Issuer builtin{"sluice", "sluice", {"sluice"}, 1, {{"k", 0, {4}}}, Seconds{900}};
  const std::vector<Document> documents = {d};
  const auto at = [&](std::uint64_t strict_from) {
    return compile({documents, 6, builtin, resolved, &cache, strict_from});
  };
  auto good = at(5);
  ASSERT_TRUE(good) << good.error()[0].to_string();
  ASSERT_NE((*good)->services[0].tls.context, nullptr);
  auto again = at(5);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->services[0].tls.context, (*good)->services[0].tls.context);
  std::filesystem::remove(ca_);
  const auto refused = at(5);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().at(0).to_string(),
            "service/kb: /spec/tls/ca: " + ca_ +
                " cannot be read: No such file or directory; expected a PEM file of the "
                "authorities' certificates");
  const auto kept = at(6);
  ASSERT_TRUE(kept);
  EXPECT_EQ((*kept)->services[0].tls.context, (*good)->services[0].tls.context);
  EXPECT_EQ(cache.take_notes().size(), 1u);
}

}  // namespace
}  // namespace sluice::control
