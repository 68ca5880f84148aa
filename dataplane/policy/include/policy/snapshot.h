// The compiled policy: everything the data path decides from, immutable once published.
//
// The control thread compiles documents into a Snapshot and publishes it (runtime/snapshot_slot.h);
// workers read it without synchronisation; it is freed after a QSBR grace period. Nothing in it
// points outside it. Indices (ServiceIndex and so on) are positions in its vectors and mean nothing
// in another generation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "base/time.h"
#include "match/hosts.h"
#include "match/tools.h"

namespace sluice::policy {

using ServiceIndex = std::uint16_t;
using ToolIndex = std::uint16_t;  // within its service; 0 is the tool "*"
using ClassIndex = std::uint16_t;
inline constexpr std::uint16_t kNone = 0xffff;

enum class Mode : std::uint8_t { observe, audit, enforce };
enum class Protocol : std::uint8_t { http, mcp, tcp };
enum class HttpVersion : std::uint8_t { automatic, h1, h2 };

// A public key of an issuer in the form crypto::VerificationKey takes; kept here as plain bytes so
// that policy does not depend on crypto.
struct IssuerKey {
  std::string kid;
  std::uint8_t algorithm = 0;  // crypto::JwsAlgorithm
  std::vector<std::uint8_t> material;
};

struct Issuer {
  std::string name;
  std::string issuer;  // the `iss` claim, compared byte for byte
  std::vector<std::string> audiences;
  std::uint8_t algorithms = 0;  // bit per crypto::JwsAlgorithm
  std::vector<IssuerKey> keys;
  Seconds max_life{900};
};

// Zero means "no limit". Enforced from the pipeline's shape stage on; carried here from the start.
struct Limits {
  double calls_per_second = 0;
  std::uint32_t burst = 0;
  std::uint32_t concurrency = 0;
  std::uint64_t calls = 0;
  std::uint64_t retries = 0;
  std::uint64_t bytes_per_second = 0;
  Seconds wall{0};
};

// One allow rule, "service", "service/tool" or with globs ('*' any run, '?' one character).
struct AllowRule {
  std::string text;     // as written
  std::string service;  // glob
  std::string tool;     // glob; empty: the whole service, unlisted tools included
};

struct AgentClass {
  std::string name;
  Mode mode = Mode::enforce;
  std::vector<IpPrefix> sources;  // empty: anywhere
  std::vector<AllowRule> allow;
  Limits limits;
  Millis hold{250};
  // Compiled: allowed_tools[service] has bit t set if tool t of that service is allowed.
  std::vector<std::vector<std::uint64_t>> allowed_tools;
};

struct Timeouts {
  Millis connect{1000}, tls{3000}, first_byte{10000}, idle{300000}, step{30000}, hard{3600000};
};

struct ServiceEndpoint {
  std::string host;  // as written: name or address
  std::uint16_t port = 0;
  std::vector<IpAddress> addresses;  // resolved; empty: nothing known (yet)
  std::uint64_t id = 0;              // stable hash of (service, host, port): pools key on it
};

struct UpstreamTls {
  bool enabled = false;
  std::string ca_file;  // empty: system roots
  std::string server_name;
  std::string certificate;  // name of a client certificate in the boot file
  // The crypto::ClientContext the control thread made for these settings; null when they could not
  // be loaded. Opaque here: policy does not depend on crypto. Only the pointer is shared.
  std::shared_ptr<void> context;
};

struct Degrade {
  std::string message, hint;
  std::vector<std::string> alternatives;
};

struct Tool {
  std::string name;  // "*" for index 0
  bool idempotent = false;
  std::string owner;
  std::vector<std::string> permissions;
  Timeouts timeouts;  // the service's, overridden
};

struct Service {
  std::string name;
  Protocol protocol = Protocol::http;
  HttpVersion http = HttpVersion::automatic;
  std::vector<std::string> hosts;
  std::string path = "/";
  std::vector<ServiceEndpoint> endpoints;
  UpstreamTls tls;
  Timeouts timeouts;
  Degrade degrade;
  std::vector<Tool> tools;          // [0] is "*"
  match::ToolMatcher tool_matcher;  // method and path -> tool index; empty if no tools are listed
};

struct Snapshot {
  std::uint64_t generation = 0;
  std::vector<Issuer> issuers;
  std::vector<AgentClass> classes;
  std::vector<Service> services;
  match::HostMatcher hosts;  // authority and path prefix -> service index, protocols http and mcp
  match::HostMatcher connect_hosts;  // CONNECT target host -> service index, protocol tcp
};

}  // namespace sluice::policy
