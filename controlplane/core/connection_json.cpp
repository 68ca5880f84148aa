// A connection as REST shows it: what an operator looks at first in plain names, and everything
// else under the names of RFC 4898 (tcpEStats, without the prefix) and in its units.
#include "controlplane/connections.h"

namespace sluice::control {
namespace json = boost::json;
using telemetry::ConnectionEvent;
using telemetry::ConnectionRecord;
using telemetry::ConnectionTrace;
namespace {

json::object endpoint(const IpAddress& address, std::uint16_t port) {
  return {{"address", address.to_string()}, {"port", port}};
}

std::int64_t milliseconds(Micros t) { return t.count() / 1000; }

json::object estats(const ConnectionRecord& c) {
  const telemetry::TcpEstats& e = c.estats;
  return {{"ElapsedSecs", c.age.count() / 1'000'000},
          {"ElapsedMicroSecs", c.age.count() % 1'000'000},
          {"SegsOut", e.segs_out},
          {"SegsIn", e.segs_in},
          {"DataSegsOut", e.data_segs_out},
          {"DataSegsIn", e.data_segs_in},
          {"HCDataOctetsOut", e.data_octets_out},
          {"HCDataOctetsIn", e.data_octets_in},
          {"HCThruOctetsAcked", e.thru_octets_acked},
          {"HCThruOctetsReceived", e.thru_octets_received},
          {"SegsRetrans", e.segs_retrans},
          {"OctetsRetrans", e.octets_retrans},
          {"Timeouts", e.timeouts},
          {"CurTimeoutCount", c.timeouts_in_row},
          {"FastRetran", e.fast_retran},
          {"DupAcksIn", e.dup_acks_in},
          {"DupAcksOut", e.dup_acks_out},
          {"SACKBlocksRcvd", e.sack_blocks_rcvd},
          {"CurMSS", c.cur_mss},
          {"MSSRcvd", c.mss_rcvd},
          {"WinScaleSent", c.win_scale_sent},
          {"WinScaleRcvd", c.win_scale_rcvd},
          {"CurCwnd", c.cur_cwnd},
          {"CurSsthresh", c.cur_ssthresh},
          {"PipeSize", c.pipe_size},
          {"CurRwinSent", c.cur_rwin_sent},
          {"CurRwinRcvd", c.cur_rwin_rcvd},
          {"ZeroRwinSent", e.zero_rwin_sent},
          {"ZeroRwinRcvd", e.zero_rwin_rcvd},
          {"CurAppWQueue", c.cur_app_w_queue},
          {"CurAppRQueue", c.cur_app_r_queue},
          {"SmoothedRTT", milliseconds(c.smoothed_rtt)},
          {"RTTVar", milliseconds(c.rtt_var)},
          {"CurRTO", milliseconds(c.cur_rto)},
          {"MinRTT", e.min_rtt_us / 1000},
          {"MaxRTT", e.max_rtt_us / 1000},
          {"CountRTT", e.count_rtt}};
}

json::object event(const telemetry::ConnectionEventRecord& e, Micros ago) {
  const auto& facts = telemetry::info(e.kind());
  json::object out{{"event", facts.id}, {"ago_us", ago.count()}};
  if (facts.value.empty()) return out;
  if (e.kind() == ConnectionEvent::state) {
    out[facts.value] = telemetry::to_string(static_cast<telemetry::TcpState>(e.value));
  } else if (e.kind() == ConnectionEvent::reset_sent) {
    out[facts.value] = telemetry::to_string(static_cast<telemetry::TcpCloseReason>(e.value));
  } else {
    out[facts.value] = e.value;
  }
  return out;
}

}  // namespace

ConnectionText::ConnectionText(const Gateway& gateway) : listeners_(gateway.listeners()) {
  for (const auto& port : gateway.ports()) ports_.push_back(port.name);
}

json::object ConnectionText::head(const ConnectionRecord& c) const {
  json::object out{{"local", endpoint(c.local, c.local_port)},
                   {"remote", endpoint(c.remote, c.remote_port)},
                   {"worker", c.worker}};
  if (c.port_index < ports_.size()) out["port"] = ports_[c.port_index];
  out["side"] = c.passive ? "agent" : "tool";
  if (c.passive && c.listener_id < listeners_.size()) out["listener"] = listeners_[c.listener_id];
  out["state"] = telemetry::to_string(c.state);
  return out;
}

json::object ConnectionText::to_json(const ConnectionRecord& c) const {
  json::object out = head(c);
  out["age_us"] = c.age.count();
  // Half open and in TIME-WAIT there is no more to a connection than that.
  if (c.state == telemetry::TcpState::time_wait ||
      (c.state == telemetry::TcpState::syn_received && c.cur_mss == 0)) {
    return out;
  }
  out["idle_us"] = c.idle.count();
  out["rtt_us"] = c.smoothed_rtt.count();
  out["rto_us"] = c.cur_rto.count();
  out["mss"] = c.cur_mss;
  out["path_mtu"] = c.path_mtu;
  out["cwnd"] = c.cur_cwnd;
  out["in_flight"] = c.pipe_size;
  out["unsent"] = c.cur_app_w_queue;
  out["unread"] = c.cur_app_r_queue;
  out["bytes_in"] = c.estats.thru_octets_received;
  out["bytes_out"] = c.estats.thru_octets_acked;
  out["retransmits"] = c.estats.segs_retrans;
  out["buffer_bytes"] = c.memory;
  out["let_go"] = c.detached;
  out["in_recovery"] = c.in_recovery;
  out["timestamps"] = c.timestamps;
  out["sack"] = c.sack;
  out["window_scaling"] = c.window_scaling;
  out["estats"] = estats(c);
  return out;
}

json::object ConnectionText::to_json(const ConnectionTrace& trace) const {
  json::object out = head(trace.connection);
  out["live"] = trace.live;
  out["age_us"] = trace.connection.age.count();
  out["events_total"] = trace.events.total();
  // From the newest back each event knows how long after the one before it came.
  json::array events;
  Micros ago = trace.since_last;
  for (std::size_t i = trace.events.size(); i-- > 0;) {
    events.push_back(event(trace.events[i], ago));
    ago += trace.events[i].since_last();
  }
  std::ranges::reverse(events);
  out["events"] = std::move(events);
  out["estats"] = estats(trace.connection);
  return out;
}

}  // namespace sluice::control
