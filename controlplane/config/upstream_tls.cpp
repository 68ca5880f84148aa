#include "controlplane/upstream_tls.h"

#include "crypto/contexts.h"
#include "read_file.h"
#include "schema.h"

namespace sluice::control {
namespace {

constexpr const char* kAccepted = "; expected a PEM file of the authorities' certificates";

// Plain words for a file that is missing, a folder or not ours to read.
std::expected<void, TlsComplaint> check_readable(const std::string& field,
                                                 const std::string& file) {
  const auto text = read_config_file(file);
  if (text) return {};
  return std::unexpected(TlsComplaint{field, file + " " + text.error().message});
}

}  // namespace

UpstreamContexts::UpstreamContexts(std::map<std::string, CertificateConfig> certificates)
    : certificates_(std::move(certificates)) {}

std::vector<std::string> UpstreamContexts::files_of(const Key& key) const {
  std::vector<std::string> files;
  files.push_back(key.first.empty() ? std::string(crypto::kSystemRoots) : key.first);
  if (const auto found = certificates_.find(key.second); found != certificates_.end()) {
    files.push_back(found->second.chain);
    files.push_back(found->second.key);
  }
  return files;
}

UpstreamContexts::Stamps UpstreamContexts::stamps_of(const Key& key) const {
  Stamps stamps;
  for (const std::string& file : files_of(key)) stamps.push_back(stamp_of(file));
  return stamps;
}

std::expected<std::shared_ptr<void>, TlsComplaint> UpstreamContexts::make(const Key& key) const {
  const auto& [ca, certificate] = key;
  crypto::ClientContextConfig config;
  config.ca_file = ca;
  if (!ca.empty()) {
    if (auto readable = check_readable("ca", ca); !readable) {
      readable.error().message += kAccepted;
      return std::unexpected(readable.error());
    }
  }
  if (!certificate.empty()) {
    const auto found = certificates_.find(certificate);
    if (found == certificates_.end()) {
      std::vector<std::string> known;
      std::string list;
      for (const auto& [name, files] : certificates_) {
        known.push_back(name);
        list += (list.empty() ? "" : ", ") + name;
      }
      const auto near = near_miss(certificate, known);
      return std::unexpected(TlsComplaint{
          "certificate", "the boot file has no certificate \"" + certificate + "\"" +
                             (near ? "; did you mean \"" + *near + "\"?" : "") +
                             " (certificates: " + (list.empty() ? "none" : list) + ")"});
    }
    for (const std::string* file : {&found->second.chain, &found->second.key}) {
      if (auto readable = check_readable("certificate", *file); !readable) {
        return std::unexpected(readable.error());
      }
    }
    config.certificate_chain = found->second.chain;
    config.certificate_key = found->second.key;
  }
  auto made = crypto::ClientContext::make(config);
  if (made) return std::shared_ptr<crypto::ClientContext>(std::move(*made));
  // Which of the two it was: the authorities alone tell.
  auto alone = crypto::ClientContext::make({config.ca_file, "", "", false});
  if (alone) return std::unexpected(TlsComplaint{"certificate", made.error()});
  return std::unexpected(TlsComplaint{"ca", alone.error() + kAccepted});
}

std::expected<std::shared_ptr<void>, TlsComplaint> UpstreamContexts::get(
    const policy::UpstreamTls& tls) {
  const Key key = key_of(tls);
  Entry& entry = entries_[key];
  // Before reading: a change in between is then seen as one.
  Stamps stamps = stamps_of(key);
  if (auto context = entry.context.lock(); context && stamps == entry.good) {
    entry.tried = std::move(stamps);
    return context;
  }
  auto made = make(key);
  if (stamps != entry.tried) entry.told = false;
  entry.tried = stamps;
  if (!made) return made;
  entry.good = std::move(stamps);
  entry.context = *made;
  entry.told = false;
  return made;
}

std::shared_ptr<void> UpstreamContexts::in_use(const policy::UpstreamTls& tls) const {
  const auto found = entries_.find(key_of(tls));
  return found == entries_.end() ? nullptr : found->second.context.lock();
}

void UpstreamContexts::note(const policy::UpstreamTls& tls, std::string line) {
  Entry& entry = entries_[key_of(tls)];
  if (!std::exchange(entry.told, true)) notes_.push_back(std::move(line));
}

void UpstreamContexts::published(const policy::Snapshot& snapshot) {
  published_.clear();
  for (const policy::Service& s : snapshot.services) {
    if (s.tls.enabled) published_.insert(key_of(s.tls));
  }
}

void UpstreamContexts::begin() {
  std::erase_if(entries_, [this](const auto& e) { return !published_.contains(e.first); });
  notes_.clear();
}

bool UpstreamContexts::files_changed() const {
  for (const Key& key : published_) {
    const auto found = entries_.find(key);
    if (found != entries_.end() && found->second.tried != stamps_of(key)) return true;
  }
  return false;
}

}  // namespace sluice::control
