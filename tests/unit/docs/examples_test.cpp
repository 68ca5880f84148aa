// The examples of docs/ are what a newcomer copies: they are accepted as they stand.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "controlplane/boot_config.h"
#include "controlplane/documents.h"

namespace sluice::control {
namespace {

const std::filesystem::path kExamples = SLUICE_EXAMPLES;

std::string all(const std::vector<ConfigError>& errors) {
  std::string text;
  for (const auto& error : errors) text += error.to_string() + "\n";
  return text;
}

TEST(Examples, BootFile) {
  const auto boot = load_boot_config(kExamples / "sluice.yaml");
  ASSERT_TRUE(boot) << all(boot.error());
  EXPECT_EQ(boot->ports.size(), 2u);
  EXPECT_EQ(boot->listeners.size(), 2u);
}

TEST(Examples, DocumentsCompileAndEveryRuleMatchesSomething) {
  const auto documents = load_documents(kExamples / "conf.d");
  ASSERT_TRUE(documents) << all(documents.error());
  EXPECT_EQ(documents->size(), 4u);
  const std::map<std::string, std::vector<IpAddress>> resolved;
  const CompileInput input{*documents, 1, {}, resolved};
  const auto snapshot = compile(input);
  ASSERT_TRUE(snapshot) << all(snapshot.error());
  EXPECT_TRUE(remarks(**snapshot).empty()) << remarks(**snapshot).front();
}

}  // namespace
}  // namespace sluice::control
