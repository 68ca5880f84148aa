// Scripts of loss recovery: a connection with a round-trip time of 20 ms and segments out.
#pragma once

#include "script.h"

namespace sluice::tcp {

class Flight : public Script {
 protected:
  static constexpr Micros kRtt{20'000};

  // `n` segments of 1000 (with timestamps of as much text) have been out for one round trip.
  void flight(std::string_view options = "mss 1000,sackOK", std::size_t n = 10,
              unsigned window = 65535) {
    round_trip = kRtt;
    establish(options, window);
    write(n * 1000);
    EXPECT_EQ(drain(), n);
    quiet(kRtt);
  }
  // The connection works as before: one more segment goes and is acknowledged.
  void goes_on(std::uint32_t from) {
    write(1000);
    const std::string next = std::to_string(from + 1000);
    out("P. " + std::to_string(from) + ":" + next + " ack 1");
    quiet(kRtt);
    in(". 1 ack " + next);
    quiet(2s);
  }
};

}  // namespace sluice::tcp
