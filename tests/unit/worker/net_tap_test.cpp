// A port's stack on a TAP port whose driver fills in and verifies checksums: the kernel is the peer
// and the judge, since it drops what is wrong.
#include <arpa/inet.h>
#include <net/if_arp.h>
#include <netinet/in.h>

#include <optional>

#include "eal_environment.h"
#include "own_network.h"
#include "runtime/clock.h"
#include "tcp/stats.h"
#include "wire.h"

namespace sluice::worker {
namespace {

sockaddr_in at(const char* address, std::uint16_t port = 0) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  inet_pton(AF_INET, address, &a.sin_addr);
  return a;
}

// 198.18.1.10/24 on an interface, and a MAC of its own: a TAP port and its interface have the same.
void set_address(int socket, const char* interface) {
  ifreq ask{};
  std::snprintf(ask.ifr_name, sizeof ask.ifr_name, "%s", interface);
  ask.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(ask.ifr_hwaddr.sa_data, "\x02\0\0\0\0\x77", 6);
  ASSERT_EQ(::ioctl(socket, SIOCSIFHWADDR, &ask), 0);
  for (const auto& [request, value] :
       {std::pair{SIOCSIFADDR, "198.18.1.10"}, std::pair{SIOCSIFNETMASK, "255.255.255.0"}}) {
    const sockaddr_in address = at(value);
    std::memcpy(&ask.ifr_addr, &address, sizeof address);
    ASSERT_EQ(::ioctl(socket, static_cast<unsigned long>(request), &ask), 0) << value;
  }
}

class NetTapStackTest : public port::WithPool {};

TEST_F(NetTapStackTest, TheKernelTakesWhatTheDriverSummedAndTheOtherWay) {
  const port::OwnNetwork network;
  if (!network.made()) GTEST_SKIP() << "needs root and /dev/net/tun";
  for (const port::Offloads offloads : {port::Offloads::none, port::Offloads::proven}) {
    SCOPED_TRACE(static_cast<int>(offloads));
    auto port = port::Port::open(
        {.name = "tap", .device = "net_tap_tcp,iface=sl-tcp", .offloads = offloads}, *pool);
    ASSERT_TRUE(port) << port.error();
    ASSERT_EQ((*port)->capabilities().tx_checksum_l4, offloads == port::Offloads::proven);
    runtime::Clock clock;
    PortStack::Config config;
    config.packets = pool.get();
    std::optional<Host> gateway(std::in_place, **port, gateway_addresses(), clock.mono(), config);
    ASSERT_TRUE(gateway->stack.tcp().listen(80, 0));

    const int kernel = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ASSERT_NO_FATAL_FAILURE(set_address(kernel, "sl-tcp"));
    const sockaddr_in to = at("198.18.1.1", 80);
    ::connect(kernel, reinterpret_cast<const sockaddr*>(&to), sizeof to);

    // All of it one way, then the same the other way.
    std::string text;
    while (text.size() < 300'000) text += std::to_string(text.size()) + ' ';
    std::string answer;
    std::size_t asked = 0, answered = 0;
    const Time give_up = clock.mono() + Seconds{20};
    while (answer.size() < text.size() && clock.mono() < give_up) {
      gateway->turn(clock.mono());
      if (asked < text.size()) {
        const ssize_t n = ::send(kernel, text.data() + asked, text.size() - asked, MSG_NOSIGNAL);
        if (n > 0) asked += static_cast<std::size_t>(n);
      }
      if (!gateway->accepted.peers.empty()) {
        test::Peer& peer = *gateway->accepted.peers[0];
        if (peer.received.size() == text.size() && peer.connection != nullptr) {
          answered += peer.connection->write(as_bytes(peer.received).subspan(answered));
        }
      }
      std::array<char, 65536> room;
      const ssize_t n = ::recv(kernel, room.data(), room.size(), 0);
      if (n > 0) answer.append(room.data(), static_cast<std::size_t>(n));
    }
    EXPECT_EQ(answer, text);
    // Large segments count as what they are cut into, and frames as what the driver was given.
    const bool cuts = (*port)->capabilities().tso_ipv4;
    EXPECT_EQ(cuts, offloads == port::Offloads::proven);
    const std::uint64_t segments = gateway->stats().tcp_out_segs;
    const std::uint64_t frames = gateway->count(telemetry::Counter::tx_packets);
    EXPECT_EQ(cuts, frames < segments) << frames << " frames, " << segments << " segments";
    EXPECT_EQ(gateway->stats().tcp_retrans_segs, 0u);
    EXPECT_EQ(gateway->count(telemetry::Counter::drop_l4_checksum), 0u);
    EXPECT_EQ(gateway->stats().drop_tcp_checksum, 0u);
    ::close(kernel);
    gateway.reset();
  }
}

}  // namespace
}  // namespace sluice::worker
