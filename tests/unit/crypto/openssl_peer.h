// OpenSSL in memory as the other end of a session.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/session.h"

namespace sluice::testing {

class OpensslPeer {
 public:
  struct Options {
    bool server = false;
    std::string ca_file;            // client: verified when given
    std::string chain, key;         // server, or client certificate
    std::string server_name;        // client: SNI and check
    std::vector<std::string> alpn;  // client: offered; server: accepted
    const char* groups = nullptr;
    const char* ciphers13 = nullptr;
    const char* ciphers12 = nullptr;
    const char* signatures = nullptr;
    int max_version = TLS1_3_VERSION;
    int min_version = 0;
    SSL_SESSION* resume = nullptr;  // client
  };

  explicit OpensslPeer(const Options& options);
  // A further connection under the same context.
  OpensslPeer(const OpensslPeer& same_context, const Options& options);
  OpensslPeer& operator=(const OpensslPeer&) = delete;
  ~OpensslPeer();

  // Moves bytes between both ends, `chunk` at a time, until nothing moves. Reads our plaintext.
  void exchange(crypto::Session& session, std::size_t chunk = 1u << 20);
  bool handshake_done() const { return SSL_is_init_finished(ssl_) != 0; }
  bool failed() const { return failed_; }
  bool closed() const { return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0; }
  // The alert received, as OpenSSL words it.
  const std::string& error() const { return error_; }
  std::string alpn() const;
  SSL* ssl() { return ssl_; }
  SSL_SESSION* session() { return SSL_get1_session(ssl_); }

  std::size_t write(std::string_view bytes);
  void shutdown() { SSL_shutdown(ssl_); }

  std::string received;  // by OpenSSL
  std::string plain;     // by our session

 private:
  void start(const Options& options);
  bool step();
  void note_error(int result);

  SSL_CTX* ctx_ = nullptr;
  SSL* ssl_ = nullptr;
  BIO* from_us_ = nullptr;
  BIO* to_us_ = nullptr;
  std::string alpn_;  // in wire format
  std::string wire_;  // from OpenSSL, not yet fed
  bool failed_ = false;
  std::string error_;
};

}  // namespace sluice::testing
