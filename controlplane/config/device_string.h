// DPDK device strings: "0000:3b:02.1", "net_af_packet0,iface=eth1", each with ",key=value" parts.
#pragma once

#include <expected>
#include <map>
#include <string>
#include <string_view>

namespace sluice::control {

struct DeviceString {
  std::string name;    // "0000:3b:02.1", "net_af_packet0"
  std::string driver;  // "net_af_packet"; empty for PCI
  std::map<std::string, std::string> arguments;
};

// Error text: what is wrong, "" if the text is no device at all.
std::expected<DeviceString, std::string> parse_device(std::string_view text);

}  // namespace sluice::control
