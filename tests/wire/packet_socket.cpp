#include "packet_socket.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::wire {

namespace {

constexpr int kReceiveBuffer = 64 << 20;  // a burst must wait here, not be lost

}  // namespace

std::expected<PacketSocket, std::string> PacketSocket::open(const std::string& interface) {
  const auto failed = [&](const char* what) {
    return std::unexpected(interface + ": " + what + ": " + std::strerror(errno));
  };
  // Protocol 0: nothing is received until the socket is bound to its interface.
  PacketSocket socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.descriptor_ < 0) return failed("socket");
  const int one = 1;
  if (setsockopt(socket.descriptor_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) != 0) {
    return failed("PACKET_IGNORE_OUTGOING");
  }
  if (setsockopt(socket.descriptor_, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer,
                 sizeof kReceiveBuffer) != 0) {
    return failed("SO_RCVBUFFORCE");
  }
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) return failed("no such interface");
  packet_mreq membership{};
  membership.mr_ifindex = static_cast<int>(index);
  membership.mr_type = PACKET_MR_PROMISC;
  if (setsockopt(socket.descriptor_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership,
                 sizeof membership) != 0) {
    return failed("PACKET_ADD_MEMBERSHIP");
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index);
  if (bind(socket.descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failed("bind");
  }
  return socket;
}

PacketSocket::PacketSocket(PacketSocket&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

PacketSocket::~PacketSocket() {
  if (descriptor_ >= 0) close(descriptor_);
}

ByteSpan PacketSocket::receive(MutByteSpan room) {
  const ssize_t n = recv(descriptor_, room.data(), room.size(), MSG_DONTWAIT);
  return n > 0 ? ByteSpan{room}.first(static_cast<std::size_t>(n)) : ByteSpan{};
}

bool PacketSocket::send(ByteSpan frame) {
  return ::send(descriptor_, frame.data(), frame.size(), MSG_DONTWAIT) ==
         static_cast<ssize_t>(frame.size());
}

}  // namespace sluice::wire
