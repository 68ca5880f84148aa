#include <algorithm>
#include <cctype>

#include "runtime/eal.h"
#include "text.h"

namespace sluice::runtime {
namespace {

constexpr unsigned kSmallestRoom = 2048;
// Two VLAN tags and the Ethernet header, and slack for what drivers put around a frame.
constexpr unsigned kFrameOverhead = 22 + 64;
// mbuf, headroom, and mempool's header and trailer, as laid out by DPDK 22.11 on x86-64.
constexpr unsigned kBufferOverhead = 128 + 128 + 64 + 64;
constexpr unsigned kBaseMb = 32;    // EAL's own, mempool caches, memzones
constexpr unsigned kPerPortMb = 4;  // descriptor rings and driver state
constexpr unsigned kPerWorkerMb = 2;

bool all_hex(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return std::isxdigit(c) != 0; });
}

// "0@(0,2-3),1@1": lcore 0 is the control threads' and floats; lcore n + 1 is worker n's.
std::string lcore_map(const EalConfig& config, const EalFacts& facts) {
  std::vector<unsigned> floor = config.main_cpus;
  if (floor.empty()) {
    for (const unsigned cpu : facts.usable_cpus) {
      if (std::find(config.worker_cpus.begin(), config.worker_cpus.end(), cpu) ==
          config.worker_cpus.end()) {
        floor.push_back(cpu);
      }
    }
  }
  if (floor.empty()) floor = facts.usable_cpus;  // every core polls: share them
  if (floor.empty()) floor.push_back(0);
  std::sort(floor.begin(), floor.end());
  std::string map = "0@(" + format_cpu_list(floor) + ")";
  for (std::size_t i = 0; i < config.worker_cpus.size(); ++i) {
    map += "," + std::to_string(i + 1) + "@" + std::to_string(config.worker_cpus[i]);
  }
  return map;
}

}  // namespace

std::uint16_t packet_data_room(std::uint16_t mtu) {
  const unsigned wanted = (mtu + kFrameOverhead + 63) & ~63u;
  return static_cast<std::uint16_t>(std::clamp(wanted, kSmallestRoom, 65472u));
}

unsigned memory_needed_mb(unsigned packet_buffers, std::uint16_t largest_mtu, unsigned ports,
                          unsigned workers) {
  const std::uint64_t buffer = packet_data_room(largest_mtu) + std::uint64_t{kBufferOverhead};
  const std::uint64_t pool_mb = (packet_buffers * buffer + (1u << 20) - 1) >> 20;
  return static_cast<unsigned>(pool_mb) + kBaseMb + ports * kPerPortMb + workers * kPerWorkerMb;
}

// [domain:]bus:device.function, all hexadecimal.
bool is_pci_address(std::string_view device) {
  device = device.substr(0, device.find(','));
  const auto dot = device.rfind('.');
  if (dot == std::string_view::npos || dot + 2 != device.size()) return false;
  if (device[dot + 1] < '0' || device[dot + 1] > '7') return false;
  std::string_view rest = device.substr(0, dot);
  const auto colon = rest.rfind(':');
  if (colon == std::string_view::npos) return false;
  if (rest.size() - colon - 1 != 2 || !all_hex(rest.substr(colon + 1))) return false;
  rest = rest.substr(0, colon);
  const auto domain = rest.find(':');
  if (domain == std::string_view::npos) return rest.size() == 2 && all_hex(rest);
  return domain >= 4 && domain <= 8 && all_hex(rest.substr(0, domain)) &&
         rest.size() - domain - 1 == 2 && all_hex(rest.substr(domain + 1));
}

std::vector<std::string> eal_arguments(const EalConfig& config, const EalFacts& facts) {
  std::vector<std::string> arguments;
  // The pid keeps instances apart; nothing of DPDK's is shared between processes.
  arguments.push_back("--file-prefix=" + config.instance + "-" + std::to_string(facts.pid));
  arguments.push_back("--lcores=" + lcore_map(config, facts));
  arguments.push_back("--main-lcore=0");
  arguments.push_back("--no-telemetry");
  arguments.push_back("--log-level=notice");
  if (facts.use_hugepages) {
    // Pages are unlinked at once: after any death the kernel has them back.
    arguments.push_back("--in-memory");
  } else {
    arguments.push_back("--no-huge");
    arguments.push_back("--no-shconf");
  }
  arguments.push_back("-m");
  arguments.push_back(std::to_string(config.memory_mb));
  bool any_pci = false;
  for (const std::string& device : config.devices) {
    if (!is_pci_address(device)) continue;  // virtual devices are attached one by one, by name
    any_pci = true;
    arguments.push_back("--allow=" + device);
  }
  if (!any_pci) arguments.push_back("--no-pci");
  return arguments;
}

}  // namespace sluice::runtime
