// What the network tells, and silence: ICMP (RFC 5927, RFC 1191, RFC 8201), keepalive (RFC 9293
// section 3.8.4), memory.
#include "script.h"

namespace sluice::tcp {
namespace {

using Network = Script;

TEST_F(Network, Rfc1191_PacketTooBig) {
  establish("mss 1460");
  write(2920);
  EXPECT_EQ(drain(), 2u);
  icmp(1, false, 1000);
  out(". 1:961 ack 1");
  out(". 961:1921 ack 1");
  out(". 1921:2881 ack 1");
  out("P. 2881:2921 ack 1");
  EXPECT_EQ(stats().tcp_path_mtu_lowered, 1u);
  EXPECT_EQ(stats().tcp_timeouts, 0u);
  in(". 1 ack 2921");
}

TEST_F(Network, Rfc8201_4_LeastMtuOfIpv6) {
  local = "2001:db8::1", remote = "2001:db8::2";
  establish("mss 1440");
  write(1440);
  EXPECT_EQ(drain(), 1u);
  icmp(1, false, 1279);
  EXPECT_EQ(stats().drop_tcp_icmp, 1u);
  icmp(1, false, 1280);
  out(". 1:1221 ack 1");
  out("P. 1221:1441 ack 1");
}

TEST_F(Network, Rfc5927_4_1_MustQuoteWhatIsOut) {
  establish("mss 1460");
  write(1460);
  EXPECT_EQ(drain(), 1u);
  icmp(0, false, 1000);
  icmp(1461, false, 1000);
  icmp(1, false, 551);   // too small to be true
  icmp(1, false, 1500);  // no change
  EXPECT_EQ(stats().drop_tcp_icmp, 4u);
  in(". 1 ack 1461");
  icmp(1, false, 1000);
  write(1460);
  out("P. 1461:2921 ack 1");
}

TEST_F(Network, Rfc5927_5_2_HardErrorOfASynchronizedConnection) {
  establish();
  write(10);
  out("P. 1:11 ack 1");
  icmp(1, true, 0);
  open();
  EXPECT_EQ(stats().tcp_soft_errors, 1u);
}

TEST_F(Network, Rfc1122_4_2_3_9_HardErrorWhileConnecting) {
  connect();
  out("S 0");
  icmp(0, true, 0);
  ended(CloseReason::unreachable);
  EXPECT_EQ(stack().connection_count(), 0u);
}

TEST_F(Network, Rfc1122_4_2_3_9_SoftErrorWhileConnecting) {
  connect();
  out("S 0");
  icmp(0, false, 0);
  after(1000ms, "S 0");
  in("S. 0 ack 1 <mss 1000>");
  out(". 1 ack 1");
}

// What the layer below hears of the path: positive advice for its neighbour cache (RFC 4861 section
// 7.3.1), negative when something has to be sent again.
TEST_F(Network, Rfc9293_3_8_3_AdviceToTheNetworkLayer) {
  establish();
  write(10);
  out("P. 1:11 ack 1");
  const std::size_t before = progress;
  in(". 1 ack 11");
  EXPECT_EQ(progress, before + 1);
  in(". 1 ack 11");  // nothing new
  EXPECT_EQ(progress, before + 1);
  EXPECT_EQ(stalls, 0u);
  write(10);
  out("P. 11:21 ack 1");
  until_sent(1s);
  out("P. 11:21 ack 1");
  EXPECT_EQ(stalls, 1u);
  in(". 1:5 ack 21");
  after(40ms, ". 21 ack 5");
  in(". 1:5 ack 21");  // our acknowledgement did not arrive
  out(". 21 ack 5");
  EXPECT_EQ(stalls, 2u);
}

TEST_F(Network, Rfc9293_3_8_3_AdviceWhileConnecting) {
  connect();
  out("S 0");
  after(1000ms, "S 0");
  EXPECT_EQ(stalls, 1u);
}

TEST_F(Network, Rfc9293_3_8_4_Keepalive) {
  establish();
  conn->set_keepalive(true);
  after(60s, ". 0 ack 1");
  in(". 1 ack 1");
  after(60s, ". 0 ack 1");
  for (int i = 0; i < 5; ++i) after(10s, ". 0 ack 1");
  after(10s, "R. 1 ack 1");
  ended(CloseReason::timed_out);
}

TEST_F(Network, Rfc9293_3_8_4_TrafficPostponesKeepalive) {
  establish();
  conn->set_keepalive(true);
  quiet(50s);
  in("P. 1:11 ack 1");
  after(40ms, ". 1 ack 11");
  after(59960ms, ". 0 ack 11");
  in(". 11 ack 1");
  conn->set_keepalive(false);
  quiet(600s);
}

TEST_F(Network, Rfc9293_3_8_4_OffByDefault) {
  establish();
  quiet(7200s);
}

TEST_F(Network, Rfc9293_3_8_4_ProbesAreAnswered) {
  establish();
  for (int i = 0; i < 5; ++i) {
    in(". 0 ack 1");
    out(". 1 ack 1");
    quiet(1s);
  }
  in(". 0:1 ack 1");  // with its octet of garbage
  out(". 1 ack 1");
}

TEST_F(Network, KeepaliveEndsWithTheConnection) {
  establish();
  conn->set_keepalive(true);
  abort();
  out("R. 1 ack 1");
  quiet(600s);
}

// Without memory the peer is told to wait, and its probes are answered; nothing is lost.
TEST_F(Network, MemoryIsRefusedNotLost) {
  config.memory_limit = 20'000;
  establish("mss 1460");
  in("P. 1:15001 ack 1");
  EXPECT_EQ(drain(), 0u);
  EXPECT_EQ(stack().memory_in_use(), 16'384u);
  after(40ms, ". 1 ack 15001");
  in("P. 15001:17001 ack 1");
  out(". 1 ack 15001 win 0");
  EXPECT_EQ(stats().drop_tcp_memory, 1u);
  quiet(1s);
  in("P. 15001:17001 ack 1");
  out(". 1 ack 15001 win 0");
  read(15'000);
  EXPECT_LE(drain(), 1u);
  in("P. 15001:17001 ack 1");
  EXPECT_LE(drain(), 1u);
  read(2000);
  EXPECT_LE(drain(), 1u);
  skip(3s);
  EXPECT_EQ(stack().memory_in_use(), 0u);
}

TEST_F(Network, OutOfOrderIsDroppedUnderPressure) {
  config.memory_limit = 20'000;
  establish("mss 1460");
  in("P. 1:15001 ack 1");
  after(40ms, ". 1 ack 15001");
  in("P. 15101:15201 ack 1");
  out(". 1 ack 15001");
  EXPECT_EQ(stats().drop_tcp_memory, 1u);
}

class Starved : public Script {
 protected:
  // One connection holds all the memory there is for growth, another the last least ring; the
  // statements are about a third.
  void starve() {
    config.memory_limit = 20'000;
    establish("mss 1460");
    hog_ = conn;
    peer(40002);
    establish("mss 1460");
    peer(40001);
    establish("mss 1460", 5000);
    peer(40000);
    in("P. 1:15001 ack 1");
    after(40ms, ". 1 ack 15001");
    peer(40002);
    in("P. 1:101 ack 1");
    after(40ms, ". 1 ack 101");
    peer(40001);
  }
  void feed() {
    peer(40000);
    hog_->abort();
    turn();
    out("R. 1 ack 15001");
    peer(40001);
  }
  Connection* hog_ = nullptr;
};

TEST_F(Starved, PeerIsToldWhenMemoryIsBack) {
  starve();
  in("P. 1:1001 ack 1");
  out(". 1 ack 1 win 0");
  quiet(300ms);
  feed();
  until_sent(200ms);
  out(". 1 ack 1 win 65535");
  in("P. 1:1001 ack 1");
  after(40ms, ". 1 ack 1001");
  read(1000);
}

// The peer goes back to what was refused, and its window counts from there.
TEST_F(Starved, WindowOfSegmentsBeforeTheRefusedOnes) {
  starve();
  in(". 1001 ack 1 win 5000");
  in("P. 1:1001 ack 1");
  out(". 1 ack 1 win 0");
  in(". 1 ack 1 win 100");
  feed();
  EXPECT_EQ(try_write(1000), 1000u);  // held: neither a segment nor half of the largest window
  until_sent(150ms);
  out(". 1 ack 1 win 65535");
  in(". 1 ack 1 win 5000");
  out("P. 1:1001 ack 1");
}

// gVisor: room that came back by another way than an acknowledgement woke no writer.
TEST_F(Starved, Bug15_WriterIsWokenWhenMemoryIsBack) {
  starve();
  EXPECT_EQ(try_write(1000), 0u);
  quiet(300ms);
  EXPECT_EQ(try_write(1000), 0u);
  feed();
  const std::size_t calls = ready_calls;
  skip(20ms);
  EXPECT_EQ(ready_calls, calls + 1);
  write(1000);
  out("P. 1:1001 ack 1");
}

// Writers leave room: text can still be received when no more can be queued.
TEST_F(Network, WriterWaitsForMemory) {
  config.memory_limit = 16'384;
  establish("mss 1460", 0);
  const std::size_t first = try_write(40'000);
  EXPECT_GT(first, 4096u);
  EXPECT_EQ(first + try_write(40'000), 8192u);
  EXPECT_EQ(try_write(1), 0u);
  in("P. 1:1001 ack 1");
  after(40ms, ". 1 ack 1001");
  read(1000);
  abort();
  out("R. 1 ack 1001");
  EXPECT_EQ(stack().memory_in_use(), 0u);
}

}  // namespace
}  // namespace sluice::tcp
