#include "tickets.h"

#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#include <cstring>
#include <vector>

#include "crypto/jose.h"
#include "tls_session.h"

namespace sluice::crypto {
namespace {

constexpr std::size_t kNameSize = WOLFSSL_TICKET_NAME_SZ;
constexpr std::size_t kIvSize = WOLFSSL_TICKET_IV_SZ;
constexpr std::size_t kIdSize = 32;
using AdditionalData = std::array<std::uint8_t, kNameSize + kIvSize + kIdSize>;

// A ticket opens only under the certificate it was given with: resumption skips the certificate,
// so a host must not be reached with another host's ticket.
AdditionalData additional_data(const unsigned char* name, const unsigned char* iv, WOLFSSL* ssl) {
  AdditionalData data{};
  std::memcpy(data.data(), name, kNameSize);
  std::memcpy(data.data() + kNameSize, iv, kIvSize);
  const auto* session = static_cast<const TlsSession*>(wolfSSL_GetIOReadCtx(ssl));
  if (session != nullptr) {
    std::memcpy(data.data() + kNameSize + kIvSize, session->certificate_id().data(), kIdSize);
  }
  return data;
}

}  // namespace

TicketKeys::Pair::~Pair() {
  explicit_bzero(current.secret.data(), current.secret.size());
  explicit_bzero(previous.secret.data(), previous.secret.size());
}

TicketKeys::Key TicketKeys::fresh() {
  Key key{};
  random_bytes(key.name);
  random_bytes(key.secret);
  return key;
}

TicketKeys::TicketKeys() {
  auto pair = std::make_shared<Pair>();
  pair->current = fresh();
  pair->previous = fresh();
  keys_.store(std::move(pair));
}

void TicketKeys::rotate() {
  auto pair = std::make_shared<Pair>();
  pair->previous = keys_.load()->current;
  pair->current = fresh();
  keys_.store(std::move(pair));
}

void TicketKeys::install(WOLFSSL_CTX* ctx) {
  wolfSSL_CTX_set_TicketEncCb(ctx, on_ticket);
  wolfSSL_CTX_set_TicketEncCtx(ctx, this);
}

int TicketKeys::on_ticket(WOLFSSL* ssl, unsigned char* name, unsigned char* iv, unsigned char* mac,
                          int encrypt, unsigned char* ticket, int size, int* out_size, void* self) {
  const auto keys = static_cast<TicketKeys*>(self)->keys_.load();
  if (size <= 0) return WOLFSSL_TICKET_RET_REJECT;
  const auto length = static_cast<word32>(size);
  if (encrypt != 0) {
    std::memcpy(name, keys->current.name.data(), kNameSize);
    random_bytes({iv, kIvSize});
    const AdditionalData aad = additional_data(name, iv, ssl);
    std::memset(mac, 0, WOLFSSL_TICKET_MAC_SZ);
    if (wc_ChaCha20Poly1305_Encrypt(keys->current.secret.data(), iv, aad.data(), aad.size(), ticket,
                                    length, ticket, mac) != 0) {
      return WOLFSSL_TICKET_RET_FATAL;
    }
    *out_size = size;
    return WOLFSSL_TICKET_RET_OK;
  }
  const bool current = std::memcmp(name, keys->current.name.data(), kNameSize) == 0;
  if (!current && std::memcmp(name, keys->previous.name.data(), kNameSize) != 0) {
    return WOLFSSL_TICKET_RET_REJECT;
  }
  const Key& key = current ? keys->current : keys->previous;
  const AdditionalData aad = additional_data(name, iv, ssl);
  if (wc_ChaCha20Poly1305_Decrypt(key.secret.data(), iv, aad.data(), aad.size(), ticket, length,
                                  mac, ticket) != 0) {
    return WOLFSSL_TICKET_RET_REJECT;
  }
  *out_size = size;
  // TLS 1.3 sends a new ticket with each handshake anyway.
  return WOLFSSL_TICKET_RET_OK;
}

}  // namespace sluice::crypto
