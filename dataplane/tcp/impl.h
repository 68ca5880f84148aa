// The machinery behind tcp::Stack. One struct, its functions spread over files by subject:
//
// stack.cpp: arena, tables, the turn (timers, dispatch, flush)
// connection.cpp: the application's calls
// input.cpp: segment arrives, RFC 9293 section 3.10.7, in its order
// passive.cpp: listeners and the SYN cache
// active.cpp: connect(), ports, ISN
// ack.cpp: step 5, acknowledgements, SACK, round-trip times
// recovery.cpp: what is lost, and loss recovery
// tail_probe.cpp: tail loss probes
// retransmit.cpp: sending again
// undo.cpp: recoveries that were for nothing
// receive.cpp: step 7, text and window
// output.cpp: what to send when; building segments
// timers.cpp: what to do when time is up
// time_wait.cpp: TIME-WAIT
// path_mtu.cpp: black holes and probes for a larger path MTU
// icmp.cpp: errors from the network
// watch.cpp: what a connection remembers and shows of itself
#pragma once

#include <algorithm>
#include <bitset>
#include <memory>
#include <utility>
#include <vector>

#include "base/flow_table.h"
#include "base/intrusive_list.h"
#include "base/slots.h"
#include "base/timer_wheel.h"
#include "cookies.h"
#include "pcb.h"
#include "tcp/stack.h"
#include "tcp/stats.h"
#include "wire.h"

namespace sluice::tcp {

inline constexpr std::uint8_t kWindowScale = 7;         // 65535 << 7 = 8 MB
inline constexpr std::uint32_t kMaxReceive = 4u << 20;  // growth of the receive buffer ends
inline constexpr std::uint32_t kWindowPad = 1024;       // what rounding the window up may cost
inline constexpr std::uint32_t kSegmentsPerTurn = 64;   // of one connection
inline constexpr Micros kDelayedAckTime{40'000};        // RFC 9293 section 3.8.6.3: at most 500 ms
inline constexpr Micros kMsl2{60'000'000};              // 2 MSL, RFC 9293 section 3.4.2
inline constexpr Micros kFinWait2Time{60'000'000};      // without an owner
inline constexpr Micros kGiveUpTime{100'000'000};       // R2, RFC 9293 section 3.8.3
inline constexpr Micros kPersistMax{60'000'000};
inline constexpr Micros kIdleBufferTime{1'000'000};
inline constexpr Micros kMemoryRetryTime{10'000};
inline constexpr Micros kStarvedRetryTime{100'000};
inline constexpr Micros kChallengeSpacing{500'000};         // 2/s per connection
inline constexpr std::uint32_t kChallengesPerSecond = 100;  // of the stack, jittered
inline constexpr std::uint32_t kResetsPerSecond = 1000;
inline constexpr std::uint8_t kQuickAcks = 16;
inline constexpr std::size_t kSynStages = 6;  // SYN-ACK at 0, 1, 3, 7, 15 and 31 s
inline constexpr std::uint16_t kMinSendMss = 48;
inline constexpr std::uint16_t kFirstPort = 1024;  // RFC 6056 section 3.2
inline constexpr std::size_t kPortTries = 8192;    // of one connect()

// What a keyed hash is for: each purpose has its own values.
enum class Purpose : std::uint8_t { table, isn, timestamp_offset, port_offset, port_step };

using Happened = telemetry::ConnectionEvent;

struct SynTag {};
struct TimeWaitTag {};

// Of IP and TCP, without options.
inline std::uint16_t ip_and_tcp_headers(const IpAddress& remote) {
  return remote.is_v4() ? 40 : 60;
}

// Durations as events tell them.
constexpr std::uint32_t micros32(Micros t) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(t.count(), 0, UINT32_MAX));
}
constexpr std::uint32_t millis32(Micros t) { return micros32(t / 1000); }
// What one acknowledgement says that was not known.
struct AckNews {
  std::uint32_t in_flight = 0;      // before it
  std::uint32_t acked = 0;          // SND.UNA moved so far
  std::uint32_t delivered = 0;      // sequence numbers that arrived, in order or not
  Seq highest;                      // RACK.fack before it
  bool duplicate = false;           // a duplicate ACK
  bool plain_duplicate = false;     // one that carries no SACK block
  bool resent = false;              // it acknowledges something that was sent more than once
  Time original_sent{Time::min()};  // latest first transmission of what it acknowledges
  Micros rtt{0};                    // the round-trip time it shows; zero if it shows none
  bool original = false;            // what was sent once, and is below RECOVER, arrived
  bool has_echo = false;
  std::uint32_t echo = 0;  // TSecr
  bool dsack = false;      // a duplicate arrived at the peer (RFC 2883)
  Seq dsack_start, dsack_end;
};

// What a SYN and our answer have settled.
struct Handshake {
  FlowKey key;
  std::uint64_t hash = 0;
  Seq iss, irs;
  std::uint32_t listener_id = 0;
  std::uint32_t ts_recent = 0;
  std::uint16_t peer_mss = 536;
  std::uint8_t peer_scale = 0;
  bool scaled = false, sack = false, timestamps = false;
};

// A half-open connection: nothing else is kept for a SYN.
struct SynEntry : ListHook<SynTag>, Handshake {
  std::uint8_t stage = 0;  // times the SYN-ACK was repeated
  bool repeated = false;   // the SYN-ACK went out again because the peer asked
  Time sent{}, due = kNever;
};

// What is left of a connection whose both directions are closed (RFC 9293 section 3.3.2).
struct TimeWaitEntry : ListHook<TimeWaitTag> {
  FlowKey key;
  std::uint64_t hash = 0;
  Seq snd_nxt, rcv_nxt;
  std::uint32_t ts_recent = 0;
  std::uint32_t ts_offset = 0;
  std::uint16_t window = 0;
  bool timestamps = false;
  Time entered{}, expires = kNever;
  Time next_ack{};
};

// So many events per second, the number varied a little each second: an observer cannot count by it
// what others cause (CVE-2016-5696).
class RateLimit {
 public:
  bool allow(Time now, std::uint32_t per_second, std::uint64_t jitter);

 private:
  Time window_end_{Time::min()};
  std::uint32_t left_ = 0;
};

struct Stack::Impl {
  Impl(const StackConfig& configuration, TransmitSink& transmit, Acceptor& acceptor_);
  ~Impl();

  struct Listener {
    std::uint16_t port;
    std::uint32_t id;
    Time cookies_until{Time::min()};  // later than this none that was sent is valid any more
  };

  // The flow table's index: what kind of thing, and which.
  enum Kind : std::uint32_t { kPcb = 0, kSynEntry = 1u << 30, kTimeWait = 2u << 30 };
  static constexpr std::uint32_t kKindMask = 3u << 30;

  // -- stack.cpp
  void tick(Time t) { now = t > now ? t : now; }  // time never runs backwards in here
  std::uint64_t hash_of(const FlowKey& key) const;
  std::uint64_t secret_hash(const FlowKey& key, Purpose purpose) const;
  const FlowKey& key_at(std::uint32_t entry) const;
  std::uint32_t find(const FlowKey& key, std::uint64_t hash) const;
  Pcb* new_pcb(const FlowKey& key, std::uint64_t hash);
  void remove_from_table(Pcb& pcb);
  void free_pcb(Pcb& pcb);
  void drop_buffers(Pcb& pcb);
  void finish(Pcb& pcb, CloseReason reason);
  void reset_peer(Pcb& pcb, CloseReason reason);
  void mark_ready(Pcb& pcb);
  void want_output(Pcb& pcb) { output_list.push_back(pcb); }
  bool may_grow(const ByteRing& ring, std::size_t bytes) const;
  bool reserve(ByteRing& ring, std::size_t bytes, bool beyond_limit = false);
  bool reserve_for_sending(ByteRing& ring, std::size_t bytes);
  void release(ByteRing& ring);
  void release(SentSegments& sent);
  // Three steps: nothing grows and nothing is kept out of order; no new connections; half-open ones
  // are shed, the oldest first. What is established goes on at each.
  bool under_pressure() const { return memory > config.memory_limit / 4 * 3; }
  bool refuses_new() const { return memory > config.memory_limit / 16 * 13; }
  bool sheds_half_open() const { return memory > config.memory_limit / 8 * 7; }
  std::size_t dispatch(std::size_t max);
  void flush();
  void end_turn();
  void abort_all();
  std::uint32_t listener(std::uint16_t port) const;  // index into listeners, or FlowTable::kNone

  // -- active.cpp
  Seq initial_sequence(const FlowKey& key) const;
  static std::uint32_t timestamp_at(std::uint32_t offset, Time time);
  std::uint32_t timestamp_clock(std::uint32_t offset) const { return timestamp_at(offset, now); }
  std::uint32_t timestamp_offset(const FlowKey& key) const {
    return static_cast<std::uint32_t>(secret_hash(key, Purpose::timestamp_offset));
  }
  Connection* connect(const IpAddress& local, const Endpoint& remote, Observer& observer,
                      Micros timeout, bool (*accept_port)(void*, const FlowKey&), void* ctx);
  bool choose_port(FlowKey& key, std::uint64_t& hash, bool (*accept_port)(void*, const FlowKey&),
                   void* ctx);

  // -- input.cpp
  void input(const InputSegment& in);
  void segment_arrives(Pcb& pcb, const Segment& s);
  void in_syn_sent(Pcb& pcb, const Segment& s);
  bool check_timestamp(Pcb& pcb, const Segment& s);
  bool check_ack(Pcb& pcb, const Segment& s);
  void process_fin(Pcb& pcb);
  void establish(Pcb& pcb);
  void learn_options(Pcb& pcb, const Options& o);
  void refuse(const Segment& s);  // the RST of a connection that does not exist

  // -- acceptability.cpp
  bool check_sequence(Pcb& pcb, const Segment& s);
  bool check_reset(Pcb& pcb, const Segment& s);
  void on_reset(Pcb& pcb);
  bool check_syn(Pcb& pcb, const Segment& s);

  // -- passive.cpp
  void syn_arrives(const Segment& s, std::uint64_t hash, std::uint32_t listener_index,
                   Seq iss_floor, bool has_floor);
  void answer_with_cookie(Handshake& syn, Listener& listener);
  bool cookie_returns(const Segment& s, std::uint64_t hash, const Listener& listener);
  void half_open_arrives(SynEntry& entry, const Segment& s);
  bool send_syn_ack(const Handshake& from, std::uint32_t timestamp, bool repeated);
  bool repeat_syn_ack(SynEntry& entry);
  void forget(SynEntry& entry);
  bool shed_half_open(std::uint8_t least_stage);
  void forget_half_open(std::uint16_t port);
  Pcb* promote(SynEntry& entry);
  Pcb* begin_passive(const Handshake& from);
  std::uint32_t index_of(const SynEntry& entry) const;
  void poll_syn_cache(std::size_t& budget);

  // -- ack.cpp
  void process_ack(Pcb& pcb, const Segment& s);
  void acknowledge(Pcb& pcb, const Segment& s, AckNews& news);
  void delivered(Pcb& pcb, const Segment& s, const SentSegment& segment, AckNews& news);
  void sample_rtt(Pcb& pcb, const Segment& s, AckNews& news);
  void sample_handshake(Pcb& pcb, const Segment& s);
  bool update_window(Pcb& pcb, const Segment& s);
  void take_sack(Pcb& pcb, const Segment& s, AckNews& news);
  void notify_writer(Pcb& pcb);

  // -- recovery.cpp
  void after_ack(Pcb& pcb, const AckNews& news);
  Micros reordering_window(const Pcb& pcb) const;
  bool detect_losses(Pcb& pcb);
  void loss_detection_timeout(Pcb& pcb);
  void enter_recovery(Pcb& pcb, const AckNews& news);
  void grow_window(Pcb& pcb, const AckNews& news, std::uint32_t acked);
  void during_recovery(Pcb& pcb, const AckNews& news, bool more_lost);
  void end_recovery(Pcb& pcb);
  void leave_recovery(Pcb& pcb);
  void resend_lost(Pcb& pcb);
  void lose_after_timeout(Pcb& pcb);
  bool room_for_record(Pcb& pcb, std::size_t records = 1);

  // -- tail_probe.cpp
  void schedule_tail_probe(Pcb& pcb);
  void tail_probe_timeout(Pcb& pcb);
  bool send_tail_probe(Pcb& pcb);
  void tail_probe_answered(Pcb& pcb, const AckNews& news);
  void end_tail_probe(Pcb& pcb);

  // -- undo.cpp
  void remember_for_undo(Pcb& pcb);
  void forget_undo(Pcb& pcb);
  void note_resent(Pcb& pcb, const SentSegment& segment);
  void begin_frto(Pcb& pcb);
  bool eifel_detects(Pcb& pcb, const AckNews& news);
  bool frto_detects(Pcb& pcb, const AckNews& news);
  bool detect_spurious(Pcb& pcb, const AckNews& news);
  void undo_recovery(Pcb& pcb, const AckNews& news);
  bool send_new_after_timeout(Pcb& pcb);
  std::uint32_t next_new_segment(const Pcb& pcb) const;

  // -- retransmit.cpp
  bool retransmit_lost(Pcb& pcb, std::uint32_t& budget);
  bool send_again(Pcb& pcb, Seq start, std::uint32_t length);
  bool rescue(Pcb& pcb);

  // -- receive.cpp
  void process_text(Pcb& pcb, const Segment& s);
  void take_in_order(Pcb& pcb, ByteSpan payload);
  bool take_out_of_order(Pcb& pcb, std::uint32_t offset, ByteSpan payload);
  bool settle_direct(Pcb& pcb, bool beyond_limit);
  void schedule_ack(Pcb& pcb, std::size_t received);
  void after_read(Pcb& pcb, std::size_t n);
  std::uint32_t free_window(const Pcb& pcb) const;
  std::uint16_t advertise(Pcb& pcb);  // the window field; moves rcv_edge
  void fill_sack(Pcb& pcb, Options& options);

  // -- output.cpp
  std::uint16_t our_mss(const IpAddress& remote) const;
  std::uint32_t send_mss(const Pcb& pcb) const;  // payload that fits one segment now
  bool output(Pcb& pcb);                         // false: the sink is full
  bool output_control(Pcb& pcb);
  bool output_data(Pcb& pcb, std::uint32_t budget);
  bool send_new(Pcb& pcb, std::uint32_t length, bool fin);
  bool send_segment(Pcb& pcb, Seq seq, std::uint32_t length, std::uint8_t flags);
  // Without window and SACK blocks.
  Outgoing header_of(const Pcb& pcb, Seq seq, std::uint8_t flags) const;
  void record_new(Pcb& pcb, std::uint16_t sequence);
  void sent_data(Pcb& pcb, bool gaps_told);
  bool send_ack(Pcb& pcb);
  bool send_syn(Pcb& pcb);
  bool send_probe(Pcb& pcb);
  void send_reset(Pcb& pcb, CloseReason why);
  bool send(const Outgoing& o, const ByteRing* ring = nullptr, std::size_t offset = 0,
            std::size_t length = 0);
  void send_once(const Outgoing& o);
  void sent_ack(Pcb& pcb);
  void challenge(Pcb& pcb);
  void answer_unacceptable(Pcb& pcb);
  void arm_after_output(Pcb& pcb);

  // -- large.cpp
  // Several new segments in one; how many they were, 0 where one at a time is right.
  std::uint32_t send_large(Pcb& pcb, const LargeLimit& limit, std::uint32_t mss,
                           std::uint32_t most);

  // -- timers.cpp
  void arm(Pcb& pcb, Timer timer, Time at);
  void disarm(Pcb& pcb, Timer timer) { pcb.deadline[timer] = kNever; }
  bool armed(const Pcb& pcb, Timer timer) const { return pcb.deadline[timer] != kNever; }
  void poll_timers(std::size_t max);
  void wake(Pcb& pcb);
  static Micros give_up_time(const Pcb& pcb);
  Time retransmission_due(const Pcb& pcb) const;
  void retransmission_timeout(Pcb& pcb);
  void persist_timeout(Pcb& pcb);
  void keepalive_timeout(Pcb& pcb);
  void lifetime_over(Pcb& pcb);
  void housekeeping(Pcb& pcb);
  Time next_deadline() const;

  // -- time_wait.cpp
  void enter_time_wait(Pcb& pcb);
  void time_wait_arrives(TimeWaitEntry& entry, const Segment& s);
  void forget(TimeWaitEntry& entry);
  void poll_time_wait(std::size_t& budget);
  std::uint32_t index_of(const TimeWaitEntry& entry) const;

  // -- watch.cpp
  void enter(Pcb& pcb, State next);  // the only way to change `phase`
  void note(Pcb& pcb, Happened what, std::uint32_t value = 0);
  void peer_window_turned(Pcb& pcb);                  // to zero, or from it
  void window_turned(Pcb& pcb, std::uint32_t field);  // what we are about to tell
  static void count_sent(Pcb& pcb, std::uint32_t length, bool repeated);
  static void take_rtt(Pcb& pcb, Micros sample);
  void keep(Pcb& pcb);
  telemetry::ConnectionRecord describe(const Pcb& pcb) const;
  telemetry::ConnectionRecord describe(const SynEntry& entry) const;
  telemetry::ConnectionRecord describe(const TimeWaitEntry& entry) const;
  bool show(std::uint32_t entry, Visitor& visitor) const;  // false: not taken

  // -- path_mtu.cpp
  std::uint32_t packet_size(const Pcb& pcb, std::uint32_t text) const;
  void path_mtu_changed(Pcb& pcb);
  void path_mtu_timeout(Pcb& pcb);
  void segment_got_through(Pcb& pcb, const SentSegment& segment);
  void check_mtu_probe(Pcb& pcb);
  bool send_mtu_probe(Pcb& pcb);

  // -- icmp.cpp
  void packet_too_big(Pcb& pcb, std::uint16_t mtu, Seq quoted);
  void icmp_error(const FlowKey& flow, ByteSpan quoted, bool hard, std::uint16_t next_hop_mtu);

  StackConfig config;
  TransmitSink& sink;
  Acceptor& acceptor;
  Stats stats;
  Time now{};
  std::size_t memory = 0;
  bool stopping = false;

  FlowTable flows;
  Slots<Pcb> pcbs;
  Slots<SynEntry> syn_entries;
  Slots<TimeWaitEntry> time_waits;
  std::vector<std::unique_ptr<OutOfOrder>> spare_overtaken;
  std::vector<std::unique_ptr<Undo>> spare_undos;

  std::vector<Listener> listeners;
  std::bitset<65536> listening;
  std::array<std::uint16_t, 256> port_counters{};  // RFC 6056 section 3.3.4

  TimerWheel wheel;
  IntrusiveList<Pcb, ReadyTag> ready_list;
  IntrusiveList<Pcb, OutputTag> output_list;
  IntrusiveList<Pcb, DirectTag> direct_list;
  std::array<IntrusiveList<SynEntry, SynTag>, kSynStages> syn_stages;  // each in order of `due`
  IntrusiveList<TimeWaitEntry, TimeWaitTag> time_wait_fifo;            // in order of `expires`
  SynCookies cookies{config.secret};
  RateLimit resets, challenges;

  // The last events of connections to which something unusual happened; the oldest make room.
  struct Trace {
    telemetry::ConnectionTrace trace;
    std::uint32_t index = 0, generation = 0;  // whose it is, as long as that lives
  };
  std::vector<Trace> traces;  // at most config.kept_traces
  std::size_t next_trace = 0;
};

}  // namespace sluice::tcp
