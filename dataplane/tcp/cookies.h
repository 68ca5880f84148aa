// SYN cookies, RFC 4987 section 3.6: what a SYN asked for is kept in the answer, and nothing here.
//
// The initial sequence number is
//     hash(tuple) + the peer's own + (count << 24) + (hash(tuple, count, options) + MSS) mod 2^24
// where the count moves every 64 seconds. The second hash has a secret of its own, which changes
// with the count's upper bits; the last two are known. For one tuple the number grows with the
// peer's own and with time, as RFC 9293 section 3.4.1 wants it. Window scale and SACK go into the
// low bits of the timestamp, which the peer echoes; without timestamps they are not offered.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/time.h"
#include "seq.h"
#include "tcp/stack.h"

namespace sluice::tcp {

// What survives of a SYN's options.
struct CookieOptions {
  std::uint16_t mss = 536;  // of a table, at most what the peer said
  bool timestamps = false;
  bool scaled = false;  // only with timestamps
  std::uint8_t scale = 0;
  bool sack = false;  // only with timestamps
  friend bool operator==(const CookieOptions&, const CookieOptions&) = default;
};

class SynCookies {
 public:
  static constexpr Seconds kTick{64};
  // Valid in the tick it was made and in the next: for 64 to 128 seconds.
  static constexpr std::uint32_t kTicks = 2;
  static constexpr std::uint32_t kLowBits = 31;  // of the timestamp, in milliseconds
  static constexpr std::array<std::uint16_t, 8> kMss{48, 536, 1220, 1300, 1360, 1440, 1460, 8940};

  explicit SynCookies(const std::uint64_t (&secret)[2]) : secret_{secret[0], secret[1]} {}

  // The largest entry of the table that is not above `mss`.
  static std::uint8_t mss_index(std::uint16_t mss);

  // `mss_index` and the rest of `options` (its own mss is not looked at) in a sequence number.
  Seq make(const FlowKey& key, Seq irs, std::uint8_t mss_index, const CookieOptions& options,
           Time now);
  // TSval of the answer: `clock` or a little less.
  static std::uint32_t timestamp(std::uint32_t clock, const CookieOptions& options);

  // What was asked for by the SYN with `irs` that was answered with `iss`; nothing if it was not
  // answered so, or too long ago. `echo` is TSecr.
  std::optional<CookieOptions> read(const FlowKey& key, Seq irs, Seq iss, bool timestamps,
                                    std::uint32_t echo, Time now);

 private:
  struct Secret {
    std::uint32_t epoch = UINT32_MAX;
    std::uint64_t key[2] = {};
  };
  const Secret& secret_of(std::uint32_t epoch);
  std::uint32_t base(const FlowKey& key) const;
  std::uint32_t mark(const FlowKey& key, std::uint32_t count, std::uint32_t bits);

  std::uint64_t secret_[2];
  std::array<Secret, 2> secrets_;
};

}  // namespace sluice::tcp
