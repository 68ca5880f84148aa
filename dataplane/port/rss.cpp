// Spreading by the NIC's own hash, and not believing it: what was set is read back, and what
// arrives is compared with what was predicted.
//
// NICs are known to take a key and ignore it, to hash by another function, or to share key and
// table with other functions of the device; and virtual ports have no hash. A frame at the wrong
// worker costs a ring hop, so a wrong prediction is slow, never wrong.
#include <rte_ethdev.h>

#include <algorithm>
#include <bit>

#include "packet/ipv4.h"
#include "packet/ipv6.h"
#include "port_impl.h"

namespace sluice::port {
namespace {

constexpr std::uint64_t kTcp = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP;
constexpr std::size_t kUsualKey = 40;       // of devices that do not say
constexpr std::uint64_t kTrustAfter = 256;  // frames of a queue that were as predicted
constexpr unsigned kCheckEach = 64;         // frame after that
constexpr std::size_t kLargestTable = 2048;

// What every NIC finds the ports in. Options and extension headers are hashed by some without.
bool plain_tcp(const packet::ParsedFrame& parsed) {
  if (!parsed.ok() || parsed.protocol != packet::kProtocolTcp || parsed.fragment) return false;
  const std::size_t header = parsed.ipv6() ? packet::kIpv6Header : packet::kIpv4Header;
  return parsed.l4_offset - parsed.l3_offset == static_cast<int>(header);
}

}  // namespace

std::string_view to_string(Spreading spreading) {
  switch (spreading) {
    case Spreading::single:
      return "single";
    case Spreading::redirect:
      return "redirect";
    case Spreading::rss:
      break;
  }
  return "rss";
}

// Before the device is configured: is it worth trying, and with which key?
bool Port::Impl::plan_rss() {
  if (config.workers == 1) return false;
  spreading.store(Spreading::redirect, std::memory_order_relaxed);
  if (rx_queues < config.workers) {
    no_rss = "receive queues are fewer than workers: " + std::to_string(rx_queues) + " of " +
             std::to_string(config.workers);
    return false;
  }
  if ((info.flow_type_rss_offloads & kTcp) != kTcp) {
    no_rss = "the device has no hash over the ports of TCP (RSS)";
    return false;
  }
  if (info.reta_size < rx_queues || info.reta_size > kLargestTable ||
      !std::has_single_bit(std::size_t{info.reta_size})) {
    no_rss = "the device has no redirection table that could be set";
    return false;
  }
  const std::size_t length = info.hash_key_size == 0 ? kUsualKey : info.hash_key_size;
  if (length < packet::Toeplitz::kKeyMin || length > config.rss_key.size()) {
    no_rss = "the device's hash key has " + std::to_string(length) + " bytes";
    return false;
  }
  // One random key in a few hundred leaves some worker without source ports; then the next.
  rss_key.assign(config.rss_key.begin(), config.rss_key.end());
  for (std::size_t tries = 0; tries < rss_key.size(); ++tries) {
    if (packet::every_entry_reachable(packet::Toeplitz(rss_key), info.reta_size)) {
      rss_key.resize(length);
      return true;
    }
    std::rotate(rss_key.begin(), rss_key.begin() + 1, rss_key.end());
  }
  no_rss = "no usable hash key was given";
  return false;
}

// With the device started: sets the table and reads key and table back. A text says what failed.
std::string Port::Impl::try_rss() {
  const std::size_t size = info.reta_size;
  std::vector<rte_eth_rss_reta_entry64> wanted((size + RTE_ETH_RETA_GROUP_SIZE - 1) /
                                               RTE_ETH_RETA_GROUP_SIZE);
  std::vector<std::uint16_t> table(size);
  for (std::size_t i = 0; i < size; ++i) {
    table[i] = static_cast<std::uint16_t>(i % rx_queues);
    rte_eth_rss_reta_entry64& group = wanted[i / RTE_ETH_RETA_GROUP_SIZE];
    group.mask |= std::uint64_t{1} << (i % RTE_ETH_RETA_GROUP_SIZE);
    group.reta[i % RTE_ETH_RETA_GROUP_SIZE] = table[i];
  }
  std::vector<rte_eth_rss_reta_entry64> got(wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) got[i].mask = wanted[i].mask;
  const auto entries = static_cast<std::uint16_t>(size);
  if (rte_eth_dev_rss_reta_update(id, wanted.data(), entries) != 0) {
    return "the device does not take a redirection table";
  }
  if (rte_eth_dev_rss_reta_query(id, got.data(), entries) != 0) {
    return "the device does not show its redirection table";
  }
  for (std::size_t i = 0; i < size; ++i) {
    if (got[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] != table[i]) {
      return "the device's redirection table is not the one it was given";
    }
  }
  rte_eth_rss_conf conf{};
  conf.rss_key = rss_key.data();
  conf.rss_key_len = static_cast<std::uint8_t>(rss_key.size());
  conf.rss_hf = rss_types;
  // Again: some drivers pass over the key of the configuration. Others have only that way.
  const int error = rte_eth_dev_rss_hash_update(id, &conf);
  if (error != 0 && error != -ENOTSUP) return "the device does not take a hash key";
  std::vector<std::uint8_t> key(rss_key.size());
  conf.rss_key = key.data();
  if (rte_eth_dev_rss_hash_conf_get(id, &conf) != 0) return "the device does not show its hash key";
  if (key != rss_key) return "the device's hash key is not the one it was given";
  if ((conf.rss_hf & kTcp) != kTcp) return "the device does not hash the ports of TCP";
  owner = packet::FlowOwner(rss_key, std::move(table));
  return {};
}

void Port::Impl::start_rss() {
  no_rss = try_rss();
  if (!no_rss.empty()) return;
  capabilities.rss = true;
  spreading.store(Spreading::rss, std::memory_order_release);
}

// `predicted` is the hash that the key gives.
void Port::Impl::check_rss(PerWorker& worker, const Packet& packet, std::uint32_t predicted) {
  const bool hash_wrong = packet.has_nic_hash() && packet.nic_hash() != predicted;
  const bool queue_wrong = owner.of_nic_hash(predicted) != worker.rx_queue;
  if (!hash_wrong && !queue_wrong) {
    worker.counters->add(telemetry::Counter::rss_matched);
    worker.stats.rss_checked.add(1);
    if (worker.stats.rss_checked.get() >= kTrustAfter) worker.until_check = kCheckEach - 1;
    return;
  }
  worker.counters->add(telemetry::Counter::rss_mispredicted);
  worker.stats.rss_mispredicted.add(1);
  rss_fault.store(queue_wrong ? RssFault::queue : RssFault::hash, std::memory_order_relaxed);
  spreading.store(Spreading::redirect, std::memory_order_release);
}

packet::Steering Port::steer(unsigned index, const Packet& packet,
                             const packet::ParsedFrame& parsed) {
  Impl& port = *impl_;
  if (!plain_tcp(parsed) || port.spreading.load(std::memory_order_relaxed) != Spreading::rss) {
    return packet::steer(packet.data(), parsed, port.owner);
  }
  Impl::PerWorker& worker = port.workers[index];
  if (worker.until_check > 0 && packet.has_nic_hash()) {
    --worker.until_check;
    return {packet::SteerTo::worker, port.owner.of_nic_hash(packet.nic_hash())};
  }
  const std::uint32_t hash = port.owner.nic_hash(parsed.source, parsed.destination,
                                                 parsed.source_port, parsed.destination_port);
  port.check_rss(worker, packet, hash);
  return {packet::SteerTo::worker, port.owner.of_nic_hash(hash)};
}

const packet::FlowOwner& Port::flow_owner() const { return impl_->owner; }

Spreading Port::spreading() const { return impl_->spreading.load(std::memory_order_acquire); }

std::string Port::spreading_note() const {
  if (spreading() != Spreading::redirect || !impl_->no_rss.empty()) return impl_->no_rss;
  return impl_->rss_fault.load(std::memory_order_relaxed) == Impl::RssFault::hash
             ? "the device's hash of a frame was not the predicted one"
             : "a frame came to another queue than predicted";
}

}  // namespace sluice::port
