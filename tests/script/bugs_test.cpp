// Bugs that other stacks shipped, one case each unless another file has it by its RFC section.
#include <set>

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

// F-Stack: a port whose last connection was in TIME-WAIT was taken again, and the peer refused it.
TEST_F(Bugs, Bug6_PortsInTimeWaitAreSeen) {
  // Of a worker's own ports; a search looks at a part of the range that holds at least one.
  accept_port = [](void*, const FlowKey& key) { return key.local_port % 4096 == 7; };
  constexpr std::size_t kPorts = 15;
  std::set<std::uint16_t> taken;
  for (std::size_t i = 0; i < kPorts; ++i) {
    establish_active("mss 1000");
    taken.insert(conn->flow().local_port);
    shutdown();
    out("F. 1 ack 1");
    in("F. 1 ack 2");
    out(". 2 ack 2");
  }
  EXPECT_EQ(taken.size(), kPorts);
  EXPECT_EQ(stack().time_wait_count(), kPorts);
  const IpAddress from = *IpAddress::parse(local);
  const Endpoint to{*IpAddress::parse(remote), 40000};
  EXPECT_EQ(stack().connect(from, to, *this, now, Micros{0}, accept_port, nullptr), nullptr);
  EXPECT_EQ(stats().tcp_port_exhausted, 1u);
  skip(61s);
  establish_active("mss 1000");
}

// VPP: a timer that was due together with the segment that ended its connection fired all the same.
TEST_F(Bugs, Bug10_TimerDueWithTheReset) {
  establish();
  write(10);
  out("P. 1:11 ack 1");
  conn->set_keepalive(true);
  now += 100s;  // every timer is overdue when the segment is looked at
  in("R 1");
  ended(CloseReason::reset_by_peer);
  quiet(300s);
  EXPECT_EQ(stats().tcp_timeouts, 0u);
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

// smoltcp: the congestion window held back probes; VPP: the retransmission timer ran beside them.
TEST_F(Bugs, Bug13_ProbesAloneWhenTheWindowCloses) {
  establish("mss 1000", 10'000);
  write(20'000);
  EXPECT_EQ(drain(), 10u);
  after(200ms, ". 1:1001 ack 1");  // the congestion window is one segment now
  in(". 1 ack 1001 win 0");
  Micros last = until_sent(1s);
  out(". 1001:1002 ack 1");
  for (int i = 0; i < 5; ++i) {
    in(". 1 ack 1001 win 0");
    const Micros pause = until_sent(61s);
    out(". 1001:1002 ack 1");
    EXPECT_GT(pause, last);
    last = pause;
  }
  EXPECT_EQ(stats().tcp_zero_window_probes, 6u);
  EXPECT_EQ(stats().tcp_retrans_segs, 7u);  // probes of what was out, and the first one
  in(". 1 ack 1001 win 10000");
  out(". 1001:2001 ack 1");
  out(". 2001:3001 ack 1");
  in(". 1 ack 10001 win 65535");
  EXPECT_GE(drain(), 2u);
}

// Seastar: an assertion that the window is open when something is sent again. A window taken back
// to nothing: what is beyond counts as unsent and is probed for.
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

// smoltcp: the window came from another connection. Each gets its own, and a RST of none has none.
TEST_F(Bugs, Bug11_WindowOfAnotherConnection) {
  establish("mss 1000", 1000);
  Connection* first = conn;
  peer(40001);
  establish("mss 1000", 65535);
  peer(40000);
  conn = first;
  EXPECT_EQ(try_write(5000), 5000u);
  EXPECT_EQ(drain(), 1u);
  peer(40002);
  in(". 5 ack 77");
  out("R 77 win 0");
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

// lwIP: a port scan crashed the stack. The probes of nmap's operating system detection: to an open
// port, and to a closed one.
TEST_F(Bugs, Bug39_NmapProbes) {
  constexpr std::uint8_t kUrg = 0x20, kEceCwr = 0xc0;
  const auto probe = [this](std::uint16_t from, std::string_view segment, std::uint8_t flags) {
    peer(from);
    std::vector<std::uint8_t> bytes = bytes_of(segment);
    bytes[12] |= 0x08;  // reserved
    bytes[13] = flags;
    bytes[18] = 0xf7, bytes[19] = 0xf5;
    in_bytes(std::move(bytes));
    turn();
  };
  listen();
  probe(1, "S 0 win 3 <wscale 10,sackOK>", kSyn | kEceCwr);
  out("S. 0 ack 1");
  probe(2, ". 0 win 128 <wscale 10,mss 265,ts 4294967295,sackOK>", 0);
  probe(3, "S 0 win 256 <wscale 10,mss 265,ts 4294967295,sackOK>", kSyn | kFin | kUrg | kPsh);
  out("S. 0 ack 1");
  probe(4, ". 0 ack 77 win 1024 <wscale 10,mss 265,ts 4294967295,sackOK>", kAck);
  out("R 77");
  stack().unlisten(443);
  probe(5, "S 0 win 31337 <wscale 10,mss 265,ts 4294967295,sackOK>", kSyn);
  out("R. 0 ack 1");
  probe(6, ". 0 ack 77 win 32768 <wscale 10,mss 265,ts 4294967295,sackOK>", kAck);
  out("R 77");
  probe(7, "F 0 win 65535 <wscale 15,mss 265,ts 4294967295,sackOK>", kFin | kPsh | kUrg);
  out("R. 0 ack 1");
}

// ... and every combination of flags, to an open port, a closed one and a connection.
TEST_F(Bugs, Bug39_EveryCombinationOfFlags) {
  establish();
  for (unsigned flags = 0; flags < 256; ++flags) {
    for (const std::uint16_t to : {std::uint16_t{443}, std::uint16_t{444}}) {
      peer(static_cast<std::uint16_t>(1000 + flags));
      std::vector<std::uint8_t> bytes = bytes_of("S 0:3 ack 9 <mss 265,wscale 255>");
      bytes[13] = static_cast<std::uint8_t>(flags);
      store_be16(&bytes[2], to);
      in_bytes(std::move(bytes));
      turn();
      const bool answered = drain() > 0;
      const bool opens = (flags & (kSyn | kAck)) == kSyn;
      EXPECT_EQ(answered, (flags & kRst) == 0 && (to == 444 || opens || (flags & kAck) != 0))
          << flags << " to " << to;
    }
    peer(40000);
    std::vector<std::uint8_t> bytes = bytes_of("S 100000:100003 ack 9 <mss 265,wscale 255>");
    bytes[13] = static_cast<std::uint8_t>(flags);
    in_bytes(std::move(bytes));
    turn();
    drain();
  }
  EXPECT_EQ(stack().connection_count(), 1u);
  EXPECT_EQ(Inspector::syn_cache(stack()), 32u);  // SYN without ACK and RST
  write(10);
  out("P. 1:11 ack 1");
  in("P. 1:11 ack 11");
  read(10);
}

// mTCP, towards a server with SYN cookies: retransmissions without end. The server has nothing to
// repeat if our ACK is lost, and forgets us: text goes again at the pace of the back-off, a second
// SYN-ACK is answered as often as any bad segment, a reset is the end.
TEST_F(Bugs, Bug52_ServerThatForgetsUs) {
  establish_active("mss 1000");
  write(100);
  out("P. 1:101 ack 1");
  for (const int ms : {200, 400, 800, 1600, 3200}) after(Millis{ms}, "P. 1:101 ack 1");
  for (int i = 0; i < 20; ++i) {
    in("S. 0 ack 1 <mss 1000>");
    EXPECT_EQ(drain(), i == 0 ? 1u : 0u);
  }
  after(6400ms, "P. 1:101 ack 1");
  in("R 1");
  ended(CloseReason::reset_by_peer);
  quiet(300s);
}

// smoltcp: a window that holds less than two segments waited for a delayed ACK each time.
TEST_F(Bugs, Bug53_SmallWindowIsReopenedAtOnce) {
  config.receive_buffer = 4096;
  establish("mss 2000");
  greedy = true;
  // The window is 3072: a second segment does not fit.
  for (unsigned at = 1; at < 40'000; at += 2000) {
    const std::string end = std::to_string(at + 2000);
    in("P. " + std::to_string(at) + ":" + end + " ack 1");
    out(". 1 ack " + end + " win 3072");
  }
}

// ... and the other way round: with more than one segment and less than two the peer's delayed ACK
// and our waiting for a better window would wait for each other.
TEST_F(Bugs, Bug53_SmallWindowIsFilledInHalves) {
  establish("mss 1000", 1500);
  write(4000);
  for (unsigned at = 1; at < 3001; at += 1500) {
    out(". " + std::to_string(at) + ":" + std::to_string(at + 750) + " ack 1");
    out(". " + std::to_string(at + 750) + ":" + std::to_string(at + 1500) + " ack 1");
    in(". 1 ack " + std::to_string(at + 1500) + " win 1500");
  }
  out(". 3001:3751 ack 1");
  out("P. 3751:4001 ack 1");
}

}  // namespace
}  // namespace sluice::tcp
