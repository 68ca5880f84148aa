#include "context_common.h"

#include <mutex>

#include "certificate.h"
#include "crypto/contexts.h"
#include "device.h"

namespace sluice::crypto {

std::string initialise() {
  static std::once_flag once;
  static std::string line;
  std::call_once(once, [] {
    wolfSSL_Init();
    line = register_device();
  });
  return line;
}

bool apply_common(WOLFSSL_CTX* ctx, const char* ciphers) {
  int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1};
  wolfSSL_CTX_SetDevId(ctx, device_id());
  // wolfSSL's own session cache is one table behind one lock; tickets need no table.
  wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
  wolfSSL_CTX_set_timeout(ctx, kTicketLifetime);
  return wolfSSL_CTX_set_groups(ctx, groups, 2) == WOLFSSL_SUCCESS &&
         wolfSSL_CTX_set_cipher_list(ctx, ciphers) == WOLFSSL_SUCCESS;
}

std::string wolfssl_reason(int error) {
  const char* text = wolfSSL_ERR_reason_error_string(static_cast<unsigned long>(error));
  return text != nullptr ? text : "error " + std::to_string(error);
}

std::string use_certificate(WOLFSSL_CTX* ctx, const std::string& chain, const std::string& key) {
  note_curve_thread();
  if (const int r = wolfSSL_CTX_use_certificate_chain_file(ctx, chain.c_str());
      r != WOLFSSL_SUCCESS) {
    return chain + ": no usable PEM certificate chain: " + wolfssl_reason(r);
  }
  if (const int r = wolfSSL_CTX_use_PrivateKey_file(ctx, key.c_str(), WOLFSSL_FILETYPE_PEM);
      r != WOLFSSL_SUCCESS) {
    return key + ": no usable PEM private key: " + wolfssl_reason(r);
  }
  if (wolfSSL_CTX_check_private_key(ctx) != WOLFSSL_SUCCESS || !curve_key_belongs(chain, key)) {
    return key + ": does not belong to the certificate in " + chain;
  }
  return {};
}

}  // namespace sluice::crypto
