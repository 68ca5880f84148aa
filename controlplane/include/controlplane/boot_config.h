// The boot file /etc/sluice/sluice.yaml (contract section 2) as checked values.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "controlplane/config_error.h"

namespace sluice::control {

struct PortConfig {
  std::string name;                   // "agents"
  std::string device;                 // DPDK device string
  std::vector<IpPrefix> addresses;    // address with its on-link prefix length
  std::vector<IpAddress> gateways;    // at most one per family
  std::uint16_t mtu = 1500;           // 1280..9000 (576.. without IPv6 addresses)
  std::uint16_t vlan = 0;             // 0: untagged
  std::uint8_t hop_limit = 64;        // TTL of what is sent
  std::uint8_t duplicate_probes = 1;  // before an address is used; 0: used at once
};

enum class ListenerProtocol : std::uint8_t { https, http, connect };

struct ListenerConfig {
  std::string name;
  std::string port;  // name of a port
  std::uint16_t listen = 0;
  ListenerProtocol protocol = ListenerProtocol::https;
  std::string certificate;  // https: name in certificates
};

struct CertificateConfig {
  std::string chain, key;  // PEM files
};

struct BootConfig {
  std::filesystem::path file;
  std::vector<unsigned> workers;   // CPU numbers, distinct
  std::string hugepages = "auto";  // auto | never | require
  std::uint32_t packet_buffers = 65536;
  std::vector<PortConfig> ports;  // in file order
  std::vector<ListenerConfig> listeners;
  std::map<std::string, CertificateConfig> certificates;
  std::filesystem::path control_socket = "/run/sluice/control.sock";
  std::filesystem::path state = "/var/lib/sluice";
  std::string metrics_listen;  // "127.0.0.1:9464"; empty: off
  std::vector<std::string> dns_servers;
  std::uint32_t dns_max_ttl_s = 60, dns_stale_s = 30;
};

// Every problem found, not only the first.
std::expected<BootConfig, std::vector<ConfigError>> load_boot_config(
    const std::filesystem::path& file);
// The same of a text; `file` is for the messages.
std::expected<BootConfig, std::vector<ConfigError>> parse_boot_config(const std::string& text,
                                                                      const std::string& file);
// JSON Schema (2020-12) of the boot file, for its documentation.
boost::json::object boot_schema_json();

}  // namespace sluice::control
