// A received or copied packet: the unique owner of one packet buffer.
//
// Whoever holds it frees it, once, by letting it go. Handing it on is a move.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/bytes.h"

struct rte_mbuf;

namespace sluice::port {

// What the NIC says of a checksum. Only `good` may be trusted; `unknown` is verified in software.
enum class ChecksumState : std::uint8_t { unknown, good, bad };

class Packet {
 public:
  Packet() = default;
  Packet(Packet&& other) noexcept { steal(other); }
  Packet& operator=(Packet&& other) noexcept {
    if (this != &other) {
      reset();
      steal(other);
    }
    return *this;
  }
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;
  ~Packet() { reset(); }

  explicit operator bool() const { return mbuf_ != nullptr; }

  // From the Ethernet header on, without VLAN tag and FCS.
  ByteSpan data() const { return {data_, length_}; }
  MutByteSpan data() { return {data_, length_}; }

  ChecksumState ip_checksum() const { return ip_checksum_; }
  ChecksumState l4_checksum() const { return l4_checksum_; }
  std::uint16_t port_index() const { return port_index_; }  // PortConfig::index of the receiver
  bool has_nic_hash() const { return has_nic_hash_; }
  std::uint32_t nic_hash() const { return nic_hash_; }

  void reset() {
    if (mbuf_ != nullptr) free_buffer();
  }

  // For the port, redirect and transit code.
  static Packet adopt(rte_mbuf* mbuf);  // takes ownership; one segment
  rte_mbuf* release() { return std::exchange(mbuf_, nullptr); }

 private:
  void steal(Packet& other) {
    mbuf_ = std::exchange(other.mbuf_, nullptr);
    data_ = other.data_;
    length_ = std::exchange(other.length_, 0u);
    nic_hash_ = other.nic_hash_;
    port_index_ = other.port_index_;
    ip_checksum_ = other.ip_checksum_;
    l4_checksum_ = other.l4_checksum_;
    has_nic_hash_ = other.has_nic_hash_;
  }
  void free_buffer();

  rte_mbuf* mbuf_ = nullptr;
  std::uint8_t* data_ = nullptr;
  std::uint32_t length_ = 0;
  std::uint32_t nic_hash_ = 0;
  std::uint16_t port_index_ = 0;
  ChecksumState ip_checksum_ = ChecksumState::unknown;
  ChecksumState l4_checksum_ = ChecksumState::unknown;
  bool has_nic_hash_ = false;
};

}  // namespace sluice::port
