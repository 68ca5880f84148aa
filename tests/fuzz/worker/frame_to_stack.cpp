// Frames into a port's IP layer and the TCP stack on top of it, joined as a worker joins them, over
// virtual time.
//
// Input: records of a 4-byte head (what, time step, length) and bytes. A record is a raw frame, a
// frame whose checksums are repaired, a TCP segment that answers the last one sent, or an ICMP
// error that quotes it; the bytes overlay what was made. The stack's invariants hold after each
// record.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "../ip/frames.h"
#include "inspector.h"
#include "packet/ethernet.h"
#include "tcp/stack.h"

namespace {

using namespace sluice;
using fuzz::require;

constexpr packet::MacAddress kUs{{2, 0, 0, 0, 0, 1}}, kPeer{{2, 0, 0, 0, 0, 2}};
constexpr std::size_t kRecords = 256;

class World final : public tcp::TransmitSink, public tcp::Acceptor, public tcp::Observer {
 public:
  explicit World(std::uint8_t options)
      : net_(interface_config(options), sink_, counters_), tcp_(stack_config(), *this, *this) {
    sink_.on_segment = [this](ByteSpan frame, const packet::ParsedFrame& p) {
      last_.assign(frame.begin(), frame.end());
      parsed_ = p;
    };
    net_.start(now_);
    tcp_.listen(443, 1);
    const bool ipv6 = (options & 2) != 0;
    const IpAddress from = address(ipv6 ? "2001:db8:1::1" : "198.18.1.1");
    const IpAddress to = address(ipv6 ? "2001:db8:1::2" : "198.18.1.2");
    tcp_.connect(from, {to, 80}, *this, now_);
    turn();
  }

  void record(ByteReader& in) {
    const std::uint8_t what = in.u8();
    now_ += Millis{int{in.u8()} * int{in.u8()}};
    const std::size_t length = std::size_t{in.u8()} * ((what & 0x80) != 0 ? 8 : 1);
    const ByteSpan bytes = in.bytes(std::min(length, in.remaining()));
    sink_.starved = (what & 0x40) != 0;
    std::vector<std::uint8_t> frame;
    switch (what % 4) {
      case 0:
      case 1:
        frame.assign(bytes.begin(), bytes.end());
        break;
      case 2:
        frame = answer(bytes);
        break;
      default:
        frame = icmp_error(bytes, (what & 0x20) != 0);
    }
    if (what % 4 != 0) fuzz::repair(frame);
    deliver(frame);
    turn();
  }

  void finish() {
    sink_.starved = false;
    for (int i = 0; i < 100; ++i) {
      now_ += Seconds{10};
      turn();
    }
    tcp_.abort_all(now_);
    // The resets may wait for neighbours.
    for (int second = 0; second < 60; ++second) net_.poll(now_ += Seconds{1});
    require(net_.held_count() == 0);
    complain(tcp::Inspector::leftovers(tcp_));
  }

 private:
  static IpAddress address(const char* text) { return *IpAddress::parse(text); }
  static ip::InterfaceConfig interface_config(std::uint8_t options) {
    ip::InterfaceConfig config;
    config.mac = kUs;
    config.addresses = {*IpPrefix::parse("198.18.1.1/24"), *IpPrefix::parse("2001:db8:1::1/64")};
    config.neighbours = 16;
    config.held_packets = 8;
    config.reassembly = {.datagrams = 2, .fragments = 8};
    config.shared = (options & 1) != 0;
    return config;
  }
  static tcp::StackConfig stack_config() {
    tcp::StackConfig config;
    config.max_connections = 8;
    config.syn_cache_entries = 4;
    config.time_wait_entries = 2;
    config.receive_buffer = 20'000;
    config.memory_limit = 200'000;
    return config;
  }

  // tcp::TransmitSink
  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override {
    return net_.begin_l4(source, destination, packet::kProtocolTcp, length);
  }
  void commit() override { net_.end_l4(); }
  // tcp::Acceptor, tcp::Observer
  tcp::Observer* on_accept(tcp::Connection&, std::uint32_t, Time) override { return this; }
  void on_ready(tcp::Connection& c, Time) override {
    if (c.close_reason() != tcp::CloseReason::none) return;
    while (!c.peek().empty()) {
      c.write(c.peek());
      c.consume(c.peek().size());
    }
    if (c.end_of_stream()) c.close();
  }

  // The segment a peer would send next, with what the input changes in it: (position, value) pairs
  // first, text after a zero.
  std::vector<std::uint8_t> answer(ByteSpan bytes) const {
    std::vector<std::uint8_t> frame(last_);
    if (frame.empty()) return frame;
    swap_ends(frame);
    const std::size_t at = parsed_.l4_offset;
    const std::uint32_t seq = load_be32(&last_[at + 4]), ack = load_be32(&last_[at + 8]);
    const std::size_t header = std::size_t{last_[at + 12]} >> 4 << 2;
    const bool syn = (last_[at + 13] & 2) != 0, fin = (last_[at + 13] & 1) != 0;
    std::swap_ranges(frame.begin() + static_cast<std::ptrdiff_t>(at),
                     frame.begin() + static_cast<std::ptrdiff_t>(at + 2),
                     frame.begin() + static_cast<std::ptrdiff_t>(at + 2));
    frame.resize(at + header);
    store_be32(&frame[at + 4], ack);
    store_be32(&frame[at + 8], static_cast<std::uint32_t>(seq + parsed_.l4_length - header +
                                                          (syn ? 1 : 0) + (fin ? 1 : 0)));
    frame[at + 13] = ack == 0 ? 0x12 : 0x10;
    store_be16(&frame[at + 14], 4000);
    std::size_t i = 0;
    for (; i + 1 < bytes.size() && bytes[i] != 0; i += 2) {
      frame[at + bytes[i] % header] ^= bytes[i + 1];
    }
    if (i < bytes.size())
      frame.insert(frame.end(), bytes.begin() + 1 + static_cast<long>(i), bytes.end());
    set_length(frame);
    return frame;
  }

  std::vector<std::uint8_t> icmp_error(ByteSpan bytes, bool too_big) const {
    if (last_.empty()) return {};
    std::vector<std::uint8_t> quoted(last_.begin() + parsed_.l3_offset, last_.end());
    quoted.resize(std::min<std::size_t>(quoted.size(), 128));
    std::vector<std::uint8_t> frame(last_.begin(), last_.begin() + parsed_.l4_offset);
    swap_ends(frame);
    const bool ipv6 = parsed_.network == packet::Network::ipv6;
    frame[parsed_.l3_offset + (ipv6 ? 6u : 9u)] =
        ipv6 ? packet::kProtocolIcmpv6 : packet::kProtocolIcmp;
    const std::size_t at = frame.size();
    frame.resize(at + 8);
    frame[at] = ipv6 ? (too_big ? 2 : 1) : 3;
    frame[at + 1] = !ipv6 && too_big ? 4 : 0;
    frame[at + 6] = 3;
    frame.insert(frame.end(), quoted.begin(), quoted.end());
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
      frame[at + bytes[i] % (frame.size() - at)] ^= bytes[i + 1];
    }
    set_length(frame);
    return frame;
  }

  void swap_ends(std::vector<std::uint8_t>& frame) const {
    packet::write_ethernet(
        frame, kUs, kPeer,
        parsed_.network == packet::Network::ipv6 ? packet::kEtherTypeIpv6 : packet::kEtherTypeIpv4);
    const bool ipv6 = parsed_.network == packet::Network::ipv6;
    const auto at = static_cast<std::ptrdiff_t>(parsed_.l3_offset + (ipv6 ? 8 : 12));
    const std::ptrdiff_t width = ipv6 ? 16 : 4;
    std::swap_ranges(frame.begin() + at, frame.begin() + at + width, frame.begin() + at + width);
  }
  void set_length(std::vector<std::uint8_t>& frame) const {
    const std::size_t l3 = parsed_.l3_offset;
    const bool ipv6 = parsed_.network == packet::Network::ipv6;
    store_be16(&frame[l3 + (ipv6 ? 4 : 2)],
               static_cast<std::uint16_t>(frame.size() - (ipv6 ? parsed_.l4_offset : l3)));
  }

  // As PortStack does.
  void deliver(ByteSpan frame) {
    using Kind = ip::InputResult::Kind;
    const ip::InputResult result = net_.input(frame, {}, now_);
    if (result.kind == Kind::icmp_error) {
      const packet::IcmpError& e = result.error;
      tcp_.icmp_error({e.source, e.destination, e.source_port, e.destination_port}, e.quoted,
                      e.hard, e.mtu, now_);
    } else if (result.kind == Kind::packet) {
      const ip::LocalPacket& p = result.packet;
      if (p.protocol == packet::kProtocolTcp) {
        tcp_.input({p.source, p.destination, p.bytes, p.checksum_verified, p.ecn}, now_);
      } else {
        net_.refuse_udp(p, now_);
      }
    }
    complain(tcp::Inspector::check(tcp_, edges_));
  }

  void turn() {
    net_.poll(now_);
    tcp_.poll_timers(now_);
    tcp_.dispatch(now_);
    tcp_.flush(now_);
    tcp_.end_turn();
    complain(tcp::Inspector::check(tcp_, edges_));
    require(net_.neighbour_count() <= 16 && net_.held_count() <= 8);
  }
  void complain(const std::string& wrong) const {
    if (wrong.empty()) return;
    std::fprintf(stderr, "%s\n%s", wrong.c_str(), tcp::Inspector::describe(tcp_, now_).c_str());
    std::abort();
  }

  Time now_{Micros{1'000'000}};
  fuzz::Sink sink_;
  telemetry::CounterBlock counters_;
  std::vector<std::uint8_t> last_;  // the last frame sent that held a segment
  packet::ParsedFrame parsed_;
  std::vector<std::uint64_t> edges_;
  ip::Interface net_;
  tcp::Stack tcp_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader in({data, size});
  World world(in.u8());
  for (std::size_t i = 0; i < kRecords && in.ok() && in.remaining() >= 4; ++i) world.record(in);
  world.finish();
  return 0;
}
