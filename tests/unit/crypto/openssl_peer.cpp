#include "openssl_peer.h"

#include <openssl/err.h>

#include <algorithm>
#include <array>

namespace sluice::testing {
namespace {

std::string wire_format(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += static_cast<char>(name.size()) + name;
  return text;
}

int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned int size, void* accepted) {
  const auto& ours = *static_cast<std::string*>(accepted);  // outlives the handshake
  unsigned char* chosen = nullptr;
  const int result =
      SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned>(ours.size()), in, size);
  *out = chosen;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

OpensslPeer::OpensslPeer(const Options& options) {
  ctx_ = SSL_CTX_new(options.server ? TLS_server_method() : TLS_client_method());
  SSL_CTX_set_max_proto_version(ctx_, options.max_version);
  if (options.min_version != 0) SSL_CTX_set_min_proto_version(ctx_, options.min_version);
  if (options.groups != nullptr) SSL_CTX_set1_groups_list(ctx_, options.groups);
  if (options.ciphers13 != nullptr) SSL_CTX_set_ciphersuites(ctx_, options.ciphers13);
  if (options.ciphers12 != nullptr) SSL_CTX_set_cipher_list(ctx_, options.ciphers12);
  if (options.signatures != nullptr) SSL_CTX_set1_sigalgs_list(ctx_, options.signatures);
  if (!options.chain.empty()) {
    SSL_CTX_use_certificate_chain_file(ctx_, options.chain.c_str());
    SSL_CTX_use_PrivateKey_file(ctx_, options.key.c_str(), SSL_FILETYPE_PEM);
  }
  if (!options.ca_file.empty()) {
    SSL_CTX_load_verify_locations(ctx_, options.ca_file.c_str(), nullptr);
    SSL_CTX_set_verify(ctx_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  SSL_CTX_set_session_id_context(ctx_, reinterpret_cast<const unsigned char*>("test"), 4);
  start(options);
}

OpensslPeer::OpensslPeer(const OpensslPeer& same_context, const Options& options)
    : ctx_(same_context.ctx_) {
  SSL_CTX_up_ref(ctx_);
  start(options);
}

void OpensslPeer::start(const Options& options) {
  alpn_ = wire_format(options.alpn);
  if (options.server && !alpn_.empty()) SSL_CTX_set_alpn_select_cb(ctx_, choose_alpn, &alpn_);
  ssl_ = SSL_new(ctx_);
  from_us_ = BIO_new(BIO_s_mem());
  to_us_ = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl_, from_us_, to_us_);
  if (options.server) {
    SSL_set_accept_state(ssl_);
    return;
  }
  SSL_set_connect_state(ssl_);
  if (!options.server_name.empty()) {
    SSL_set_tlsext_host_name(ssl_, options.server_name.c_str());
    if (!options.ca_file.empty()) SSL_set1_host(ssl_, options.server_name.c_str());
  }
  if (!alpn_.empty()) {
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(alpn_.data()),
                        static_cast<unsigned>(alpn_.size()));
  }
  if (options.resume != nullptr) SSL_set_session(ssl_, options.resume);
}

OpensslPeer::~OpensslPeer() {
  // Without this OpenSSL would forbid the session's reuse.
  SSL_set_quiet_shutdown(ssl_, 1);
  SSL_shutdown(ssl_);
  SSL_free(ssl_);
  SSL_CTX_free(ctx_);
}

std::string OpensslPeer::alpn() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::size_t OpensslPeer::write(std::string_view bytes) {
  const int n = SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

void OpensslPeer::note_error(int result) {
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ||
      error == SSL_ERROR_ZERO_RETURN) {
    return;
  }
  if (!failed_) {
    char text[256] = "";
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
    error_ = text;
  }
  failed_ = true;
  ERR_clear_error();
}

bool OpensslPeer::step() {
  ERR_clear_error();
  if (failed_) return false;
  if (!SSL_is_init_finished(ssl_)) {
    const int result = SSL_do_handshake(ssl_);
    if (result != 1) note_error(result);
    return result == 1;
  }
  std::array<char, 16384> room;
  const int n = SSL_read(ssl_, room.data(), static_cast<int>(room.size()));
  if (n > 0) {
    received.append(room.data(), static_cast<std::size_t>(n));
    return true;
  }
  note_error(n);
  return false;
}

void OpensslPeer::exchange(crypto::Session& session, std::size_t chunk) {
  std::vector<std::uint8_t> room(64 * 1024);
  for (bool moved = true; moved;) {
    moved = false;
    while (step()) moved = true;
    // OpenSSL to us.
    std::array<char, 16384> bytes;
    for (int n; (n = BIO_read(to_us_, bytes.data(), static_cast<int>(bytes.size()))) > 0;) {
      wire_.append(bytes.data(), static_cast<std::size_t>(n));
    }
    do {
      const std::string_view piece = std::string_view(wire_).substr(0, chunk);
      const std::size_t taken = session.feed(as_bytes(piece));
      wire_.erase(0, taken);
      if (!session.handshake_done()) session.handshake();
      std::size_t got = 0;
      while ((got = session.read(room)) > 0) {
        plain.append(reinterpret_cast<const char*>(room.data()), got);
        moved = true;
      }
      moved = moved || taken > 0;
      if (taken == 0) break;
    } while (!wire_.empty());
    // Us to OpenSSL.
    while (!session.pending_output().empty()) {
      const ByteSpan out = session.pending_output();
      const std::size_t n = std::min(out.size(), chunk);
      BIO_write(from_us_, out.data(), static_cast<int>(n));
      session.consume_output(n);
      moved = true;
      if (chunk < 1024) {
        while (step()) {
        }
      }
    }
  }
}

}  // namespace sluice::testing
