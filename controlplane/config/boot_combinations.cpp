// What no single setting of the boot file can show: names that point nowhere, things claimed twice,
// addresses that do not fit together.
#include <algorithm>
#include <map>

#include "base/ip_address.h"
#include "boot_schema.h"
#include "device_string.h"

namespace sluice::control {
namespace {

struct PortAddress {
  IpPrefix prefix;
  std::string port;
  std::string pointer;
};

std::vector<std::string> keys_of(const Node& map) {
  std::vector<std::string> keys;
  keys.reserve(map.entries.size());
  for (const Entry& e : map.entries) keys.push_back(e.key);
  return keys;
}

std::string names(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& n : list) out += (out.empty() ? "" : ", ") + n;
  return out.empty() ? "none" : out;
}

bool overlap(const IpPrefix& a, const IpPrefix& b) {
  return a.bits < b.bits ? a.contains(b.address) : b.contains(a.address);
}

void check_gateways(const Node& port, const std::string& pointer,
                    const std::vector<PortAddress>& own, Errors& errors) {
  const std::vector<Node>& gateways = get_list(port, "gateway");
  bool seen[2] = {};
  for (std::size_t i = 0; i < gateways.size(); ++i) {
    const Node& node = gateways[i];
    const auto gateway = node.type == Node::Type::text ? IpAddress::parse(node.text) : std::nullopt;
    if (!gateway) continue;
    const std::string list = child(pointer, "gateway");
    const std::string at = gateways.size() == 1 ? list : child(list, i);
    if (errors.mentions(at)) continue;
    bool on_link = false;
    bool ours = false;
    bool family = false;
    std::string networks;
    for (const PortAddress& a : own) {
      if (a.prefix.address.is_v4() != gateway->is_v4()) continue;
      family = true;
      on_link = on_link || a.prefix.contains(*gateway);
      ours = ours || a.prefix.address == *gateway;
      networks += (networks.empty() ? "" : ", ") + a.prefix.to_string();
    }
    // RFC 4861 section 6.1.2: routers are known by their link-local address.
    on_link = on_link || (family && gateway->is_v6() && gateway->is_link_local());
    if (ours) {
      errors.add(node, at, gateway->to_string() + " is this port's own address");
    } else if (!on_link) {
      errors.add(node, at,
                 gateway->to_string() + " is in none of this port's networks (" +
                     (networks.empty() ? "no address of this family" : networks) + ")");
    }
    if (seen[gateway->is_v4() ? 1 : 0]) {
      errors.add(node, at, "a second gateway for the same family");
    }
    seen[gateway->is_v4() ? 1 : 0] = true;
  }
}

void check_addresses(const Entry& port, const std::string& pointer, std::vector<PortAddress>& all,
                     Errors& errors) {
  std::vector<PortAddress> own;
  const std::vector<Node>& addresses = get_list(port.value, "addresses");
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const Node& node = addresses[i];
    const auto prefix = node.type == Node::Type::text ? IpPrefix::parse(node.text) : std::nullopt;
    if (!prefix) continue;
    const std::string at = child(child(pointer, "addresses"), i);
    if (errors.mentions(at)) continue;
    const auto clash = std::find_if(all.begin(), all.end(), [&](const PortAddress& other) {
      if (other.prefix.address == prefix->address) {
        // Every link has its own fe80::/10.
        return other.port == port.key || !prefix->address.is_link_local();
      }
      return other.port != port.key && !prefix->address.is_link_local() &&
             !other.prefix.address.is_link_local() &&
             other.prefix.address.is_v4() == prefix->address.is_v4() &&
             overlap(other.prefix, *prefix);
    });
    if (clash != all.end()) {
      const bool same = clash->prefix.address == prefix->address;
      errors.add(node, at,
                 same ? prefix->address.to_string() + " is already given at " + clash->pointer
                      : prefix->to_string() + " overlaps " + clash->prefix.to_string() +
                            " of port " + clash->port + "; a packet could leave by either of them");
    }
    own.push_back({*prefix, port.key, at});
    all.push_back(own.back());
  }
  check_gateways(port.value, pointer, own, errors);
  const bool v6 = std::any_of(own.begin(), own.end(),
                              [](const PortAddress& a) { return a.prefix.address.is_v6(); });
  const auto mtu = get_whole(port.value, "mtu");
  // RFC 8200 section 5.
  if (v6 && mtu && *mtu >= 576 && *mtu < 1280) {
    errors.add(*port.value.find("mtu"), child(pointer, "mtu"),
               "expected at least 1280, which IPv6 needs, got " + std::to_string(*mtu));
  }
}

void check_devices(const Node& ports, Errors& errors) {
  std::map<std::string, std::string> by_name, by_interface;
  for (const Entry& port : ports.entries) {
    const Node* node = port.value.find("device");
    if (node == nullptr || node->type != Node::Type::text) continue;
    const auto device = parse_device(node->text);
    if (!device) continue;
    const std::string at = child(child("/ports", port.key), "device");
    const auto [name, fresh] = by_name.try_emplace(device->name, port.key);
    if (!fresh) {
      errors.add(*node, at, device->name + " is already the device of port " + name->second);
      continue;
    }
    const auto iface = device->arguments.find("iface");
    if (iface == device->arguments.end() || !device->driver.starts_with("net_af_")) continue;
    const auto [owner, first] = by_interface.try_emplace(iface->second, port.key);
    if (!first) {
      errors.add(*node, at,
                 "interface " + iface->second + " is already taken by port " + owner->second);
    }
  }
}

void check_certificate(const Node& listener, const std::string& pointer, const Node& certificates,
                       Errors& errors) {
  const std::string protocol = get_text(listener, "protocol").value_or("");
  const Node* certificate = listener.find("certificate");
  const std::vector<std::string> known = keys_of(certificates);
  if (protocol == "https" && certificate == nullptr) {
    errors.add(listener, child(pointer, "certificate"),
               "missing; https needs one of the certificates (" + names(known) + ")");
  }
  if (certificate == nullptr || certificate->type != Node::Type::text) return;
  if (protocol == "http" || protocol == "connect") {
    errors.add(*certificate, child(pointer, "certificate"),
               "has no meaning for protocol " + protocol);
  } else if (std::find(known.begin(), known.end(), certificate->text) == known.end()) {
    const auto near = near_miss(certificate->text, known);
    errors.add(*certificate, child(pointer, "certificate"),
               "there is no certificate " + describe(*certificate) +
                   (near ? "; did you mean \"" + *near + "\"?" : "") +
                   " (certificates: " + names(known) + ")");
  }
}

void check_listeners(const Node& root, Errors& errors) {
  const Node& ports = get_map(root, "ports");
  const std::vector<std::string> port_names = keys_of(ports);
  std::map<std::string, std::string> by_name;
  std::map<std::pair<std::string, std::int64_t>, std::string> by_place;
  const std::vector<Node>& listeners = get_list(root, "listeners");
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    const Node& l = listeners[i];
    const std::string at = child("/listeners", i);
    const auto name = get_text(l, "name");
    const auto port = get_text(l, "port");
    const auto listen = get_whole(l, "listen");
    check_certificate(l, at, get_map(root, "certificates"), errors);
    if (name && !by_name.try_emplace(*name, at).second) {
      errors.add(*l.find("name"), child(at, "name"),
                 "listener \"" + *name + "\" is already given at " + by_name[*name]);
    }
    if (port && ports.find(*port) == nullptr) {
      const auto near = near_miss(*port, port_names);
      errors.add(*l.find("port"), child(at, "port"),
                 "there is no port " + describe(*l.find("port")) +
                     (near ? "; did you mean \"" + *near + "\"?" : "") +
                     " (ports: " + names(port_names) + ")");
    }
    if (port && listen) {
      const auto [other, fresh] = by_place.try_emplace({*port, *listen}, name.value_or(at));
      if (!fresh) {
        errors.add(*l.find("listen"), child(at, "listen"),
                   "listener " + other->second + " already listens on port " + *port + ", " +
                       std::to_string(*listen));
      }
    }
  }
}

}  // namespace

void check_boot_combinations(const Node& root, Errors& errors) {
  const Node& ports = get_map(root, "ports");
  std::vector<PortAddress> all;
  for (const Entry& port : ports.entries) {
    check_addresses(port, child("/ports", port.key), all, errors);
  }
  check_devices(ports, errors);
  check_listeners(root, errors);
}

}  // namespace sluice::control
