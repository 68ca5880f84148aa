#include "device.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "port/port.h"
#include "runtime/eal.h"

namespace sluice::port {
namespace {

// Frames that wait in the kernel while the worker does something long, such as a handshake.
constexpr unsigned kAfPacketFrames = 2048;
constexpr unsigned kAfPacketJumboFrames = 512;
constexpr unsigned kAfPacketBlock = 65536;
constexpr unsigned kPage = 4096;
// TPACKET_V2 header and socket address as the kernel and the driver count them, less the driver's
// own subtraction: a frame of data_room + 32 bytes fits exactly into a buffer of data_room.
constexpr unsigned kAfPacketHeader = 32;

bool with_interface(const std::string& interface, unsigned long request, ifreq& ask) {
  if (interface.empty() || interface.size() >= IFNAMSIZ) return false;
  std::memcpy(ask.ifr_name, interface.c_str(), interface.size() + 1);
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool done = ::ioctl(fd, request, &ask) == 0;
  ::close(fd);
  return done;
}

}  // namespace

std::string device_name(const std::string& device) { return device.substr(0, device.find(',')); }

std::string driver_name(const std::string& device) {
  if (runtime::is_pci_address(device)) return {};
  std::string name = device_name(device);
  while (!name.empty() && name.back() >= '0' && name.back() <= '9') name.pop_back();
  return name;
}

std::string device_argument(const std::string& device, std::string_view key) {
  const std::string start = "," + std::string(key) + "=";
  const auto at = device.find(start);
  if (at == std::string::npos) return {};
  const auto from = at + start.size();
  return device.substr(from, device.find(',', from) - from);
}

std::string complete_device_arguments(const std::string& device, std::uint16_t mtu,
                                      unsigned workers) {
  if (driver_name(device) != "net_af_packet") return device;
  std::string complete = device;
  const auto add = [&](std::string_view key, unsigned value) {
    if (!device_argument(device, key).empty()) return;
    complete += "," + std::string(key) + "=" + std::to_string(value);
  };
  add("qpairs", std::max(workers, 1u));
  add("qdisc_bypass", 1);
  const bool user_sized = !device_argument(device, "framesz").empty() ||
                          !device_argument(device, "blocksz").empty() ||
                          !device_argument(device, "framecnt").empty();
  if (user_sized) return complete;
  const unsigned room = runtime::packet_data_room(mtu);
  const unsigned frame = mtu <= 1500 ? 2048 : room + kAfPacketHeader;
  // The driver takes the frames of all blocks to lie end to end; the kernel begins each block anew,
  // on a page: the two agree only when frames fill a block without rest.
  const unsigned block = mtu <= 1500 ? kAfPacketBlock : std::lcm(frame, kPage);
  const unsigned per_block = block / frame;
  const unsigned frames = mtu <= 1500 ? kAfPacketFrames : kAfPacketJumboFrames;
  add("blocksz", block);
  add("framesz", frame);
  // The kernel takes only whole blocks of frames.
  add("framecnt", std::max(1u, frames / per_block) * per_block);
  return complete;
}

std::vector<int> open_descriptors() {
  std::vector<int> descriptors;
  std::error_code error;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error), end; at != end;
       at.increment(error)) {
    descriptors.push_back(std::atoi(at->path().filename().c_str()));
  }
  std::sort(descriptors.begin(), descriptors.end());
  return descriptors;
}

std::vector<int> new_packet_sockets(const std::vector<int>& before, const std::vector<int>& after) {
  std::vector<int> sockets;
  for (const int fd : after) {
    if (std::binary_search(before.begin(), before.end(), fd)) continue;
    int domain = 0;
    socklen_t length = sizeof domain;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) continue;
    if (domain == AF_PACKET || domain == AF_XDP) sockets.push_back(fd);
  }
  return sockets;
}

bool interface_running(const std::string& interface) {
  ifreq ask{};
  return with_interface(interface, SIOCGIFFLAGS, ask) &&
         (ask.ifr_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
}

bool set_interface_mtu(const std::string& interface, unsigned mtu) {
  ifreq ask{};
  ask.ifr_mtu = static_cast<int>(mtu);
  return with_interface(interface, SIOCSIFMTU, ask);
}

}  // namespace sluice::port
