// TLS contexts towards tools, made by the control thread from a service's settings and the boot
// file's certificates.
//
// One context per pair of settings: policy generations share it, and with it the tickets, as long
// as settings and files stay what they are. Snapshots and connections own it; the cache only knows
// of it, so that it goes with the last of them.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/boot_config.h"
#include "controlplane/file_stamp.h"
#include "policy/snapshot.h"

namespace sluice::control {

struct TlsComplaint {
  std::string field;  // of the service's tls: "ca" or "certificate"
  std::string message;
};

class UpstreamContexts {
 public:
  explicit UpstreamContexts(std::map<std::string, CertificateConfig> certificates);

  // Before each compile: forgets what only refused or tried policies wanted.
  void begin();
  // The context for these settings: the one in use if its files have not changed, else a new one.
  // Reads files.
  std::expected<std::shared_ptr<void>, TlsComplaint> get(const policy::UpstreamTls& tls);
  // The one in use, whatever its files say now; null if there is none.
  std::shared_ptr<void> in_use(const policy::UpstreamTls& tls) const;
  // For documents that were accepted before and whose files are now wrong: said once per change of
  // the files, in a log rather than to a caller.
  void note(const policy::UpstreamTls& tls, std::string line);
  std::vector<std::string> take_notes() { return std::move(notes_); }

  // Tells which settings are those of the policy now in use.
  void published(const policy::Snapshot& snapshot);
  // Has a file of the policy in use changed since it was last read?
  bool files_changed() const;

 private:
  using Stamps = std::vector<FileStamp>;
  using Key = std::pair<std::string, std::string>;  // CA file, certificate's name
  struct Entry {
    std::weak_ptr<void> context;
    Stamps good;        // of the files behind the context
    Stamps tried;       // when they were last read
    bool told = false;  // their present state has been noted
  };

  static Key key_of(const policy::UpstreamTls& tls) { return {tls.ca_file, tls.certificate}; }
  std::vector<std::string> files_of(const Key& key) const;
  Stamps stamps_of(const Key& key) const;
  std::expected<std::shared_ptr<void>, TlsComplaint> make(const Key& key) const;

  std::map<std::string, CertificateConfig> certificates_;
  std::map<Key, Entry> entries_;
  std::set<Key> published_;
  std::vector<std::string> notes_;
};

}  // namespace sluice::control
