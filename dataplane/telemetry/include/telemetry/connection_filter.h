// Which connections somebody asks about. What is left empty matches any.
#pragma once

#include <cstdint>
#include <optional>

#include "base/ip_address.h"
#include "telemetry/connection_record.h"

namespace sluice::telemetry {

struct EndpointFilter {
  std::optional<IpPrefix> address;
  std::uint16_t port = 0;  // 0: any

  bool matches(const IpAddress& a, std::uint16_t p) const {
    return (port == 0 || port == p) && (!address || address->contains(a));
  }
  // One address and one port?
  bool exact() const {
    return port != 0 && address && address->bits == (address->address.is_v4() ? 32 : 128);
  }
};

struct ConnectionFilter {
  EndpointFilter local, remote;
  std::optional<TcpState> state;
  std::optional<bool> passive;               // opened by the peer, or by us
  std::optional<std::uint32_t> listener_id;  // implies passive

  bool matches(const ConnectionRecord& c) const {
    return local.matches(c.local, c.local_port) && remote.matches(c.remote, c.remote_port) &&
           (!state || *state == c.state) && (!passive || *passive == c.passive) &&
           (!listener_id || (c.passive && *listener_id == c.listener_id));
  }
};

}  // namespace sluice::telemetry
