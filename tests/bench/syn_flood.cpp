#include "syn_flood.h"

#include <array>
#include <memory>

#include "packet/checksum.h"
#include "packet/ethernet.h"
#include "packet/ipv4.h"
#include "packet/tcp.h"
#include "tcp/stats.h"

namespace sluice::bench {

namespace {

constexpr std::size_t kKept = 64;          // connections with one call after the other
constexpr Micros kBetweenNew{1000};        // from one new client to the next
constexpr std::size_t kFloodWaiting = 32;  // frames of the flood always ready behind a full port
constexpr Micros kPatience{5'000'000};     // of the last new clients

// A client that calls: time after time on one connection, or once on a new one.
class Caller final : public tcp::Observer {
 public:
  Caller(World& world, bool stays, std::size_t number)
      : connection_(world.connect(*this, kCallPort, number)), asked_(world.now), stays_(stays) {}

  void on_ready(tcp::Connection& c, Time now) override {
    if (c.close_reason() != tcp::CloseReason::none) {
      lost_ = answers_ == 0 || stays_;
      connection_ = nullptr;
      return;
    }
    if (c.established() && !waiting_) ask(now);
    while (!c.peek().empty()) {
      got_ += c.peek().size();
      c.consume(c.peek().size());
    }
    if (got_ < kReply) return;
    got_ -= kReply;
    ++answers_;
    took_.push_back(static_cast<double>((now - asked_).count()));
    asked_ = now;
    if (stays_) return ask(now);
    connection_ = nullptr;
    c.close();
  }
  // Nobody waits any more.
  void give_up() {
    if (connection_ != nullptr) connection_->close();
    connection_ = nullptr;
  }
  // What was measured since the last time, µs.
  void collect(std::vector<double>& into) {
    into.insert(into.end(), took_.begin(), took_.end());
    took_.clear();
  }
  bool lost() const { return lost_; }
  bool running() const { return connection_ != nullptr; }
  std::size_t answers() const { return answers_; }

 private:
  void ask(Time) {
    static const std::array<std::uint8_t, kRequest> request{};
    waiting_ = connection_->write(request) == request.size();
  }
  tcp::Connection* connection_;
  Time asked_;
  const bool stays_;
  bool waiting_ = false;  // the first request is out
  bool lost_ = false;
  std::size_t got_ = 0;
  std::size_t answers_ = 0;
  std::vector<double> took_;
};

// SYNs from random addresses, with the options of a common client.
class Flood {
 public:
  explicit Flood(World& world) : world_(world) {}

  // Until the port takes no more; what the client's stack sends next waits behind them.
  void fill() {
    port::Port& port = *world_.client_port;
    while (port.backlog(0) < kFloodWaiting) {
      for (std::size_t i = 0; i < kFloodWaiting; ++i) send(port);
      port.flush(0);
    }
  }
  std::uint64_t sent() const { return sent_; }

 private:
  static constexpr std::array<std::uint8_t, 20> kOptions{2, 4, 5, 180, 4, 2, 8, 10, 0, 0,
                                                         0, 1, 0, 0,   0, 0, 1, 3,  3, 7};
  static constexpr std::size_t kSegment = packet::kTcpHeader + kOptions.size();

  void send(port::Port& port) {
    const MutByteSpan frame =
        port.reserve(0, packet::kEthernetHeader + packet::kIpv4Header + kSegment);
    require(!frame.empty(), "no packet buffer for the flood");
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto random = static_cast<std::uint32_t>(state_ >> 32);
    const IpAddress from = IpAddress::v4(0xc6130000u | (random >> 16));
    packet::write_ethernet(frame, packet::MacAddress{world_.server_port->mac()},
                           packet::MacAddress{world_.client_port->mac()}, packet::kEtherTypeIpv4);
    packet::write_ipv4(frame.subspan(packet::kEthernetHeader), {.source = from,
                                                                .destination = server_address(),
                                                                .protocol = packet::kProtocolTcp,
                                                                .payload = kSegment});
    const MutByteSpan tcp = frame.subspan(packet::kEthernetHeader + packet::kIpv4Header);
    std::fill(tcp.begin(), tcp.end(), std::uint8_t{0});
    store_be16(&tcp[0], static_cast<std::uint16_t>(1024 + (random & 0x7fff)));
    store_be16(&tcp[2], kCallPort);
    store_be32(&tcp[4], random);
    tcp[12] = static_cast<std::uint8_t>((kSegment / 4) << 4u);
    tcp[13] = packet::kTcpSyn;
    store_be16(&tcp[14], 64240);
    std::copy(kOptions.begin(), kOptions.end(), tcp.begin() + packet::kTcpHeader);
    store_be16(&tcp[packet::kTcpChecksumOffset],
               packet::l4_checksum(from, server_address(), packet::kProtocolTcp, tcp));
    port.commit(0);
    ++sent_;
  }

  World& world_;
  std::uint64_t state_ = 42;
  std::uint64_t sent_ = 0;
};

struct Phase {
  std::vector<double> calls, news;  // µs
  std::size_t tried = 0, succeeded = 0;
  double server_cost = 0;
};

Phase run(World& world, std::vector<std::unique_ptr<Caller>>& kept, Micros duration, Flood* flood) {
  Phase phase;
  std::vector<std::unique_ptr<Caller>> news;
  world.reset_cost();
  const Time end = world.now + duration;
  Time next = world.now;
  std::size_t running = 0;
  while (world.now < end || (running > 0 && world.now < end + kPatience)) {
    for (; next <= world.now && next < end; next += kBetweenNew) {
      news.push_back(std::make_unique<Caller>(world, false, news.size()));
    }
    world.step(1);
    if (flood != nullptr) flood->fill();
    running = static_cast<std::size_t>(
        std::ranges::count_if(news, [](const auto& caller) { return caller->running(); }));
  }
  for (auto& caller : kept) caller->collect(phase.calls);
  for (auto& caller : news) {
    phase.tried += 1;
    phase.succeeded += caller->answers();
    caller->collect(phase.news);
    caller->give_up();
  }
  phase.server_cost = world.server_cost;
  return phase;
}

}  // namespace

void syn_flood(Figures& figures, World& world, Micros duration) {
  const tcp::Stats& stats = world.server->stack.tcp().stats();
  std::vector<std::unique_ptr<Caller>> kept;
  for (std::size_t i = 0; i < kKept; ++i) {
    kept.push_back(std::make_unique<Caller>(world, true, i));
  }
  Phase quiet = run(world, kept, duration, nullptr);
  Flood flood(world);
  const std::uint64_t cookies = stats.tcp_syn_cookies_sent;
  Phase flooded = run(world, kept, duration, &flood);

  std::size_t lost = 0;
  for (auto& caller : kept) {
    lost += caller->lost();
    caller->give_up();
  }
  while (world.server->stack.tcp().connection_count() > 0) world.rest();
  require(lost == 0, "the flood ended an established connection");
  require(!flooded.calls.empty() && !quiet.calls.empty(), "no call was answered");
  require(flooded.succeeded > 0 && quiet.succeeded > 0, "no new client got in");

  const auto rate = [](std::size_t n, double s) { return static_cast<double>(n) / s; };
  figures["flood_syns_per_s_of_core"].push_back(rate(flood.sent(), flooded.server_cost));
  figures["flood_cookies_share"].push_back(
      static_cast<double>(stats.tcp_syn_cookies_sent - cookies) /
      static_cast<double>(flood.sent()));
  figures["flood_new_clients"].push_back(static_cast<double>(flooded.tried));
  figures["flood_new_client_success_rate"].push_back(
      rate(flooded.succeeded, static_cast<double>(flooded.tried)));
  figures["quiet_new_client_success_rate"].push_back(
      rate(quiet.succeeded, static_cast<double>(quiet.tried)));
  figures["quiet_calls_per_s_of_core"].push_back(rate(quiet.calls.size(), quiet.server_cost));
  figures["flood_calls_per_s_of_core"].push_back(rate(flooded.calls.size(), flooded.server_cost));
  const auto latency = [&](const std::string& name, std::vector<double>& before,
                           std::vector<double>& during) {
    for (const auto& [part, share] : {std::pair{"p50", 0.5}, std::pair{"p99", 0.99}}) {
      const double was = quantile(before, share), is = quantile(during, share);
      figures["quiet_" + name + "_" + part + "_us"].push_back(was);
      figures["flood_" + name + "_" + part + "_us"].push_back(is);
      figures["flood_" + name + "_" + part + "_added_us"].push_back(is - was);
    }
  };
  latency("call", quiet.calls, flooded.calls);
  latency("new_client", quiet.news, flooded.news);
}

}  // namespace sluice::bench
