#include "controlplane/documents.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "golden.h"

namespace sluice::control {
namespace {

namespace json = boost::json;
const std::filesystem::path kFiles = SLUICE_TEST_FILES "/documents";

// A folder of its own that goes with the test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class RefusedDocuments : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(RefusedDocuments, WithPlaceReasonAndWhatIsAccepted) {
  const std::string text = read_all(GetParam());
  const Folder folder;
  folder.write("documents.yaml", text);
  const auto documents = load_documents(folder.path());
  ASSERT_FALSE(documents);
  auto errors = documents.error();
  for (ConfigError& e : errors) {
    // The folder's name differs from run to run.
    const std::size_t at = e.message.find(folder.path().string() + "/");
    if (at != std::string::npos) e.message.erase(at, folder.path().string().size() + 1);
  }
  const auto found = as_lines(errors);
  EXPECT_EQ(found, golden_errors(GetParam(), text, found));
}

INSTANTIATE_TEST_SUITE_P(Documents, RefusedDocuments,
                         testing::ValuesIn(files_in(kFiles / "refused")),
                         [](const testing::TestParamInfo<std::filesystem::path>& file) {
                           return file.param.stem().string();
                         });

std::vector<Document> accepted() {
  const auto documents = load_documents(kFiles / "accepted");
  if (documents) return *documents;
  for (const auto& e : documents.error()) ADD_FAILURE() << e.to_string();
  return {};
}

TEST(Documents, ContractExamplesAreAccepted) {
  const auto documents = accepted();
  ASSERT_EQ(documents.size(), 7u);
  EXPECT_EQ(documents[0].kind, Kind::issuer);
  EXPECT_EQ(documents[1].kind, Kind::agent_class);
  EXPECT_EQ(documents[1].labels.at("team"), "search");
  EXPECT_EQ(documents[2].kind, Kind::service);
  EXPECT_EQ(documents[2].name, "kb");
  EXPECT_EQ(documents[6].kind, Kind::binding);
  EXPECT_FALSE(documents[3].spec.contains("timeouts")) << "the spec is kept as given";
}

TEST(Documents, JsonFormIsTheSame) {
  for (const Document& d : accepted()) {
    const auto again = parse_document(to_json(d));
    ASSERT_TRUE(again) << again.error().at(0).to_string();
    EXPECT_EQ(again->kind, d.kind);
    EXPECT_EQ(again->name, d.name);
    EXPECT_EQ(again->labels, d.labels);
    EXPECT_EQ(again->spec, d.spec);
    EXPECT_EQ(again->generation, 0u) << "the server's, ignored in the input";
  }
}

TEST(Documents, KindsHaveNames) {
  for (const Kind k : {Kind::issuer, Kind::agent_class, Kind::service, Kind::binding}) {
    EXPECT_EQ(parse_kind(to_string(k)), k);
  }
  EXPECT_EQ(to_string(Kind::agent_class), "agent-class");
  EXPECT_FALSE(parse_kind("agent_class"));
}

TEST(Documents, JsonErrorsHaveAPointerAndNoPlace) {
  const auto d = parse_document(json::parse(
      R"({"kind":"service","name":"kb","spec":{"hosts":["a.example"],"endpoints":[{"host":"b","port":"80"}]}})"));
  ASSERT_FALSE(d);
  ASSERT_EQ(d.error().size(), 1u);
  EXPECT_EQ(d.error()[0].pointer, "/spec/endpoints/0/port");
  EXPECT_EQ(d.error()[0].line, 0);
  EXPECT_EQ(d.error()[0].document, "service/kb");
  EXPECT_EQ(d.error()[0].to_string(),
            "service/kb: /spec/endpoints/0/port: expected a whole number from 1 to 65535, got "
            "\"80\"");
}

TEST(Documents, HugeAndDeepJsonIsRefused) {
  json::value deep = 1;
  for (int i = 0; i < 100; ++i) deep = json::array{deep};
  const auto d = parse_document(json::object{{"kind", deep}});
  ASSERT_FALSE(d);
  EXPECT_EQ(d.error().at(0).message, "nested deeper than 32 levels");
  const auto number = parse_document(
      json::parse(R"({"kind":"agent-class","name":"a","spec":{"hold_ms":18446744073709551615}})"));
  ASSERT_FALSE(number);
  EXPECT_EQ(number.error().at(0).message,
            "expected a whole number from 0 to 60000, got 18446744073709551615");
}

TEST(LoadDocuments, FilesInNameOrderOthersLeftAlone) {
  const Folder folder;
  const std::string task = "task: 9705a1d2-0f3e-4c55-8a43-2d1c7a90be01}\n";
  folder.write("b.yaml", "kind: binding\nname: b\nspec: {address: 198.18.1.2, " + task);
  folder.write("a.yaml", "kind: binding\nname: a\nspec: {address: 198.18.1.1, " + task);
  folder.write("README", "not a document");
  folder.write(".hidden.yaml", "not: read");
  const auto documents = load_documents(folder.path());
  ASSERT_TRUE(documents);
  ASSERT_EQ(documents->size(), 2u);
  EXPECT_EQ((*documents)[0].name, "a");
  EXPECT_EQ((*documents)[1].name, "b");
}

TEST(LoadDocuments, OneDocumentInTwoFilesIsRefused) {
  const Folder folder;
  const std::string text =
      "kind: binding\nname: a\nspec: {address: 198.18.1.1, task: "
      "9705a1d2-0f3e-4c55-8a43-2d1c7a90be01}\n";
  folder.write("1.yaml", text);
  folder.write("2.yaml", "\n" + text);
  const auto documents = load_documents(folder.path());
  ASSERT_FALSE(documents);
  ASSERT_EQ(documents.error().size(), 1u);
  const std::string at = folder.path().string();
  EXPECT_EQ(documents.error()[0].to_string(),
            at + "/2.yaml:2:1: binding/a: /name: this document is already in " + at + "/1.yaml:1");
}

TEST(LoadDocuments, NoFolderNoDocuments) {
  const auto documents = load_documents("/nonexistent/conf.d");
  ASSERT_TRUE(documents);
  EXPECT_TRUE(documents->empty());
}

TEST(LoadDocuments, YmlIsNotLeftOutSilently) {
  const Folder folder;
  folder.write("a.yml", "");
  const auto documents = load_documents(folder.path());
  ASSERT_FALSE(documents);
  EXPECT_EQ(documents.error()[0].message,
            "files here end in .yaml; rename it, or it would be left out silently");
}

TEST(YamlToJson, ScalarsByTheCoreSchema) {
  const auto values = yaml_to_json(
      "[1, -2, +3, 1.5, 1e3, .5, true, False, null, ~, yes, 007, 0x10, '1', \"true\", 1.2.3, "
      "0000:3b:02.1, -, 9223372036854775808, .inf]\n---\n---\na: b\n",
      "f");
  ASSERT_TRUE(values);
  ASSERT_EQ(values->size(), 2u) << "an empty document is none";
  EXPECT_EQ(json::serialize((*values)[0]),
            R"([1,-2,3,1.5E0,1E3,5E-1,true,false,null,null,"yes","007","0x10","1","true","1.2.3",)"
            R"("0000:3b:02.1","-",9.223372036854776E18,".inf"])");
  EXPECT_EQ(json::serialize((*values)[1]), R"({"a":"b"})");
}

TEST(YamlToJson, ErrorsHaveThePlace) {
  const auto values = yaml_to_json("a: b\na: c\n", "apply.yaml");
  ASSERT_FALSE(values);
  EXPECT_EQ(values.error().at(0).to_string(),
            "apply.yaml:2:1: /a: the key stands here a second time; keep one");
}

TEST(SchemaJson, DescribesEveryKind) {
  const json::object service = schema_json(Kind::service);
  EXPECT_EQ(service.at("title"), json::value("service"));
  EXPECT_EQ(service.at("additionalProperties"), json::value(false));
  const json::value properties = service.at("properties");
  EXPECT_EQ(properties.at("retry").at("properties").at("attempts").at("default").as_int64(), 3);
  EXPECT_EQ(properties.at("tools").at("items").at("required"), (json::array{"name"}));
  EXPECT_EQ(properties.at("protocol").at("enum"), json::value({"http", "mcp", "tcp"}));
  const auto& own = properties.at("tools").at("items").at("properties").at("timeouts");
  EXPECT_FALSE(own.at("properties").at("step_ms").as_object().contains("default"))
      << "a tool's default is its service's setting";
  for (const Kind k : {Kind::issuer, Kind::agent_class, Kind::binding}) {
    EXPECT_TRUE(schema_json(k).contains("properties"));
  }
}

}  // namespace
}  // namespace sluice::control
