#include "packet/icmp.h"

#include <algorithm>
#include <array>

#include "packet/ipv4.h"
#include "packet/ipv6.h"

namespace sluice::packet {
namespace {

constexpr std::size_t kQuotedMinimum = 8;  // RFC 792: the ports and the sequence number

// RFC 1191 section 7.1: routers that do not say what fits.
std::uint16_t next_plateau(std::uint16_t total_length) {
  constexpr std::array<std::uint16_t, 9> kPlateaus = {32000, 17914, 8166, 4352, 2002,
                                                      1492,  1006,  508,  296};
  for (const std::uint16_t plateau : kPlateaus) {
    if (plateau < total_length) return plateau;
  }
  return 68;
}

// The error's own verdict, from type and code. False: not an error we act on.
bool classify_v4(ByteSpan icmp, std::uint16_t quoted_length, IcmpError& error) {
  constexpr std::uint16_t kSmallestMtu = 68;  // RFC 791
  const std::uint8_t type = icmp[0];
  const std::uint8_t code = icmp[1];
  if (type == kIcmpTimeExceeded || type == kIcmpParameterProblem) return true;
  if (type != kIcmpUnreachable || code > 15) return false;
  if (code == kIcmpFragmentationNeeded) {
    const std::uint16_t mtu = load_be16(&icmp[6]);
    error.mtu = mtu == 0 ? next_plateau(quoted_length) : std::max(mtu, kSmallestMtu);
    return true;
  }
  // 2 protocol, 3 port; 9, 10 and 13: a filter that will not change its mind.
  error.hard = code == 2 || code == 3 || code == 9 || code == 10 || code == 13;
  return true;
}

bool classify_v6(ByteSpan icmp, IcmpError& error) {
  const std::uint8_t type = icmp[0];
  const std::uint8_t code = icmp[1];
  if (type == kIcmpv6PacketTooBig) {
    const std::uint32_t mtu = load_be32(&icmp[4]);
    // RFC 8201 section 4: less than the minimum link MTU is to be discarded.
    if (mtu < kIpv6MinimumMtu) return false;
    error.mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(mtu, 0xffff));
    return true;
  }
  if (type == kIcmpv6Unreachable) {
    // 1 prohibited, 4 port, 5 and 6 policy; 0, 2 and 3 may heal.
    error.hard = code == 1 || code == 4 || code == 5 || code == 6;
    return true;
  }
  if (type == kIcmpv6ParameterProblem) error.hard = code == 1;  // next header not understood
  return type == kIcmpv6TimeExceeded || type == kIcmpv6ParameterProblem;
}

}  // namespace

bool is_icmp_error(bool ipv6, std::uint8_t type) {
  if (ipv6) return type >= kIcmpv6Unreachable && type <= kIcmpv6ParameterProblem;
  return type == kIcmpUnreachable || type == kIcmpTimeExceeded || type == kIcmpParameterProblem;
}

std::expected<IcmpError, Drop> parse_icmp_error(bool ipv6, ByteSpan bytes) {
  constexpr auto kBad = std::unexpected(Drop::drop_icmp);
  const std::size_t ip_header = ipv6 ? kIpv6Header : kIpv4Header;
  if (bytes.size() < kIcmpHeader + ip_header + kQuotedMinimum) return kBad;
  const ByteSpan quoted = bytes.subspan(kIcmpHeader);
  IcmpError error;
  std::size_t upper = 0;
  std::uint16_t quoted_length = 0;
  if (ipv6) {
    if (quoted[0] >> 4 != 6) return kBad;
    error.source = IpAddress::v6(quoted.subspan<8, 16>());
    error.destination = IpAddress::v6(quoted.subspan<24, 16>());
    if (error.source.is_v4() || error.destination.is_v4()) return kBad;
    // We send no extension headers, so a quote that has them is not of a packet of ours.
    error.protocol = quoted[6];
    upper = kIpv6Header;
    if (!classify_v6(bytes, error)) return kBad;
  } else {
    if (quoted[0] >> 4 != 4) return kBad;
    upper = std::size_t{quoted[0] & 15u} * 4;
    if (upper < kIpv4Header || (load_be16(&quoted[6]) & 0x1fff) != 0) return kBad;
    quoted_length = load_be16(&quoted[2]);
    error.source = IpAddress::v4(load_be32(&quoted[12]));
    error.destination = IpAddress::v4(load_be32(&quoted[16]));
    error.protocol = quoted[9];
    if (!classify_v4(bytes, quoted_length, error)) return kBad;
  }
  if (error.protocol != kProtocolTcp && error.protocol != kProtocolUdp) return kBad;
  if (quoted.size() < upper + kQuotedMinimum) return kBad;
  error.quoted = quoted.subspan(upper);
  error.source_port = load_be16(&error.quoted[0]);
  error.destination_port = load_be16(&error.quoted[2]);
  return error;
}

}  // namespace sluice::packet
