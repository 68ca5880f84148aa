// Who resolves endpoint names, as the rest of the control plane sees it (resolver.h, and tests).
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "controlplane/dns_table.h"

namespace sluice::control {

class NameService {
 public:
  virtual ~NameService() = default;
  // After each change of documents: all host names and SRV names they mention, in lower case.
  virtual void want(const std::vector<std::string>& hosts,
                    const std::vector<std::string>& services) = 0;
  // Asks for everything now.
  virtual void refresh() = 0;
  // A name has never had an answer, or one has not reached the policy yet.
  virtual bool pending() const = 0;
  // The same, and questions of a refresh under way.
  virtual bool asking() const = 0;
  virtual boost::json::array view() const = 0;  // items of GET /v1/dns
  virtual DnsFigures figures() const = 0;
};

}  // namespace sluice::control
