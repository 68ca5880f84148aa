#include "pcapng.h"

namespace sluice::control::pcapng {
namespace {

constexpr std::uint32_t kSection = 0x0a0d0d0a, kInterface = 1, kStatistics = 5, kPacket = 6;
constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
constexpr std::uint16_t kEthernet = 1;
constexpr std::size_t kPacketHead = 28, kDirectionOption = 8, kEndOption = 4, kTrailer = 4;

enum Option : std::uint16_t {
  opt_end = 0,
  shb_userappl = 4,
  if_name = 2,
  if_description = 3,
  if_tsresol = 9,
  if_filter = 11,
  epb_flags = 2,
  isb_starttime = 2,
  isb_endtime = 3,
  isb_ifrecv = 4,
  isb_ifdrop = 5,
  isb_filteraccept = 6,
  isb_osdrop = 7,
  isb_usrdeliv = 8,
};

template <typename T>
void put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) {
    out += static_cast<char>(static_cast<std::uint8_t>(value >> (8 * i)));
  }
}

void pad(std::string& out, std::size_t length) { out.append((4 - length % 4) % 4, '\0'); }

// The length of a block stands before and after what is in it.
class Block {
 public:
  Block(std::string& out, std::uint32_t type) : out_(out), begin_(out.size()) {
    put(out_, type);
    put(out_, std::uint32_t{0});
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    const auto length = static_cast<std::uint32_t>(out_.size() - begin_ + kTrailer);
    put(out_, length);
    for (std::size_t i = 0; i < 4; ++i) {
      out_[begin_ + 4 + i] = static_cast<char>(static_cast<std::uint8_t>(length >> (8 * i)));
    }
  }

 private:
  std::string& out_;
  const std::size_t begin_;
};

void option(std::string& out, Option code, std::string_view value) {
  value = value.substr(0, 0xfffc);
  put(out, static_cast<std::uint16_t>(code));
  put(out, static_cast<std::uint16_t>(value.size()));
  out.append(value);
  pad(out, value.size());
}

void count_option(std::string& out, Option code, std::uint64_t value) {
  put(out, static_cast<std::uint16_t>(code));
  put(out, std::uint16_t{8});
  put(out, value);
}

// Times are two words, the high one first.
void put_time(std::string& out, std::uint64_t time) {
  put(out, static_cast<std::uint32_t>(time >> 32));
  put(out, static_cast<std::uint32_t>(time));
}

void time_option(std::string& out, Option code, std::uint64_t time) {
  put(out, static_cast<std::uint16_t>(code));
  put(out, std::uint16_t{8});
  put_time(out, time);
}

void end_options(std::string& out) { option(out, opt_end, {}); }

}  // namespace

void section(std::string& out, std::string_view application) {
  const Block block(out, kSection);
  put(out, kByteOrder);
  put(out, std::uint16_t{1});  // version 1.0
  put(out, std::uint16_t{0});
  put(out, ~std::uint64_t{0});
  option(out, shb_userappl, application);
  end_options(out);
}

void interface(std::string& out, const Interface& interface) {
  const Block block(out, kInterface);
  put(out, kEthernet);
  put(out, std::uint16_t{0});
  put(out, interface.snap_length);
  option(out, if_name, interface.name);
  if (!interface.description.empty()) option(out, if_description, interface.description);
  option(out, if_tsresol, std::string_view("\x09", 1));  // 10^-9 s
  // The first byte says that a text of libpcap follows.
  if (!interface.filter.empty()) option(out, if_filter, std::string(1, '\0') += interface.filter);
  end_options(out);
}

std::size_t packet_size(std::size_t bytes) {
  return kPacketHead + (bytes + 3) / 4 * 4 + kDirectionOption + kEndOption + kTrailer;
}

void packet(std::string& out, const Packet& packet) {
  const Block block(out, kPacket);
  put(out, packet.interface);
  put_time(out, packet.time);
  put(out, static_cast<std::uint32_t>(packet.bytes.size()));
  put(out, packet.wire_length);
  out.append(reinterpret_cast<const char*>(packet.bytes.data()), packet.bytes.size());
  pad(out, packet.bytes.size());
  put(out, static_cast<std::uint16_t>(epb_flags));
  put(out, std::uint16_t{4});
  put(out, packet.outbound ? std::uint32_t{2} : std::uint32_t{1});
  end_options(out);
}

void statistics(std::string& out, std::uint32_t interface, const Statistics& statistics) {
  const Block block(out, kStatistics);
  put(out, interface);
  put_time(out, statistics.end);
  time_option(out, isb_starttime, statistics.begin);
  time_option(out, isb_endtime, statistics.end);
  count_option(out, isb_ifrecv, statistics.received);
  count_option(out, isb_ifdrop, statistics.interface_dropped);
  count_option(out, isb_filteraccept, statistics.accepted);
  count_option(out, isb_osdrop, statistics.system_dropped);
  count_option(out, isb_usrdeliv, statistics.delivered);
  end_options(out);
}

}  // namespace sluice::control::pcapng
