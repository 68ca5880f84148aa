#include "packet/flow_owner.h"

#include <array>
#include <bit>
#include <utility>

namespace sluice::packet {

namespace {
constexpr std::uint64_t kNoSecret[2] = {};
}

FlowOwner::FlowOwner(const std::uint64_t (&secret)[2], unsigned workers)
    : flow_hash_(secret), workers_(workers) {}

FlowOwner::FlowOwner(ByteSpan key, std::vector<std::uint16_t> table)
    : flow_hash_(kNoSecret), workers_(0), toeplitz_(key), table_(std::move(table)) {}

unsigned FlowOwner::operator()(const IpAddress& source, const IpAddress& destination,
                               std::uint16_t source_port, std::uint16_t destination_port) const {
  if (!toeplitz_) return flow_hash_(source, destination, source_port, destination_port) % workers_;
  return of_nic_hash(nic_hash(source, destination, source_port, destination_port));
}

SourcePorts::SourcePorts(const FlowOwner& owner, const IpAddress& local, const Endpoint& remote)
    : owner_(&owner), local_(local), remote_(remote) {
  if (owner.toeplitz_) {
    rest_ = owner.toeplitz_->without_local_port(remote.address, local, remote.port);
  }
}

unsigned SourcePorts::owner(std::uint16_t local_port) const {
  if (!owner_->toeplitz_) return (*owner_)(remote_.address, local_, remote_.port, local_port);
  return owner_->of_nic_hash(rest_ ^ owner_->toeplitz_->local_port(local_.is_v4(), local_port));
}

// The sixteen one-bit ports span the shares of all ports. Gaussian elimination over GF(2) tells how
// many bits of the index they can set freely.
bool every_entry_reachable(const Toeplitz& toeplitz, std::size_t table_size) {
  const auto bits = static_cast<unsigned>(std::countr_zero(table_size));
  for (const bool ipv4 : {true, false}) {
    std::array<std::uint32_t, 16> shares{};
    for (unsigned bit = 0; bit < shares.size(); ++bit) {
      shares[bit] = toeplitz.local_port(ipv4, static_cast<std::uint16_t>(1u << bit)) &
                    static_cast<std::uint32_t>(table_size - 1);
    }
    unsigned rank = 0;
    for (std::uint32_t column = 1; column < table_size; column <<= 1) {
      std::size_t pivot = rank;
      while (pivot < shares.size() && (shares[pivot] & column) == 0) ++pivot;
      if (pivot == shares.size()) continue;
      std::swap(shares[rank], shares[pivot]);
      for (std::size_t row = 0; row < shares.size(); ++row) {
        if (row != rank && (shares[row] & column) != 0) shares[row] ^= shares[rank];
      }
      ++rank;
    }
    if (rank < bits) return false;
  }
  return true;
}

}  // namespace sluice::packet
