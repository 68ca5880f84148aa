// The state of one connection: the TCB of RFC 9293 section 3.3.1, its buffers and timers.
//
// Data only; what happens to it is in Stack::Impl, one file per subject. Each lives in the arena of
// its stack and belongs to that stack's thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/byte_ring.h"
#include "base/intrusive_list.h"
#include "base/timer_wheel.h"
#include "congestion.h"
#include "interval_set.h"
#include "path_mtu.h"
#include "prr.h"
#include "rack.h"
#include "rtt.h"
#include "sent_segments.h"
#include "seq.h"
#include "tcp/stack.h"
#include "telemetry/connection_record.h"
#include "undo.h"

namespace sluice::tcp {

struct ReadyTag {};   // the application has something to look at
struct OutputTag {};  // flush() has something to send
struct DirectTag {};  // holds payload that lies in a packet buffer until end_turn()

// What a connection waits for. All share one node in the wheel, armed at the earliest.
enum Timer : std::uint8_t {
  kLossDetection,  // before the retransmission timer: see LossTimer
  kRetransmit,     // retransmission, or persist when `persisting`: never both
  kDelayedAck,
  kKeepalive,
  kLifetime,      // connect timeout, FIN-WAIT-2 without an owner
  kHousekeeping,  // give idle buffers back; wake a writer that found no memory
  kTimers,
};

// What the loss detection timer is armed for (RFC 8985 section 5.4).
enum class LossTimer : std::uint8_t {
  reordering,  // segments that were overtaken become lost
  probe,       // the last ones sent may be lost, and nothing would tell
};

// How the sender is getting over a loss.
enum class Recovery : std::uint8_t {
  none,
  fast,     // fast recovery: RFC 6675 with RFC 8985 and RFC 6937, or without SACK RFC 6582
  timeout,  // from the start of what is out, in slow start: RFC 5681 section 3.1
};

// Receiver, out of order: allocated when the first segment overtakes another.
struct OutOfOrder {
  IntervalSet ranges;  // offsets from rcv_nxt
  // Points in the ranges reported last, most recent first (RFC 2018 section 4).
  std::array<std::uint32_t, 4> recent{};
  std::uint8_t recent_count = 0;
};

inline constexpr std::uint32_t kNotKept = ~0u;

struct Pcb final : Connection,
                   ListHook<ReadyTag>,
                   ListHook<OutputTag>,
                   ListHook<DirectTag>,
                   TimerNode {
  // -- identity
  FlowKey key;
  std::uint32_t listener_id = 0;
  Stack::Impl* stack = nullptr;
  std::uint64_t hash = 0;
  std::uint32_t index = 0;
  std::uint32_t generation = 0;  // moves on when the slot is freed
  Observer* observer = nullptr;

  State phase = State::closed;
  CloseReason reason = CloseReason::none;
  bool reported : 1 = false;    // this or the last on_ready() told of the end
  bool passive : 1 = false;     // came from a listener
  bool accepting : 1 = false;   // on_accept() has not been called yet
  bool detached : 1 = false;    // the application let go
  bool want_write : 1 = false;  // write() took less than it was given
  bool in_table : 1 = false;

  // -- negotiated
  bool timestamps : 1 = false;
  bool sack : 1 = false;
  bool scaled : 1 = false;       // RFC 7323 window scaling in force
  bool syn_due : 1 = false;      // SYN or SYN-ACK is to be (re)sent
  bool fin_queued : 1 = false;   // FIN follows what is in `send`
  std::uint8_t snd_scale = 0;    // the peer's shift
  std::uint8_t rcv_scale = 0;    // ours
  std::uint16_t peer_mss = 536;  // as received
  PathMtu path_mtu;

  // -- send sequence variables
  Seq iss, snd_una, snd_nxt;
  Seq snd_max;  // highest sequence number ever sent; snd_nxt goes back on a timeout
  Seq snd_wl1, snd_wl2;
  std::uint32_t snd_wnd = 0;
  std::uint32_t max_snd_wnd = 0;   // MAX.SND.WND
  Seq snd_base;                    // of the first byte in `send`
  std::uint32_t user_timeout = 0;  // R2 in ms; zero: kGiveUpTime
  ByteRing send;

  // -- receive sequence variables
  Seq irs, rcv_nxt;
  Seq rcv_edge;  // right edge of the window advertised, never moves left
  Seq last_ack_sent;
  Seq fin_seq;
  Seq dsack_start, dsack_end;
  std::uint32_t rcv_limit = 0;
  ByteRing receive;
  ByteSpan direct;  // unread payload still in its packet; then `receive` is empty
  std::unique_ptr<OutOfOrder> overtaken;
  bool starved : 1 = false;       // text was refused for want of memory
  bool fin_seen : 1 = false;      // FIN arrived, at fin_seq, perhaps ahead of data
  bool fin_received : 1 = false;  // rcv_nxt is past it
  bool dsack : 1 = false;         // duplicate to be reported (RFC 2883)

  // -- acknowledging
  bool ack_now : 1 = false;
  bool window_shut : 1 = false;  // the last window we told was zero
  std::uint8_t quick_acks = 0;   // this many segments are acknowledged without delay
  std::uint16_t rcv_mss = 536;   // of the segments seen: what "full-size" means
  std::uint16_t rcv_length = 0;  // of the last one
  std::uint32_t unacked_in = 0;  // received in order since the last ACK was sent

  // -- timestamps (RFC 7323)
  std::uint32_t ts_offset = 0;
  std::uint32_t ts_recent = 0;
  Time ts_recent_at{};

  // -- retransmission and congestion
  Congestion congestion;
  SentSegments sent;  // [snd_una, snd_nxt)
  Rack rack;
  RttEstimator rtt;
  Time timed_at{};            // the SYN, if `timing`
  Time stuck_since = kNever;  // first timeout without progress since
  Time last_sent{};
  Time last_heard{};
  Prr prr;
  Seq timed_seq;  // an ACK past this may be the next sample: one per round trip
  Seq recover;    // recovery ends when snd_una gets here
  Seq probe_end;  // an ACK that reaches this ends the tail loss probe
  Recovery recovery = Recovery::none;
  LossTimer loss_timer = LossTimer::reordering;
  bool timing : 1 = false;
  bool recover_valid : 1 = false;     // no new recovery without SACK until snd_una passes `recover`
  bool retransmit_first : 1 = false;  // one lost segment goes out whatever the congestion window
  bool dsack_seen : 1 = false;        // the peer has reported a duplicate before
  bool rescued : 1 = false;           // RFC 6675 section 4, NextSeg() rule 4: once per recovery
  // Tail loss probe (RFC 8985 section 7): one at a time.
  bool probing_tail : 1 = false;
  bool tail_probe_due : 1 = false;
  bool probe_was_retransmission : 1 = false;
  bool sampled_since_probe : 1 = true;
  bool persisting : 1 = false;
  bool override_sws : 1 = false;  // persist timer fired with an open but small window
  bool probe_due : 1 = false;     // zero-window probe
  std::uint8_t dup_acks = 0;
  std::uint8_t timeouts = 0;  // in a row, without progress
  std::uint8_t keepalive_probes = 0;
  bool keepalive : 1 = false;
  bool keepalive_due : 1 = false;
  std::unique_ptr<Undo> undo;  // of the recovery under way, or of the last

  // -- receive buffer growth, challenge ACK limit, traces
  std::uint32_t read_in_round = 0;
  std::uint32_t kept_at = kNotKept;  // slot of the stack's traces, if it is still this one's
  Time round_began{};
  Time next_challenge{};

  std::array<Time, kTimers> deadline;

  // -- for whoever looks at it later
  Time opened{};
  telemetry::TcpEstats estats;
  telemetry::ConnectionEvents events;

  // -- derived
  bool synchronized() const { return phase >= State::established; }
  std::uint32_t unread() const {
    return static_cast<std::uint32_t>(receive.size() + direct.size());
  }
  Seq data_end() const { return snd_base + static_cast<std::uint32_t>(send.size()); }
  bool fin_acked() const { return fin_queued && snd_una > data_end(); }
  std::uint32_t outstanding() const { return distance(snd_una, snd_max); }
  bool has_unsent() const { return snd_nxt < data_end() + (fin_queued ? 1u : 0u); }
  bool has_overtaken() const { return overtaken && !overtaken->ranges.empty(); }
};
// In steady state a connection owns nothing else but its buffers and its place in the table of
// flows. The order above leaves no holes.
static_assert(sizeof(Pcb) <= 1008);

}  // namespace sluice::tcp
