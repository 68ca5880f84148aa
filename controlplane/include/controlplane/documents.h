// Resource documents (contract section 3): parse, validate as a whole, compile to a policy
// snapshot.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/config_error.h"
#include "controlplane/dns_table.h"
#include "controlplane/upstream_tls.h"
#include "policy/snapshot.h"

namespace sluice::control {

enum class Kind : std::uint8_t { issuer, agent_class, service, binding };
std::string_view to_string(Kind kind);  // "agent-class"
std::optional<Kind> parse_kind(std::string_view text);

struct Document {
  Kind kind = Kind::service;
  std::string name;
  std::uint64_t generation = 0;  // set by the store
  std::map<std::string, std::string> labels;
  boost::json::object spec;  // as given (defaults not filled in)
};

// One document: kind, name, labels, spec; unknown keys, wrong types and impossible values refused.
// status and generation in the input are ignored (they are the server's).
std::expected<Document, std::vector<ConfigError>> parse_document(const boost::json::value& json);
boost::json::object to_json(const Document& document);
// JSON Schema (2020-12) of this kind's spec, for the API description.
boost::json::object schema_json(Kind kind);

// Every *.yaml in the folder, several documents per file allowed, in name order.
std::expected<std::vector<Document>, std::vector<ConfigError>> load_documents(
    const std::filesystem::path& folder);
// YAML text to the JSON values of its documents (sluicectl apply uses it).
std::expected<std::vector<boost::json::value>, std::vector<ConfigError>> yaml_to_json(
    const std::string& text, const std::string& file_name);

// What a compile needs beside the documents.
struct CompileInput {
  const std::vector<Document>& documents;
  std::uint64_t generation = 0;
  policy::Issuer builtin_issuer;  // name and issuer "sluice", with its public key
  // Resolved names, in lower case; an endpoint whose host is an address needs no entry.
  const std::map<std::string, std::vector<IpAddress>>& resolved;
  // Makes the services' TLS contexts; null: none are made, and no file is read.
  UpstreamContexts* contexts = nullptr;
  // Documents of this generation or later must have usable files. Earlier ones were accepted once:
  // what is wrong with their files now is noted, and they keep the context they have.
  std::uint64_t strict_from = 0;
  // Targets of SRV names, in lower case; null: none are known.
  const std::map<std::string, std::vector<SrvTarget>>* services = nullptr;
};
// Checks across documents too (duplicate hosts and paths, unknown services in alternatives, …).
std::expected<std::unique_ptr<policy::Snapshot>, std::vector<ConfigError>> compile(
    const CompileInput& input);
// What is allowed but probably not meant, one line each: allow rules that match nothing.
std::vector<std::string> remarks(const policy::Snapshot& snapshot);
// Endpoint host names, in lower case (not addresses) that documents mention.
std::vector<std::string> names_to_resolve(const std::vector<Document>& documents);
// Endpoint SRV names, in lower case.
std::vector<std::string> services_to_resolve(const std::vector<Document>& documents);

}  // namespace sluice::control
