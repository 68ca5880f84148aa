// Filters in tcpdump's language (pcap-filter(7)), compiled and run by libpcap.
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "runtime/capture.h"

namespace sluice::control {

inline constexpr std::size_t kLongestFilter = 1024;  // characters
inline constexpr std::size_t kLargestFilter = 1024;  // BPF instructions, none of which goes back

// Addresses and numbers only: nothing is looked up, so that compiling does not wait for a name
// server. Empty text: every frame. With `tagged` it is meant for frames with a VLAN tag as well as
// for those without. A refusal says why in plain words.
std::expected<std::shared_ptr<const runtime::FrameFilter>, std::string> compile_filter(
    const std::string& text, bool tagged);

}  // namespace sluice::control
