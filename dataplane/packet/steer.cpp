#include "packet/steer.h"

#include <algorithm>
#include <cstring>

namespace sluice::packet {
namespace {

std::uint64_t load64(const std::uint8_t* p) {
  std::uint64_t v = 0;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Both halves of a 128-bit product: each input bit reaches each output bit.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{a} * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

constexpr std::uint64_t kOdd0 = 0x9e3779b97f4a7c15;
constexpr std::uint64_t kOdd1 = 0xd1b54a32d192ed03;

// Where the fields stand in the tuple that Toeplitz runs over.
struct TupleAt {
  std::size_t source, destination, source_port, destination_port;
};
constexpr TupleAt kTupleV4{0, 4, 8, 10};
constexpr TupleAt kTupleV6{0, 16, 32, 34};

const TupleAt& tuple_of(bool ipv4) { return ipv4 ? kTupleV4 : kTupleV6; }

std::array<std::uint8_t, 2> be(std::uint16_t port) {
  return {static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port)};
}

}  // namespace

std::uint32_t FlowHash::operator()(const IpAddress& source, const IpAddress& destination,
                                   std::uint16_t source_port,
                                   std::uint16_t destination_port) const {
  const std::uint8_t* s = source.mapped().data();
  const std::uint8_t* d = destination.mapped().data();
  std::uint64_t h = mix(load64(s) ^ key_[0] ^ kOdd0, load64(s + 8) ^ key_[1]);
  h = mix(h ^ load64(d) ^ key_[1], load64(d + 8) ^ key_[0] ^ kOdd1);
  h = mix(h ^ ((std::uint64_t{source_port} << 16) | destination_port), key_[0] ^ kOdd1);
  h = mix(h ^ key_[1], kOdd0);
  return static_cast<std::uint32_t>(h ^ (h >> 32));
}

Toeplitz::Toeplitz(ByteSpan key) {
  std::array<std::uint8_t, kKeyMin> padded{};
  std::copy_n(key.begin(), std::min(key.size(), padded.size()), padded.begin());
  for (std::size_t nibble = 0; nibble < table_.size(); ++nibble) {
    for (unsigned value = 0; value < 16; ++value) {
      std::uint32_t hash = 0;
      for (unsigned bit = 0; bit < 4; ++bit) {
        if ((value & (8u >> bit)) == 0) continue;
        // The 32 bits of the key that begin at this bit of the tuple.
        const std::size_t at = nibble * 4 + bit;
        std::uint64_t window = 0;
        for (std::size_t i = 0; i < 5; ++i) {
          const std::size_t byte = at / 8 + i;
          window = (window << 8) | (byte < padded.size() ? padded[byte] : 0u);
        }
        hash ^= static_cast<std::uint32_t>(window >> (8 - at % 8));
      }
      table_[nibble][value] = hash;
    }
  }
}

std::uint32_t Toeplitz::bytes_at(std::size_t position, ByteSpan bytes) const {
  std::uint32_t hash = 0;
  const auto* row = &table_[position * 2];
  for (const std::uint8_t byte : bytes) {
    hash ^= row[0][byte >> 4] ^ row[1][byte & 15];
    row += 2;
  }
  return hash;
}

std::uint32_t Toeplitz::addresses(const IpAddress& source, const IpAddress& destination) const {
  const TupleAt& at = tuple_of(source.is_v4());
  return bytes_at(at.source, source.bytes()) ^ bytes_at(at.destination, destination.bytes());
}

std::uint32_t Toeplitz::without_local_port(const IpAddress& remote, const IpAddress& local,
                                           std::uint16_t remote_port) const {
  return addresses(remote, local) ^ bytes_at(tuple_of(remote.is_v4()).source_port, be(remote_port));
}

std::uint32_t Toeplitz::local_port(bool ipv4, std::uint16_t port) const {
  return bytes_at(tuple_of(ipv4).destination_port, be(port));
}

std::uint32_t Toeplitz::operator()(const IpAddress& source, const IpAddress& destination,
                                   std::uint16_t source_port,
                                   std::uint16_t destination_port) const {
  return without_local_port(source, destination, source_port) ^
         local_port(source.is_v4(), destination_port);
}

}  // namespace sluice::packet
