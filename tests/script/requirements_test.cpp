// Requirements of RFC 9293 (its appendix B) that no other script is about; each is named by number.
#include "script.h"

namespace sluice::tcp {
namespace {

using Requirement = Script;

// The window is an unsigned number: above 32767 it is not negative.
TEST_F(Requirement, Must1_WindowIsUnsigned) {
  establish("mss 1460", 65535);
  std::size_t acked = 1;
  std::size_t sent = 0;
  write(200'000);
  for (int round = 0; round < 8 && sent < 40; ++round) {
    sent = drain();
    acked += sent * 1460;
    in(". 1 ack " + std::to_string(acked) + " win 65535");
  }
  EXPECT_GE(drain(), 40u);  // more than 32767 bytes at once
}

// MSS and other options of a handshake are in it only.
TEST_F(Requirement, Must65_NoMssOutsideOfTheHandshake) {
  establish_active("mss 1000");
  write(100);
  out("P. 1:101 ack 1 <>");
  in("P. 1:11 ack 101");
  after(40ms, ". 101 ack 11 <>");
  shutdown();
  out("F. 101 ack 11 <>");
}

// SYN-RECEIVED remembers where it came from: a reset ends an active open, and a passive one in
// silence, whose listener goes on.
TEST_F(Requirement, Must11_SynReceivedRemembersItsOrigin) {
  connect();
  out("S 0");
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("R 1");
  ended(CloseReason::refused);
  peer(40001);
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in("R 1");
  quiet(40s);  // no SYN-ACK again
  EXPECT_EQ(accepted, 0u);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 1 ack 1");
  state(State::established);
}

// A second LISTEN on a port is refused and disturbs nothing.
TEST_F(Requirement, Must41_ListeningAgainDisturbsNothing) {
  listen();
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  EXPECT_FALSE(stack().listen(443, 9));
  in(". 1 ack 1");
  state(State::established);
  EXPECT_FALSE(stack().listen(443, 9));
  in("P. 1:11 ack 1");
  after(40ms, ". 1 ack 11");
}

// A port listens on while connections of it are being made.
TEST_F(Requirement, Must42_ListenWhileOthersAreOpening) {
  establish();
  peer(40001);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  peer(40002);
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 1 ack 1");
  peer(40001);
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 3u);
}

TEST_F(Requirement, Must46_ImpossibleRemotesAreRefused) {
  const IpAddress us = *IpAddress::parse(local);
  for (const char* to : {"224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"}) {
    const IpAddress address = *IpAddress::parse(to);
    const IpAddress from = address.is_v4() ? us : *IpAddress::parse("2001:db8::1");
    EXPECT_EQ(stack().connect(from, {address, 80}, *this, now), nullptr) << to;
  }
  EXPECT_EQ(stack().connect(us, {*IpAddress::parse(remote), 0}, *this, now), nullptr);
  // Nor from an address of the other family.
  EXPECT_EQ(stack().connect(us, {*IpAddress::parse("2001:db8::2"), 80}, *this, now), nullptr);
  nothing();
}

// There is no Nagle algorithm to disable: what is written goes out, whatever is unacknowledged.
TEST_F(Requirement, Bug47_Must17_SmallWritesAreNotHeldBack) {
  establish();
  write(10);
  out("P. 1:11 ack 1");
  write(10);
  out("P. 11:21 ack 1");
}

// Without a PUSH call nothing waits for more, and the last segment of what is queued says PSH.
TEST_F(Requirement, Must61_LastSegmentIsPushed) {
  establish("mss 1000");
  write(2500);
  out(". 1:1001 ack 1");
  out(". 1001:2001 ack 1");
  out("P. 2001:2501 ack 1");
}

// The queue of one turn is processed to its end before any of it is acknowledged, once.
TEST_F(Requirement, Must59_OneAcknowledgementForATurn) {
  establish("mss 1000");
  burst({". 1:1001 ack 1", ". 1001:2001 ack 1", ". 2001:3001 ack 1", ". 3001:4001 ack 1"});
  out(". 1 ack 4001");
}

TEST_F(Requirement, Must27_KeepaliveIntervalIsConfigurable) {
  config.keepalive_idle = Micros{7'200'000'000};
  config.keepalive_interval = Micros{75'000'000};
  config.keepalive_probes = 2;
  establish();
  conn->set_keepalive(true);
  after(7200s, ". 0 ack 1");
  after(75s, ". 0 ack 1");
  after(75s, "R. 1 ack 1");
  ended(CloseReason::timed_out);
}

// Lost acknowledgements of probes are no failure: the next one counts.
TEST_F(Requirement, Must29_OneUnansweredProbeIsNoFailure) {
  establish();
  conn->set_keepalive(true);
  after(60s, ". 0 ack 1");
  for (int i = 0; i < 4; ++i) after(10s, ". 0 ack 1");
  in(". 1 ack 1");
  after(60s, ". 0 ack 1");
  open();
}

// With a closed window RST, URG and ACK are still looked at.
TEST_F(Requirement, Must66_UrgentWithAClosedWindow) {
  config.receive_buffer = 4096;
  establish();
  burst({". 1:1537 ack 1", ". 1537:3073 ack 1"});
  out(". 1 ack 3073 win 0");
  write(10);
  out("P. 1:11 ack 3073");
  std::vector<std::uint8_t> bytes = bytes_of(". 3073 ack 11");
  bytes[13] |= 0x20;
  bytes[19] = 1;
  in_bytes(bytes);
  turn();
  quiet(5s);  // its acknowledgement was taken: nothing is sent again
  open();
}

// Urgent text of any length is text like any other, and URG is never sent.
TEST_F(Requirement, Must31_UrgentTextOfAnyLength) {
  establish();
  std::vector<std::uint8_t> bytes = bytes_of("P. 1:11 ack 1");
  bytes[13] |= 0x20;
  bytes[18] = 0xff;  // reaches far behind this segment
  bytes[19] = 0xff;
  in_bytes(bytes);
  turn();
  after(40ms, ". 1 ack 11");
  in("P. 11:1011 ack 1");
  after(40ms, ". 1 ack 1011");
  read(1010);
}

// RFC 9293 section 3.5.1 and figure 9: an old duplicate SYN is answered, and its sender's reset
// brings the listener back.
TEST_F(Requirement, Rfc9293_3_5_OldDuplicateSyn) {
  listen();
  in("S 90 <mss 1000>");  // the old one arrives first
  out("S. 0 ack 91");
  in("R 91");  // the peer knows nothing of it
  in("S 0 <mss 1000>");
  out("S. 0 ack 1");
  in(". 1 ack 1");
  state(State::established);
  EXPECT_EQ(accepted, 1u);
}

// RFC 9293 section 3.5.1, half-open connections: we crashed and know nothing; the peer's text is
// answered by a reset in its sequence space.
TEST_F(Requirement, Bug51_Rfc9293_3_5_1_HalfOpenIsReset) {
  listen();
  in("P. 300:400 ack 100");
  out("R 100");
  EXPECT_EQ(stack().connection_count(), 0u);
}

// ... and the other way round: the peer crashed and opens anew, in our eyes a SYN in the window.
// The challenge makes it reset us.
TEST_F(Requirement, Rfc9293_3_5_1_PeerOpensAnewAfterACrash) {
  establish();
  in("S 400 <mss 1000>");
  out(". 1 ack 1");
  in("R 1");
  ended(CloseReason::reset_by_peer);
}

}  // namespace
}  // namespace sluice::tcp
