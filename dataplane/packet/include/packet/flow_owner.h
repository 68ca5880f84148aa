// Which of several workers owns a flow, by its receive tuple (packet/steer.h).
//
// Read-only once made, and the same on every worker: who receives a frame and who chooses a source
// port come to the same answer.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/ip_address.h"
#include "packet/steer.h"

namespace sluice::packet {

class FlowOwner {
 public:
  // By the keyed software hash.
  FlowOwner(const std::uint64_t (&secret)[2], unsigned workers);
  // As a NIC with this key and redirection table spreads. The table's entries are workers, one per
  // receive queue; its size is a power of two.
  FlowOwner(ByteSpan key, std::vector<std::uint16_t> table);

  unsigned operator()(const IpAddress& source, const IpAddress& destination,
                      std::uint16_t source_port, std::uint16_t destination_port) const;

  // What a NIC does is known for the second kind only; the rest of this class belongs to it.
  bool predicts_nic() const { return toeplitz_.has_value(); }
  std::uint32_t nic_hash(const IpAddress& source, const IpAddress& destination,
                         std::uint16_t source_port, std::uint16_t destination_port) const {
    return (*toeplitz_)(source, destination, source_port, destination_port);
  }
  unsigned of_nic_hash(std::uint32_t hash) const { return table_[hash & (table_.size() - 1)]; }

 private:
  friend class SourcePorts;

  FlowHash flow_hash_;
  unsigned workers_;
  std::optional<Toeplitz> toeplitz_;
  std::vector<std::uint16_t> table_;
};

// For an active open: which worker gets the answers, by our source port. A candidate costs four
// loads where Toeplitz decides, as only the port's share of the hash changes.
class SourcePorts {
 public:
  SourcePorts(const FlowOwner& owner, const IpAddress& local, const Endpoint& remote);

  bool is_for(const FlowOwner& owner, const IpAddress& local, const Endpoint& remote) const {
    return owner_ == &owner && remote_ == remote && local_ == local;
  }
  unsigned owner(std::uint16_t local_port) const;

 private:
  const FlowOwner* owner_;
  IpAddress local_;
  Endpoint remote_;
  std::uint32_t rest_ = 0;  // of the Toeplitz hash: all but the local port
};

// Whether each of the workers gets some source port's answers, whatever the addresses: the port's
// share of the hash must reach every entry of a table of this size. False for a bad key.
bool every_entry_reachable(const Toeplitz& toeplitz, std::size_t table_size);

}  // namespace sluice::packet
