// Frames into the IP layer of one port, as a wire could deliver them, over virtual time.
//
// Input: records of a 4-byte head (flags, time step, length) and a frame. One flag bit asks for the
// checksums to be repaired, so that the code behind them is reached; they are verified as ever.
#include <algorithm>
#include <vector>

#include "frames.h"

namespace {

using namespace sluice;
using fuzz::repair;
using fuzz::require;
using fuzz::Sink;

constexpr std::uint8_t kRepair = 1;
constexpr std::uint8_t kSend = 2;
constexpr std::uint8_t kStarve = 4;
constexpr std::uint8_t kVlan = 8;

IpAddress address(const char* text) { return *IpAddress::parse(text); }

void send_something(ip::Interface& net, const IpAddress& to) {
  const auto from = net.source_for(to);
  if (!from) return;
  const MutByteSpan room = net.begin_l4(*from, to, packet::kProtocolTcp, 40);
  if (room.empty()) return;
  require(room.size() == 40);
  std::fill(room.begin(), room.end(), std::uint8_t{0});
  room[12] = 0xa0;
  net.end_l4();
}

void check_result(const ip::Interface& net, const ip::InputResult& result) {
  using Kind = ip::InputResult::Kind;
  if (result.kind == Kind::dropped) require(result.drop != packet::kNoDrop);
  if (result.kind == Kind::packet) {
    require(net.is_local(result.packet.destination) && !net.is_local(result.packet.source));
    require(result.packet.bytes.size() >= packet::kUdpHeader);
    // Touch every byte: a span that is too long shows under a sanitizer.
    require(packet::checksum(result.packet.bytes) <= 0xffff);
  }
  if (result.kind == Kind::icmp_error) {
    require(net.is_local(result.error.source) && result.error.quoted.size() >= 8);
    require(packet::checksum(result.error.quoted) <= 0xffff);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in({data, size});
  ip::InterfaceConfig config;
  config.mac = {{2, 0, 0, 0, 0, 1}};
  config.addresses = {*IpPrefix::parse("198.18.1.1/24"), *IpPrefix::parse("2001:db8:1::1/64")};
  config.gateways = {address("198.18.1.254"), address("2001:db8:1::fe")};
  config.neighbours = 16;
  config.held_packets = 8;
  config.reassembly = {.datagrams = 2, .fragments = 8};
  const std::uint8_t options = in.u8();
  if ((options & kVlan) != 0) config.vlan = 120;
  config.shared = (options & 1) != 0;
  config.duplicate_probes = (options & 2) != 0 ? 1 : 0;
  Sink sink;
  telemetry::CounterBlock counters;
  ip::Interface net(config, sink, counters);
  Time now{Micros{1'000'000}};
  net.start(now);
  while (in.ok() && in.remaining() >= 4) {
    const std::uint8_t flags = in.u8();
    now += Millis{int{in.u8()} * int{in.u8()}};
    const std::size_t length = std::size_t{in.u8()} * ((flags & 0x80) != 0 ? 8 : 1);
    const ByteSpan raw = in.bytes(std::min(length, in.remaining()));
    // A buffer of exactly this size, so that reading past its end is seen.
    std::vector<std::uint8_t> frame(raw.begin(), raw.end());
    if ((flags & kRepair) != 0) repair(frame);
    sink.starved = (flags & kStarve) != 0;
    net.poll(now);
    const ip::InputResult result = net.input(frame, {}, now);
    check_result(net, result);
    if (result.kind == ip::InputResult::Kind::packet) {
      if (result.packet.protocol == packet::kProtocolUdp) net.refuse_udp(result.packet, now);
      if ((flags & kSend) != 0) send_something(net, result.packet.source);
      net.confirm(result.packet.source, now);
    }
    while (const auto update = net.pop_update()) net.apply(*update, now);
    require(net.neighbour_count() <= 16 && net.held_count() <= 8);
  }
  // Left alone, it comes to rest: nothing held, nothing pending but the slow sweep.
  sink.starved = false;
  for (int second = 0; second < 60; ++second) net.poll(now += Seconds{1});
  require(net.held_count() == 0);
  return 0;
}
