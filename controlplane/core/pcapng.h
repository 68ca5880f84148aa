// Blocks of the pcapng format (draft-ietf-opsawg-pcapng), appended to a text as little endian.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace sluice::control::pcapng {

// Section Header Block. A file is one section, of a length not told.
void section(std::string& out, std::string_view application);

struct Interface {
  std::string_view name;
  std::string_view description;
  std::string_view filter;  // as its user gave it; empty: none
  std::uint32_t snap_length = 0;
};
// Interface Description Block: Ethernet, times in nanoseconds. Numbered from 0 as they come.
void interface(std::string& out, const Interface& interface);

struct Packet {
  std::uint32_t interface = 0;
  std::uint64_t time = 0;  // ns since 1970
  std::uint32_t wire_length = 0;
  bool outbound = false;
  ByteSpan bytes;
};
// Enhanced Packet Block with its direction.
void packet(std::string& out, const Packet& packet);
std::size_t packet_size(std::size_t bytes);  // of its block

// Counts from the beginning of the capture.
struct Statistics {
  std::uint64_t begin = 0, end = 0;     // ns since 1970
  std::uint64_t received = 0;           // frames the port gave or took
  std::uint64_t interface_dropped = 0;  // by the device, before it could give them
  std::uint64_t accepted = 0;           // by the filter
  std::uint64_t system_dropped = 0;     // of these: no room to copy them
  std::uint64_t delivered = 0;          // of these: in this file
};
// Interface Statistics Block.
void statistics(std::string& out, std::uint32_t interface, const Statistics& statistics);

}  // namespace sluice::control::pcapng
