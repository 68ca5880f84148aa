// Endpoint names by c-ares on the control thread's io_context: no further thread, nothing waits.
//
// Its sockets are the kernel's in the gateway's own network namespace, the management side, not the
// ports of the data plane.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/control.h"
#include "controlplane/name_service.h"

namespace boost::asio {
class io_context;
}

namespace sluice::control {

struct ResolverOptions {
  std::vector<std::string> servers;  // "address" or "address:port"; empty: the system's
  DnsLimits limits;
  Millis timeout{1500};  // of the first try; the second has twice that
  unsigned tries = 2;
};

class Resolver {
 public:
  // Registers with `control`, which must outlive it, and asks for what its documents mention.
  static std::expected<std::unique_ptr<Resolver>, std::string> start(boost::asio::io_context& io,
                                                                     Control& control,
                                                                     ResolverOptions options);
  ~Resolver();

 private:
  struct Impl;
  explicit Resolver(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::control
