#include "port_stack.h"

#include <algorithm>

#include "packet/ethernet.h"
#include "packet/ipv4.h"
#include "packet/ipv6.h"

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
  c.duplicate_probes = addresses.duplicate_probes;
  c.hop_limit = addresses.hop_limit;
  c.vlan = 0;  // the port takes tags off and puts them on
  c.mtu = port.mtu();
  c.secret[0] = config.tcp.secret[0];
  c.secret[1] = config.tcp.secret[1];
  c.owner = config.neighbour_owner;
  c.shared = config.workers > 1;
  return c;
}

}  // namespace

PortStack::PortStack(port::Port& port, const PortAddresses& addresses, const Config& config,
                     tcp::Acceptor& acceptor, telemetry::CounterBlock& counters, Time now)
    : port_(port),
      config_(config),
      counters_(counters),
      ip_(interface_config(port, addresses, config), *this, counters),
      tcp_(config.tcp, *this, acceptor),
      now_(now) {
  if (config.neighbour_owner) ip_.start(now);
}

std::size_t PortStack::rx_burst() {
  received_count_ = port_.rx_burst(config_.worker, received_);
  return received_count_;
}

packet::RxFlags PortStack::flags(const port::Packet& packet) {
  packet::RxFlags f;
  f.ip = hint(packet.ip_checksum());
  f.l4 = hint(packet.l4_checksum());
  return f;
}

void PortStack::input(const port::Packet& packet, const packet::ParsedFrame& parsed, Time now) {
  now_ = now;
  deliver(ip_.input(packet.data(), parsed, flags(packet), now), now);
}

void PortStack::deliver(const ip::InputResult& result, Time now) {
  using Kind = ip::InputResult::Kind;
  if (result.kind == Kind::icmp_error) {
    const packet::IcmpError& e = result.error;
    if (e.protocol != packet::kProtocolTcp) return;  // of nothing we sent
    tcp_.icmp_error({e.source, e.destination, e.source_port, e.destination_port}, e.quoted, e.hard,
                    e.mtu, now);
    return;
  }
  if (result.kind != Kind::packet) return;
  const ip::LocalPacket& p = result.packet;
  if (p.reassembled && p.protocol == packet::kProtocolTcp && hand_on(p)) return;
  if (p.protocol != packet::kProtocolTcp) return ip_.refuse_udp(p, now);
  tcp_.input({p.source, p.destination, p.bytes, p.checksum_verified, p.ecn}, now);
}

// Fragments gather at a worker that their ports do not choose: a segment put together from them
// goes on to its flow's owner as one frame. True when it was not for this worker.
bool PortStack::hand_on(const ip::LocalPacket& p) {
  if (config_.redirect == nullptr) return false;
  const unsigned owner =
      port_.flow_owner()(p.source, p.destination, p.source_port, p.destination_port);
  if (owner == config_.worker) return false;
  config_.redirect->push(config_.worker, owner, rebuild(p));
  return true;
}

// Empty, and counted, when there is no buffer for it.
port::Packet PortStack::rebuild(const ip::LocalPacket& p) {
  const bool ipv6 = p.source.is_v6();
  const std::size_t headers =
      packet::kEthernetHeader + (ipv6 ? packet::kIpv6Header : packet::kIpv4Header);
  if (headers + p.bytes.size() > config_.packets->data_room()) {
    // Longer than any segment we asked for; the sender tries smaller ones.
    counters_.add(telemetry::Counter::drop_frame_too_long);
    return {};
  }
  rebuilt_.resize(headers);
  const packet::MacAddress mac{port_.mac()};
  // Its sender's MAC has done its service; an own one would count as a loop.
  packet::write_ethernet(rebuilt_, mac, packet::MacAddress{{2}},
                         ipv6 ? packet::kEtherTypeIpv6 : packet::kEtherTypeIpv4);
  const MutByteSpan header = MutByteSpan{rebuilt_}.subspan(packet::kEthernetHeader);
  if (ipv6) {
    packet::write_ipv6(header, {.source = p.source,
                                .destination = p.destination,
                                .next_header = p.protocol,
                                .hop_limit = p.ttl,
                                .traffic_class = p.ecn,
                                .payload = p.bytes.size()});
  } else {
    packet::write_ipv4(header, {.source = p.source,
                                .destination = p.destination,
                                .protocol = p.protocol,
                                .ttl = p.ttl,
                                .tos = p.ecn,
                                .payload = p.bytes.size()});
  }
  rebuilt_.insert(rebuilt_.end(), p.bytes.begin(), p.bytes.end());
  port::Packet packet = config_.packets->copy_of(rebuilt_, port_.index());
  if (!packet) counters_.add(telemetry::Counter::drop_no_buffer);
  return packet;
}

// One worker checks the addresses, all use them.
void PortStack::share_addresses() {
  ip::AddressMask now = ip_.address_mask();
  if (!config_.neighbour_owner && config_.board != nullptr) {
    now.usable = config_.board->usable.load(std::memory_order_relaxed);
    now.duplicate = config_.board->duplicate.load(std::memory_order_relaxed);
  }
  if (now == addresses_) return;
  addresses_ = now;
  addresses_changed_ = true;
  if (config_.board == nullptr) return;
  if (config_.neighbour_owner) {
    config_.board->usable.store(now.usable, std::memory_order_relaxed);
    config_.board->duplicate.store(now.duplicate, std::memory_order_relaxed);
  } else {
    ip_.follow(now);
  }
}

std::vector<IpAddress> PortStack::usable_addresses() const {
  std::vector<IpAddress> usable;
  for (const IpPrefix& p : ip_.config().addresses) {
    if (ip_.is_local(p.address)) usable.push_back(p.address);
  }
  return usable;
}

void PortStack::poll(Time now, std::size_t max_expiries) {
  now_ = now;
  ip_.poll(now);
  share_addresses();
  tcp_.poll_timers(now, max_expiries);
}

std::size_t PortStack::flush(Time now) {
  tcp_.flush(now);
  return port_.flush(config_.worker);
}

void PortStack::end_turn() {
  tcp_.end_turn();
  for (std::size_t i = 0; i < received_count_; ++i) received_[i].reset();
  received_count_ = 0;
}

Time PortStack::next_deadline() const {
  return std::min(ip_.next_deadline(), tcp_.next_deadline());
}

MutByteSpan PortStack::reserve(std::size_t frame_length) {
  return port_.reserve(config_.worker, frame_length);
}

void PortStack::commit(std::size_t, const ip::L4Offload& offload) {
  port_.commit(config_.worker, {.ipv4_checksum = offload.ipv4_checksum,
                                .l4_checksum = offload.l4_checksum,
                                .l2_length = offload.l2_length,
                                .l3_length = offload.l3_length,
                                .piece = offload.piece,
                                .l4_length = offload.l4_length});
}

bool PortStack::offloads_l4(bool, std::uint8_t) const {
  return port_.capabilities().tx_checksum_l4;
}

bool PortStack::offloads_ipv4() const { return port_.capabilities().tx_checksum_ipv4; }

MutByteSpan PortStack::reserve(const IpAddress& source, const IpAddress& destination,
                               std::size_t length) {
  return ip_.begin_l4(source, destination, packet::kProtocolTcp, length);
}

GatherRoom PortStack::reserve_large(std::size_t headers, std::size_t text) {
  return port_.reserve_large(config_.worker, headers, text);
}

// All of it is one IP packet until it is cut.
tcp::LargeLimit PortStack::large_limit(const IpAddress& remote) const {
  constexpr std::size_t kPacket = 65535, kMostTcpHeader = 60;
  const std::size_t ip = remote.is_v6() ? packet::kIpv6Header : packet::kIpv4Header;
  const std::size_t text = port_.largest_text(config_.worker, remote.is_v6());
  if (text == 0) return {};
  return {.text = std::min(text, kPacket - ip - kMostTcpHeader),
          .segment = port_.capabilities().tso_frame - packet::kEthernetHeader - ip};
}

GatherRoom PortStack::reserve_large(const IpAddress& source, const IpAddress& destination,
                                    std::size_t header, std::size_t piece, std::size_t pieces) {
  return ip_.begin_large(source, destination, header, piece, pieces);
}

void PortStack::commit() { ip_.end_l4(); }

void PortStack::on_progress(const IpAddress& remote) { ip_.confirm(remote, now_); }

void PortStack::on_stall(const IpAddress& remote) { ip_.doubt(remote, now_); }

}  // namespace sluice::worker
