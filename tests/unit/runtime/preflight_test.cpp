#include "runtime/preflight.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace sluice::runtime {
namespace {

namespace fs = std::filesystem;
using Severity = Finding::Severity;

// A machine made of files: four cores, root's rights, no hugepages, plenty of memory.
class PreflightTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "preflightXXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    put("/sys/devices/system/cpu/present", "0-3\n");
    put("/sys/devices/system/cpu/online", "0-2\n");
    put("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-1,3\n");
    put("/proc/self/limits", "Limit  Soft Hard\nMax locked memory  8388608  8388608  bytes\n");
    put("/proc/meminfo",
        "MemTotal: 24685000 kB\nMemAvailable: 24000000 kB\nHugePages_Free: 0\n"
        "Hugepagesize: 2048 kB\n");
    view_ = {root_.string(), [](const std::string& i) { return i == "eth1" || i == "eth2"; }};
    config_.worker_cpus = {1};
    config_.hugepages = Hugepages::never;
  }
  void TearDown() override { fs::remove_all(root_); }

  void put(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_.string() + path).parent_path());
    std::ofstream(root_.string() + path) << text;
  }
  std::vector<Finding> run() const { return preflight(config_, view_); }
  // The only finding, or a description of what came instead.
  std::string only() const {
    const auto findings = run();
    std::string all;
    for (const auto& finding : findings) all += to_string(finding) + "\n";
    if (!all.empty()) all.pop_back();
    return all;
  }

  fs::path root_;
  SystemView view_;
  EalConfig config_;
};

TEST_F(PreflightTest, NothingMissingNothingSaid) {
  config_.devices = {"net_af_packet0,iface=eth1", "net_null0", "net_ring0"};
  EXPECT_EQ(only(), "");
  EXPECT_TRUE(can_start(run()));
}

TEST_F(PreflightTest, CoreThatDoesNotExist) {
  config_.worker_cpus = {7};
  EXPECT_EQ(only(),
            "error: CPU core 7 does not exist: 'workers' asks for it; this machine has cores 0-3\n"
            "  fix: choose from cores 0-3");
  EXPECT_FALSE(can_start(run()));
}

TEST_F(PreflightTest, CoreThatIsOfflineOrClosedOrListedTwice) {
  config_.worker_cpus = {3};
  EXPECT_NE(only().find("CPU core 3 is switched off"), std::string::npos);
  config_.worker_cpus = {2};
  EXPECT_NE(only().find("CPU core 2 is closed to this process"), std::string::npos);
  config_.worker_cpus = {1, 1};
  EXPECT_NE(only().find("CPU core 1 is listed twice"), std::string::npos);
  config_.worker_cpus = {};
  EXPECT_NE(only().find("no worker core is configured"), std::string::npos);
}

TEST_F(PreflightTest, WorkersOnEveryCoreIsAWarning) {
  put("/sys/devices/system/cpu/online", "0-1\n");
  config_.worker_cpus = {0, 1};
  EXPECT_NE(only().find("warning: workers take every core"), std::string::npos);
  EXPECT_TRUE(can_start(run()));
}

TEST_F(PreflightTest, Bug55_HugepagesMissing) {
  config_.memory_mb = 201;
  config_.hugepages = Hugepages::automatic;
  EXPECT_EQ(only(),
            "note: normal memory pages are used: packet memory takes 201 MB; 0 MB of hugepages are "
            "free\n  fix: echo 101 > /proc/sys/vm/nr_hugepages makes it a little faster");
  EXPECT_TRUE(can_start(run()));
  config_.hugepages = Hugepages::require;
  EXPECT_NE(only().find("error: not enough hugepages"), std::string::npos);
  EXPECT_FALSE(can_start(run()));
}

TEST_F(PreflightTest, HugepagesPresent) {
  put("/proc/meminfo",
      "MemAvailable: 100000 kB\nHugePages_Free:      200\nHugepagesize:       2048 kB\n");
  config_.memory_mb = 400;
  config_.hugepages = Hugepages::require;
  EXPECT_EQ(only(), "");
  EXPECT_TRUE(hugepages_available(400, view_));
  EXPECT_FALSE(hugepages_available(401, view_));
}

TEST_F(PreflightTest, Bug55_NotEnoughMemory) {
  put("/proc/meminfo", "MemAvailable: 102400 kB\n");
  config_.memory_mb = 200;
  EXPECT_NE(only().find("packet memory takes 200 MB; 100 MB are available"), std::string::npos);
}

TEST_F(PreflightTest, InterfaceMissingDownOrUnnamed) {
  config_.devices = {"net_af_packet0,iface=nosuch"};
  EXPECT_NE(only().find("network interface 'nosuch' does not exist"), std::string::npos);
  config_.devices = {"net_af_packet0"};
  EXPECT_NE(only().find("names no interface"), std::string::npos);
  put("/sys/class/net/eth2/flags", "0x1002\n");
  config_.devices = {"net_af_packet0,iface=eth2"};
  EXPECT_NE(only().find("warning: network interface 'eth2' is down"), std::string::npos);
  EXPECT_TRUE(can_start(run()));
  put("/sys/class/net/eth2/flags", "0x1003\n");
  EXPECT_EQ(only(), "");
}

TEST_F(PreflightTest, RightsMissing) {
  put("/proc/self/status", "CapEff:\t0000000000000000\nCpus_allowed_list:\t0-3\n");
  config_.devices = {"net_af_packet0,iface=eth1"};
  EXPECT_NE(only().find("error: the right CAP_NET_RAW is missing"), std::string::npos);
  put("/proc/self/status", "CapEff:\t0000000000002000\nCpus_allowed_list:\t0-3\n");  // RAW only
  EXPECT_NE(only().find("error: the right CAP_NET_ADMIN is missing"), std::string::npos);
  put("/proc/self/status", "CapEff:\t0000000000003000\nCpus_allowed_list:\t0-3\n");
  EXPECT_EQ(only(), "");
}

TEST_F(PreflightTest, TapNeedsItsDevice) {
  config_.devices = {"net_tap0,iface=t0"};
  EXPECT_NE(only().find("/dev/net/tun does not exist"), std::string::npos);
  put("/dev/net/tun", "");
  EXPECT_EQ(only(), "");
}

TEST_F(PreflightTest, PciDevice) {
  config_.devices = {"3b:02.1"};
  EXPECT_NE(only().find("PCI device 0000:3b:02.1 does not exist"), std::string::npos);

  const std::string device = root_.string() + "/sys/bus/pci/devices/0000:3b:02.1";
  fs::create_directories(device);
  EXPECT_NE(only().find("no driver is bound to it"), std::string::npos);
  fs::create_symlink("../../../drivers/i40e", device + "/driver");
  EXPECT_NE(only().find("the kernel's driver 'i40e' has it"), std::string::npos);
  EXPECT_NE(only().find("driverctl set-override 0000:3b:02.1 vfio-pci"), std::string::npos);

  fs::remove(device + "/driver");
  fs::create_symlink("../../../drivers/vfio-pci", device + "/driver");
  put("/dev/vfio/vfio", "");
  EXPECT_NE(only().find("too little memory may be locked"), std::string::npos);
  put("/proc/self/limits", "Max locked memory         unlimited  unlimited  bytes\n");
  EXPECT_EQ(only(), "");

  fs::remove(device + "/driver");
  fs::create_symlink("../../../drivers/mlx5_core", device + "/driver");
  EXPECT_EQ(only(), "");
}

TEST_F(PreflightTest, NoDevice) {
  config_.devices = {"eth1"};
  EXPECT_NE(only().find("'eth1' is no device"), std::string::npos);
}

TEST_F(PreflightTest, EverythingUnknownIsNotAnError) {
  view_.root = "/nonexistent";
  EXPECT_TRUE(can_start(run()));
}

}  // namespace
}  // namespace sluice::runtime
