#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/store.h"
#include "fake_gateway.h"

namespace sluice::control {
namespace {

Change put(const char* text) {
  auto document = parse_document(boost::json::parse(text));
  EXPECT_TRUE(document);
  return {Change::Action::put, std::move(*document)};
}

std::unique_ptr<Store> open(const TempFolder& folder) {
  auto store = Store::open(folder.path);
  EXPECT_TRUE(store) << store.error();
  return store ? std::move(*store) : nullptr;
}

TEST(Store, KeepsDocumentsAndHistory) {
  TempFolder folder;
  {
    auto store = open(folder);
    EXPECT_EQ(store->generation(), 0u);
    store->commit({put(kClass), put(kService)}, 2, 100, 7, "rest");
    Change gone = put(kService);
    gone.action = Change::Action::remove;
    store->commit({gone}, 3, 101, 8, "rest");
  }
  auto store = open(folder);
  EXPECT_EQ(store->generation(), 3u);
  ASSERT_EQ(store->documents().size(), 1u);
  EXPECT_EQ(store->documents()[0].name, "research");
  EXPECT_EQ(store->documents()[0].generation, 2u);
  EXPECT_EQ(store->documents_at(2)->size(), 2u);
  EXPECT_EQ(store->documents_at(3)->size(), 1u);
  EXPECT_FALSE(store->documents_at(4));
  const auto versions = store->versions(0, 10);
  ASSERT_EQ(versions.size(), 2u);
  EXPECT_EQ(versions[0].generation, 3u);
  EXPECT_EQ(versions[0].uid, 8u);
  EXPECT_EQ(versions[0].changes[0].action, Change::Action::remove);
  EXPECT_EQ(versions[1].changes.size(), 2u);
}

// A failed transaction leaves nothing behind: the second change breaks the first's key.
TEST(Store, CommitIsAtomic) {
  TempFolder folder;
  auto store = open(folder);
  store->commit({put(kClass)}, 2, 100, 0, "rest");
  EXPECT_THROW(store->commit({put(kService)}, 2, 100, 0, "rest"), StoreError);
  EXPECT_EQ(store->documents().size(), 1u);
  EXPECT_EQ(store->generation(), 2u);
}

TEST(Store, SurvivesBeingKilled) {
  TempFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = Store::open(folder.path);
    if (!store) ::_exit(1);
    (*store)->commit({put(kClass)}, 2, 100, 0, "rest");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  auto store = open(folder);  // the lock went with the process
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(store->documents().size(), 1u);
}

TEST(Store, OneProcessOnly) {
  TempFolder folder;
  auto store = open(folder);
  const auto second = Store::open(folder.path);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().find("in use by another sluiced"), std::string::npos);
}

TEST(Store, DamagedOrNewerDatabaseIsRefusedInWords) {
  TempFolder folder;
  std::ofstream(folder.path / "state.db") << std::string(8192, 'x');
  const auto damaged = Store::open(folder.path);
  ASSERT_FALSE(damaged);
  EXPECT_NE(damaged.error().find("state.db"), std::string::npos);
}

TEST(Store, HistoryIsBoundedAndItsOldestVersionWhole) {
  TempFolder folder;
  auto store = open(folder);
  store->commit({put(kClass)}, 2, 1, 0, "rest");
  const auto last = Store::kVersionsKept + 10;
  for (std::uint64_t g = 3; g <= last; ++g) store->commit({put(kService)}, g, 1, 0, "rest");
  const auto oldest = last - Store::kVersionsKept + 1;
  EXPECT_FALSE(store->documents_at(oldest - 1));
  ASSERT_TRUE(store->documents_at(oldest));
  EXPECT_EQ(store->documents_at(oldest)->size(), 2u);
}

TEST(Store, IssuerKeyIsMadeOnceAndKeptPrivate) {
  TempFolder folder;
  auto store = open(folder);
  int made = 0;
  const auto make = [&]() -> std::expected<std::string, std::string> {
    return "key " + std::to_string(++made);
  };
  EXPECT_EQ(*store->issuer_key(make), "key 1");
  EXPECT_EQ(*store->issuer_key(make), "key 1");
  ::chmod((folder.path / "issuer-key.pem").c_str(), 0644);
  EXPECT_FALSE(store->issuer_key(make)) << "others could read it";
}

TEST(Store, UuidText) {
  const std::string text = "9705a1d2-0b3c-4d5e-8f60-112233445566";
  const auto id = parse_uuid(text);
  ASSERT_TRUE(id);
  EXPECT_EQ(uuid_text(*id), text);
  for (const char* bad :
       {"", "9705a1d20b3c4d5e8f60112233445566", "9705a1d2-0b3c-4d5e-8f60-11223344556g",
        "9705a1d2-0b3c-4d5e-8f60-1122334455667", "9705a1d2-0b3c-4d5e-8f601-12233445566"}) {
    EXPECT_FALSE(parse_uuid(bad)) << bad;
  }
}

}  // namespace
}  // namespace sluice::control
