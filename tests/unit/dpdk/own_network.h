// A network namespace of this thread's own, and the kernel's end of a TAP port in it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace sluice::port {

class OwnNetwork {
 public:
  OwnNetwork() : before_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    made_ =
        before_ >= 0 && ::access("/dev/net/tun", R_OK | W_OK) == 0 && ::unshare(CLONE_NEWNET) == 0;
  }
  ~OwnNetwork() {
    if (made_) {
      EXPECT_EQ(::setns(before_, CLONE_NEWNET), 0);
    }
    if (before_ >= 0) ::close(before_);
  }
  OwnNetwork(const OwnNetwork&) = delete;
  OwnNetwork& operator=(const OwnNetwork&) = delete;
  // False without the rights to it: the caller skips its test.
  bool made() const { return made_; }

 private:
  int before_;
  bool made_ = false;
};

// What the kernel receives and sends on an interface.
class PacketSocket {
 public:
  explicit PacketSocket(const std::string& interface)
      : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL))) {
    sockaddr_ll at{};
    at.sll_family = AF_PACKET;
    at.sll_protocol = htons(ETH_P_ALL);
    at.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
    EXPECT_NE(at.sll_ifindex, 0) << interface;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  }
  ~PacketSocket() { ::close(fd_); }
  PacketSocket(const PacketSocket&) = delete;
  PacketSocket& operator=(const PacketSocket&) = delete;

  // The next frame that came in from `from`; empty when none comes.
  std::vector<std::uint8_t> next_from(const std::array<std::uint8_t, 6>& from) {
    std::vector<std::uint8_t> frame(std::size_t{70} * 1024);
    for (;;) {
      pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, 5000) != 1) return {};
      sockaddr_ll sender{};
      socklen_t size = sizeof sender;
      const ssize_t n = ::recvfrom(fd_, frame.data(), frame.size(), 0,
                                   reinterpret_cast<sockaddr*>(&sender), &size);
      if (n < 14 || sender.sll_pkttype == PACKET_OUTGOING) continue;
      if (!std::equal(from.begin(), from.end(), frame.begin() + 6)) continue;
      frame.resize(static_cast<std::size_t>(n));
      return frame;
    }
  }
  bool send(ByteSpan frame) {
    return ::send(fd_, frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size());
  }

 private:
  int fd_;
};

}  // namespace sluice::port
