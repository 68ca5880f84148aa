// The user timeout: RFC 5482, R2 of RFC 9293 section 3.8.3 (MUST-21).
#include <algorithm>
#include <array>

#include "script.h"

namespace sluice::tcp {
namespace {

using UserTimeout = Script;

TEST_F(UserTimeout, Rfc5482_LessThanTheDefault) {
  establish();
  conn->set_user_timeout(5s);
  write(100);
  out("P. 1:101 ack 1");
  skip(4900ms);
  open();
  EXPECT_EQ(stats().tcp_give_ups, 0u);
  until_sent(110ms);
  out("R. 101 ack 1");
  ended(CloseReason::timed_out);
  EXPECT_EQ(stats().tcp_give_ups, 1u);
}

TEST_F(UserTimeout, Rfc5482_MoreThanTheDefault) {
  establish();
  conn->set_user_timeout(300s);
  write(100);
  out("P. 1:101 ack 1");
  skip(299s);
  open();
  skip(2s);
  ended(CloseReason::timed_out);
}

TEST_F(UserTimeout, Rfc9293_3_8_3_DefaultAgain) {
  establish();
  conn->set_user_timeout(5s);
  conn->set_user_timeout(0s);
  write(100);
  out("P. 1:101 ack 1");
  skip(90s);
  open();
  skip(15s);
  ended(CloseReason::timed_out);
}

// What counts is the time without progress.
TEST_F(UserTimeout, Rfc5482_ProgressBeginsItAnew) {
  establish();
  conn->set_user_timeout(5s);
  write(3000);
  drain();
  for (const char* ack : {". 1 ack 1001", ". 1 ack 2001"}) {
    skip(4s);
    in(ack);
    drain();
  }
  skip(4s);
  open();
  skip(2s);
  ended(CloseReason::timed_out);
}

// An idle connection has no time to run out.
TEST_F(UserTimeout, Rfc5482_NotWhileIdle) {
  establish();
  conn->set_user_timeout(5s);
  write(100);
  out("P. 1:101 ack 1");
  in(". 1 ack 101");
  quiet(60s);
  open();
}

// A peer that answers probes of its closed window is there.
TEST_F(UserTimeout, Rfc9293_3_8_6_1_NotWhileThePeerAnswersProbes) {
  establish("mss 1460", 0);
  conn->set_user_timeout(5s);
  write(100);
  for (int i = 0; i < 8; ++i) {
    until_sent(30s);
    drain();
    in(". 1 ack 1 win 0");
  }
  open();
}

TEST_F(UserTimeout, Rfc5482_ClosedWindowWithoutAnswers) {
  establish("mss 1460", 0);
  conn->set_user_timeout(5s);
  write(100);
  skip(20s);
  ended(CloseReason::timed_out);
}

// Section 3.1: the peer may tell its own; whoever does not use that reads past it.
TEST_F(UserTimeout, Rfc5482_3_OptionIsReadPast) {
  listen();
  std::vector<std::uint8_t> syn = bytes_of("S 0:0 win 65535 <mss 1460,wscale 3>");
  const std::array<std::uint8_t, 4> option = {28, 4, 0x00, 0x05};  // 5 s
  std::ranges::copy(option, syn.begin() + 24);
  in_bytes(syn);
  turn();
  out("S. 0:0 ack 1 <mss 1460>");
  in(". 1 ack 1");
  EXPECT_EQ(stats().tcp_in_errs, 0u);
  write(100);
  out("P. 1:101 ack 1");
  skip(90s);
  open();
}

}  // namespace
}  // namespace sluice::tcp
