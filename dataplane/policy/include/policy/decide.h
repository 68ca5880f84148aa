// The pure decision functions over a snapshot: no state, no clock, no I/O.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/ip_address.h"
#include "policy/snapshot.h"

namespace sluice::policy {

struct Classification {
  ServiceIndex service = kNone;
  ToolIndex tool = 0;
};

// Scratch memory for pattern matching; one per worker, valid for any snapshot published so far.
using match::Scratch;

// Why a path cannot be decided on: servers would disagree about what it means.
enum class PathError : std::uint8_t {
  not_absolute,    // does not start with '/'
  too_long,        // the canonical form does not fit the buffer
  bad_character,   // control, space, '#', '\' or not ASCII
  bad_escape,      // '%' not followed by two hex digits
  hidden,          // %00, an escaped control character, '/', '\' or ';', or an escape of an escape
  dot_segment,     // "." or ".."
  empty_segment,   // "//"
  path_parameter,  // ';': some servers drop what follows it
};
std::string_view to_string(PathError error);  // for people: "has a dot segment (\".\" or \"..\")"

// The one form of a request's path that policy is matched on. Takes path or path?query, answers
// without the query. Each byte has one form (RFC 3986 section 6.2.2): what RFC 3986 allows in a
// segment stands for itself, everything else is %XX in capitals, so a tool's pattern cannot be
// avoided by escaping. What different servers read differently is refused, not repaired: the tool
// is sent the path as the agent wrote it. Answers a view into `buffer`.
std::expected<std::string_view, PathError> canonical_path(std::string_view path,
                                                          std::span<char> buffer);

// Host of an authority ("host", "host:port", "[v6]", "[v6]:port") in lower case, without port and
// trailing dot. nullopt if it is none. Answers a view into `buffer`.
std::optional<std::string_view> canonical_host(std::string_view authority, std::span<char> buffer);

// Which service and tool a request means. `authority` may carry a port; compared
// case-insensitively. `path` is canonical. service == kNone: unknown host or no service under this
// path.
Classification classify(const Snapshot& snapshot, Scratch& scratch, std::string_view authority,
                        std::string_view method, std::string_view path);
// The service of protocol tcp that a CONNECT target ("host:port") means.
ServiceIndex classify_connect(const Snapshot& snapshot, Scratch& scratch,
                              std::string_view authority);
// A service's tool by name (MCP); 0 if it is not listed.
ToolIndex find_tool(const Service& service, std::string_view name);

ClassIndex find_class(const Snapshot& snapshot, std::string_view name);
const Issuer* find_issuer(const Snapshot& snapshot, std::string_view iss);

// May this source address speak for the class?
bool source_allowed(const AgentClass& agent_class, const IpAddress& source);
// Does the class allow the tool?
bool class_allows(const AgentClass& agent_class, ServiceIndex service, ToolIndex tool);
// Does the token's scope (space-separated `service`, `service/tool`, `service/*`) allow the tool? A
// token without scope (empty) narrows nothing. `service` and `service/*` are the whole service.
bool scope_allows(std::string_view scope, const Service& service, const Tool& tool);

// Glob over whole text: '*' any run, '?' one character. Iterative; at most |pattern| * |text|
// steps.
bool glob_match(std::string_view pattern, std::string_view text);

// "service", "service/tool" or with globs; nullopt unless both parts are plausible.
std::optional<AllowRule> parse_allow_rule(std::string_view text);
// [control] Fills agent_class.allowed_tools from its rules. A rule without a tool part allows the
// whole service; one with a tool part allows the listed tools it matches, and never the unlisted
// (tool 0). Answers, per rule, how many tools it allows: 0 is worth a word to the operator.
std::vector<std::size_t> compile_allow_rules(AgentClass& agent_class,
                                             const std::vector<Service>& services);

}  // namespace sluice::policy
