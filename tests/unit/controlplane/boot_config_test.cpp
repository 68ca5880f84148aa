#include "controlplane/boot_config.h"

#include <gtest/gtest.h>

#include "golden.h"

namespace sluice::control {
namespace {

const std::filesystem::path kFiles = SLUICE_TEST_FILES "/boot";

class Refused : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(Refused, WithPlaceReasonAndWhatIsAccepted) {
  const std::string text = read_all(GetParam());
  const auto config = parse_boot_config(text, "sluice.yaml");
  ASSERT_FALSE(config);
  const auto found = as_lines(config.error());
  EXPECT_EQ(found, golden_errors(GetParam(), text, found));
}

std::string test_name(const testing::TestParamInfo<std::filesystem::path>& info) {
  return info.param.stem().string();
}

INSTANTIATE_TEST_SUITE_P(Boot, Refused, testing::ValuesIn(files_in(kFiles / "refused")), test_name);

BootConfig accepted(const char* name) {
  const auto config = load_boot_config(kFiles / "accepted" / name);
  if (config) return *config;
  for (const auto& e : config.error()) ADD_FAILURE() << e.to_string();
  return {};
}

TEST(BootConfig, ContractExample) {
  const BootConfig c = accepted("contract.yaml");
  EXPECT_EQ(c.file, kFiles / "accepted" / "contract.yaml");
  EXPECT_EQ(c.workers, std::vector<unsigned>{1});
  EXPECT_EQ(c.hugepages, "auto");
  EXPECT_EQ(c.packet_buffers, 65536u);
  ASSERT_EQ(c.ports.size(), 2u);
  EXPECT_EQ(c.ports[0].name, "agents");
  EXPECT_EQ(c.ports[0].device, "net_af_packet0,iface=sl-agents");
  ASSERT_EQ(c.ports[0].addresses.size(), 2u);
  EXPECT_EQ(c.ports[0].addresses[0].to_string(), "198.18.1.1/24");
  EXPECT_EQ(c.ports[0].addresses[1].to_string(), "2001:db8:1::1/64");
  EXPECT_TRUE(c.ports[0].gateways.empty());
  EXPECT_EQ(c.ports[0].mtu, 1500);
  EXPECT_EQ(c.ports[0].vlan, 0);
  EXPECT_EQ(c.ports[0].hop_limit, 64);
  EXPECT_EQ(c.ports[0].duplicate_probes, 1);
  EXPECT_EQ(c.ports[1].name, "tools");
  ASSERT_EQ(c.ports[1].gateways.size(), 1u);
  EXPECT_EQ(c.ports[1].gateways[0].to_string(), "198.18.2.254");
  EXPECT_EQ(c.ports[1].mtu, 1500);
  EXPECT_EQ(c.ports[1].vlan, 120);
  ASSERT_EQ(c.listeners.size(), 3u);
  EXPECT_EQ(c.listeners[0].name, "tools-https");
  EXPECT_EQ(c.listeners[0].port, "agents");
  EXPECT_EQ(c.listeners[0].listen, 443);
  EXPECT_EQ(c.listeners[0].protocol, ListenerProtocol::https);
  EXPECT_EQ(c.listeners[0].certificate, "default");
  EXPECT_EQ(c.listeners[1].protocol, ListenerProtocol::http);
  EXPECT_EQ(c.listeners[2].protocol, ListenerProtocol::connect);
  ASSERT_EQ(c.certificates.size(), 1u);
  EXPECT_EQ(c.certificates.at("default").chain, "/etc/sluice/tls/chain.pem");
  EXPECT_EQ(c.certificates.at("default").key, "/etc/sluice/tls/key.pem");
  EXPECT_EQ(c.control_socket, "/run/sluice/control.sock");
  EXPECT_EQ(c.state, "/var/lib/sluice");
  EXPECT_EQ(c.metrics_listen, "127.0.0.1:9464");
  EXPECT_EQ(c.dns_servers, std::vector<std::string>{"127.0.0.53"});
  EXPECT_EQ(c.dns_max_ttl_s, 60u);
  EXPECT_EQ(c.dns_stale_s, 30u);
}

TEST(BootConfig, DefaultsOfTheMinimum) {
  const BootConfig c = accepted("minimal.yaml");
  EXPECT_EQ(c.hugepages, "auto");
  EXPECT_EQ(c.packet_buffers, 65536u);
  EXPECT_EQ(c.ports.at(0).mtu, 1500);
  EXPECT_TRUE(c.listeners.empty());
  EXPECT_TRUE(c.certificates.empty());
  EXPECT_EQ(c.control_socket, "/run/sluice/control.sock");
  EXPECT_EQ(c.state, "/var/lib/sluice");
  EXPECT_EQ(c.metrics_listen, "");
  EXPECT_TRUE(c.dns_servers.empty());
  EXPECT_EQ(c.dns_max_ttl_s, 60u);
  EXPECT_EQ(c.dns_stale_s, 30u);
}

TEST(BootConfig, JsonIsYaml) {
  const BootConfig c = accepted("json.yaml");
  EXPECT_EQ(c.workers, (std::vector<unsigned>{0, 1, 2}));
  EXPECT_EQ(c.ports.at(0).mtu, 9000);
}

TEST(BootConfig, AddressesAndGatewaysOfBothFamilies) {
  const BootConfig c = accepted("addresses.yaml");
  ASSERT_EQ(c.ports.size(), 2u);
  EXPECT_EQ(c.ports[0].addresses.size(), 4u);
  ASSERT_EQ(c.ports[0].gateways.size(), 2u);
  EXPECT_EQ(c.ports[0].gateways[0].to_string(), "fe80::fe");
  EXPECT_EQ(c.ports[0].gateways[1].to_string(), "198.18.1.1");
  EXPECT_EQ(c.ports[0].vlan, 4094);
  EXPECT_EQ(c.ports[1].addresses.size(), 3u);
  EXPECT_EQ(c.metrics_listen, "[::1]:9464");
  EXPECT_EQ(c.dns_servers.size(), 4u);
  EXPECT_EQ(c.dns_stale_s, 0u);
}

TEST(BootConfig, SmallMtuIsFineWithoutIpv6) {
  const auto c = parse_boot_config(
      "{workers: [1], ports: {a: {device: net_tap0, addresses: [198.18.1.1/24], mtu: 576}}}", "");
  ASSERT_TRUE(c);
  EXPECT_EQ(c->ports[0].mtu, 576);
}

TEST(BootConfig, FileProblemsAreErrorsToo) {
  const auto missing = load_boot_config("/nonexistent/sluice.yaml");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().at(0).to_string(),
            "/nonexistent/sluice.yaml: cannot be read: No such file or directory");
  const auto folder = load_boot_config(kFiles);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().at(0).message, "cannot be read: not a regular file");
}

TEST(BootConfig, SizeIsBounded) {
  const std::string text(1024 * 1024, ' ');
  const auto exactly = parse_boot_config(text, "f");
  ASSERT_FALSE(exactly);
  EXPECT_NE(exactly.error().at(0).message, "the file is longer than 1 MiB");
  const auto longer = parse_boot_config(text + " ", "f");
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().at(0).to_string(), "f: the file is longer than 1 MiB");
}

TEST(BootConfig, ManyValuesAreRefusedBeforeTheyCost) {
  std::string text = "workers: [";
  for (int i = 0; i < 200'000; ++i) text += "1,";
  const auto c = parse_boot_config(text + "1]", "f");
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().at(0).message, "more than 100000 values in one file");
}

TEST(BootConfig, ManyErrorsAreCut) {
  std::string text = "workers: [1]\n";
  for (int i = 0; i < 1000; ++i) text += "unknown" + std::to_string(i) + ": 1\n";
  const auto c = parse_boot_config(text, "f");
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().size(), 64u);
  EXPECT_TRUE(c.error().back().message.ends_with("(more problems are not listed)"));
}

TEST(BootConfig, ErrorTextHasFileLineColumnAndPointer) {
  const auto c = parse_boot_config(
      "workers: [1]\nports: {a: {device: net_tap0, "
      "addresses: [198.18.1.1/24], mtu: ten}}\n",
      "/etc/sluice/sluice.yaml");
  ASSERT_FALSE(c);
  ASSERT_EQ(c.error().size(), 1u);
  EXPECT_EQ(c.error()[0].to_string(),
            "/etc/sluice/sluice.yaml:2:64: /ports/a/mtu: expected a whole number from 576 to 9000, "
            "got \"ten\"");
}

TEST(BootConfig, SchemaIsJsonSchema) {
  const auto schema = boot_schema_json();
  const auto& ports = schema.at("properties").at("ports").at("additionalProperties").as_object();
  EXPECT_EQ(ports.at("additionalProperties"), boost::json::value(false));
  EXPECT_EQ(ports.at("properties").at("mtu").at("maximum").as_int64(), 9000);
  EXPECT_EQ(ports.at("properties").at("mtu").at("default").as_int64(), 1500);
  EXPECT_EQ(schema.at("required").as_array().size(), 2u);
}

}  // namespace
}  // namespace sluice::control
