#include "cookies.h"

#include "base/siphash.h"

namespace sluice::tcp {
namespace {

constexpr std::uint32_t kNoTimestamps = SynCookies::kLowBits + 1;
constexpr std::uint32_t kNotScaled = 15;
constexpr std::uint32_t kSackBit = 16;
constexpr std::uint32_t kMarkMask = 0xffffff;
// A secret is used for so many ticks: 17 minutes.
constexpr unsigned kEpochShift = 4;

std::uint32_t count_at(Time now) {
  return static_cast<std::uint32_t>(now.time_since_epoch() / SynCookies::kTick);
}

// The options as the timestamp holds them.
std::uint32_t bits_of(const CookieOptions& o) {
  if (!o.timestamps) return kNoTimestamps;
  return (o.scaled ? o.scale : kNotScaled) | (o.sack ? kSackBit : 0);
}

// The tuple and what else is hashed with it.
class Input {
 public:
  explicit Input(const FlowKey& key) {
    ByteWriter w(bytes_);
    w.bytes(key.local.mapped());
    w.bytes(key.remote.mapped());
    w.be16(key.local_port);
    w.be16(key.remote_port);
  }
  std::uint64_t hash(const std::uint64_t (&secret)[2], std::uint32_t a, std::uint32_t b) {
    store_be32(&bytes_[36], a);
    store_be32(&bytes_[40], b);
    return siphash24(secret[0], secret[1], bytes_);
  }

 private:
  std::array<std::uint8_t, 44> bytes_;
};

}  // namespace

std::uint8_t SynCookies::mss_index(std::uint16_t mss) {
  std::uint8_t i = kMss.size() - 1;
  while (i > 0 && kMss[i] > mss) --i;
  return i;
}

const SynCookies::Secret& SynCookies::secret_of(std::uint32_t epoch) {
  Secret& s = secrets_[epoch % secrets_.size()];
  if (s.epoch != epoch) {
    s.epoch = epoch;
    std::array<std::uint8_t, 16> seed{'c', 'o', 'o', 'k', 'i', 'e'};
    store_be32(&seed[8], epoch);
    for (std::uint32_t i = 0; i < 2; ++i) {
      store_be32(&seed[12], i);
      s.key[i] = siphash24(secret_[0], secret_[1], seed);
    }
  }
  return s;
}

std::uint32_t SynCookies::base(const FlowKey& key) const {
  return static_cast<std::uint32_t>(Input(key).hash(secret_, 0, 0));
}

std::uint32_t SynCookies::mark(const FlowKey& key, std::uint32_t count, std::uint32_t bits) {
  return static_cast<std::uint32_t>(
      Input(key).hash(secret_of(count >> kEpochShift).key, count, bits));
}

Seq SynCookies::make(const FlowKey& key, Seq irs, std::uint8_t mss_index,
                     const CookieOptions& options, Time now) {
  const std::uint32_t count = count_at(now);
  const std::uint32_t low = (mark(key, count, bits_of(options)) + mss_index) & kMarkMask;
  return irs + base(key) + (count << 24) + low;
}

std::uint32_t SynCookies::timestamp(std::uint32_t clock, const CookieOptions& options) {
  const std::uint32_t marked = (clock & ~kLowBits) | bits_of(options);
  // Not ahead of the clock: what follows would look older.
  return static_cast<std::int32_t>(marked - clock) > 0 ? marked - (kLowBits + 1) : marked;
}

std::optional<CookieOptions> SynCookies::read(const FlowKey& key, Seq irs, Seq iss, bool timestamps,
                                              std::uint32_t echo, Time now) {
  const std::uint32_t cookie = distance(irs, iss) - base(key);
  const std::uint32_t count_now = count_at(now);
  const std::uint32_t age = (count_now - (cookie >> 24)) & 0xff;
  if (age >= kTicks || age > count_now) return std::nullopt;
  const std::uint32_t bits = timestamps ? echo & kLowBits : kNoTimestamps;
  const std::uint32_t index = (cookie - mark(key, count_now - age, bits)) & kMarkMask;
  if (index >= kMss.size()) return std::nullopt;
  CookieOptions o;
  o.mss = kMss[index];
  o.timestamps = timestamps;
  o.scaled = timestamps && (bits & kNotScaled) != kNotScaled;
  o.scale = o.scaled ? static_cast<std::uint8_t>(bits & kNotScaled) : std::uint8_t{0};
  o.sack = timestamps && (bits & kSackBit) != 0;
  return o;
}

}  // namespace sluice::tcp
