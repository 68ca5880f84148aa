// Any bytes as a boot file: bounded, never a crash, and what is accepted is consistent.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "controlplane/boot_config.h"

using namespace sluice::control;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = parse_boot_config(text, "fuzz");
  if (!config) {
    if (config.error().empty() || config.error().size() > 64) std::abort();
    for (const ConfigError& e : config.error()) {
      if (e.message.empty() || e.to_string().empty()) std::abort();
    }
    return 0;
  }
  if (config->workers.empty() || config->ports.empty()) std::abort();
  for (const PortConfig& port : config->ports) {
    if (port.mtu < 576 || port.mtu > 9000 || port.vlan > 4094 || port.addresses.empty()) {
      std::abort();
    }
  }
  for (const ListenerConfig& l : config->listeners) {
    const bool known = std::any_of(config->ports.begin(), config->ports.end(),
                                   [&](const PortConfig& p) { return p.name == l.port; });
    if (!known || l.listen == 0) std::abort();
    if (l.protocol == ListenerProtocol::https && !config->certificates.contains(l.certificate)) {
      std::abort();
    }
  }
  return 0;
}
