// Questions to workers about their TCP connections. Nothing here waits: step() is called again
// until it says that the answer is complete.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/gateway.h"
#include "runtime/loan.h"
#include "telemetry/connection_filter.h"
#include "telemetry/connection_record.h"

namespace sluice::control {

// Where a list was cut off; its text is a page token.
struct ConnectionPosition {
  unsigned worker = 0;
  std::uint64_t at = 0;

  std::string to_string() const;
  static std::optional<ConnectionPosition> parse(std::string_view text);
};

// One page of connections, worker after worker.
class ConnectionSearch {
 public:
  // `most` at least 1.
  ConnectionSearch(Gateway& gateway, const telemetry::ConnectionFilter& filter, std::size_t most,
                   ConnectionPosition from);
  // True when done. Call again until then.
  bool step();
  bool refused() const { return refused_; }  // a worker has too many questions waiting
  const std::vector<telemetry::ConnectionRecord>& found() const { return found_; }
  std::optional<ConnectionPosition> next() const { return next_; }

 private:
  Gateway& gateway_;
  const telemetry::ConnectionFilter filter_;
  const std::size_t most_;
  ConnectionPosition at_;
  std::shared_ptr<runtime::ConnectionQuery> query_;  // the worker's, until it is back
  std::vector<telemetry::ConnectionRecord> found_;
  std::optional<ConnectionPosition> next_;
  bool refused_ = false;
};

// Traces of all workers, those begun last first.
class TraceSearch {
 public:
  TraceSearch(Gateway& gateway, const telemetry::ConnectionFilter& filter, std::size_t most);
  bool step();
  bool refused() const { return refused_; }
  // At most `most` of each worker; sorted once step() has said so.
  const std::vector<telemetry::ConnectionTrace>& found() const { return found_; }

 private:
  struct Asked {
    unsigned worker = 0;
    bool sent = false;
    std::shared_ptr<runtime::TraceQuery> query;
  };
  Gateway& gateway_;
  const std::size_t most_;
  std::vector<Asked> asked_;
  std::vector<telemetry::ConnectionTrace> found_;
  bool refused_ = false;
};

// What REST shows. Names of ports and listeners are the gateway's.
class ConnectionText {
 public:
  explicit ConnectionText(const Gateway& gateway);
  boost::json::object to_json(const telemetry::ConnectionRecord& record) const;
  boost::json::object to_json(const telemetry::ConnectionTrace& trace) const;

 private:
  boost::json::object head(const telemetry::ConnectionRecord& record) const;
  std::vector<std::string> ports_, listeners_;
};

}  // namespace sluice::control
