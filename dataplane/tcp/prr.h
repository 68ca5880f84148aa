// Proportional rate reduction, RFC 6937 with the bounds of its revision: how much may be sent
// during recovery with SACK, by what was delivered. All values are bytes.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::tcp {

class Prr {
 public:
  // `in_flight`: before the acknowledgement that led into recovery (RecoverFS).
  void start(std::uint32_t in_flight) {
    *this = Prr{};
    recover_ = std::max(in_flight, 1u);
  }

  // An acknowledgement reported `delivered` more bytes; `in_flight` is left, with what was found
  // lost taken off. `safe`: SND.UNA moved, and nothing more was found lost (SafeACK). Returns the
  // congestion window.
  std::uint32_t window(std::uint32_t delivered, std::uint32_t in_flight, std::uint32_t threshold,
                       std::uint32_t mss, bool safe) {
    delivered_ += std::min(delivered, UINT32_MAX - delivered_);
    std::uint64_t allowed = 0;
    if (in_flight > threshold) {
      // Proportional: by the end of recovery the flight has become the threshold.
      const std::uint64_t due = (std::uint64_t{delivered_} * threshold + recover_ - 1) / recover_;
      allowed = due > out_ ? due - out_ : 0;
    } else {
      // Back up to the threshold: by slow start while the ACKs are a good sign, else by packet
      // conservation.
      allowed = std::max(delivered_ > out_ ? delivered_ - out_ : 0, delivered);
      if (safe) allowed += mss;
      allowed = std::min<std::uint64_t>(allowed, threshold - in_flight);
    }
    // The first retransmission goes out in any case.
    if (out_ == 0 && allowed == 0) allowed = mss;
    return in_flight + static_cast<std::uint32_t>(std::min<std::uint64_t>(allowed, 1u << 30));
  }

  void sent(std::uint32_t bytes) { out_ += std::min(bytes, UINT32_MAX - out_); }

 private:
  std::uint32_t delivered_ = 0;  // prr_delivered
  std::uint32_t out_ = 0;        // prr_out
  std::uint32_t recover_ = 1;    // RecoverFS
};

}  // namespace sluice::tcp
