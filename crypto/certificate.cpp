#include "certificate.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>

#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>

#include "crypto/jose.h"

namespace sluice::crypto {
namespace {

constexpr std::size_t kMaxFile = 1u << 20;

struct DecodedCertDeleter {
  void operator()(DecodedCert* certificate) const {
    wc_FreeDecodedCert(certificate);
    delete certificate;
  }
};

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::vector<std::string> names_of(const DecodedCert& certificate) {
  std::vector<std::string> names;
  for (const DNS_entry* entry = certificate.altNames; entry != nullptr; entry = entry->next) {
    if (entry->type == ASN_DNS_TYPE && entry->len > 0) {
      names.push_back(lower({entry->name, static_cast<std::size_t>(entry->len)}));
    }
  }
  // RFC 6125 section 6.4.4: the common name counts only without subject alternative names.
  if (certificate.altNames == nullptr && certificate.subjectCN != nullptr &&
      certificate.subjectCNLen > 0) {
    names.push_back(
        lower({certificate.subjectCN, static_cast<std::size_t>(certificate.subjectCNLen)}));
  }
  return names;
}

bool date_of(const DecodedCert& certificate, std::int64_t& seconds) {
  const byte* date = nullptr;
  byte format = 0;
  int size = 0;
  std::tm time{};
  if (certificate.afterDate == nullptr ||
      wc_GetDateInfo(certificate.afterDate, certificate.afterDateLen, &date, &format, &size) != 0 ||
      wc_GetDateAsCalendarTime(date, size, format, &time) != 0) {
    return false;
  }
  seconds = ::timegm(&time);
  return true;
}

struct EccKey {
  EccKey() { wc_ecc_init(&key); }
  EccKey(const EccKey&) = delete;
  EccKey& operator=(const EccKey&) = delete;
  ~EccKey() { wc_ecc_free(&key); }
  // X9.63, uncompressed; empty when there is none.
  std::vector<std::uint8_t> point() {
    std::vector<std::uint8_t> out(2 * MAX_ECC_BYTES + 1);
    auto size = static_cast<word32>(out.size());
    out.resize(wc_ecc_export_x963(&key, out.data(), &size) == 0 ? size : 0);
    return out;
  }
  ecc_key key{};
};

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::uint8_t> public_point(const DecodedCert& certificate) {
  EccKey key;
  word32 at = 0;
  if (wc_EccPublicKeyDecode(certificate.publicKey, &at, &key.key, certificate.pubKeySize) != 0) {
    return {};
  }
  return key.point();
}

// Computed from the secret: what the file says of the public part may be another key's.
std::vector<std::uint8_t> own_point(const std::string& key_file) {
  std::string pem = read_text(key_file);
  std::vector<std::uint8_t> der(pem.size());
  const int size = wc_KeyPemToDer(reinterpret_cast<const unsigned char*>(pem.data()),
                                  static_cast<int>(pem.size()), der.data(),
                                  static_cast<int>(der.size()), nullptr);
  EccKey key;
  word32 at = 0;
  std::vector<std::uint8_t> point;
  if (size > 0 &&
      wc_EccPrivateKeyDecode(der.data(), &at, &key.key, static_cast<word32>(size)) == 0 &&
      wc_ecc_make_pub(&key.key, nullptr) == 0) {
    point = key.point();
  }
  explicit_bzero(der.data(), der.size());
  explicit_bzero(pem.data(), pem.size());
  return point;
}

struct Parsed {
  std::vector<std::uint8_t> der;
  std::unique_ptr<DecodedCert, DecodedCertDeleter> certificate;  // points into der
};

std::expected<Parsed, std::string> parse(const std::string& chain_file) {
  const std::string pem = read_text(chain_file);
  if (pem.empty()) return std::unexpected(chain_file + ": not readable, or empty");
  if (pem.size() > kMaxFile) return std::unexpected(chain_file + ": over 1 MiB");
  // wolfSSL_X509_load_certificate_file() of this release cannot take Ed25519 keys; the parser below
  // it can.
  Parsed parsed;
  parsed.der.resize(pem.size());
  const int der_size = wc_CertPemToDer(reinterpret_cast<const unsigned char*>(pem.data()),
                                       static_cast<int>(pem.size()), parsed.der.data(),
                                       static_cast<int>(parsed.der.size()), CERT_TYPE);
  if (der_size <= 0) return std::unexpected(chain_file + ": not a PEM certificate");
  parsed.der.resize(static_cast<std::size_t>(der_size));
  parsed.certificate.reset(new DecodedCert);
  wc_InitDecodedCert(parsed.certificate.get(), parsed.der.data(),
                     static_cast<word32>(parsed.der.size()), nullptr);
  if (wc_ParseCert(parsed.certificate.get(), CERT_TYPE, NO_VERIFY, nullptr) != 0) {
    return std::unexpected(chain_file + ": the certificate does not parse");
  }
  return parsed;
}

}  // namespace

std::expected<CertificateInfo, std::string> inspect_certificate(const std::string& chain_file) {
  const auto parsed = parse(chain_file);
  if (!parsed) return std::unexpected(parsed.error());
  CertificateInfo info;
  info.names = names_of(*parsed->certificate);
  if (!date_of(*parsed->certificate, info.not_after)) {
    return std::unexpected(chain_file + ": the certificate's notAfter is unreadable");
  }
  info.digest = sha256(parsed->der);
  return info;
}

bool curve_key_belongs(const std::string& chain_file, const std::string& key_file) {
  const auto parsed = parse(chain_file);
  if (!parsed) return false;
  if (parsed->certificate->keyOID != ECDSAk) return true;
  const auto shown = public_point(*parsed->certificate);
  return !shown.empty() && shown == own_point(key_file);
}

}  // namespace sluice::crypto
