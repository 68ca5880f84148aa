#include "boot_schema.h"

#include "base/ip_address.h"
#include "device_string.h"
#include "formats.h"

namespace sluice::control {
namespace {

Complaint check_port_name(std::string_view text) {
  if (text.size() > 31) return "at most 31 characters";
  return check_name(text);
}

Complaint check_interface_address(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    if (!IpAddress::parse(text)) return "";
    return "the prefix length is missing";
  }
  const auto prefix = IpPrefix::parse(text);
  if (!prefix) return "";
  if (const Complaint bad = check_address(text.substr(0, slash))) return bad;
  if (prefix->bits == 0) return "a prefix of length 0 would be the whole Internet";
  if (!prefix->address.is_v4() || prefix->bits >= 31) return std::nullopt;
  // RFC 1122 section 3.2.1.3: all zeros and all ones in the host part name no machine.
  const std::uint32_t host_mask = 0xffffffffu >> prefix->bits;
  const std::uint32_t host = prefix->address.v4_host_order() & host_mask;
  if (host == 0) return "this is the network itself, not an address in it";
  if (host == host_mask) return "this is the network's broadcast address";
  return std::nullopt;
}

bool split_port(std::string_view text, std::string_view& host, std::string_view& port) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  host = text.substr(0, colon);
  port = text.substr(colon + 1);
  if (host.starts_with('[') != host.ends_with(']')) return false;
  if (host.starts_with('[')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return false;
  }
  return true;
}

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5 || text[0] == '0') return false;
  unsigned port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + static_cast<unsigned>(c - '0');
  }
  return port <= 65535;
}

// address:port of the kernel's network stack, so loopback and the wildcard are welcome.
Complaint check_listen(std::string_view text) {
  std::string_view host, port;
  if (!split_port(text, host, port)) return "the port is missing";
  if (!IpAddress::parse(host)) return "the address is not a valid one; names are not looked up";
  if (!is_port(port)) return "the port must be from 1 to 65535";
  return std::nullopt;
}

Complaint check_dns_server(std::string_view text) {
  if (const auto address = IpAddress::parse(text)) {
    if (address->is_unspecified() || address->is_multicast()) return "no server can be there";
    return std::nullopt;
  }
  if (text.find(':') == std::string_view::npos) return "";
  return check_listen(text);
}

Complaint check_socket_path(std::string_view text) {
  if (const Complaint bad = check_file(text)) return bad;
  // sun_path of unix(7), with its closing zero.
  if (text.size() > 107) return "a socket's path has at most 107 bytes";
  if (text.ends_with('/')) return "it ends in \"/\"";
  return std::nullopt;
}

const Schema& memory_schema() {
  static const Schema s{
      "memory",
      {
          {"hugepages", one_of({"auto", "never", "require"}),
           "auto: huge pages if the machine has them, else normal pages", false, R"("auto")"},
          {"packet_buffers", whole(1024, 16'777'216), "packet buffers, shared by all ports", false,
           "65536"},
      }};
  return s;
}

const Schema& port_schema() {
  static const Schema s{
      "port",
      {
          {"device",
           text_as(check_device, "a DPDK device such as 0000:3b:02.1 or net_af_packet0,iface=eth1"),
           "DPDK device", true},
          {"addresses",
           distinct(list_of(text_as(check_interface_address,
                                    "an address with its prefix length, such as 198.18.1.1/24"),
                            1, 32)),
           "the gateway's addresses on this network", true},
          {"gateway", one_or(distinct(list_of(address_value(), 1, 2))),
           "next hop for everything that is not on this network; one per family"},
          {"mtu", whole(576, 9000), "largest IP packet", false, "1500"},
          {"vlan", whole(1, 4094), "802.1Q tag; absent: untagged"},
          {"hop_limit", whole(1, 255), "TTL and hop limit of what is sent", false, "64"},
          {"duplicate_probes", whole(0, 10),
           "how often, a second apart, other hosts are asked whether they have one of the "
           "addresses "
           "before it is used; 0: used at once",
           false, "1"},
      }};
  return s;
}

const Schema& listener_schema() {
  static const Schema s{
      "listener",
      {
          {"name", name_value(), "distinct", true},
          {"port", text_as(check_port_name, "the name of a port"), "where it listens", true},
          {"listen", whole(1, 65535), "TCP port number", true},
          {"protocol", one_of({"https", "http", "connect"}),
           "https and http: reverse proxy; connect: forward proxy", true},
          {"certificate", name_value(), "its name in certificates; https only"},
      }};
  return s;
}

const Schema& certificate_schema() {
  static const Schema s{"certificate",
                        {
                            {"chain", file_value(), "PEM file, the leaf first", true},
                            {"key", file_value(), "PEM file of the private key", true},
                        }};
  return s;
}

const Schema& control_schema() {
  static const Schema s{"control",
                        {
                            {"socket", text_as(check_socket_path, "the absolute path of a socket"),
                             "REST control socket", false, R"("/run/sluice/control.sock")"},
                            {"state", text_as(check_file, "the absolute path of a folder"),
                             "durable state", false, R"("/var/lib/sluice")"},
                        }};
  return s;
}

const Schema& metrics_schema() {
  static const Schema s{"metrics",
                        {{"listen", text_as(check_listen, "address:port, such as 127.0.0.1:9464"),
                          "where metrics are served over HTTP", true}}};
  return s;
}

const Schema& dns_schema() {
  static const Schema s{
      "dns",
      {
          {"servers",
           distinct(list_of(text_as(check_dns_server, "an address, or address:port"), 0, 8)),
           "name servers; empty: the system's", false, "[]"},
          {"max_ttl_s", whole(1, 86400), "longest time an answer is kept", false, "60"},
          {"stale_s", whole(0, 86400), "how long an old answer serves while DNS fails", false,
           "30"},
      }};
  return s;
}

const Schema& boot_schema() {
  static const Schema s{
      "sluice.yaml",
      {
          {"workers", distinct(list_of(whole(0, 1023), 1, 64)), "CPU cores that poll", true},
          {"memory", object(memory_schema), "memory", false, "{}"},
          {"ports",
           map_of(check_port_name,
                  "a name of 1 to 31 characters from a-z, 0-9, \"-\", \"_\", \".\"",
                  object(port_schema), 1, 16),
           "network ports by name", true},
          {"listeners", list_of(object(listener_schema), 0, 64), "what agents connect to", false,
           "[]"},
          {"certificates",
           map_of(check_name, "a name from a-z, 0-9, \"-\", \"_\", \".\"",
                  object(certificate_schema), 0, 256),
           "certificates by name, read again when the files change", false, "{}"},
          {"control", object(control_schema), "control socket and state", false, "{}"},
          {"metrics", object(metrics_schema), "absent: no metrics over HTTP"},
          {"dns", object(dns_schema), "name resolution", false, "{}"},
      }};
  return s;
}

}  // namespace

Complaint check_device(std::string_view text) {
  const auto device = parse_device(text);
  return device ? std::nullopt : Complaint(device.error());
}

const Value& boot_value() {
  static const Value value = object(boot_schema);
  return value;
}

}  // namespace sluice::control
