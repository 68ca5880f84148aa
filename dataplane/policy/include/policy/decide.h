// The pure decision functions over a snapshot: no state, no clock, no I/O.
#pragma once

#include <optional>
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

// Which service and tool a request means. `authority` may carry a port; compared case-insensitively.
// service == kNone: unknown host or no service under this path.
Classification classify(const Snapshot& snapshot, Scratch& scratch, std::string_view authority,
                        std::string_view method, std::string_view path);

ClassIndex find_class(const Snapshot& snapshot, std::string_view name);
const Issuer* find_issuer(const Snapshot& snapshot, std::string_view iss);

// May this source address speak for the class?
bool source_allowed(const AgentClass& agent_class, const IpAddress& source);
// Does the class allow the tool?
bool class_allows(const AgentClass& agent_class, ServiceIndex service, ToolIndex tool);
// Does the token's scope (space-separated `service`, `service/tool`, `service/*`) allow the tool? A
// token without scope (empty) narrows nothing.
bool scope_allows(std::string_view scope, const Service& service, const Tool& tool);

// Glob over whole text: '*' any run, '?' one character. Linear time.
bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace sluice::policy
