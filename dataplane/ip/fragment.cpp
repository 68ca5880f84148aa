// Fragments we send: RFC 791 section 2.3, RFC 8200 section 4.5. Only echo replies are ever that
// long; TCP keeps to the path's MTU.

#include <algorithm>
#include <cstring>

#include "interface_impl.h"

namespace sluice::ip {
namespace {

// RFC 7739: not to be guessed from the last one. SplitMix64 over a keyed counter.
std::uint32_t fragment_id(std::uint64_t secret, std::uint64_t count) {
  std::uint64_t z = secret + count * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<std::uint32_t>(z ^ (z >> 31));
}

// Bytes [from, from + room.size()) of head and rest laid end to end.
void copy_piece(MutByteSpan room, ByteSpan head, ByteSpan rest, std::size_t from) {
  std::size_t at = 0;
  if (from < head.size()) {
    at = std::min(room.size(), head.size() - from);
    std::memcpy(room.data(), head.data() + from, at);
  }
  if (at < room.size()) {
    std::memcpy(room.data() + at, rest.data() + (from + at - head.size()), room.size() - at);
  }
}

}  // namespace

void Interface::Impl::send_fragmented(const IpAddress& source, const IpAddress& destination,
                                      std::uint8_t protocol, ByteSpan head, ByteSpan rest) {
  const bool ipv6 = destination.is_v6();
  const std::size_t prefix = ipv6 ? packet::kFragmentHeader : 0;
  const std::size_t header = (ipv6 ? packet::kIpv6Header : packet::kIpv4Header) + prefix;
  const std::size_t largest = (config.mtu - header) / 8 * 8;
  const std::size_t total = head.size() + rest.size();
  const std::uint32_t id = fragment_id(config.secret[0] ^ config.secret[1], ++fragment_ids);
  for (std::size_t from = 0; from < total; from += largest) {
    const std::size_t length = std::min(largest, total - from);
    const bool more = from + length < total;
    Fields fields{.protocol = ipv6 ? packet::kFragment : protocol, .is_fragment = true};
    fields.id = static_cast<std::uint16_t>(id);
    fields.fragment = static_cast<std::uint16_t>((more ? packet::kMoreFragments : 0) | (from / 8));
    const MutByteSpan room = begin_counted(source, destination, fields, prefix + length);
    if (room.empty()) return;
    if (ipv6) {
      ByteWriter w(room);
      w.u8(protocol);
      w.u8(0);
      w.be16(static_cast<std::uint16_t>(from | (more ? 1u : 0u)));
      w.be32(id);
    }
    copy_piece(room.subspan(prefix), head, rest, from);
    end();
  }
}

}  // namespace sluice::ip
