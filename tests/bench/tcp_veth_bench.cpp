// One Sluice stack on one end of a veth pair, for tests/bench/tcp-veth.
//
//   bench_tcp_veth IFACE OWN receive PORT        takes one connection and reads it to its end
//   bench_tcp_veth IFACE OWN send ADDRESS PORT   writes until the peer has closed
//
// Prints "ready" when the address is in use, and ends when the connection has.
#include <sched.h>

#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "measure.h"
#include "port_world.h"
#include "runtime/eal.h"

namespace sluice::bench {
namespace {

// One probe for duplicates is sent for a second before an address is used (RFC 5227).
constexpr Micros kSettled = Millis{1500};

Time now() { return Time{Micros{static_cast<std::int64_t>(wall() * 1e6)}}; }

std::uint16_t port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), port);
  require(end.ec == std::errc{} && port != 0, "not a port number");
  return port;
}

// The kernel does not move it to where its peer runs.
void stay_on_first_core() {
  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  require(sched_setaffinity(0, sizeof first, &first) == 0, "core 0 is not ours");
}

tcp::StackConfig stack_config() {
  tcp::StackConfig config;
  config.secret[0] = 0x0123456789abcdef;
  config.secret[1] = 0xfedcba9876543210;
  return config;
}

}  // namespace

int run(const std::vector<std::string_view>& words) {
  const bool sends = words.size() == 5 && words[2] == "send";
  require(sends || (words.size() == 4 && words[2] == "receive"),
          "usage: bench_tcp_veth IFACE OWN receive PORT | send ADDRESS PORT");
  const auto own = IpAddress::parse(words[1]);
  require(own.has_value(), "OWN is no address");
  auto eal = runtime::Eal::start({.instance = "sluice-bench",
                                  .worker_cpus = {0},
                                  .hugepages = runtime::Hugepages::never,
                                  .memory_mb = 256});
  if (!eal) require(false, eal.error().c_str());
  stay_on_first_core();
  auto pool = port::PacketPool::make({.name = "bench", .buffers = 16384});
  if (!pool) require(false, pool.error().c_str());
  const std::string device = "net_af_packet0,iface=" + std::string(words[0]);
  auto port = port::Port::open({.name = "veth", .device = device}, **pool);
  if (!port) require(false, port.error().c_str());
  {
    End end(**port, {{{*own, 24}}, {}}, stack_config(), now());
    const Time settled = now() + kSettled;
    while (now() < settled) end.turn(now());
    const std::vector<std::uint8_t> data(std::size_t{256} * 1024, 0x5a);
    if (sends) {
      const auto peer = IpAddress::parse(words[3]);
      require(peer.has_value(), "ADDRESS is none");
      end.offered = data;
      require(end.stack.tcp().connect(*own, {*peer, port_of(words[4])}, end, now()) != nullptr,
              "no connection");
    } else {
      end.stack.tcp().listen(port_of(words[3]), kSinkPort);
    }
    std::printf("ready\n");
    std::fflush(stdout);
    while (end.closed == 0) end.turn(now());
    // The last segments leave, and come again if they were lost.
    const Time over = now() + Seconds{1};
    while (end.stack.tcp().connection_count() > 0 && now() < over) end.turn(now());
  }
  port->reset();
  require((*pool)->in_use() == 0, "packet buffers leaked");
  return 0;
}

}  // namespace sluice::bench

int main(int argc, char** argv) {
  return sluice::bench::run(std::vector<std::string_view>(argv + 1, argv + argc));
}
