// Throw-away certificates for tests, made with OpenSSL into a temporary directory.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::testing {

enum class KeyKind { p256, ed25519, rsa };

struct CertificateRequest {
  KeyKind kind = KeyKind::p256;
  std::vector<std::string> names = {"kb.tools.example"};  // "IP:198.18.0.1" for addresses
  int days = 30;                                          // negative: expired
};

struct IssuedFiles {
  std::string chain;
  std::string key;
};

// One authority; its directory goes when it goes.
class TestAuthority {
 public:
  TestAuthority();
  TestAuthority(const TestAuthority&) = delete;
  TestAuthority& operator=(const TestAuthority&) = delete;
  ~TestAuthority();

  IssuedFiles issue(std::string_view file_name, const CertificateRequest& request);
  std::string ca_file() const { return directory_ + "/ca.pem"; }
  const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
  struct State;
  State* state_;
};

}  // namespace sluice::testing
