// What holds of every document that is accepted.
#pragma once

#include <cstdlib>

#include "controlplane/documents.h"

namespace sluice::control {

inline void check_document(const boost::json::value& value) {
  const auto document = parse_document(value);
  if (!document) {
    if (document.error().empty() || document.error().size() > 64) std::abort();
    return;
  }
  const auto again = parse_document(to_json(*document));
  if (!again || again->spec != document->spec || again->name != document->name) std::abort();
  const std::vector<Document> documents{*document};
  const std::map<std::string, std::vector<IpAddress>> resolved;
  const auto snapshot =
      compile({documents, 1, {"sluice", "sluice", {"sluice"}, 1, {}, Seconds{900}}, resolved});
  if (snapshot) {
    (void)remarks(**snapshot);
  } else if (snapshot.error().empty()) {
    std::abort();
  }
  (void)names_to_resolve(documents);
}

}  // namespace sluice::control
