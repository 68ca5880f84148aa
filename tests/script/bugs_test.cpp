// Bugs that other stacks shipped, one case each unless another file has it by its RFC section.
#include "allocation.h"
#include "inspector.h"
#include "script.h"

namespace sluice::tcp {
namespace {

using Bugs = Script;

// Seastar: the search for a port never ended when none was left.
TEST_F(Bugs, Bug5_PortSearchEnds) {
  Connection* c = stack().connect(
      *IpAddress::parse(local), {*IpAddress::parse(remote), 80}, *this, now, Micros{0},
      [](void*, const FlowKey&) { return false; }, nullptr);
  EXPECT_EQ(c, nullptr);
  EXPECT_EQ(stats().tcp_port_exhausted, 1u);
}

// VPP: two SYNs for one TIME-WAIT entry in one burst.
TEST_F(Bugs, Bug23_TwoSynsOnATimeWait) {
  establish();
  shutdown();
  out("F. 1 ack 1");
  in("F. 1 ack 2");
  out(". 2 ack 2");
  burst({"S 5000 <mss 1000>", "S 5000 <mss 1000>"});
  out("S. 0 ack 5001");
  out("S. 0 ack 5001");
  EXPECT_EQ(Inspector::syn_cache(stack()), 1u);
  in(". 5001 ack 1");
  EXPECT_EQ(accepted, 2u);
}

// Here, found by simulation: text that came with the last FIN, was not read at once and found no
// memory to wait in, was dropped, and the end called graceful.
TEST_F(Bugs, NoMemoryForTheLastText) {
  establish();
  shutdown();
  out("F. 1 ack 1");
  in(". 1 ack 2");
  impair::Random random;
  {
    const sim::AllocationFault nothing_left(1, random);
    in("FP. 1:101 ack 2");
  }
  out(". 2 ack 102");
  turn();
  ended(CloseReason::aborted);
}

// gVisor: a SYN with ECN bits was refused (RFC 3168 section 6.1.1).
TEST_F(Bugs, Bug21_SynWithEcnBits) {
  listen();
  std::vector<std::uint8_t> bytes = bytes_of("S 0 <mss 1000>");
  bytes[13] |= 0xc0;
  in_bytes(bytes);
  turn();
  out("S. 0 ack 1");
}

// Several stacks: a read that opens the window was told to nobody.
TEST_F(Bugs, Bug2_ReadOpensTheWindow) {
  config.receive_buffer = 4096;
  establish();
  in("P. 1:3073 ack 1");
  after(40ms, ". 1 ack 3073 win 0");
  read(3072);
  out(". 1 ack 3073 win 3072");
}

// smoltcp: segments of an empty MSS for ever; gVisor: a negative length at the edge of the window.
TEST_F(Bugs, Bug35_TinyWindowAndTinyMss) {
  establish("mss 1", 7);
  write(20);
  out(". 1:8 ack 1");
  in(". 1 ack 8 win 3");
  out(". 8:11 ack 1");
  in(". 1 ack 11 win 1");
  after(200ms, ". 11:12 ack 1");
  in(". 1 ack 12 win 65535");
  out("P. 12:21 ack 1");
}

// picoTCP, gVisor: segments of one byte took a whole buffer each.
TEST_F(Bugs, Bug16_OneByteSegmentsDoNotExhaustMemory) {
  establish();
  for (unsigned at = 1; at <= 3000; ++at) {
    in("P. " + std::to_string(at) + ":" + std::to_string(at + 1) + " ack 1");
    drain();
  }
  EXPECT_LE(stack().memory_in_use(), 4096u);
  skip(1s);
  read(3000);
}

// mTCP: a connection on no list at all lingered for ever.
TEST_F(Bugs, Bug25_NothingLingersAfterClose) {
  for (std::uint16_t p = 0; p < 20; ++p) {
    peer(static_cast<std::uint16_t>(40000 + p));
    establish();
    close();
    out("F. 1 ack 1");
    if (p % 3 == 0) in(". 1 ack 2");
    if (p % 3 == 1) in("F. 1 ack 1"), out(". 2 ack 2");
  }
  skip(300s);
  EXPECT_EQ(stack().connection_count(), 0u);
  EXPECT_EQ(stack().time_wait_count(), 0u);
}

// litebox: the clock seemed to run backwards, and no timer fired again.
TEST_F(Bugs, Bug54_TimeRunsBackwards) {
  establish();
  write(10);
  out("P. 1:11 ack 1");
  now -= 10s;
  turn();
  now += 10s;
  after(200ms, "P. 1:11 ack 1");
}

// gVisor: sequence of keepalive, close, and the timer that was left.
TEST_F(Bugs, Bug56_KeepaliveTimerAfterClose) {
  establish();
  conn->set_keepalive(true);
  close();
  out("F. 1 ack 1");
  in("F. 1 ack 2");
  out(". 2 ack 2");
  quiet(300s);
}

// gVisor: a peer that takes its window back made throughput collapse.
TEST_F(Bugs, Bug14_PeerShrinksItsWindow) {
  establish("mss 1000", 5000);
  write(5000);
  EXPECT_EQ(drain(), 5u);
  in(". 1 ack 1001 win 1000");
  in(". 1 ack 2001 win 3000");
  in(". 1 ack 5001 win 5000");
  quiet(2s);
  write(5000);
  EXPECT_EQ(drain(), 5u);
}

// ... to nothing: what is beyond counts as unsent and is probed for.
TEST_F(Bugs, Bug44_PeerClosesItsWindowOverDataOut) {
  establish("mss 1000", 5000);
  write(3000);
  EXPECT_EQ(drain(), 3u);
  in(". 1 ack 1001 win 0");
  after(200ms, ". 1001:1002 ack 1");
  in(". 1 ack 1001 win 0");
  until_sent(2s);
  out(". 1001:1002 ack 1");
  in(". 1 ack 1001 win 5000");
  out(". 1001:2001 ack 1");
  out("P. 2001:3001 ack 1");
  EXPECT_EQ(stats().tcp_timeouts, 1u);
}

// Every connection gets its own window, also when ACKs of several come in one burst.
TEST_F(Bugs, Bug11_WindowOfAnotherConnection) {
  establish("mss 1000", 1000);
  Connection* first = conn;
  peer(40001);
  establish("mss 1000", 65535);
  peer(40000);
  conn = first;
  EXPECT_EQ(try_write(5000), 5000u);
  EXPECT_EQ(drain(), 1u);
}

// smoltcp, Linux CVE-2019-11477: work and memory of crafted SACK ranges are bounded.
TEST_F(Bugs, ManySackRanges) {
  establish("mss 48,sackOK");
  write(20'000);
  drain();
  for (unsigned at = 100; at < 480; at += 2) {
    in(". 1 ack 1 <sack " + std::to_string(at) + "-" + std::to_string(at + 1) + ">");
    drain();
  }
  open();
  in(". 1 ack 1 win 65535");
  skip(1s);
}

}  // namespace
}  // namespace sluice::tcp
