#include "certificate.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>

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

}  // namespace

std::expected<CertificateInfo, std::string> inspect_certificate(const std::string& chain_file) {
  std::ifstream file(chain_file, std::ios::binary);
  const std::string pem((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open() || pem.empty())
    return std::unexpected(chain_file + ": not readable, or empty");
  if (pem.size() > kMaxFile) return std::unexpected(chain_file + ": over 1 MiB");
  // wolfSSL_X509_load_certificate_file() of this release cannot take Ed25519 keys; the parser below
  // it can.
  std::vector<std::uint8_t> der(pem.size());
  const int der_size = wc_CertPemToDer(reinterpret_cast<const unsigned char*>(pem.data()),
                                       static_cast<int>(pem.size()), der.data(),
                                       static_cast<int>(der.size()), CERT_TYPE);
  if (der_size <= 0) return std::unexpected(chain_file + ": not a PEM certificate");
  der.resize(static_cast<std::size_t>(der_size));
  std::unique_ptr<DecodedCert, DecodedCertDeleter> certificate(new DecodedCert);
  wc_InitDecodedCert(certificate.get(), der.data(), static_cast<word32>(der.size()), nullptr);
  if (wc_ParseCert(certificate.get(), CERT_TYPE, NO_VERIFY, nullptr) != 0) {
    return std::unexpected(chain_file + ": the certificate does not parse");
  }
  CertificateInfo info;
  info.names = names_of(*certificate);
  if (!date_of(*certificate, info.not_after)) {
    return std::unexpected(chain_file + ": the certificate's notAfter is unreadable");
  }
  info.digest = sha256(der);
  return info;
}

}  // namespace sluice::crypto
