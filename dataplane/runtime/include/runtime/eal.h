// Starting and ending DPDK. Its arguments are made here from the boot file; nobody types them.
//
// Order: preflight() -> Eal::start() -> port::PacketPool::make() -> port::Port::open() ... ->
// launch() workers -> join() -> ports and pool destroyed -> Eal destroyed. Once per process.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::runtime {

enum class Hugepages : std::uint8_t {
  automatic,  // when enough are free, else normal pages
  never,
  require,
};

struct EalConfig {
  std::string instance = "sluice";      // leading part of the file prefix
  std::vector<unsigned> worker_cpus{};  // one worker per entry, in order
  std::vector<unsigned> main_cpus{};    // where control threads run; empty: all that no worker has
  std::vector<std::string>
      devices{};  // as in the boot file; PCI addresses among them are allowed in
  Hugepages hugepages = Hugepages::automatic;
  unsigned memory_mb = 256;  // packet buffers, queues and slack; see memory_needed_mb()
};

// Room for one packet buffer's data so that an untagged or tagged frame of this MTU fits in one
// piece.
std::uint16_t packet_data_room(std::uint16_t mtu);
// Memory that DPDK must be given for so many buffers, ports and workers.
unsigned memory_needed_mb(unsigned packet_buffers, std::uint16_t largest_mtu, unsigned ports,
                          unsigned workers);

bool is_pci_address(std::string_view device);  // "0000:3b:02.1" or "3b:02.1", arguments allowed

// The machine's part of the arguments; filled from the system by Eal::start().
struct EalFacts {
  bool use_hugepages = false;
  std::vector<unsigned> usable_cpus{};  // of this process
  unsigned pid = 0;
};
// Pure: argv without argv[0].
std::vector<std::string> eal_arguments(const EalConfig& config, const EalFacts& facts);

class Eal {
 public:
  // A refusal says in plain words what failed and ends with DPDK's own last lines.
  static std::expected<std::unique_ptr<Eal>, std::string> start(const EalConfig& config);
  // Workers must have been joined, ports and pools be gone.
  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

  bool uses_hugepages() const;
  unsigned memory_mb() const;
  unsigned workers() const;

  // [control] Runs `entry(argument)` on the thread pinned to worker_cpus[worker]. False if that
  // worker is running already.
  bool launch(unsigned worker, int (*entry)(void*), void* argument);
  // [control] Waits for its end; gives what `entry` returned.
  int join(unsigned worker);
  bool running(unsigned worker) const;

  // [any thread] DPDK's most recent log lines, oldest first: for error texts and diagnostics.
  static std::vector<std::string> log_tail(std::size_t lines = 20);

 private:
  Eal() = default;
  bool hugepages_ = false;
  unsigned memory_mb_ = 0;
  unsigned workers_ = 0;
};

// Removes what instances killed without mercy left in DPDK's runtime folder and on hugetlbfs. Start
// does it by itself; here for tests. Returns how many entries went.
unsigned remove_leftovers(const std::string& runtime_folder, const std::string& hugepage_folder,
                          std::string_view instance);

}  // namespace sluice::runtime
