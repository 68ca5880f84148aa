// Session ticket protection (RFC 8446 section 4.6.1, RFC 5077 section 4): own keys, so that all
// certificates and workers share them, with rotation and binding to the certificate.
#pragma once

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace sluice::crypto {

class TicketKeys {
 public:
  TicketKeys();
  // [control] The present key opens tickets for one more period; a new one seals.
  void rotate();
  // Installs the callback. The context must not outlive this object.
  void install(WOLFSSL_CTX* ctx);

 private:
  struct Key {
    std::array<std::uint8_t, 16> name;
    std::array<std::uint8_t, 32> secret;
  };
  struct Pair {
    Key current, previous;
    ~Pair();
  };
  static Key fresh();
  static int on_ticket(WOLFSSL* ssl, unsigned char* name, unsigned char* iv, unsigned char* mac,
                       int encrypt, unsigned char* ticket, int size, int* out_size, void* self);

  // [control] replaces; [worker] read.
  std::atomic<std::shared_ptr<const Pair>> keys_;
};

}  // namespace sluice::crypto
