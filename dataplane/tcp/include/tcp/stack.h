// The TCP endpoint of one worker on one port, sans-I/O (RFC 9293).
//
// Nothing in here reads a clock, allocates from the OS on the packet path, or knows DPDK. Segments
// and time come in as arguments; segments go out through a TransmitSink; what the application must
// look at is announced through Observer. One thread calls everything.
//
// One turn of the owner's loop is:
//     for each received segment: stack.input(segment, now)
//     stack.poll_timers(now)            bounded
//     stack.dispatch(now, max)          calls Observer::on_ready of connections with news, bounded
//     stack.flush(now)                  builds and sends what became due: data, ACKs, window
//     updates stack.end_turn()                  received payload still unread is copied out of
//     packets
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/ip_address.h"
#include "base/time.h"
#include "telemetry/connection_record.h"

namespace sluice::tcp {

struct FlowKey {
  IpAddress local;
  IpAddress remote;
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;
  friend constexpr bool operator==(const FlowKey&, const FlowKey&) = default;
};

using State = telemetry::TcpState;
using CloseReason = telemetry::TcpCloseReason;

class Connection;

// What a ready connection is told. Called only from Stack::dispatch().
class Observer {
 public:
  // New bytes, room to write, FIN, establishment or the end: read the connection's state to learn
  // which. After close_reason() != none the connection is gone when this call returns.
  virtual void on_ready(Connection& connection, Time now) = 0;

 protected:
  ~Observer() = default;
};

// Takes new passive connections. The handshake is complete (or the ACK carried data).
class Acceptor {
 public:
  // Returns who will observe the connection, or nullptr to refuse it with RST.
  virtual Observer* on_accept(Connection& connection, std::uint32_t listener_id, Time now) = 0;

 protected:
  ~Acceptor() = default;
};

// Of a segment that is cut on its way out.
struct LargeLimit {
  std::size_t text = 0;     // octets of text in all; 0: nothing is cut
  std::size_t segment = 0;  // of one piece: TCP header, options and text
};

// Where segments leave to. Adds IP and link headers below.
class TransmitSink {
 public:
  // Writable room for one segment of exactly `length` bytes (TCP header, options, payload) from
  // `source` to `destination`. Empty when no buffer or queue room is left: try again next turn.
  virtual MutByteSpan reserve(const IpAddress& source, const IpAddress& destination,
                              std::size_t length) = 0;
  // Sends what reserve() returned last. The checksum field holds zero; the sink fills it in, or
  // leaves it to the NIC. Must follow each successful reserve().
  virtual void commit() = 0;
  // Large segments: one header, and text for several segments, which whoever is below cuts as a NIC
  // does (TCP segmentation offload): each piece gets a copy of the header, with its own sequence
  // number, lengths and checksum; PSH goes to the last. What may be cut on the way to `remote`.
  virtual LargeLimit large_limit(const IpAddress& remote) const {
    (void)remote;
    return {};
  }
  // Room for a header of `header` bytes and, behind it, `pieces` times `piece` octets of text,
  // within the limit. Empty: not now; try without. commit() as above.
  virtual GatherRoom reserve_large(const IpAddress& source, const IpAddress& destination,
                                   std::size_t header, std::size_t piece, std::size_t pieces) {
    (void)source;
    (void)destination;
    (void)header;
    (void)piece;
    (void)pieces;
    return {};
  }
  // Hints about the path, as often as they come up. Something new was acknowledged: it works both
  // ways (RFC 4861 section 7.3.1).
  virtual void on_progress(const IpAddress& remote) { (void)remote; }
  // Something had to be sent again, by us (a timer ran out) or by the peer (we had it already): it
  // may be broken (RFC 9293 section 3.8.3, negative advice).
  virtual void on_stall(const IpAddress& remote) { (void)remote; }

 protected:
  ~TransmitSink() = default;
};

// One received segment: TCP header to end of payload, its length taken from the IP header.
struct InputSegment {
  IpAddress source;
  IpAddress destination;
  ByteSpan bytes;                  // valid until end_turn()
  bool checksum_verified = false;  // else input() verifies in software
  std::uint8_t ecn = 0;            // IP ECN field, RFC 3168
};

class Stack;

// A connection as its application sees it. Lives in the stack's arena; the pointer stays valid
// until on_ready() reported the close, or the application called close()/abort().
class Connection {
 public:
  const FlowKey& flow() const;
  State state() const;
  CloseReason close_reason() const;
  bool established() const;  // handshake done, not yet closed

  // Reading. peek() is the next contiguous run of unread in-order bytes (empty if none); it may
  // lie in a packet buffer and is valid until consume(), end_turn() or the next input().
  ByteSpan peek() const;
  std::size_t readable() const;
  void consume(std::size_t n);  // opens the receive window; n <= peek().size()
  bool end_of_stream() const;   // FIN received and everything read

  // Writing. Bytes are copied; returns how many were taken (bounded by the send buffer). When less
  // than asked was taken, on_ready() comes as soon as acknowledgements have made room.
  std::size_t write(ByteSpan bytes);
  std::size_t writable() const;
  std::size_t unsent_and_unacked() const;
  void shutdown_write();  // FIN after what is queued

  // Lets go of the connection: it finishes by itself, in the background (FIN, TIME-WAIT), or with
  // RST if unread data is dropped (RFC 2525 section 2.17). The pointer is dead afterwards.
  void close();
  // RST now. The pointer is dead afterwards.
  void abort();

  // on_ready() once more in the next dispatch: "my work budget of this turn was used up".
  void mark_ready();
  void set_observer(Observer* observer);
  // Probes of an idle peer (RFC 9293 section 3.8.4) as configured in StackConfig; off by default.
  void set_keepalive(bool on);
  // How long what was written may stay unacknowledged before the connection ends with
  // CloseReason::timed_out and RST (RFC 5482; R2 of RFC 9293 section 3.8.3). Looked at when a
  // retransmission is due. Zero, as at first: 100 s.
  void set_user_timeout(Micros timeout);

 protected:
  Connection() = default;
  ~Connection() = default;
};

struct StackConfig {
  std::size_t max_connections = 16384;
  std::size_t syn_cache_entries = 4096;
  std::size_t time_wait_entries = 32768;  // the oldest make room
  std::size_t receive_buffer =
      std::size_t{256} * 1024;  // initial and, until autotuning, largest window
  std::size_t send_buffer = std::size_t{1024} * 1024;  // cap of one connection's send queue
  std::size_t memory_limit = std::size_t{512} << 20;   // all connections' buffers together
  std::uint16_t mtu = 1500;                            // of the port: MSS = mtu - 40 or - 60
  std::uint64_t secret[2] = {};  // ISN, timestamp offset, port and table hashing
  Micros connect_timeout{3'000'000};
  Micros keepalive_idle{60'000'000};      // silence before the first probe
  Micros keepalive_interval{10'000'000};  // between probes
  std::uint8_t keepalive_probes = 6;      // unanswered ones before giving up
  std::size_t kept_traces = 256;          // of connections to which something unusual happened
};

struct Stats;  // tcp/stats.h: counters of this stack, RFC 4022/4898 names, drop reasons

class Stack {
 public:
  Stack(const StackConfig& config, TransmitSink& sink, Acceptor& acceptor);
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  // Wildcard listener on every local address of the port. False if the port is taken.
  bool listen(std::uint16_t port, std::uint32_t listener_id);
  // Stops accepting; established connections go on, half-open ones are forgotten.
  void unlisten(std::uint16_t port);

  // Starts an active open. nullptr when no port, memory or table entry is free. The result comes by
  // on_ready(): established(), or close_reason(). `timeout` zero means the configured one.
  // `accept_port` filters source ports (RSS prediction); null takes any.
  Connection* connect(const IpAddress& local, const Endpoint& remote, Observer& observer, Time now,
                      Micros timeout = Micros{0},
                      bool (*accept_port)(void* ctx, const FlowKey&) = nullptr,
                      void* accept_port_ctx = nullptr);

  void input(const InputSegment& segment, Time now);
  // An ICMP error quoting one of our segments (RFC 5927 checks apply). `quoted` starts at the
  // quoted TCP header (at least 8 bytes). `next_hop_mtu` nonzero for "packet too big".
  void icmp_error(const FlowKey& flow, ByteSpan quoted, bool hard, std::uint16_t next_hop_mtu,
                  Time now);
  void poll_timers(Time now, std::size_t max_expiries = 64);
  std::size_t dispatch(Time now, std::size_t max_connections = 64);
  void flush(Time now);
  void end_turn();

  bool has_ready() const;
  // When poll_timers() next has something to do; kNever if nothing is armed. May be early.
  Time next_deadline() const;

  std::size_t connection_count() const;  // without TIME-WAIT and the SYN cache
  std::size_t time_wait_count() const;
  std::size_t memory_in_use() const;
  const Stats& stats() const;

  // Looking at connections, those half open and in TIME-WAIT too: visits what lies in the next
  // `places` places of the table from position `from` (0 at first), and returns where to go on, or
  // kWalkEnd. A connection that is there from beginning to end is seen exactly once.
  class Visitor {
   public:
    // False: not taken; the walk ends before this one.
    virtual bool visit(const telemetry::ConnectionRecord& record) = 0;

   protected:
    ~Visitor() = default;
  };
  static constexpr std::uint32_t kWalkEnd = ~0u;
  std::uint32_t walk(std::uint32_t from, std::size_t places, Visitor& visitor, Time now) const;
  // The last events of a connection that lives.
  std::optional<telemetry::ConnectionTrace> live_trace(const FlowKey& flow, Time now) const;
  // Those of connections to which something unusual happened, as they were then or ended: at most
  // StackConfig::kept_traces, one per connection; 0 is the one begun last.
  std::size_t kept_traces() const;
  telemetry::ConnectionTrace kept_trace(std::size_t i, Time now) const;

  // RST to everyone, nothing left afterwards: orderly stop and tests.
  void abort_all(Time now);

  struct Impl;  // private to the library

 private:
  friend struct Inspector;  // tests look at invariants
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::tcp
