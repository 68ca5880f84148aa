// Two Sluice stacks over memif: bulk data, connections accepted and held, and a SYN flood. Prints a
// JSON object; tests/bench/tcp-port makes it readable.
#include <fstream>
#include <memory>
#include <string_view>
#include <vector>

#include "measure.h"
#include "port_world.h"
#include "runtime/eal.h"
#include "syn_flood.h"
#include "tcp/stats.h"

namespace sluice::bench {
namespace {

struct Extent {
  int rounds = 5;
  double bulk_bytes = 512u << 20;
  std::size_t frames = 2'000'000;
  std::size_t accepts = 100'000;
  std::size_t idle = 100'000;
  Micros flood{1'000'000};
};

tcp::StackConfig config(std::size_t connections = 16384) {
  tcp::StackConfig c;
  c.max_connections = connections;
  c.secret[0] = 0x0123456789abcdef;
  c.secret[1] = 0xfedcba9876543210;
  return c;
}

constexpr double kPayload = 1448;  // of a full segment with timestamps

// The limit: the same frames through the same ports, and nothing else done.
void port_alone(Figures& figures, World& world, std::size_t frames, std::size_t length,
                const std::string& name) {
  std::array<port::Packet, port::Port::kBurst> packets;
  double sender = 0, receiver = 0;
  std::size_t sent = 0, received = 0;
  while (received < frames) {
    const double t0 = seconds();
    for (int i = 0; i < 256 && sent < frames; ++i, ++sent) {
      const MutByteSpan room = world.client_port->reserve(0, length);
      require(room.size() == length, "no packet buffer");
      const port::MacBytes& to = world.server_port->mac();
      std::copy(to.begin(), to.end(), room.begin());
      std::fill_n(room.begin() + 6, 8, std::uint8_t{2});
      world.client_port->commit(0);
    }
    world.client_port->flush(0);
    const double t1 = seconds();
    std::size_t n = 0;
    do {
      n = world.server_port->rx_burst(0, packets);
      received += n;
      for (auto& packet : packets) packet.reset();
    } while (n > 0);
    sender += between(t0, t1);
    receiver += between(t1, seconds());
  }
  const double all = static_cast<double>(frames);
  figures["port_alone_" + name + "_tx_frames_per_s_of_core"].push_back(all / sender);
  figures["port_alone_" + name + "_rx_frames_per_s_of_core"].push_back(all / receiver);
}

// Bulk data on `flows` connections.
void bulk(Figures& figures, World& world, double bytes, std::size_t flows,
          const std::string& name) {
  const std::vector<std::uint8_t> data(std::size_t{256} * 1024, 0x5a);
  world.client->offered = data;
  const std::uint64_t before = world.client->stack.tcp().stats().tcp_retrans_segs;
  std::vector<tcp::Connection*> open;
  for (std::size_t i = 0; i < flows; ++i) {
    open.push_back(world.connect(*world.client, kSinkPort, i));
  }
  const auto transfer = [&](double octets) {
    const double goal = static_cast<double>(world.server->received) + octets;
    while (static_cast<double>(world.server->received) < goal) {
      world.step();
      require(world.now < Time{Seconds{10'000}}, "bulk data has stopped");
    }
  };
  transfer(bytes / 8);  // windows have opened
  world.reset_cost();
  const std::uint64_t from = world.server->received;
  transfer(bytes);
  const double octets = static_cast<double>(world.server->received - from);
  const double gbit = octets * 8e-9;
  figures[name + "_sender_gbit_per_s_of_core"].push_back(gbit / world.client_cost);
  figures[name + "_receiver_gbit_per_s_of_core"].push_back(gbit / world.server_cost);
  figures[name + "_tx_cycles_per_segment"].push_back(world.client_cost * cycles_per_second() /
                                                     (octets / kPayload));
  figures[name + "_rx_cycles_per_segment"].push_back(world.server_cost * cycles_per_second() /
                                                     (octets / kPayload));
  figures[name + "_retransmitted_segments"].push_back(
      static_cast<double>(world.client->stack.tcp().stats().tcp_retrans_segs - before));
  world.client->offered = {};
  for (tcp::Connection* c : open) c->close();
  while (world.server->stack.tcp().connection_count() > 0) world.rest();
}

// Connections opened, used for nothing and closed.
void accepts(Figures& figures, World& world, std::size_t connections) {
  const std::size_t goal = world.server->closed + connections;
  std::size_t opened = 0;
  std::deque<tcp::Connection*> open;
  world.reset_cost();
  while (world.server->closed < goal) {
    for (std::size_t i = 0; i < port::Port::kBurst && opened < connections; ++i, ++opened) {
      open.push_back(world.connect(*world.client, kSinkPort, opened));
    }
    world.step();
    while (!open.empty() && open.front()->established()) {
      open.front()->shutdown_write();
      open.pop_front();
    }
    require(world.now < Time{Seconds{1000}}, "connections do not end");
  }
  figures["accepts_per_s_of_core"].push_back(static_cast<double>(connections) / world.server_cost);
}

double resident() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, pages = 0;
  statm >> size >> pages;
  return pages * 4096;
}

// Established connections that have carried a little and idle since.
void idle(Figures& figures, port::PacketPool& pool, std::size_t connections) {
  World world(pool, config(connections * 2));
  std::vector<tcp::Connection*> open;
  open.reserve(connections);
  const double heap_before = heap(), resident_before = resident();
  const std::vector<std::uint8_t> hello(500, 0x41);
  for (std::size_t i = 0; i < connections; ++i) {
    open.push_back(world.connect(*world.client, kSinkPort, i));
    for (int s = 0; i % port::Port::kBurst == 0 && s < 3; ++s) world.step();
  }
  while (world.server->accepted < connections) world.step();
  for (std::size_t i = 0; i < connections; ++i) {
    open[i]->write(hello);
    if (i % port::Port::kBurst == 0) world.step();
  }
  const std::size_t sent = connections * hello.size();
  const auto quiet = [&] {
    return world.server->received == sent && world.client->stack.tcp().memory_in_use() == 0 &&
           world.server->stack.tcp().memory_in_use() == 0;
  };
  for (int i = 0; i < 1'000'000 && !quiet(); ++i) world.rest();
  require(world.server->received == sent, "not everything arrived");
  require(world.server->stack.tcp().connection_count() == connections,
          "not every connection is there");
  malloc_trim(0);  // what buffers took while there was traffic
  const double all = 2 * static_cast<double>(connections);
  figures["idle_connections"].push_back(static_cast<double>(connections));
  figures["idle_connection_heap_bytes"].push_back((heap() - heap_before) / all);
  figures["idle_connection_resident_bytes"].push_back((resident() - resident_before) / all);
  figures["idle_buffer_bytes"].push_back(
      static_cast<double>(world.server->stack.tcp().memory_in_use()));
}

}  // namespace

int run(bool quick) {
  Extent extent;
  if (quick) extent = {1, 16u << 20, 50'000, 5'000, 2'000, Micros{20'000}};
  auto eal = runtime::Eal::start({.instance = "sluice-bench",
                                  .worker_cpus = {0},
                                  .hugepages = runtime::Hugepages::never,
                                  .memory_mb = 256});
  if (!eal) require(false, eal.error().c_str());
  auto pool = port::PacketPool::make({.name = "bench", .buffers = 16384});
  if (!pool) require(false, pool.error().c_str());
  Figures figures;
  for (int round = 0; round < extent.rounds; ++round) {
    World world(**pool, config());
    port_alone(figures, world, extent.frames, 1514, "full");
    port_alone(figures, world, extent.frames, 60, "small");
    bulk(figures, world, extent.bulk_bytes, 1, "one_flow");
    bulk(figures, world, extent.bulk_bytes, 100, "hundred_flows");
    accepts(figures, world, extent.accepts);
    syn_flood(figures, world, extent.flood);
  }
  idle(figures, **pool, extent.idle);
  print_medians(figures);
  require((*pool)->in_use() == 0, "packet buffers leaked");
  return 0;
}

}  // namespace sluice::bench

int main(int argc, char** argv) {
  return sluice::bench::run(argc > 1 && std::string_view(argv[1]) == "--quick");
}
