#include "controlplane/boot_config.h"

#include "boot_schema.h"
#include "read_file.h"

namespace sluice::control {
namespace {

std::vector<PortConfig> read_ports(const Node& ports) {
  std::vector<PortConfig> out;
  for (const Entry& e : ports.entries) {
    PortConfig port;
    port.name = e.key;
    port.device = *get_text(e.value, "device");
    for (const std::string& a : get_texts(e.value, "addresses")) {
      port.addresses.push_back(*IpPrefix::parse(a));
    }
    for (const std::string& g : get_texts(e.value, "gateway")) {
      port.gateways.push_back(*IpAddress::parse(g));
    }
    port.mtu = static_cast<std::uint16_t>(*get_whole(e.value, "mtu"));
    port.vlan = static_cast<std::uint16_t>(get_whole(e.value, "vlan").value_or(0));
    port.hop_limit = static_cast<std::uint8_t>(*get_whole(e.value, "hop_limit"));
    port.duplicate_probes = static_cast<std::uint8_t>(*get_whole(e.value, "duplicate_probes"));
    out.push_back(std::move(port));
  }
  return out;
}

std::vector<ListenerConfig> read_listeners(const Node& root) {
  std::vector<ListenerConfig> out;
  for (const Node& n : get_list(root, "listeners")) {
    ListenerConfig l;
    l.name = *get_text(n, "name");
    l.port = *get_text(n, "port");
    l.listen = static_cast<std::uint16_t>(*get_whole(n, "listen"));
    const std::string protocol = *get_text(n, "protocol");
    l.protocol = protocol == "https"  ? ListenerProtocol::https
                 : protocol == "http" ? ListenerProtocol::http
                                      : ListenerProtocol::connect;
    l.certificate = get_text(n, "certificate").value_or("");
    out.push_back(std::move(l));
  }
  return out;
}

// Of a tree that has passed every check, with its defaults.
BootConfig read_config(const Node& root, const std::string& file) {
  BootConfig c;
  c.file = file;
  for (const Node& n : get_list(root, "workers")) {
    c.workers.push_back(static_cast<unsigned>(n.integer));
  }
  const Node& memory = get_map(root, "memory");
  c.hugepages = *get_text(memory, "hugepages");
  c.packet_buffers = static_cast<std::uint32_t>(*get_whole(memory, "packet_buffers"));
  c.ports = read_ports(get_map(root, "ports"));
  c.listeners = read_listeners(root);
  for (const Entry& e : get_map(root, "certificates").entries) {
    c.certificates[e.key] = {*get_text(e.value, "chain"), *get_text(e.value, "key")};
  }
  const Node& control = get_map(root, "control");
  c.control_socket = *get_text(control, "socket");
  c.state = *get_text(control, "state");
  c.metrics_listen = get_text(get_map(root, "metrics"), "listen").value_or("");
  const Node& dns = get_map(root, "dns");
  c.dns_servers = get_texts(dns, "servers");
  c.dns_max_ttl_s = static_cast<std::uint32_t>(*get_whole(dns, "max_ttl_s"));
  c.dns_stale_s = static_cast<std::uint32_t>(*get_whole(dns, "stale_s"));
  return c;
}

}  // namespace

std::expected<BootConfig, std::vector<ConfigError>> parse_boot_config(const std::string& text,
                                                                      const std::string& file) {
  auto documents = parse_yaml(text, file);
  if (!documents) return std::unexpected(std::move(documents.error()));
  Errors errors(file);
  if (documents->size() > 1) {
    const Node& second = (*documents)[1];
    errors.add(second, "", "a second document (\"---\"); the boot file has one");
    return std::unexpected(errors.take());
  }
  Node root;
  if (!documents->empty()) root = std::move(documents->front());
  if (root.type == Node::Type::null) {
    errors.add(root, "", "the file is empty; expected " + expected_text(boot_value()));
    return std::unexpected(errors.take());
  }
  validate(root, boot_value(), "", errors);
  apply_defaults(root, boot_value());
  errors.one_per_value();
  check_boot_combinations(root, errors);
  if (!errors.empty()) return std::unexpected(errors.take());
  return read_config(root, file);
}

std::expected<BootConfig, std::vector<ConfigError>> load_boot_config(
    const std::filesystem::path& file) {
  const auto text = read_config_file(file);
  if (!text) return std::unexpected(std::vector{text.error()});
  return parse_boot_config(*text, file.string());
}

boost::json::object boot_schema_json() { return json_schema(boot_value()); }

}  // namespace sluice::control
