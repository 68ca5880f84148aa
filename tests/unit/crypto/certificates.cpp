#include "certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace sluice::testing {

struct TestAuthority::State {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
  long serial = 1;
};

namespace {

void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "test certificate: %s failed\n", what);
  std::abort();
}

EVP_PKEY* make_key(KeyKind kind) {
  switch (kind) {
    case KeyKind::p256:
      return EVP_EC_gen("P-256");
    case KeyKind::ed25519:
      return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    case KeyKind::rsa:
      return EVP_RSA_gen(2048);
  }
  return nullptr;
}

void extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  require(e != nullptr, value.c_str());
  X509_add_ext(certificate, e, -1);
  X509_EXTENSION_free(e);
}

X509* make_certificate(EVP_PKEY* key, const std::string& common_name, long serial, int days) {
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60L * 86400);
  X509_gmtime_adj(X509_getm_notAfter(certificate), days * 86400L);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  return certificate;
}

void save(const std::string& path, X509* certificate, EVP_PKEY* key) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  require(file != nullptr, path.c_str());
  if (certificate != nullptr) PEM_write_X509(file, certificate);
  if (key != nullptr) PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
}

}  // namespace

TestAuthority::TestAuthority() : state_(new State) {
  char path[] = "/tmp/sluice-test-XXXXXX";
  require(mkdtemp(path) != nullptr, "mkdtemp");
  directory_ = path;
  state_->key = make_key(KeyKind::p256);
  state_->certificate = make_certificate(state_->key, "Test Authority", state_->serial++, 365);
  X509* ca = state_->certificate;
  X509_set_issuer_name(ca, X509_get_subject_name(ca));
  extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE");
  extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign");
  extension(ca, ca, NID_subject_key_identifier, "hash");
  require(X509_sign(ca, state_->key, EVP_sha256()) > 0, "X509_sign");
  save(ca_file(), ca, nullptr);
}

TestAuthority::~TestAuthority() {
  X509_free(state_->certificate);
  EVP_PKEY_free(state_->key);
  delete state_;
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

IssuedFiles TestAuthority::issue(std::string_view file_name, const CertificateRequest& request) {
  EVP_PKEY* key = make_key(request.kind);
  require(key != nullptr, "key generation");
  X509* certificate = make_certificate(key, std::string(file_name), state_->serial++, request.days);
  X509_set_issuer_name(certificate, X509_get_subject_name(state_->certificate));
  std::string names;
  for (const std::string& name : request.names) {
    names += (names.empty() ? "" : ",") + (name.starts_with("IP:") ? name : "DNS:" + name);
  }
  if (!names.empty()) extension(certificate, state_->certificate, NID_subject_alt_name, names);
  extension(certificate, state_->certificate, NID_subject_key_identifier, "hash");
  extension(certificate, state_->certificate, NID_authority_key_identifier, "keyid");
  require(X509_sign(certificate, state_->key, EVP_sha256()) > 0, "X509_sign");
  IssuedFiles files{directory_ + "/" + std::string(file_name) + ".pem",
                    directory_ + "/" + std::string(file_name) + ".key"};
  save(files.chain, certificate, nullptr);
  save(files.key, nullptr, key);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return files;
}

}  // namespace sluice::testing
