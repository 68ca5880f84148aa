#include "port_stack.h"

#include <algorithm>

namespace sluice::worker {

namespace {

packet::ChecksumHint hint(port::ChecksumState state) {
  switch (state) {
    case port::ChecksumState::good:
      return packet::ChecksumHint::good;
    case port::ChecksumState::bad:
      return packet::ChecksumHint::bad;
    case port::ChecksumState::unknown:
      break;
  }
  return packet::ChecksumHint::unknown;
}

ip::InterfaceConfig interface_config(const port::Port& port, const PortAddresses& addresses,
                                     const PortStack::Config& config) {
  ip::InterfaceConfig c;
  c.mac.octets = port.mac();
  c.addresses = addresses.addresses;
  c.gateways = addresses.gateways;
  c.vlan = 0;  // the port takes tags off and puts them on
  c.mtu = port.mtu();
  c.secret[0] = config.tcp.secret[0];
  c.secret[1] = config.tcp.secret[1];
  c.owner = config.neighbour_owner;
  c.shared = config.shared;
  return c;
}

}  // namespace

PortStack::PortStack(port::Port& port, const PortAddresses& addresses, const Config& config,
                     tcp::Acceptor& acceptor, telemetry::CounterBlock& counters, Time now)
    : port_(port),
      worker_(config.worker),
      ip_(interface_config(port, addresses, config), *this, counters),
      tcp_(config.tcp, *this, acceptor) {
  if (config.neighbour_owner) ip_.start(now);
}

std::size_t PortStack::rx_burst() {
  received_count_ = port_.rx_burst(worker_, received_);
  return received_count_;
}

packet::RxFlags PortStack::flags(const port::Packet& packet) {
  packet::RxFlags f;
  f.ip = hint(packet.ip_checksum());
  f.l4 = hint(packet.l4_checksum());
  return f;
}

void PortStack::input(const port::Packet& packet, const packet::ParsedFrame& parsed, Time now) {
  deliver(ip_.input(packet.data(), parsed, flags(packet), now), now);
}

void PortStack::deliver(const ip::InputResult& result, Time now) {
  using Kind = ip::InputResult::Kind;
  if (result.kind == Kind::icmp_error) {
    const packet::IcmpError& e = result.error;
    tcp_.icmp_error({e.source, e.destination, e.source_port, e.destination_port}, e.quoted, e.hard,
                    e.mtu, now);
    return;
  }
  if (result.kind != Kind::packet) return;
  const ip::LocalPacket& p = result.packet;
  if (p.protocol != packet::kProtocolTcp) return ip_.refuse_udp(p, now);
  tcp_.input({p.source, p.destination, p.bytes, p.checksum_verified, p.ecn}, now);
}

void PortStack::poll(Time now, std::size_t max_expiries) {
  ip_.poll(now);
  tcp_.poll_timers(now, max_expiries);
}

std::size_t PortStack::flush(Time now) {
  tcp_.flush(now);
  return port_.flush(worker_);
}

void PortStack::end_turn() {
  tcp_.end_turn();
  for (std::size_t i = 0; i < received_count_; ++i) received_[i].reset();
  received_count_ = 0;
}

void PortStack::clear() {
  for (auto& packet : received_) packet.reset();
}

Time PortStack::next_deadline() const {
  return std::min(ip_.next_deadline(), tcp_.next_deadline());
}

MutByteSpan PortStack::reserve(std::size_t frame_length) {
  return port_.reserve(worker_, frame_length);
}

void PortStack::commit(std::size_t, const ip::L4Offload&) { port_.commit(worker_); }

MutByteSpan PortStack::reserve(const IpAddress& source, const IpAddress& destination,
                               std::size_t length) {
  return ip_.begin_l4(source, destination, packet::kProtocolTcp, length);
}

void PortStack::commit() { ip_.end_l4(); }

}  // namespace sluice::worker
