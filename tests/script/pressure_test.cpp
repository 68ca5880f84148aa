// Memory pressure: first nothing grows, then nothing new begins, then half-open connections go.
// What runs goes on.
#include "inspector.h"
#include "script.h"

namespace sluice::tcp {
namespace {

class Pressure : public Script {
 protected:
  // 32 rings of 2048 bytes: new connections are refused from the 27th on, half-open ones shed from
  // the 29th.
  Pressure() {
    config.memory_limit = 65'536;
    listen();
  }
  void connections(std::uint16_t n) {
    for (std::uint16_t i = 0; i < n; ++i) {
      peer(static_cast<std::uint16_t>(50'000 + i));
      establish("mss 1000");
      opened_.push_back(conn);
    }
  }
  void fill(std::uint16_t from, std::uint16_t to) {
    for (std::uint16_t i = from; i < to; ++i) {
      peer(static_cast<std::uint16_t>(50'000 + i));
      in("P. 1:2049 ack 1");
    }
  }
  void half_open(std::uint16_t port) {
    peer(port);
    in("S 0 <mss 1000>");
    out("S. 0 ack 1");
  }
  std::size_t half_open() { return Inspector::syn_cache(stack()); }

  std::vector<Connection*> opened_;
};

TEST_F(Pressure, RefusesWhatIsNew) {
  connections(27);
  half_open(60'000);
  fill(0, 26);
  half_open(60'001);
  fill(26, 27);
  peer(60'002);
  in("S 0 <mss 1000>");
  nothing();
  EXPECT_EQ(stats().drop_tcp_pressure, 1u);
  EXPECT_EQ(stack().connect(*IpAddress::parse(local), {*IpAddress::parse(remote), 80}, *this, now),
            nullptr);
  EXPECT_EQ(stats().drop_tcp_pressure, 2u);
  // What has begun is completed, and works.
  EXPECT_EQ(half_open(), 2u);
  peer(60'000);
  in("P. 1:101 ack 1");
  read(100);
  write(100);
  out("P. 1:101 ack 101");
}

TEST_F(Pressure, ShedsHalfOpenConnections) {
  connections(30);
  half_open(60'000);
  half_open(60'001);
  peer(60'000);
  after(1s, "S. 0 ack 1");
  peer(60'001);
  out("S. 0 ack 1");
  half_open(60'002);
  fill(0, 28);
  turn();
  EXPECT_EQ(half_open(), 3u);
  fill(28, 29);
  turn();
  // Those that have been silent for a second go; an honest peer may be about to answer.
  EXPECT_EQ(half_open(), 1u);
  EXPECT_EQ(stats().tcp_syn_cache_evicted, 2u);
  // Established ones have their least rings.
  peer(50'029);
  in("P. 1:101 ack 1");
  read(100);
  write(100);
  out("P. 1:101 ack 101");
}

// One that others have left no memory can still answer what it is asked.
TEST_F(Pressure, LastEighthIsForLeastRings) {
  connections(3);
  peer(50'000);
  in("P. 1:16385 ack 1");
  in("P. 16385:32769 ack 1");
  out(". 1 ack 32769");
  in("P. 32769:33001 ack 1");  // would double a ring of 32768 bytes
  out(". 1 ack 32769 win 0");
  EXPECT_EQ(stack().memory_in_use(), 32'768u);
  peer(50'001);
  in("P. 1:16385 ack 1");
  EXPECT_EQ(stack().memory_in_use(), 49'152u);
  peer(50'002);
  in("P. 1:2049 ack 1");
  write(2048);
  out(". 1:1001 ack 2049");
  out(". 1001:2001 ack 2049");
  out("P. 2001:2049 ack 2049");
  EXPECT_EQ(try_write(2048), 0u);  // more than that is growth
  skip(1s);
}

TEST_F(Pressure, BeginsAnewWhenItIsOver) {
  connections(29);
  fill(0, 29);
  peer(60'000);
  in("S 0 <mss 1000>");
  nothing();
  for (std::size_t i = 0; i < 3; ++i) opened_[i]->abort();
  turn();
  EXPECT_EQ(drain(), 3u);
  half_open(60'000);
  in(". 1 ack 1");
  EXPECT_EQ(accepted, 30u);
}

}  // namespace
}  // namespace sluice::tcp
