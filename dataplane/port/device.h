// Facts about devices that DPDK's ethdev API does not tell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::port {

// "net_af_packet0,iface=x" -> "net_af_packet0"
std::string device_name(const std::string& device);
// -> "net_af_packet"; empty for PCI addresses.
std::string driver_name(const std::string& device);
// The value of one argument; empty when not given.
std::string device_argument(const std::string& device, std::string_view key);

// Descriptors of this process, ascending.
std::vector<int> open_descriptors();
// Those of `after` missing in `before` that are packet or XDP sockets, in order of creation: the
// receive queues of such a driver. poll() on them tells when packets have come.
std::vector<int> new_packet_sockets(const std::vector<int>& before, const std::vector<int>& after);

// Kernel interface under a driver such as net_af_packet.
bool interface_running(const std::string& interface);
bool set_interface_mtu(const std::string& interface, unsigned mtu);

}  // namespace sluice::port
