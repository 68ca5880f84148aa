// Local ports of active opens: RFC 6056 section 3.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <vector>

#include "tcp/stack.h"
#include "tcp/stats.h"

namespace sluice::tcp {
namespace {

// Never has room: the SYNs stay where they are.
class Nowhere final : public TransmitSink, public Acceptor, public Observer {
 public:
  MutByteSpan reserve(const IpAddress&, const IpAddress&, std::size_t) override { return {}; }
  void commit() override {}
  Observer* on_accept(Connection&, std::uint32_t, Time) override { return nullptr; }
  void on_ready(Connection&, Time) override {}
};

class Ports : public testing::Test {
 protected:
  static StackConfig config(std::uint64_t secret) {
    StackConfig c;
    c.max_connections = 4096;
    c.secret[0] = secret;
    c.secret[1] = secret + 1;
    return c;
  }
  static IpAddress peer(std::uint32_t n) { return IpAddress::v4(0xc6130000 + n); }
  std::uint16_t port_to(Stack& stack, const IpAddress& to, std::uint16_t remote_port = 443) {
    Connection* c = stack.connect(us, {to, remote_port}, nowhere, Time{Micros{1}});
    return c == nullptr ? std::uint16_t{0} : c->flow().local_port;
  }
  const IpAddress us = IpAddress::v4(0xc6120101);
  Nowhere nowhere;
};

// Section 3.2: the whole range above the well-known ports.
TEST_F(Ports, Rfc6056_3_2_RangeIsLarge) {
  Stack stack(config(7), nowhere, nowhere);
  std::uint16_t lowest = 65535;
  std::uint16_t highest = 0;
  for (std::uint32_t n = 1; n <= 1000; ++n) {
    const std::uint16_t port = port_to(stack, peer(n));
    ASSERT_GE(port, 1024);
    lowest = std::min(lowest, port);
    highest = std::max(highest, port);
  }
  EXPECT_LT(lowest, 4000);
  EXPECT_GT(highest, 62'000);
}

// Section 3.3.4: what one peer sees tells it nothing of the port towards another, nor of the next
// start of the stack.
TEST_F(Ports, Rfc6056_3_3_4_PeersSeeUnrelatedPorts) {
  Stack stack(config(7), nowhere, nowhere);
  Stack restarted(config(8), nowhere, nowhere);
  int near = 0;
  int same = 0;
  for (std::uint32_t n = 1; n < 500; ++n) {
    const int a = port_to(stack, peer(2 * n));
    const int b = port_to(stack, peer(2 * n + 1));
    near += std::abs(a - b) < 256 ? 1 : 0;
    same += a == port_to(restarted, peer(2 * n)) ? 1 : 0;
  }
  EXPECT_LT(near, 20);  // 4 are expected by chance
  EXPECT_LT(same, 5);
}

// Section 3.3.4 again: to one peer each port is used once before any comes back.
TEST_F(Ports, Rfc6056_3_3_4_OnePeerSeesEachPortOnce) {
  Stack stack(config(7), nowhere, nowhere);
  std::set<std::uint16_t> seen;
  for (int i = 0; i < 4000; ++i) ASSERT_TRUE(seen.insert(port_to(stack, peer(1))).second);
}

// Each attempt looks at a part of the range. Whoever shares the counter, and however they take
// turns, the one port that is free is found some time.
TEST_F(Ports, Rfc6056_3_3_4_TheLastFreePortIsFoundByTwoThatTakeTurns) {
  for (const int port : {2000, 10'000, 18'000, 26'000, 34'000, 42'000, 50'000, 58'000, 65'535}) {
    const auto free = static_cast<std::uint16_t>(port);
    Stack stack(config(7), nowhere, nowhere);
    struct Wish {
      std::uint16_t port;
      bool open;
    } wish{free, false};
    const auto only = [](void* context, const FlowKey& key) {
      const auto* w = static_cast<const Wish*>(context);
      return w->open && key.local_port == w->port;
    };
    Connection* c = nullptr;
    for (int attempts = 0; c == nullptr && attempts < 200; ++attempts) {
      wish.open = attempts % 2 == 0;
      c = stack.connect(us, {peer(1), 443}, nowhere, Time{Micros{1}}, Micros{0}, only, &wish);
    }
    ASSERT_NE(c, nullptr) << free;
    EXPECT_EQ(c->flow().local_port, free);
  }
}

// Section 3.2: ports that services listen on are left alone.
TEST_F(Ports, Rfc6056_3_2_ListeningPortsAreSkipped) {
  Stack probe(config(7), nowhere, nowhere);
  const std::uint16_t first = port_to(probe, peer(1));
  Stack stack(config(7), nowhere, nowhere);
  ASSERT_TRUE(stack.listen(first, 1));
  EXPECT_NE(port_to(stack, peer(1)), first);
}

}  // namespace
}  // namespace sluice::tcp
