// Each reason for which TCP drops something: a case for every drop_tcp_* row of counters.def, which
// must count that reason once and no other.
#include <algorithm>
#include <map>
#include <vector>

#include "script.h"
#include "telemetry/counters.h"

namespace sluice::tcp {
namespace {

using telemetry::Counter;

bool is_drop(Counter c) { return telemetry::info(c).metric == "drops"; }

std::vector<Counter> reasons_of_tcp() {
  std::vector<Counter> all;
  for (std::size_t i = 0; i < telemetry::kCounterCount; ++i) {
    const auto c = static_cast<Counter>(i);
    if (is_drop(c) && telemetry::info(c).id.starts_with("drop_tcp_")) all.push_back(c);
  }
  // Found by the IP layer's walk over a frame, before TCP sees anything.
  std::erase(all, Counter::drop_tcp_header_length);
  return all;
}

class Drops : public Script, public ::testing::WithParamInterface<Counter> {
 protected:
  std::map<Counter, std::uint64_t> drops() {
    std::map<Counter, std::uint64_t> now_counted;
    stats().for_each([&](Counter c, std::uint64_t n) {
      if (is_drop(c) && n > 0) now_counted[c] = n;
    });
    return now_counted;
  }
  // As it is, without a good checksum.
  void raw(ByteSpan bytes) {
    stack().input({*IpAddress::parse(remote), *IpAddress::parse(local), bytes}, now);
  }
  void make(Counter reason);
  void make_in_handshake(Counter reason);
  void make_in_connection(Counter reason);
  bool known = true;
};

void Drops::make(Counter reason) {
  switch (reason) {
    case Counter::drop_tcp_header:
      return raw(ByteSpan{bytes_of("S 0")}.first(19));
    case Counter::drop_tcp_checksum:
      return raw(bytes_of("S 0"));
    case Counter::drop_tcp_address:
      peer(0);
      return in("S 0");
    case Counter::drop_tcp_closed_port:
      in("S 0");
      return out("R. 0 ack 1");
    case Counter::drop_tcp_rst_limit: {
      std::size_t sent = 0;
      while (stats().drop_tcp_rst_limit == 0) {
        ASSERT_LT(sent, 2000u);
        in("S 0");
        sent += drain();
      }
      return;
    }
    case Counter::drop_tcp_no_buffer:
      sink_full(true);
      return in("S 0");
    case Counter::drop_tcp_icmp:
      return icmp(0, false, 1000);
    default:
      return make_in_handshake(reason);
  }
}

void Drops::make_in_handshake(Counter reason) {
  switch (reason) {
    case Counter::drop_tcp_no_ack:
      listen();
      return in("F 0");
    case Counter::drop_tcp_bad_rst:
      listen();
      return in("R 0");
    case Counter::drop_tcp_syn_text:
      listen();
      in("S 0:10");
      return out("S. 0 ack 1");
    case Counter::drop_tcp_syn_cache_full:
      // A cookie does not do for who follows a connection in TIME-WAIT.
      config.syn_cache_entries = 0;
      establish();
      shutdown();
      out("F. 1 ack 1");
      in("F. 1 ack 2");
      out(". 2 ack 2");
      return in("S 5000");
    case Counter::drop_tcp_table_full:
      config.max_connections = 0;
      listen();
      in("S 0");
      out("S. 0 ack 1");
      return in(". 1 ack 1");
    case Counter::drop_tcp_refused:
      accept = false;
      listen();
      in("S 0");
      out("S. 0 ack 1");
      in(". 1 ack 1");
      return out("R. 1 ack 1");
    case Counter::drop_tcp_paws:
      establish("mss 1000,ts 5000");
      in(". 1 ack 1 <ts 4000>");
      return out(". 1 ack 1");
    case Counter::drop_tcp_no_timestamp:
      establish("mss 1000,ts");
      return in(". 1 ack 1 <nots>");
    default:
      return make_in_connection(reason);
  }
}

void Drops::make_in_connection(Counter reason) {
  if (reason == Counter::drop_tcp_beyond_window) config.receive_buffer = 4096;
  if (reason == Counter::drop_tcp_memory) config.memory_limit = 16;
  if (reason == Counter::drop_tcp_pressure) config.memory_limit = 2048;
  establish("mss 1000");
  switch (reason) {
    case Counter::drop_tcp_unacceptable:
      in(". -10 ack 1");
      return out(". 1 ack 1");
    case Counter::drop_tcp_bad_ack:
      in(". 1 ack 2");
      return out(". 1 ack 1");
    case Counter::drop_tcp_unexpected_syn:
      in("S 1");
      return out(". 1 ack 1");
    case Counter::drop_tcp_duplicate:
      in("P. 1:11 ack 1");
      drain();
      in("P. 1:11 ack 1");
      return out(". 1 ack 11");
    case Counter::drop_tcp_beyond_window:
      in("P. 1:3075 ack 1");
      return out(". 1 ack 3073");
    case Counter::drop_tcp_reassembly_full:
      for (unsigned at = 3; stats().drop_tcp_reassembly_full == 0; at += 2) {
        ASSERT_LT(at, 1000u);
        in(". " + std::to_string(at) + ":" + std::to_string(at + 1) + " ack 1");
        drain();
      }
      return;
    case Counter::drop_tcp_memory:
      in("P. 1:11 ack 1");
      return out(". 1 ack 1 win 0");
    case Counter::drop_tcp_pressure:
      in("P. 1:2049 ack 1");
      peer(40001);
      return in("S 0");
    case Counter::drop_tcp_after_close:
      close();
      out("F. 1 ack 1");
      in("P. 1:11 ack 2");
      return out("R. 2 ack 1");
    case Counter::drop_tcp_after_fin:
      in("F. 1 ack 1");
      out(". 1 ack 2");
      return in("P. 2:12 ack 1");
    case Counter::drop_tcp_time_wait:
      shutdown();
      out("F. 1 ack 1");
      in("F. 1 ack 2");
      out(". 2 ack 2");
      return in(". 2 ack 2");
    default:
      known = false;
  }
}

TEST_P(Drops, CountsItsReasonAndNoOther) {
  make(GetParam());
  ASSERT_TRUE(known) << telemetry::info(GetParam()).id << " has no case here: write one";
  // A RST that is not sent is the second thing dropped: the segment it would answer is the first.
  auto counted = drops();
  if (GetParam() == Counter::drop_tcp_rst_limit || GetParam() == Counter::drop_tcp_no_buffer) {
    EXPECT_GE(counted[Counter::drop_tcp_closed_port], 1u);
    counted.erase(Counter::drop_tcp_closed_port);
  }
  EXPECT_EQ(counted, (std::map<Counter, std::uint64_t>{{GetParam(), 1}}));
}

INSTANTIATE_TEST_SUITE_P(Table, Drops, ::testing::ValuesIn(reasons_of_tcp()), [](const auto& row) {
  return std::string(telemetry::info(row.param).id);
});

// A row that the stack does not mirror would stand at zero for ever.
TEST(DropTable, EveryRowOfTcpIsACounterOfTheStack) {
  std::vector<Counter> mirrored;
  Stats{}.for_each([&](Counter c, std::uint64_t) {
    if (is_drop(c)) mirrored.push_back(c);
  });
  for (const Counter c : reasons_of_tcp()) {
    EXPECT_EQ(std::ranges::count(mirrored, c), 1) << telemetry::info(c).id;
  }
  EXPECT_EQ(mirrored.size(), reasons_of_tcp().size());
}

}  // namespace
}  // namespace sluice::tcp
