// What server and client contexts share.
#pragma once

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <memory>
#include <string>

namespace sluice::crypto {

struct CtxDeleter {
  void operator()(WOLFSSL_CTX* ctx) const { wolfSSL_CTX_free(ctx); }
};
using CtxPtr = std::unique_ptr<WOLFSSL_CTX, CtxDeleter>;

inline constexpr int kTicketLifetime = 3600;  // seconds

// Device, groups (X25519 first: 3 to 4 times as many handshakes as P-256), ciphers. False when the
// library refuses one.
bool apply_common(WOLFSSL_CTX* ctx, const char* ciphers);
// Empty on success.
std::string use_certificate(WOLFSSL_CTX* ctx, const std::string& chain, const std::string& key);
std::string wolfssl_reason(int error);

}  // namespace sluice::crypto
