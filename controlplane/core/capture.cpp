#include "controlplane/capture.h"

#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "capture_filter.h"
#include "controlplane/control.h"
#include "pcapng.h"

namespace sluice::control {
namespace {

// A piece of the file; more waits for the next one.
constexpr std::size_t kPiece = 256u << 10;
// For workers to give back what they were lent. They sleep for 100 ms at most.
constexpr std::chrono::milliseconds kGrace{500};

std::uint64_t unix_time() {
  return static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
}

}  // namespace

CaptureRun::CaptureRun(Gateway& gateway, const CaptureRequest& request, std::string application,
                       Instant now)
    : gateway_(gateway),
      request_(request),
      application_(std::move(application)),
      deadline_(now + request.time),
      ports_(gateway.ports()),
      filters_(ports_.size()),
      interface_of_(ports_.size()),
      delivered_(ports_.size()) {}

CaptureRun::~CaptureRun() {
  for (const Part& part : parts_) part.loan->wanted.store(false, std::memory_order_relaxed);
}

std::expected<std::shared_ptr<CaptureRun>, Problem> CaptureRun::start(Gateway& gateway,
                                                                      const CaptureRequest& request,
                                                                      std::string application,
                                                                      Instant now) {
  std::shared_ptr<CaptureRun> run(new CaptureRun(gateway, request, std::move(application), now));
  for (std::size_t i = 0; i < request.ports.size(); ++i) {
    if (std::ranges::find(run->ports_, request.ports[i], &PortView::name) == run->ports_.end()) {
      return std::unexpected(
          invalid("/ports/" + std::to_string(i), "no port of the boot file has this name"));
    }
  }
  std::array<std::shared_ptr<const runtime::FrameFilter>, 2> filters;  // without and with tags
  for (const bool tagged : {false, true}) {
    auto filter = compile_filter(request.filter, tagged);
    if (!filter) return std::unexpected(invalid("/filter", "filter: " + filter.error()));
    filters[tagged ? 1 : 0] = std::move(*filter);
  }
  std::uint32_t interfaces = 0;
  for (std::size_t i = 0; i < run->ports_.size(); ++i) {
    const PortView& port = run->ports_[i];
    if (!request.ports.empty() &&
        std::ranges::find(request.ports, port.name) == request.ports.end())
      continue;
    run->filters_[i] = filters[port.vlan != 0 ? 1 : 0];
    run->interface_of_[i] = interfaces++;
  }
  for (const WorkerView& worker : gateway.workers()) {
    if (!worker.running) continue;
    auto loan = std::make_shared<runtime::Capture>(run->ports_.size());
    loan->snap_length = request.snap_length;
    for (std::size_t i = 0; i < run->ports_.size(); ++i) loan->ports[i].filter = run->filters_[i];
    run->parts_.push_back({worker.index, false, std::move(loan)});
  }
  return run;
}

bool CaptureRun::begun() {
  bool all = true;
  for (Part& part : parts_) {
    if (!part.sent) {
      part.sent = gateway_.lend(part.worker, runtime::Command::Kind::capture, part.loan);
    }
    all = all && part.loan->begun.load(std::memory_order_acquire);
  }
  return all;
}

void CaptureRun::header(std::string& out) {
  begin_time_ = unix_time();
  pcapng::section(out, application_);
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    if (filters_[i] == nullptr) continue;
    pcapng::interface(
        out, {.name = ports_[i].name,
              .description =
                  ports_[i].vlan == 0 ? std::string() : "VLAN " + std::to_string(ports_[i].vlan),
              .filter = request_.filter,
              .snap_length = static_cast<std::uint32_t>(request_.snap_length)});
  }
  bytes_ = out.size();
}

// Frames that workers have copied, in the order of their times as far as they are here; false when
// a bound of the request is reached.
bool CaptureRun::take(std::string& out) {
  while (out.size() < kPiece) {
    Part* oldest = nullptr;
    std::optional<runtime::FrameRing::View> next;
    for (Part& part : parts_) {
      const auto front = part.loan->frames.front();
      if (!front || (next && next->frame.time <= front->frame.time)) continue;
      oldest = &part;
      next = front;
    }
    if (!next) return true;
    const std::size_t size = pcapng::packet_size(next->bytes.size());
    if (packets_ == request_.packets || bytes_ + size > request_.bytes) return false;
    pcapng::packet(out, {.interface = interface_of_[next->frame.port],
                         .time = next->frame.time,
                         .wire_length = next->frame.wire_length,
                         .outbound = next->frame.outbound,
                         .bytes = next->bytes});
    ++packets_;
    ++delivered_[next->frame.port];
    bytes_ += size;
    oldest->loan->frames.pop();
  }
  return true;
}

std::uint64_t CaptureRun::device_drops(std::size_t port) const {
  const auto drops = [](const PortView& p) { return p.missed + p.receive_no_buffer; };
  const auto now = gateway_.ports();
  if (port >= now.size() || drops(now[port]) < drops(ports_[port])) return 0;
  return drops(now[port]) - drops(ports_[port]);
}

void CaptureRun::statistics(std::string& out) {
  const std::uint64_t end = unix_time();
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    if (filters_[i] == nullptr) continue;
    pcapng::Statistics sum{.begin = begin_time_, .end = end, .delivered = delivered_[i]};
    sum.interface_dropped = device_drops(i);
    for (const Part& part : parts_) {
      const runtime::Capture::Port& share = part.loan->ports[i];
      sum.received += share.seen.load(std::memory_order_relaxed);
      sum.accepted += share.matched.load(std::memory_order_relaxed);
      sum.system_dropped += share.lost.load(std::memory_order_relaxed);
    }
    pcapng::statistics(out, interface_of_[i], sum);
  }
}

void CaptureRun::finish() {
  if (phase_ == Phase::ended || phase_ == Phase::ending) return;
  for (const Part& part : parts_) part.loan->wanted.store(false, std::memory_order_relaxed);
  phase_ = Phase::ending;
}

bool CaptureRun::all_back(Instant now) const {
  return now >= *grace_ || std::ranges::all_of(parts_, [](const Part& part) {
           return !part.sent || part.loan->is_back();
         });
}

std::optional<std::string> CaptureRun::next(Instant now) {
  std::string out;
  if (phase_ == Phase::ended) return std::nullopt;
  if (phase_ == Phase::starting) {
    if (!begun() && now < deadline_) return out;
    header(out);
    phase_ = Phase::running;
  }
  if (begin_time_ == 0) header(out);  // ended before it had begun
  if (now >= deadline_) finish();
  // What workers copied before they gave back is seen from here on.
  if (phase_ == Phase::ending && !grace_) grace_ = now + kGrace;
  const bool last = phase_ == Phase::ending && all_back(now);
  const bool within = take(out);
  if (!within) finish();
  if (!within || (last && out.size() < kPiece)) {
    statistics(out);
    phase_ = Phase::ended;
  }
  return out;
}

std::expected<std::shared_ptr<CaptureRun>, Problem> Control::start_capture(
    const CaptureRequest& request, std::uint32_t uid) {
  if (!capture_.expired()) {
    Problem problem;
    problem.status = 409;
    problem.code = "capture_running";
    problem.title = "Another capture is running";
    problem.detail = "one capture at a time; the other one ends by its own bounds";
    return std::unexpected(std::move(problem));
  }
  auto run = CaptureRun::start(gateway_, request, "sluice " + options_.version,
                               std::chrono::steady_clock::now());
  if (!run) return run;
  capture_ = *run;
  spdlog::info("audit uid={} source=rest action=capture filter=\"{}\" ports=\"{}\" seconds={}",
               static_cast<std::int32_t>(uid), request.filter, fmt::join(request.ports, ","),
               request.time.count());
  return run;
}

}  // namespace sluice::control
