#include <arpa/inet.h>

#include <algorithm>
#include <list>
#include <mutex>
#include <utility>

#include "context_common.h"
#include "crypto/contexts.h"
#include "tls_session.h"

namespace sluice::crypto {
namespace {

constexpr std::size_t kRememberedServers = 64;
constexpr const char* kCiphers =
    "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

struct ResumptionDeleter {
  void operator()(WOLFSSL_SESSION* session) const { wolfSSL_SESSION_free(session); }
};
using Resumption = std::unique_ptr<WOLFSSL_SESSION, ResumptionDeleter>;

bool is_address(const std::string& name) {
  unsigned char raw[sizeof(in6_addr)];
  return inet_pton(AF_INET, name.c_str(), raw) == 1 || inet_pton(AF_INET6, name.c_str(), raw) == 1;
}

// The context proper: outlives its maker as long as sessions live.
class ClientOwner final : public SessionOwner {
 public:
  static std::expected<std::shared_ptr<ClientOwner>, std::string> make(
      const ClientContextConfig& config);

  WOLFSSL* make_ssl(TlsSession& session) override;
  void on_established(TlsSession& session) override;
  void on_refused(TlsSession& session) override { forget(session); }
  void on_ticket(TlsSession& session) override { remember(session); }

 private:
  static int on_ticket_message(WOLFSSL* ssl, const unsigned char* ticket, int size, void* self);
  bool prepare(WOLFSSL* ssl, const std::string& name);
  void remember(TlsSession& session);
  void forget(const TlsSession& session);
  void erase(const std::string& name);

  CtxPtr ctx_;
  bool offer_h2_ = false;
  // Newest last. [worker] all of them. A worker never waits: who finds the lock taken makes a full
  // handshake, or leaves the ticket.
  std::mutex lock_;
  std::list<std::pair<std::string, Resumption>> remembered_;
};

std::expected<std::shared_ptr<ClientOwner>, std::string> ClientOwner::make(
    const ClientContextConfig& config) {
  auto owner = std::make_shared<ClientOwner>();
  owner->ctx_.reset(wolfSSL_CTX_new(wolfTLS_client_method()));
  owner->offer_h2_ = config.offer_h2;
  WOLFSSL_CTX* ctx = owner->ctx_.get();
  if (ctx == nullptr || !apply_common(ctx, kCiphers) ||
      wolfSSL_CTX_SetMinVersion(ctx, WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS) {
    return std::unexpected("out of memory");
  }
  const std::string roots = config.ca_file.empty() ? kSystemRoots : config.ca_file;
  if (const int r = wolfSSL_CTX_load_verify_locations(ctx, roots.c_str(), nullptr);
      r != WOLFSSL_SUCCESS) {
    return std::unexpected(roots + ": no usable PEM authority certificates: " + wolfssl_reason(r));
  }
  wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_PEER, nullptr);
  wolfSSL_CTX_UseSessionTicket(ctx);
  if (config.certificate_chain.empty() != config.certificate_key.empty()) {
    return std::unexpected("a client certificate needs both its chain and its key");
  }
  if (!config.certificate_chain.empty()) {
    if (std::string error = use_certificate(ctx, config.certificate_chain, config.certificate_key);
        !error.empty()) {
      return std::unexpected(std::move(error));
    }
  }
  return owner;
}

bool ClientOwner::prepare(WOLFSSL* ssl, const std::string& name) {
  if (name.empty()) return false;
  if (is_address(name)) {
    // RFC 6066 section 3: no SNI for addresses. RFC 6125 leaves them to the iPAddress name.
    if (wolfSSL_X509_VERIFY_PARAM_set1_ip_asc(wolfSSL_get0_param(ssl), name.c_str()) !=
        WOLFSSL_SUCCESS) {
      return false;
    }
  } else if (wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, name.data(),
                            static_cast<unsigned short>(name.size())) != WOLFSSL_SUCCESS ||
             wolfSSL_check_domain_name(ssl, name.c_str()) != WOLFSSL_SUCCESS) {
    return false;
  }
  std::string alpn = offer_h2_ ? "h2,http/1.1" : "http/1.1";
  return wolfSSL_UseALPN(ssl, alpn.data(), static_cast<unsigned>(alpn.size()),
                         WOLFSSL_ALPN_FAILED_ON_MISMATCH) == WOLFSSL_SUCCESS;
}

WOLFSSL* ClientOwner::make_ssl(TlsSession& session) {
  WOLFSSL* ssl = wolfSSL_new(ctx_.get());
  if (ssl == nullptr) return nullptr;
  if (!prepare(ssl, session.requested_name())) {
    wolfSSL_free(ssl);
    return nullptr;
  }
  wolfSSL_set_SessionTicket_cb(ssl, on_ticket_message, &session);
  const std::unique_lock held(lock_, std::try_to_lock);
  if (!held) return ssl;
  for (auto at = remembered_.begin(); at != remembered_.end(); ++at) {
    if (at->first != session.requested_name()) continue;
    // Refused when it has expired; then the handshake is simply a full one.
    wolfSSL_set_session(ssl, at->second.get());
    break;
  }
  return ssl;
}

int ClientOwner::on_ticket_message(WOLFSSL* /*ssl*/, const unsigned char* /*ticket*/, int /*size*/,
                                   void* self) {
  static_cast<TlsSession*>(self)->note_ticket();
  return 0;
}

void ClientOwner::on_established(TlsSession& session) {
  if (session.version() != "TLSv1.3") forget(session);
}

// Only TLS 1.3: this release of wolfSSL takes the version of a resumed session for the only one,
// so a remembered 1.2 session would keep the server at 1.2 for ever.
void ClientOwner::remember(TlsSession& session) {
  if (session.version() != "TLSv1.3") return;
  const std::unique_lock held(lock_, std::try_to_lock);
  if (!held) return;
  // A copy: what get1 gives is the connection's own, which goes on changing on its worker.
  const Resumption own(wolfSSL_get1_session(session.ssl()));
  Resumption resumption(own ? wolfSSL_SESSION_dup(own.get()) : nullptr);
  if (!resumption) return;
  erase(session.requested_name());
  if (remembered_.size() >= kRememberedServers) remembered_.pop_front();
  remembered_.emplace_back(session.requested_name(), std::move(resumption));
}

// Also after a failure: a server that went back to TLS 1.2 breaks on the 1.3 session, and the next
// attempt must be a full handshake.
void ClientOwner::forget(const TlsSession& session) {
  // With the lock taken the session stays for one more failed attempt at most.
  const std::unique_lock held(lock_, std::try_to_lock);
  if (held) erase(session.requested_name());
}

void ClientOwner::erase(const std::string& name) {
  std::erase_if(remembered_, [&](const auto& e) { return e.first == name; });
}

class ClientContextImpl final : public ClientContext {
 public:
  explicit ClientContextImpl(std::shared_ptr<ClientOwner> owner) : owner_(std::move(owner)) {}
  std::unique_ptr<Session> make_session(std::string_view server_name) override {
    return std::make_unique<TlsSession>(owner_, false, std::string(server_name));
  }

 private:
  std::shared_ptr<ClientOwner> owner_;
};

}  // namespace

std::expected<std::unique_ptr<ClientContext>, std::string> ClientContext::make(
    const ClientContextConfig& config) {
  initialise();
  auto owner = ClientOwner::make(config);
  if (!owner) return std::unexpected(std::move(owner.error()));
  return std::make_unique<ClientContextImpl>(std::move(*owner));
}

}  // namespace sluice::crypto
