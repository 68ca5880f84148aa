// The ring of events of each connection, and the traces that are kept when something unusual
// happens.
#include <string>
#include <vector>

#include "script.h"

namespace sluice::tcp {
namespace {

using telemetry::ConnectionEvent;
using telemetry::ConnectionTrace;

class Trace : public Script {
 protected:
  FlowKey flow() {
    return {*IpAddress::parse(local), *IpAddress::parse(remote), local_port, peer_port};
  }
  static std::vector<std::string> names(const ConnectionTrace& trace) {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < trace.events.size(); ++i) {
      const auto& e = trace.events[i];
      std::string name(telemetry::info(e.kind()).id);
      if (e.kind() == ConnectionEvent::state) name = to_string(static_cast<State>(e.value));
      all.push_back(std::move(name));
    }
    return all;
  }
  ConnectionTrace live() {
    const auto trace = stack().live_trace(flow(), now);
    EXPECT_TRUE(trace.has_value());
    return trace.value_or(ConnectionTrace{});
  }
  ConnectionTrace kept(std::size_t i = 0) {
    EXPECT_LT(i, stack().kept_traces());
    return i < stack().kept_traces() ? stack().kept_trace(i, now) : ConnectionTrace{};
  }
  static std::uint32_t value(const ConnectionTrace& trace, ConnectionEvent kind) {
    for (std::size_t i = trace.events.size(); i-- > 0;) {
      if (trace.events[i].kind() == kind) return trace.events[i].value;
    }
    ADD_FAILURE() << "no event " << telemetry::info(kind).id;
    return 0;
  }
  using Names = std::vector<std::string>;
  std::uint16_t local_port = 443, peer_port = 40000;
};

TEST_F(Trace, AQuietConnectionRemembersItsStatesAndIsNotKept) {
  establish();
  write(10);
  out("P. 1:11 ack 1");
  in("P. 1:11 ack 11");
  skip(100ms);
  EXPECT_EQ(names(live()), (Names{"syn_received", "established"}));
  in("F. 11 ack 11");
  out(". 11 ack 12");
  EXPECT_EQ(names(live()), (Names{"syn_received", "established", "close_wait"}));
  EXPECT_TRUE(live().live);
  EXPECT_EQ(live().connection.state, State::close_wait);
  shutdown();
  out("F. 11 ack 12");
  in(". 12 ack 12");
  EXPECT_FALSE(stack().live_trace(flow(), now).has_value());
  EXPECT_EQ(stack().kept_traces(), 0u);
}

TEST_F(Trace, TimeoutIsKeptWithItsTime) {
  establish();
  now += 3s;
  write(10);
  out("P. 1:11 ack 1");
  after(200ms, "P. 1:11 ack 1");
  ASSERT_EQ(stack().kept_traces(), 1u);
  now += 50ms;
  const ConnectionTrace t = kept();
  EXPECT_EQ(names(t), (Names{"syn_received", "established", "retransmission_timeout"}));
  EXPECT_EQ(value(t, ConnectionEvent::retransmission_timeout), 200'000u);
  EXPECT_EQ(t.connection.state, State::established);
  EXPECT_EQ(t.connection.estats.timeouts, 1u);
  EXPECT_FALSE(t.live);
  // Within the grain of the timer wheel.
  const Micros waited = t.events[2].since_last();
  EXPECT_GE(waited, 3200ms);
  EXPECT_LT(waited, 3202ms);
  EXPECT_EQ(t.since_last, 50ms);
}

TEST_F(Trace, ResetOfAPeer) {
  establish();
  in("R 1");
  EXPECT_EQ(names(kept()), (Names{"syn_received", "established", "reset_received", "closed"}));
  EXPECT_EQ(kept().connection.state, State::closed);
}

TEST_F(Trace, RefusedConnect) {
  connect();
  out("S 0");
  in("R. 0 ack 1");
  EXPECT_EQ(names(kept()), (Names{"syn_sent", "reset_received", "closed"}));
}

TEST_F(Trace, ResetOfOursSaysWhy) {
  establish();
  in("P. 1:11 ack 1");
  skip(100ms);
  close();  // with text unread
  out("R. 1 ack 11");
  EXPECT_EQ(names(kept()),
            (Names{"syn_received", "established", "closed_by_owner", "reset_sent", "closed"}));
  EXPECT_EQ(value(kept(), ConnectionEvent::reset_sent),
            static_cast<std::uint32_t>(CloseReason::aborted));
}

TEST_F(Trace, WindowsThatCloseAndOpen) {
  config.receive_buffer = 4096;
  establish();
  write(100);
  out("P. 1:101 ack 1");
  in(". 1 ack 101 win 0");
  EXPECT_EQ(stack().kept_traces(), 1u);
  in(". 1 ack 101 win 5000");
  in("P. 1:3073 ack 101");
  after(40ms, ". 101 ack 3073 win 0");
  read(3072);
  out(". 101 ack 3073 win 3072");
  const ConnectionTrace t = live();
  EXPECT_EQ(names(t), (Names{"syn_received", "established", "peer_window_closed",
                             "peer_window_opened", "window_closed", "window_opened"}));
  EXPECT_EQ(value(t, ConnectionEvent::peer_window_closed), 0u);
  EXPECT_EQ(value(t, ConnectionEvent::peer_window_opened), 5000u);
  EXPECT_EQ(value(t, ConnectionEvent::window_closed), 3072u);
  EXPECT_EQ(value(t, ConnectionEvent::window_opened), 3072u);
  EXPECT_EQ(t.connection.estats.zero_rwin_rcvd, 1u);
  EXPECT_EQ(t.connection.estats.zero_rwin_sent, 1u);
}

TEST_F(Trace, SilentPeer) {
  establish();
  write(10);
  skip(300s);
  ended(CloseReason::timed_out);
  const Names all = names(kept());
  ASSERT_GE(all.size(), 3u);
  EXPECT_EQ((Names{all.end() - 3, all.end()}), (Names{"gave_up", "reset_sent", "closed"}));
}

TEST_F(Trace, GapsAndTheirEnds) {
  establish("mss 1000,sackOK");
  in(". 101:201 ack 1");
  out(". 1 ack 1");
  in(". 201:301 ack 1");
  out(". 1 ack 1");
  in(". 1:101 ack 1");
  out(". 1 ack 301");
  EXPECT_EQ(names(live()), (Names{"syn_received", "established", "gap_opened", "gap_closed"}));
  EXPECT_EQ(value(live(), ConnectionEvent::gap_opened), 100u);
  EXPECT_EQ(value(live(), ConnectionEvent::gap_closed), 300u);
  EXPECT_EQ(stack().kept_traces(), 0u);
}

TEST_F(Trace, IcmpAndPathMtu) {
  establish("mss 1460");
  write(1460);
  EXPECT_EQ(drain(), 1u);
  icmp(1, false, 1000);
  EXPECT_EQ(drain(), 2u);
  icmp(1, true, 0);
  EXPECT_EQ(names(live()), (Names{"syn_received", "established", "path_mtu", "icmp_error"}));
  EXPECT_EQ(value(live(), ConnectionEvent::path_mtu), 1000u);
}

// The ring holds the latest; memory of a connection does not grow with its troubles.
TEST_F(Trace, OnlyTheLatestAreRemembered) {
  establish();
  write(1);
  out("P. 1:2 ack 1");
  in(". 1 ack 2");
  for (unsigned i = 0; i < 20; ++i) in(i % 2 == 0 ? ". 1 ack 2 win 0" : ". 1 ack 2 win 1000");
  const ConnectionTrace t = live();
  EXPECT_EQ(t.events.size(), telemetry::ConnectionEvents::kCapacity);
  EXPECT_EQ(t.events.total(), 22u);
  EXPECT_EQ(t.events[0].kind(), ConnectionEvent::peer_window_closed);
  EXPECT_EQ(t.events[15].kind(), ConnectionEvent::peer_window_opened);
}

// A connection in lasting trouble must not push out all others.
TEST_F(Trace, OneTracePerConnection) {
  establish();
  write(10);
  out("P. 1:11 ack 1");
  skip(5s);
  EXPECT_GE(stats().tcp_timeouts, 3u);
  EXPECT_EQ(stack().kept_traces(), 1u);
  peer(40001);
  establish();
  in("R 1");
  ASSERT_EQ(stack().kept_traces(), 2u);
  EXPECT_EQ(kept(0).connection.remote_port, 40001u);
  EXPECT_EQ(kept(1).connection.remote_port, 40000u);
}

TEST_F(Trace, TheOldestTraceMakesRoom) {
  config.kept_traces = 3;
  for (std::uint16_t i = 0; i < 5; ++i) {
    peer(static_cast<std::uint16_t>(40000 + i));
    establish();
    in("R 1");
  }
  ASSERT_EQ(stack().kept_traces(), 3u);
  for (std::uint16_t i = 0; i < 3; ++i) EXPECT_EQ(kept(i).connection.remote_port, 40004u - i);
}

// The slot of a trace may have gone to another connection: its first owner takes a new one.
TEST_F(Trace, ATraceThatWasPushedOutIsBegunAnew) {
  config.kept_traces = 1;
  establish();
  write(10);
  out("P. 1:11 ack 1");
  in(". 1 ack 11 win 0");
  peer(40001);
  establish();
  in("R 1");
  EXPECT_EQ(kept().connection.remote_port, 40001u);
  peer(40000);
  in("R 1");
  EXPECT_EQ(kept().connection.remote_port, 40000u);
  EXPECT_EQ(stack().kept_traces(), 1u);
}

TEST_F(Trace, None) {
  config.kept_traces = 0;
  establish();
  in("R 1");
  EXPECT_EQ(stack().kept_traces(), 0u);
}

}  // namespace
}  // namespace sluice::tcp
