// One capture: what is asked for, and the pcapng file as it grows. Nothing here waits.
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/gateway.h"
#include "controlplane/problem.h"
#include "runtime/capture.h"

namespace sluice::control {

struct CaptureRequest {
  std::string filter;              // pcap-filter(7); empty: every frame
  std::vector<std::string> ports;  // names; empty: all
  std::uint64_t packets = 100'000;
  std::uint64_t bytes = 64u << 20;  // of the file, but for the statistics at its end
  std::chrono::seconds time{60};
  std::size_t snap_length = runtime::Capture::kLongest;  // of each frame
};

// Of the body of POST /v1/capture: every member is optional, each has a most.
std::expected<CaptureRequest, Problem> parse_capture(const boost::json::value& body);

class CaptureRun {
 public:
  using Instant = std::chrono::steady_clock::time_point;

  // Refused when the filter cannot be compiled or a port is not known.
  static std::expected<std::shared_ptr<CaptureRun>, Problem> start(Gateway& gateway,
                                                                   const CaptureRequest& request,
                                                                   std::string application,
                                                                   Instant now);
  // Whoever owned it is gone: workers stop, and give back what they were lent.
  ~CaptureRun();
  CaptureRun(const CaptureRun&) = delete;
  CaptureRun& operator=(const CaptureRun&) = delete;

  // The next piece of the file: whole blocks; empty when there is nothing yet, nothing when the
  // file is complete. The first one comes when every running worker looks at frames.
  std::optional<std::string> next(Instant now);
  // The reader wants no more than what has been seen so far.
  void finish();

 private:
  // A worker's part.
  struct Part {
    unsigned worker = 0;
    bool sent = false;
    std::shared_ptr<runtime::Capture> loan;
  };
  enum class Phase : std::uint8_t { starting, running, ending, ended };

  CaptureRun(Gateway& gateway, const CaptureRequest& request, std::string application, Instant now);
  bool begun();
  void header(std::string& out);
  bool take(std::string& out);
  void statistics(std::string& out);
  bool all_back(Instant now) const;
  std::uint64_t device_drops(std::size_t port) const;

  Gateway& gateway_;
  const CaptureRequest request_;
  const std::string application_;
  const Instant deadline_;
  std::vector<PortView> ports_;  // as they were at the start
  std::vector<std::shared_ptr<const runtime::FrameFilter>>
      filters_;                              // by port; null: not looked at
  std::vector<std::uint32_t> interface_of_;  // by port
  std::vector<Part> parts_;
  Phase phase_ = Phase::starting;
  std::optional<Instant> grace_;  // how long workers that end are waited for
  std::uint64_t packets_ = 0, bytes_ = 0;
  std::vector<std::uint64_t> delivered_;  // by port
  std::uint64_t begin_time_ = 0;          // ns since 1970
};

}  // namespace sluice::control
