#include "packet/flow_owner.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "helpers.h"

namespace sluice::packet {
namespace {

using test::hex;
using test::ip;

const std::vector<std::uint8_t> kMicrosoftKey = hex(
    "6d 5a 56 da 25 5b 0e c2 41 67 25 3d 43 a3 8f b0 d0 ca 2b cb ae 7b 30 b4 77 cb 2d a3 80 30 f2"
    "0c 6a 42 b7 3b be ac 01 fa");

std::vector<std::uint16_t> table_of(unsigned workers, std::size_t size) {
  std::vector<std::uint16_t> table(size);
  for (std::size_t i = 0; i < size; ++i) table[i] = static_cast<std::uint16_t>(i % workers);
  return table;
}

TEST(FlowOwner, NicOwnerIsTheTableEntryOfTheHashsLowBits) {
  std::vector<std::uint16_t> table(128);
  table[0x51ccc178 & 127] = 3;  // the first vector of the RSS specification
  table[0x40207d3d & 127] = 5;  // its first of IPv6
  const FlowOwner owner(kMicrosoftKey, table);
  EXPECT_TRUE(owner.predicts_nic());
  EXPECT_EQ(owner.nic_hash(ip("66.9.149.187"), ip("161.142.100.80"), 2794, 1766), 0x51ccc178u);
  EXPECT_EQ(owner(ip("66.9.149.187"), ip("161.142.100.80"), 2794, 1766), 3u);
  EXPECT_EQ(owner(ip("3ffe:2501:200:1fff::7"), ip("3ffe:2501:200:3::1"), 2794, 1766), 5u);
  EXPECT_EQ(owner(ip("66.9.149.187"), ip("161.142.100.80"), 2795, 1766), 0u);
}

TEST(FlowOwner, KeyedOwnerIsTheHashModuloWorkers) {
  const std::uint64_t secret[2] = {7, 8};
  const FlowOwner owner(secret, 3);
  EXPECT_FALSE(owner.predicts_nic());
  const FlowHash hash(secret);
  for (std::uint16_t port = 1; port < 200; ++port) {
    EXPECT_EQ(owner(ip("198.18.1.2"), ip("198.18.1.1"), port, 443),
              hash(ip("198.18.1.2"), ip("198.18.1.1"), port, 443) % 3);
  }
}

// What the search for a source port predicts is what the answer's frame is steered by.
TEST(SourcePorts, AgreeWithTheOwnerOfTheAnswer) {
  const std::uint64_t secret[2] = {7, 8};
  const FlowOwner owners[] = {FlowOwner(secret, 4), FlowOwner(kMicrosoftKey, table_of(4, 128)),
                              FlowOwner(kMicrosoftKey, table_of(3, 64))};
  const struct {
    IpAddress local;
    Endpoint remote;
  } flows[] = {{ip("198.18.2.1"), {ip("198.18.2.2"), 8080}},
               {ip("2001:db8:2::1"), {ip("2001:db8:9::5"), 443}}};
  for (const FlowOwner& owner : owners) {
    for (const auto& flow : flows) {
      const SourcePorts ports(owner, flow.local, flow.remote);
      for (unsigned port = 1024; port < 65536; port += 7) {
        const auto local_port = static_cast<std::uint16_t>(port);
        ASSERT_EQ(ports.owner(local_port),
                  owner(flow.remote.address, flow.local, flow.remote.port, local_port));
      }
    }
  }
}

TEST(SourcePorts, AreOfOneFlow) {
  const FlowOwner owner(kMicrosoftKey, table_of(2, 128));
  const FlowOwner other(kMicrosoftKey, table_of(2, 128));
  const Endpoint remote{ip("198.18.2.2"), 8080};
  const SourcePorts ports(owner, ip("198.18.2.1"), remote);
  EXPECT_TRUE(ports.is_for(owner, ip("198.18.2.1"), remote));
  EXPECT_FALSE(ports.is_for(other, ip("198.18.2.1"), remote));
  EXPECT_FALSE(ports.is_for(owner, ip("198.18.2.3"), remote));
  EXPECT_FALSE(ports.is_for(owner, ip("198.18.2.1"), {ip("198.18.2.2"), 8081}));
}

// With a good key some source port reaches each worker, whatever the addresses.
TEST(SourcePorts, GoodKeysReachEveryEntry) {
  const Toeplitz good(kMicrosoftKey);
  EXPECT_TRUE(every_entry_reachable(good, 128));
  EXPECT_TRUE(every_entry_reachable(good, 512));
  const FlowOwner owner(kMicrosoftKey, table_of(128, 128));
  std::mt19937 random(9);
  for (int i = 0; i < 50; ++i) {
    const Endpoint remote{IpAddress::v4(0x0a000000u + random() % 65536),
                          static_cast<std::uint16_t>(random())};
    const SourcePorts ports(owner, ip("198.18.2.1"), remote);
    std::set<unsigned> reached;
    for (unsigned port = 1024; port < 65536; ++port) {
      reached.insert(ports.owner(static_cast<std::uint16_t>(port)));
    }
    ASSERT_EQ(reached.size(), 128u);
  }
}

TEST(SourcePorts, BadKeysDoNot) {
  EXPECT_FALSE(every_entry_reachable(Toeplitz(std::vector<std::uint8_t>(40)), 2));
  // mTCP's: of period eight, so that the port bits say less than they could.
  std::vector<std::uint8_t> symmetric(40, 0x05);
  EXPECT_FALSE(every_entry_reachable(Toeplitz(symmetric), 512));
  EXPECT_TRUE(every_entry_reachable(Toeplitz(std::vector<std::uint8_t>(40)), 1));
}

}  // namespace
}  // namespace sluice::packet
