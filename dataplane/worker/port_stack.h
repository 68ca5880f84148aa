// One port as one worker uses it: frames in and out, the IP layer and a TCP stack on top.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "ip/interface.h"
#include "packet/frame.h"
#include "port/packet_pool.h"
#include "port/port.h"
#include "port/redirect.h"
#include "tcp/stack.h"
#include "tcp/stats.h"
#include "worker/worker.h"

namespace sluice::worker {

class PortStack final : public ip::FrameSink, public tcp::TransmitSink {
 public:
  struct Config {
    unsigned worker = 0;
    bool neighbour_owner = true;
    // Other workers use the same addresses: the way to the owner of a flow.
    unsigned workers = 1;
    port::Redirect* redirect = nullptr;
    port::PacketPool* packets = nullptr;
    AddressBoard* board = nullptr;  // the neighbour owner writes it, the others follow
    tcp::StackConfig tcp;
  };
  PortStack(port::Port& port, const PortAddresses& addresses, const Config& config,
            tcp::Acceptor& acceptor, telemetry::CounterBlock& counters, Time now);

  // Receives up to one burst; the packets live until the next call.
  std::size_t rx_burst();
  port::Packet& received(std::size_t i) { return received_[i]; }

  static packet::RxFlags flags(const port::Packet& packet);
  static packet::ParsedFrame parse(const port::Packet& packet) {
    return packet::parse_frame(packet.data(), flags(packet));
  }
  void input(const port::Packet& packet, const packet::ParsedFrame& parsed, Time now);

  void poll(Time now, std::size_t max_expiries);
  // TCP output, then everything queued for the device.
  std::size_t flush(Time now);
  // Packets of this turn are let go: received bytes still unread are copied out of them first.
  void end_turn();

  // Those configured that are in use now.
  std::vector<IpAddress> usable_addresses() const;
  // Whether that may have changed since the last call.
  bool take_address_change() { return std::exchange(addresses_changed_, false); }

  bool has_ready() const { return tcp_.has_ready(); }
  Time next_deadline() const;
  tcp::Stack& tcp() { return tcp_; }
  ip::Interface& ip() { return ip_; }
  port::Port& port() { return port_; }

  // ip::FrameSink
  MutByteSpan reserve(std::size_t frame_length) override;
  void commit(std::size_t frame_length, const ip::L4Offload& offload) override;
  bool offloads_l4(bool ipv6, std::uint8_t protocol) const override;
  bool offloads_ipv4() const override;
  GatherRoom reserve_large(std::size_t headers, std::size_t text) override;
  // tcp::TransmitSink
  MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                      std::size_t length) override;
  tcp::LargeLimit large_limit(const IpAddress& remote) const override;
  GatherRoom reserve_large(const IpAddress& source, const IpAddress& destination,
                           std::size_t header, std::size_t piece, std::size_t pieces) override;
  void commit() override;
  void on_progress(const IpAddress& remote) override;
  void on_stall(const IpAddress& remote) override;

 private:
  void deliver(const ip::InputResult& result, Time now);
  bool hand_on(const ip::LocalPacket& packet);
  void share_addresses();
  port::Packet rebuild(const ip::LocalPacket& packet);

  port::Port& port_;
  const Config config_;
  telemetry::CounterBlock& counters_;
  ip::Interface ip_;
  tcp::Stack tcp_;
  std::array<port::Packet, port::Port::kBurst> received_;
  std::size_t received_count_ = 0;
  Time now_;                   // of this turn
  ip::AddressMask addresses_;  // as last shared
  bool addresses_changed_ = true;
  std::vector<std::uint8_t> rebuilt_;  // a frame on its way to another worker
};

}  // namespace sluice::worker
