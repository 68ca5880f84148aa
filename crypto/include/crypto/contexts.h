// TLS contexts: certificates to offer, CAs to trust, tickets; makers of sessions.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/session.h"

namespace sluice::crypto {

struct CertificateFiles {
  std::string name;   // as in the boot file
  std::string chain;  // PEM paths
  std::string key;
};

// Server side: all certificates of the process; SNI chooses among those whose names match, else the
// listener's default. Thread-safe: workers make sessions while the control thread replaces
// certificates; sessions keep what they started with.
class ServerContexts {
 public:
  static std::expected<std::unique_ptr<ServerContexts>, std::string> load(
      const std::vector<CertificateFiles>& files);
  virtual ~ServerContexts() = default;

  // [control] Reloads from the same files; on error the old ones stay.
  virtual std::expected<void, std::string> reload() = 0;
  // [control] New ticket key; the previous one still opens tickets for one more period.
  virtual void rotate_ticket_keys() = 0;
  // [worker] `default_certificate` is a name given to load(). ALPN: h2, http/1.1.
  virtual std::unique_ptr<Session> make_session(std::string_view default_certificate) = 0;
};

// Authorities that count when no others are given.
inline constexpr const char* kSystemRoots = "/etc/ssl/certs/ca-certificates.crt";

struct ClientContextConfig {
  std::string ca_file;                             // empty: system roots
  std::string certificate_chain, certificate_key;  // optional client certificate
  bool offer_h2 = false;
};

// Towards tools. Made by the control thread, shared by workers: make_session() is thread-safe.
class ClientContext {
 public:
  static std::expected<std::unique_ptr<ClientContext>, std::string> make(
      const ClientContextConfig& config);
  virtual ~ClientContext() = default;
  // `server_name`: SNI and the name the certificate must carry.
  virtual std::unique_ptr<Session> make_session(std::string_view server_name) = 0;
};

// Once per process, before any context: wolfSSL_Init and the ipsec-mb device.
// Returns a line for the log: which device serves AES-GCM.
std::string initialise();

// False where the CPU lacks AES-NI: AES-GCM is then wolfSSL's own code.
bool device_available();
// [tests, benchmarks] Off: wolfSSL's own code runs in sessions made from now on.
void enable_device(bool enabled);

}  // namespace sluice::crypto
