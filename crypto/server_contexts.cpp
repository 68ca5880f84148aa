#include <algorithm>
#include <atomic>
#include <ctime>
#include <map>
#include <utility>

#include "certificate.h"
#include "context_common.h"
#include "crypto/contexts.h"
#include "tickets.h"
#include "tls_session.h"

namespace sluice::crypto {
namespace {

constexpr const char* kCiphers =
    "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256";

struct Certificate {
  std::string name;
  CertificateInfo info;
  CtxPtr ctx;
};

// All certificates of one load, never changed afterwards. Sessions keep it alive.
class CertificateSet final : public SessionOwner {
 public:
  static std::expected<std::shared_ptr<CertificateSet>, std::string> load(
      const std::vector<CertificateFiles>& files, std::shared_ptr<TicketKeys> tickets);

  WOLFSSL* make_ssl(TlsSession& session) override;

 private:
  std::string add(const CertificateFiles& files);
  const Certificate* match(std::string_view host) const;
  const Certificate& default_for(std::string_view name) const;
  static int on_server_name(WOLFSSL* ssl, int* alert, void* self);
  static int on_alpn(WOLFSSL* ssl, const unsigned char** out, unsigned char* out_size,
                     const unsigned char* offered, unsigned int size, void* arg);

  std::shared_ptr<TicketKeys> tickets_;
  std::vector<Certificate> certificates_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

std::expected<std::shared_ptr<CertificateSet>, std::string> CertificateSet::load(
    const std::vector<CertificateFiles>& files, std::shared_ptr<TicketKeys> tickets) {
  if (files.empty()) return std::unexpected("no certificate given");
  auto set = std::make_shared<CertificateSet>();
  set->tickets_ = std::move(tickets);
  for (const CertificateFiles& one : files) {
    if (std::string error = set->add(one); !error.empty()) {
      return std::unexpected("certificate \"" + one.name + "\": " + error);
    }
  }
  return set;
}

std::string CertificateSet::add(const CertificateFiles& files) {
  auto info = inspect_certificate(files.chain);
  if (!info) return info.error();
  Certificate certificate{files.name, std::move(*info),
                          CtxPtr(wolfSSL_CTX_new(wolfTLSv1_3_server_method()))};
  WOLFSSL_CTX* ctx = certificate.ctx.get();
  if (ctx == nullptr || !apply_common(ctx, kCiphers)) return "out of memory";
  if (std::string error = use_certificate(ctx, files.chain, files.key); !error.empty()) {
    return error;
  }
  tickets_->install(ctx);
  // A resumed session shows no certificate: it must not outlive the one it was made under.
  const std::int64_t left = certificate.info.not_after - std::time(nullptr);
  wolfSSL_CTX_set_TicketHint(ctx,
                             static_cast<int>(std::clamp<std::int64_t>(left, 1, kTicketLifetime)));
  wolfSSL_CTX_set_num_tickets(ctx, 1);
  wolfSSL_CTX_set_servername_callback(ctx, on_server_name);
  wolfSSL_CTX_set_servername_arg(ctx, this);
  wolfSSL_CTX_set_alpn_select_cb(ctx, on_alpn, nullptr);
  for (const std::string& name : certificate.info.names) {
    by_name_.try_emplace(name, certificates_.size());
  }
  certificates_.push_back(std::move(certificate));
  return {};
}

const Certificate* CertificateSet::match(std::string_view host) const {
  if (const auto exact = by_name_.find(host); exact != by_name_.end()) {
    return &certificates_[exact->second];
  }
  // RFC 6125 section 6.4.3: a wildcard stands for one whole left-most label.
  const std::size_t dot = host.find('.');
  if (dot == std::string_view::npos || dot == 0) return nullptr;
  const auto wildcard = by_name_.find("*" + std::string(host.substr(dot)));
  return wildcard != by_name_.end() ? &certificates_[wildcard->second] : nullptr;
}

const Certificate& CertificateSet::default_for(std::string_view name) const {
  for (const Certificate& certificate : certificates_) {
    if (certificate.name == name) return certificate;
  }
  return certificates_.front();
}

WOLFSSL* CertificateSet::make_ssl(TlsSession& session) {
  const Certificate& certificate = default_for(session.requested_name());
  session.set_certificate_id(certificate.info.digest);
  WOLFSSL* ssl = wolfSSL_new(certificate.ctx.get());
  if (ssl == nullptr) return nullptr;
  // on_alpn() chooses by our preference. When it finds nothing, wolfSSL goes on with this list, and
  // its option is what makes the handshake fail.
  char protocols[] = "h2,http/1.1";
  wolfSSL_UseALPN(ssl, protocols, sizeof(protocols) - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH);
  return ssl;
}

int CertificateSet::on_server_name(WOLFSSL* ssl, int* /*alert*/, void* self) {
  auto* session = static_cast<TlsSession*>(wolfSSL_GetIOReadCtx(ssl));
  const char* name = wolfSSL_get_servername(ssl, WOLFSSL_SNI_HOST_NAME);
  if (session == nullptr || name == nullptr) return 0;
  session->set_server_name(name);
  const Certificate* chosen = static_cast<CertificateSet*>(self)->match(session->server_name());
  // Unknown names go on with the default: the HTTP layer above answers them with a reason.
  if (chosen == nullptr) return 0;
  session->set_certificate_id(chosen->info.digest);
  if (wolfSSL_get_SSL_CTX(ssl) == chosen->ctx.get()) return 0;
  return wolfSSL_set_SSL_CTX(ssl, chosen->ctx.get()) != nullptr ? 0 : fatal_return;
}

// RFC 7301 section 3.2: our order decides; no overlap ends the handshake.
int CertificateSet::on_alpn(WOLFSSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
                            const unsigned char* offered, unsigned int size, void* /*arg*/) {
  const std::string_view list{reinterpret_cast<const char*>(offered), size};
  for (const std::string_view ours : {std::string_view{"h2"}, std::string_view{"http/1.1"}}) {
    for (std::size_t at = 0; at < list.size();) {
      const std::size_t length = static_cast<unsigned char>(list[at]);
      const std::string_view theirs = list.substr(at + 1, length);
      if (theirs == ours) {
        *out = offered + at + 1;
        *out_size = static_cast<unsigned char>(length);
        return 0;
      }
      at += 1 + length;
    }
  }
  return fatal_return;
}

class ServerContextsImpl final : public ServerContexts {
 public:
  ServerContextsImpl(std::vector<CertificateFiles> files, std::shared_ptr<TicketKeys> tickets,
                     std::shared_ptr<CertificateSet> set)
      : files_(std::move(files)), tickets_(std::move(tickets)), set_(std::move(set)) {}

  std::expected<void, std::string> reload() override {
    auto set = CertificateSet::load(files_, tickets_);
    if (!set) return std::unexpected(std::move(set.error()));
    set_.store(std::move(*set));
    return {};
  }
  void rotate_ticket_keys() override { tickets_->rotate(); }
  std::unique_ptr<Session> make_session(std::string_view default_certificate) override {
    return std::make_unique<TlsSession>(set_.load(), true, std::string(default_certificate));
  }

 private:
  const std::vector<CertificateFiles> files_;
  const std::shared_ptr<TicketKeys> tickets_;
  // [control] replaces; [worker] read.
  std::atomic<std::shared_ptr<CertificateSet>> set_;
};

}  // namespace

std::expected<std::unique_ptr<ServerContexts>, std::string> ServerContexts::load(
    const std::vector<CertificateFiles>& files) {
  initialise();
  auto tickets = std::make_shared<TicketKeys>();
  auto set = CertificateSet::load(files, tickets);
  if (!set) return std::unexpected(std::move(set.error()));
  return std::make_unique<ServerContextsImpl>(files, std::move(tickets), std::move(*set));
}

}  // namespace sluice::crypto
