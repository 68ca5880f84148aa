// Blocks against draft-ietf-opsawg-pcapng, byte for byte. tests/system/test_capture.py has tshark
// read whole files.
#include "pcapng.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::control::pcapng {
namespace {

std::string bytes(std::initializer_list<unsigned> values) {
  std::string out;
  for (const unsigned v : values) out += static_cast<char>(v);
  return out;
}

TEST(Pcapng, Section4_1_SectionHeader) {
  std::string out;
  section(out, "sluice");
  EXPECT_EQ(out,
            bytes({0x0a, 0x0d, 0x0d, 0x0a, 44,   0,    0,    0,     // type, length
                   0x4d, 0x3c, 0x2b, 0x1a, 1,    0,    0,    0,     // byte order, version 1.0
                   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  // section's length: not told
                   4,    0,    6,    0,    's',  'l',  'u',  'i',  'c', 'e', 0, 0,  // application
                   0,    0,    0,    0,    44,   0,    0,    0}));
}

TEST(Pcapng, Section4_2_InterfaceDescription) {
  std::string out;
  interface(out, {.name = "agents", .description = "", .filter = "arp", .snap_length = 16384});
  EXPECT_EQ(out, bytes({1,  0, 0, 0, 52,  0,   0,   0,                    // type, length
                        1,  0, 0, 0, 0,   64,  0,   0,                    // Ethernet, snap
                        2,  0, 6, 0, 'a', 'g', 'e', 'n', 't', 's', 0, 0,  // if_name
                        9,  0, 1, 0, 9,   0,   0,   0,                    // if_tsresol
                        11, 0, 4, 0, 0,   'a', 'r', 'p',                  // if_filter
                        0,  0, 0, 0, 52,  0,   0,   0}));
}

TEST(Pcapng, Section4_3_EnhancedPacket) {
  const std::vector<std::uint8_t> frame = {1, 2, 3, 4, 5};
  std::string out;
  packet(out, {.interface = 1,
               .time = 0x0102030405060708,
               .wire_length = 1514,
               .outbound = true,
               .bytes = frame});
  EXPECT_EQ(out, bytes({6, 0, 0, 0, 52,   0,    0, 0, 1, 0, 0, 0,  // type, length, interface
                        4, 3, 2, 1, 8,    7,    6, 5,              // time: high, low
                        5, 0, 0, 0, 0xea, 0x05, 0, 0,              // captured, original
                        1, 2, 3, 4, 5,    0,    0, 0,              // padded to 32 bits
                        2, 0, 4, 0, 2,    0,    0, 0,              // epb_flags: outbound
                        0, 0, 0, 0, 52,   0,    0, 0}));
  EXPECT_EQ(packet_size(frame.size()), out.size());
  std::string in;
  packet(in, {.bytes = {}});
  EXPECT_EQ(in.substr(28, 8), bytes({2, 0, 4, 0, 1, 0, 0, 0})) << "inbound";
  EXPECT_EQ(packet_size(0), in.size());
}

TEST(Pcapng, Section4_6_InterfaceStatistics) {
  std::string out;
  statistics(out, 2,
             {.begin = 1ull << 32,
              .end = 2,
              .received = 3,
              .interface_dropped = 4,
              .accepted = 5,
              .system_dropped = 6,
              .delivered = 0x0102030405060708});
  const auto option = [](unsigned code, unsigned value) {
    return bytes({code, 0, 8, 0, value, 0, 0, 0, 0, 0, 0, 0});
  };
  EXPECT_EQ(out, bytes({5, 0, 0, 0, 112, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0}) +
                     bytes({2, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0}) +  // isb_starttime
                     bytes({3, 0, 8, 0, 0, 0, 0, 0, 2, 0, 0, 0}) +  // isb_endtime
                     option(4, 3) + option(5, 4) + option(6, 5) + option(7, 6) +
                     bytes({8, 0, 8, 0, 8, 7, 6, 5, 4, 3, 2, 1}) +  // isb_usrdeliv
                     bytes({0, 0, 0, 0, 112, 0, 0, 0}));
}

}  // namespace
}  // namespace sluice::control::pcapng
