#include "controlplane/documents.h"

#include <algorithm>

#include "document_schemas.h"
#include "read_file.h"

namespace sluice::control {
namespace {

constexpr std::string_view kKinds[] = {"issuer", "agent-class", "service", "binding"};

std::string label_of(Kind kind, std::string_view name) {
  return std::string(to_string(kind)) + "/" + std::string(name);
}

// Checks the whole document; a value only if nothing was wrong.
std::optional<Document> read_document(const Node& node, const std::string& file,
                                      std::vector<ConfigError>& problems) {
  Errors errors(file);
  const auto kind = parse_kind(get_text(node, "kind").value_or(""));
  const auto name = get_text(node, "name");
  if (kind && name) errors.set_document(label_of(*kind, *name));
  validate(node, envelope_value(), "", errors);
  const Node* spec = node.find("spec");
  if (kind && spec != nullptr) {
    validate(*spec, spec_value(*kind), "/spec", errors);
    Node full = *spec;
    apply_defaults(full, spec_value(*kind));
    errors.one_per_value();
    check_combinations(*kind, full, "/spec", errors);
  }
  if (kind == Kind::issuer && name == "sluice") {
    errors.add(*node.find("name"), "/name", "\"sluice\" is the built-in issuer");
  }
  if (!errors.empty()) {
    for (ConfigError& e : errors.take()) problems.push_back(std::move(e));
    return std::nullopt;
  }
  Document d;
  d.kind = *kind;
  d.name = *name;
  for (const Entry& label : get_map(node, "labels").entries) d.labels[label.key] = label.value.text;
  d.spec = to_json(*spec).as_object();
  return d;
}

}  // namespace

std::string_view to_string(Kind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

std::optional<Kind> parse_kind(std::string_view text) {
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    if (kKinds[i] == text) return static_cast<Kind>(i);
  }
  return std::nullopt;
}

std::expected<Document, std::vector<ConfigError>> parse_document(const boost::json::value& json) {
  Errors errors("");
  const Node node = from_json(json, errors);
  if (!errors.empty()) return std::unexpected(errors.take());
  std::vector<ConfigError> problems;
  auto document = read_document(node, "", problems);
  if (!document) return std::unexpected(std::move(problems));
  return std::move(*document);
}

boost::json::object to_json(const Document& document) {
  boost::json::object out;
  out["kind"] = boost::json::string(to_string(document.kind));
  out["name"] = document.name;
  out["generation"] = document.generation;
  boost::json::object labels;
  for (const auto& [key, value] : document.labels) labels[key] = value;
  out["labels"] = labels;
  out["spec"] = document.spec;
  return out;
}

boost::json::object schema_json(Kind kind) {
  boost::json::object schema = json_schema(spec_value(kind));
  schema["title"] = boost::json::string(to_string(kind));
  return schema;
}

std::expected<std::vector<boost::json::value>, std::vector<ConfigError>> yaml_to_json(
    const std::string& text, const std::string& file_name) {
  auto nodes = parse_yaml(text, file_name);
  if (!nodes) return std::unexpected(std::move(nodes.error()));
  std::vector<boost::json::value> values;
  for (const Node& n : *nodes) {
    if (n.type != Node::Type::null) values.push_back(to_json(n));
  }
  return values;
}

namespace {

struct Place {
  std::string file;
  int line;
};

void load_file(const std::filesystem::path& path, std::vector<Document>& documents,
               std::map<std::string, Place>& seen, std::vector<ConfigError>& problems) {
  const auto text = read_config_file(path);
  if (!text) {
    problems.push_back(text.error());
    return;
  }
  auto nodes = parse_yaml(*text, path.string());
  if (!nodes) {
    for (ConfigError& e : nodes.error()) problems.push_back(std::move(e));
    return;
  }
  for (const Node& n : *nodes) {
    if (n.type == Node::Type::null) continue;  // "---" at the end of a file
    auto document = read_document(n, path.string(), problems);
    if (!document) continue;
    const std::string label = label_of(document->kind, document->name);
    const auto [at, fresh] = seen.try_emplace(label, Place{path.string(), n.line});
    if (!fresh) {
      Errors errors(path.string(), label);
      errors.add(
          n, "/name",
          "this document is already in " + at->second.file + ":" + std::to_string(at->second.line));
      for (ConfigError& e : errors.take()) problems.push_back(std::move(e));
      continue;
    }
    documents.push_back(std::move(*document));
  }
}

}  // namespace

std::expected<std::vector<Document>, std::vector<ConfigError>> load_documents(
    const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::vector<ConfigError> problems;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::filesystem::path& path = it->path();
    if (path.filename().string().starts_with('.')) continue;
    if (path.extension() == ".yaml") files.push_back(path);
    if (path.extension() == ".yml") {
      Errors errors(path.string());
      errors.add(0, 0, "", "files here end in .yaml; rename it, or it would be left out silently");
      for (ConfigError& e : errors.take()) problems.push_back(std::move(e));
    }
  }
  // No folder means no documents.
  if (error && error != std::errc::no_such_file_or_directory) {
    Errors errors(folder.string());
    errors.add(0, 0, "", "cannot be read: " + error.message());
    for (ConfigError& e : errors.take()) problems.push_back(std::move(e));
  }
  std::sort(files.begin(), files.end());
  std::vector<Document> documents;
  std::map<std::string, Place> seen;
  for (const auto& path : files) load_file(path, documents, seen, problems);
  if (!problems.empty()) return std::unexpected(std::move(problems));
  return documents;
}

}  // namespace sluice::control
