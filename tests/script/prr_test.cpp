// Proportional rate reduction: RFC 6937.
#include "flight.h"

namespace sluice::tcp {
namespace {

class PrrScript : public Flight {
 protected:
  // Twenty segments are out, the first of them is found lost, and there is more to send.
  void lose_one_of_twenty() {
    flight();
    in(". 1 ack 10001");
    write(60'000);
    EXPECT_EQ(drain(), 20u);
    quiet(kRtt);
    in(". 1 ack 10001 <sack 11001-14001>");
    out(". 10001:11001 ack 1");
    out(". 30001:31001 ack 1");
  }
};

// Section 3.1: what goes is in proportion to what arrives, from the first ACK on; the window has
// come down when recovery ends.
TEST_F(PrrScript, Rfc6937_3_1_Proportional) {
  lose_one_of_twenty();
  std::size_t sent = 2;
  for (int n = 15; n <= 29; ++n) {
    in(". 1 ack 10001 <sack 11001-" + std::to_string(n * 1000 + 1) + ">");
    sent += drain();
  }
  // Nineteen arrived; seven tenths of that have been sent.
  EXPECT_EQ(sent, 13u);
  quiet(kRtt);
  in(". 1 ack 30001");
  EXPECT_LE(drain(), 3u);  // no burst at the end
}

// Section 3.1, reduction bound: when most of the flight is lost, as much goes as arrives, and a
// segment more per ACK of new data.
TEST_F(PrrScript, Rfc6937_3_1_SlowStartReductionBound) {
  flight();
  in(". 1 ack 1 <sack 9001-10001>");
  after(5ms, ". 1:1001 ack 1");
  quiet(kRtt);
  in(". 1 ack 1001 <sack 9001-10001>");
  out(". 1001:2001 ack 1");
  out(". 2001:3001 ack 1");
  quiet(kRtt);
  in(". 1 ack 2001 <sack 9001-10001>");
  out(". 3001:4001 ack 1");
  out(". 4001:5001 ack 1");
  in(". 1 ack 3001 <sack 9001-10001>");
  out(". 5001:6001 ack 1");
  out(". 6001:7001 ack 1");
}

// The first retransmission goes whatever the window says.
TEST_F(PrrScript, Rfc6937_3_1_FirstRetransmissionIsExempt) {
  flight();
  in(". 1 ack 10001");
  write(40'000);
  EXPECT_EQ(drain(), 20u);
  quiet(kRtt);
  in(". 1 ack 10001 <sack 11001-12001>");
  out(". 30001:31001 ack 1");
  // Nineteen are in flight, far more than the window will be.
  after(5ms, ". 10001:11001 ack 1");
}

}  // namespace
}  // namespace sluice::tcp
