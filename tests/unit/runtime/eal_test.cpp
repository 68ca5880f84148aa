#include "runtime/eal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace sluice::runtime {
namespace {

using Arguments = std::vector<std::string>;

struct ArgumentCase {
  const char* what;
  EalConfig config;
  EalFacts facts;
  Arguments expected;
};

TEST(EalArguments, Table) {
  const std::vector<ArgumentCase> cases = {
      {"one worker, normal pages, virtual devices only",
       {.worker_cpus = {1}, .devices = {"net_af_packet0,iface=a"}, .memory_mb = 200},
       {.use_hugepages = false, .usable_cpus = {0, 1}, .pid = 77},
       {"--file-prefix=sluice-77", "--lcores=0@(0),1@1", "--main-lcore=0", "--no-telemetry",
        "--log-level=notice", "--no-huge", "--no-shconf", "-m", "200", "--no-pci"}},
      {"hugepages, two workers, PCI devices are allowed by name",
       {.instance = "gw",
        .worker_cpus = {2, 5},
        .devices = {"0000:3b:02.1", "net_tap0", "3b:02.2,representor=0"},
        .memory_mb = 512},
       {.use_hugepages = true, .usable_cpus = {0, 1, 2, 3, 4, 5}, .pid = 9},
       {"--file-prefix=gw-9", "--lcores=0@(0-1,3-4),1@2,2@5", "--main-lcore=0", "--no-telemetry",
        "--log-level=notice", "--in-memory", "-m", "512", "--allow=0000:3b:02.1",
        "--allow=3b:02.2,representor=0"}},
      {"workers on every core share with the control threads",
       {.worker_cpus = {0, 1}, .memory_mb = 64},
       {.use_hugepages = false, .usable_cpus = {0, 1}, .pid = 1},
       {"--file-prefix=sluice-1", "--lcores=0@(0-1),1@0,2@1", "--main-lcore=0", "--no-telemetry",
        "--log-level=notice", "--no-huge", "--no-shconf", "-m", "64", "--no-pci"}},
      {"control threads where the boot file says",
       {.worker_cpus = {3}, .main_cpus = {2, 0}, .memory_mb = 64},
       {.use_hugepages = false, .usable_cpus = {0, 1, 2, 3}, .pid = 1},
       {"--file-prefix=sluice-1", "--lcores=0@(0,2),1@3", "--main-lcore=0", "--no-telemetry",
        "--log-level=notice", "--no-huge", "--no-shconf", "-m", "64", "--no-pci"}},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(eal_arguments(c.config, c.facts), c.expected) << c.what;
  }
}

// --in-memory with --no-huge is refused by DPDK 22.11.
TEST(EalArguments, NeverCombineInMemoryWithNormalPages) {
  for (const bool huge : {false, true}) {
    const auto a = eal_arguments({.worker_cpus = {0}}, {.use_hugepages = huge, .usable_cpus = {0}});
    EXPECT_EQ(std::count(a.begin(), a.end(), "--in-memory"), huge ? 1 : 0);
    EXPECT_EQ(std::count(a.begin(), a.end(), "--no-huge"), huge ? 0 : 1);
  }
}

TEST(EalArguments, PciAddresses) {
  for (const char* yes : {"0000:3b:02.1", "3b:02.1", "0000:00:1f.7,arg=1", "10000:01:00.0"}) {
    EXPECT_TRUE(is_pci_address(yes)) << yes;
  }
  for (const char* no : {"net_tap0", "net_af_packet0,iface=0000:3b:02.1", "", "3b:02", "3b:02.8",
                         "0000:3b:2.1", "zz:02.1", "3b:02.11", "00000000:3b:02.1:1"}) {
    EXPECT_FALSE(is_pci_address(no)) << no;
  }
}

TEST(EalMemory, GrowsWithBuffersAndMtu) {
  EXPECT_EQ(packet_data_room(1500), 2048);
  EXPECT_GE(packet_data_room(9000), 9000 + 22);
  EXPECT_EQ(packet_data_room(9000) % 64, 0);
  // 65536 buffers of 2048 bytes and what DPDK puts around each.
  const unsigned usual = memory_needed_mb(65536, 1500, 2, 1);
  EXPECT_GE(usual, 150u);
  EXPECT_LE(usual, 220u);
  EXPECT_GT(memory_needed_mb(65536, 9000, 2, 1), 4 * 130u);
  EXPECT_GT(memory_needed_mb(65537 * 4, 1500, 2, 1), 3 * (usual - 50));
}

class Leftovers : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "leftoversXXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    std::filesystem::create_directories(root_ / "run");
    std::filesystem::create_directories(root_ / "huge");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void instance(const std::string& name) const {
    std::filesystem::create_directories(root_ / "run" / name);
    std::ofstream(root_ / "run" / name / "config") << "x";
    std::ofstream(root_ / "huge" / (name + "map_0")) << "x";
  }
  unsigned remove() const {
    return remove_leftovers((root_ / "run").string(), (root_ / "huge").string(), "sluice");
  }
  std::filesystem::path root_;
};

// A pid that certainly belongs to nobody: our own child, waited for.
unsigned dead_pid() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  int status = 0;
  ::waitpid(child, &status, 0);
  return static_cast<unsigned>(child);
}

TEST_F(Leftovers, OfTheDeadAreRemoved) {
  const std::string dead = "sluice-" + std::to_string(dead_pid());
  instance(dead);
  EXPECT_EQ(remove(), 2u);
  EXPECT_FALSE(std::filesystem::exists(root_ / "run" / dead));
  EXPECT_FALSE(std::filesystem::exists(root_ / "huge" / (dead + "map_0")));
}

TEST_F(Leftovers, OfTheLivingAndOfOthersStay) {
  const std::string living = "sluice-" + std::to_string(::getpid());
  const std::string other = "other-" + std::to_string(dead_pid());
  for (const auto& name : {living, other, std::string("sluice-"), std::string("sluice-99999999")}) {
    instance(name);
  }
  EXPECT_EQ(remove(), 0u);
  EXPECT_TRUE(std::filesystem::exists(root_ / "run" / living / "config"));
}

TEST_F(Leftovers, LockedByAProcessOfAnotherPidNamespaceStay) {
  const std::string dead = "sluice-" + std::to_string(dead_pid());
  instance(dead);
  int ready[2];
  int done[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(done), 0);
  const pid_t holder = ::fork();
  if (holder == 0) {
    ::close(done[1]);
    const int fd = ::open((root_ / "run" / dead / "config").c_str(), O_RDWR);
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    ::fcntl(fd, F_SETLK, &lock);
    char byte = 1;
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(done[0], &byte, 1);
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  remove();
  EXPECT_TRUE(std::filesystem::exists(root_ / "run" / dead / "config"));
  ::close(done[1]);
  int status = 0;
  ::waitpid(holder, &status, 0);
}

TEST_F(Leftovers, MissingFoldersAreNoError) {
  EXPECT_EQ(remove_leftovers("/nonexistent/a", "/nonexistent/b", "sluice"), 0u);
}

}  // namespace
}  // namespace sluice::runtime
