#include "runtime/preflight.h"

#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <optional>

#include "text.h"

namespace sluice::runtime {
namespace {

using Severity = Finding::Severity;

constexpr unsigned kCapNetAdmin = 12;
constexpr unsigned kCapNetRaw = 13;

// The value behind "Key:" in files such as /proc/meminfo.
std::string field(const std::string& text, std::string_view key) {
  std::size_t at = text.starts_with(key) ? 0 : text.find("\n" + std::string(key));
  if (at == std::string::npos) return {};
  at = text.find_first_not_of('\n', at) + key.size();
  at = text.find_first_not_of(" \t:", at);
  if (at == std::string::npos) return {};
  return text.substr(at, text.find('\n', at) - at);
}

std::uint64_t number(const std::string& text, int base = 10) {
  return std::strtoull(text.c_str(), nullptr, base);
}

bool exists(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0;
}

std::string device_argument(const std::string& device, std::string_view key) {
  const std::string start = "," + std::string(key) + "=";
  const auto at = device.find(start);
  if (at == std::string::npos) return {};
  const auto from = at + start.size();
  return device.substr(from, device.find(',', from) - from);
}

// "net_af_packet0,iface=x" -> "net_af_packet"
std::string driver_of(const std::string& device) {
  std::string name = device.substr(0, device.find(','));
  while (!name.empty() && name.back() >= '0' && name.back() <= '9') name.pop_back();
  return name;
}

std::string cores(const std::vector<unsigned>& cpus) {
  return (cpus.size() == 1 ? "core " : "cores ") + format_cpu_list(cpus);
}

bool has(const std::vector<unsigned>& cpus, unsigned cpu) {
  return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end();
}

class Preflight {
 public:
  Preflight(const EalConfig& config, const SystemView& view) : config_(config), view_(view) {}

  std::vector<Finding> run() {
    check_cores();
    check_memory();
    for (const std::string& device : config_.devices) check_device(device);
    return std::move(findings_);
  }

 private:
  void add(Severity severity, std::string what, std::string why, std::string fix) {
    findings_.push_back({severity, std::move(what), std::move(why), std::move(fix)});
  }
  std::string file(std::string_view path) const {
    return read_text(view_.root + std::string(path));
  }

  void check_cores() {
    const auto present = parse_cpu_list(file("/sys/devices/system/cpu/present"));
    const auto online = parse_cpu_list(file("/sys/devices/system/cpu/online"));
    const auto allowed = parse_cpu_list(field(file("/proc/self/status"), "Cpus_allowed_list"));
    if (config_.worker_cpus.empty()) {
      add(Severity::error, "no worker core is configured", "nothing would move packets",
          "list at least one core under 'workers'");
    }
    std::vector<unsigned> seen;
    for (const unsigned cpu : config_.worker_cpus) {
      const std::string name = "CPU core " + std::to_string(cpu);
      const std::string asked = "'workers' asks for it; ";
      if (has(seen, cpu)) {
        add(Severity::error, name + " is listed twice", "two workers would fight for one core",
            "list each core once");
      } else if (!present.empty() && !has(present, cpu)) {
        add(Severity::error, name + " does not exist", asked + "this machine has " + cores(present),
            "choose from " + cores(present));
      } else if (!online.empty() && !has(online, cpu)) {
        add(Severity::error, name + " is switched off", asked + "online: " + cores(online),
            "echo 1 > /sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/online");
      } else if (!allowed.empty() && !has(allowed, cpu)) {
        add(Severity::error, name + " is closed to this process",
            asked + "its cpuset allows " + cores(allowed),
            "choose from these, or widen the cpuset (AllowedCPUs= of the service)");
      }
      seen.push_back(cpu);
    }
    const bool all_taken =
        !online.empty() && std::all_of(online.begin(), online.end(),
                                       [&](unsigned cpu) { return has(config_.worker_cpus, cpu); });
    if (all_taken) {
      add(Severity::warning, "workers take every core of the machine",
          "the control thread and the kernel have to share with them", "leave one core out");
    }
  }

  void check_memory() {
    const std::string need = std::to_string(config_.memory_mb) + " MB";
    const std::string meminfo = file("/proc/meminfo");
    const bool enough = hugepages_available(config_.memory_mb, view_);
    if (config_.hugepages != Hugepages::never && !enough) {
      const std::uint64_t free_mb =
          number(field(meminfo, "HugePages_Free")) * number(field(meminfo, "Hugepagesize")) / 1024;
      const std::string why = "packet memory takes " + need + "; " + std::to_string(free_mb) +
                              " MB of hugepages are free";
      const std::string fix =
          "echo " + std::to_string((config_.memory_mb + 1) / 2) + " > /proc/sys/vm/nr_hugepages";
      if (config_.hugepages == Hugepages::require) {
        add(Severity::error, "not enough hugepages", why, fix + ", or set 'hugepages: auto'");
      } else {
        add(Severity::note, "normal memory pages are used", why, fix + " makes it a little faster");
      }
    }
    const bool normal_pages = !enough || config_.hugepages == Hugepages::never;
    const std::string available = field(meminfo, "MemAvailable");
    if (normal_pages && !available.empty() && number(available) / 1024 < config_.memory_mb) {
      add(Severity::error, "not enough memory",
          "packet memory takes " + need + "; " + std::to_string(number(available) / 1024) +
              " MB are available",
          "lower 'memory.packet_buffers'");
    }
  }

  bool may(unsigned capability) const {
    const std::string effective = field(file("/proc/self/status"), "CapEff");
    return effective.empty() || ((number(effective, 16) >> capability) & 1) != 0;
  }

  void check_device(const std::string& device) {
    if (is_pci_address(device)) {
      check_pci(device.substr(0, device.find(',')));
      return;
    }
    const std::string driver = driver_of(device);
    if (driver == "net_af_packet" || driver == "net_af_xdp") {
      check_rights(device, true);
      check_interface(device, driver);
    } else if (driver == "net_tap") {
      check_rights(device, false);
      if (!exists(view_.root + "/dev/net/tun")) {
        add(Severity::error, "/dev/net/tun does not exist", "'" + device + "' needs it",
            "modprobe tun");
      }
    } else if (!driver.starts_with("net_")) {
      add(Severity::error, "'" + device + "' is no device",
          "neither a PCI address nor a virtual device of DPDK",
          "write for example 0000:3b:02.1 or net_af_packet0,iface=eth1");
    }
    if (driver == "net_af_xdp") check_memlock(device);
  }

  void check_rights(const std::string& device, bool raw) {
    const bool lacks_raw = raw && !may(kCapNetRaw);
    if (!lacks_raw && may(kCapNetAdmin)) return;
    add(Severity::error,
        std::string("the right ") + (lacks_raw ? "CAP_NET_RAW" : "CAP_NET_ADMIN") + " is missing",
        "'" + device + "' takes over a network interface",
        "run as root, or give the service AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW");
  }

  void check_interface(const std::string& device, const std::string& driver) {
    const std::string name = device_argument(device, "iface");
    if (name.empty()) {
      add(Severity::error, "'" + device + "' names no interface",
          driver + " works on top of a network interface", "add ',iface=NAME'");
      return;
    }
    if (name.size() >= IFNAMSIZ || !view_.interface_exists(name)) {
      add(Severity::error, "network interface '" + name + "' does not exist",
          "'" + device + "' asks for it (in this network namespace)",
          "create it, or correct the name");
      return;
    }
    const std::string flags = file("/sys/class/net/" + name + "/flags");
    if (!flags.empty() && (number(flags, 16) & IFF_UP) == 0) {
      add(Severity::warning, "network interface '" + name + "' is down",
          "no packet passes until it is up", "ip link set " + name + " up");
    }
  }

  void check_pci(std::string address) {
    if (std::count(address.begin(), address.end(), ':') == 1) address.insert(0, "0000:");
    const std::string path = view_.root + "/sys/bus/pci/devices/" + address;
    if (!exists(path)) {
      add(Severity::error, "PCI device " + address + " does not exist", "a port asks for it",
          "see 'lspci -D' for the addresses of this machine");
      return;
    }
    char target[PATH_MAX] = {};
    const ssize_t n = ::readlink((path + "/driver").c_str(), target, sizeof target - 1);
    std::string driver = n <= 0 ? "" : std::string(target);
    driver = driver.substr(driver.rfind('/') + 1);
    // These drivers share the device with DPDK; the others must let go of it.
    constexpr std::string_view kBifurcated[] = {"mlx4_core", "mlx5_core", "mana"};
    constexpr std::string_view kUserSpace[] = {"vfio-pci", "igb_uio", "uio_pci_generic"};
    if (std::find(std::begin(kBifurcated), std::end(kBifurcated), driver) !=
        std::end(kBifurcated)) {
      return;
    }
    if (std::find(std::begin(kUserSpace), std::end(kUserSpace), driver) == std::end(kUserSpace)) {
      add(Severity::error, "PCI device " + address + " is not free for DPDK",
          driver.empty() ? "no driver is bound to it"
                         : "the kernel's driver '" + driver + "' has it",
          "driverctl set-override " + address + " vfio-pci");
      return;
    }
    if (driver == "vfio-pci") {
      if (!exists(view_.root + "/dev/vfio/vfio")) {
        add(Severity::error, "/dev/vfio/vfio does not exist",
            "PCI device " + address + " is bound to vfio-pci", "modprobe vfio-pci");
      }
      check_memlock(address);
    }
  }

  void check_memlock(const std::string& device) {
    const std::string line = field(file("/proc/self/limits"), "Max locked memory");
    if (line.empty() || line.starts_with("unlimited")) return;
    const std::uint64_t mb = number(line) >> 20;
    if (mb >= config_.memory_mb) return;
    add(Severity::error, "too little memory may be locked",
        "'" + device + "' locks " + std::to_string(config_.memory_mb) + " MB; the limit is " +
            std::to_string(mb) + " MB",
        "ulimit -l unlimited, or LimitMEMLOCK=infinity in the service");
  }

  const EalConfig& config_;
  const SystemView& view_;
  std::vector<Finding> findings_;
};

}  // namespace

SystemView SystemView::real() {
  return {"", [](const std::string& name) { return if_nametoindex(name.c_str()) != 0; }};
}

bool hugepages_available(unsigned memory_mb, const SystemView& view) {
  const std::string meminfo = read_text(view.root + "/proc/meminfo");
  const std::uint64_t free_kb =
      number(field(meminfo, "HugePages_Free")) * number(field(meminfo, "Hugepagesize"));
  return free_kb > 0 && free_kb / 1024 >= memory_mb;
}

std::vector<Finding> preflight(const EalConfig& config, const SystemView& view) {
  return Preflight(config, view).run();
}

bool can_start(const std::vector<Finding>& findings) {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& finding) { return finding.severity == Severity::error; });
}

std::string to_string(const Finding& finding) {
  static constexpr std::string_view kWords[] = {"note", "warning", "error"};
  std::string text(kWords[static_cast<std::size_t>(finding.severity)]);
  text += ": " + finding.what + ": " + finding.why;
  if (!finding.fix.empty()) text += "\n  fix: " + finding.fix;
  return text;
}

}  // namespace sluice::runtime
