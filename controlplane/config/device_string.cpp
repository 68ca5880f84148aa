#include "device_string.h"

#include <algorithm>
#include <vector>

#include "schema.h"

namespace sluice::control {
namespace {

using Result = std::expected<DeviceString, std::string>;

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// dddd:bb:dd.f, with the domain or (for the hint) without.
bool looks_like_pci(std::string_view text, bool with_domain) {
  const std::string_view shape = with_domain ? "hhhh:hh:hh.d" : "hh:hh.d";
  if (text.size() != shape.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char s = shape[i];
    const bool fits = s == 'h'   ? is_hex(text[i])
                      : s == 'd' ? text[i] >= '0' && text[i] <= '7'
                                 : text[i] == s;
    if (!fits) return false;
  }
  return true;
}

// Virtual network devices of DPDK 22.11 that make sense here; others pass if they look like one.
const std::vector<std::string>& known_drivers() {
  static const std::vector<std::string> names = {
      "net_af_packet", "net_af_xdp",  "net_tap",        "net_memif", "net_virtio_user",
      "net_vhost",     "net_bonding", "net_pcap",       "net_ring",  "net_null",
      "net_failsafe",  "net_netvsc",  "net_vdev_netvsc"};
  return names;
}

bool parse_arguments(std::string_view rest, DeviceString& device, std::string& error) {
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t equals = part.find('=');
    const std::string key(part.substr(0, equals));
    if (equals == std::string_view::npos || key.empty()) {
      error = "\"" + std::string(part) + "\" is not key=value";
      return false;
    }
    if (!device.arguments.emplace(key, part.substr(equals + 1)).second) {
      error = "the argument \"" + key + "\" stands there twice";
      return false;
    }
  }
  return true;
}

Complaint check_interface(const DeviceString& device) {
  const bool needs = device.driver == "net_af_packet" || device.driver == "net_af_xdp";
  const auto iface = device.arguments.find("iface");
  if (iface == device.arguments.end()) {
    if (needs) return device.driver + " needs iface=, the kernel interface it takes";
    return std::nullopt;
  }
  if (device.driver == "net_memif" || device.driver == "net_vhost") return std::nullopt;
  // IFNAMSIZ of netdevice(7), with its closing zero.
  if (iface->second.empty() || iface->second.size() > 15) {
    return "an interface name has 1 to 15 characters";
  }
  return std::nullopt;
}

}  // namespace

Result parse_device(std::string_view text) {
  if (text.empty() || text.size() > 512) return std::unexpected("");
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7f) return std::unexpected("spaces do not belong in it");
  }
  if (text.ends_with(',')) return std::unexpected("it ends in \",\"");
  const std::size_t comma = text.find(',');
  DeviceString device;
  device.name = text.substr(0, comma);
  const std::string_view rest =
      comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
  if (looks_like_pci(device.name, false)) {
    return std::unexpected("a PCI address has its domain in front: \"0000:" + device.name + "\"");
  }
  if (!looks_like_pci(device.name, true)) {
    std::string_view driver = device.name;
    while (!driver.empty() && is_digit(driver.back())) driver.remove_suffix(1);
    const auto& known = known_drivers();
    const bool plausible = driver.starts_with("net_") && driver.size() > 4 &&
                           std::all_of(driver.begin(), driver.end(), [](char c) {
                             return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_';
                           });
    const bool is_known = std::find(known.begin(), known.end(), driver) != known.end();
    if (!is_known) {
      if (const auto near = near_miss(driver, known)) {
        return std::unexpected("did you mean \"" + *near + "0\"?");
      }
    }
    if (!plausible) return std::unexpected("");
    if (driver.size() == device.name.size()) {
      return std::unexpected("a virtual device has a number: \"" + device.name + "0\"");
    }
    device.driver = driver;
  }
  std::string error;
  if (!parse_arguments(rest, device, error)) return std::unexpected(error);
  if (const Complaint bad = check_interface(device)) return std::unexpected(*bad);
  return device;
}

}  // namespace sluice::control
