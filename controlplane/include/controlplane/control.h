// The control plane without its transport: documents, publishing, tasks, events, metrics.
//
// One object on one thread. Nothing here waits: what must wait (until every worker uses a
// generation) is told to the caller as a generation.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <deque>
#include <expected>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controlplane/call_log.h"
#include "controlplane/capture.h"
#include "controlplane/documents.h"
#include "controlplane/gateway.h"
#include "controlplane/name_service.h"
#include "controlplane/problem.h"
#include "controlplane/store.h"
#include "controlplane/upstream_tls.h"
#include "crypto/jose.h"

namespace sluice::control {

struct ControlOptions {
  std::filesystem::path state;
  std::string version = "0.0.0";
  std::function<std::int64_t()> unix_now;  // seconds; default: the system clock
  CallLogOptions calls;                    // folder defaults to <state>/calls
  // The boot file's: services name their client certificates among them.
  std::map<std::string, CertificateConfig> certificates;
};

struct Applied {
  std::uint64_t generation = 0;  // in which the change is (or the current one if none was needed)
  bool changed = false;
  std::vector<Change> changes;  // what really changed
};

// A reader of GET /v1/events: lines wait here until the connection takes them.
struct Subscriber {
  std::string type;               // empty: all
  std::deque<std::string> lines;  // at most kMaxLines
  std::uint64_t lost = 0;
  std::function<void()> wake;
  static constexpr std::size_t kMaxLines = 4096;
};

class Control {
 public:
  // Opens the state folder, restores revocations and tasks, publishes the stored documents.
  static std::expected<std::unique_ptr<Control>, std::string> open(ControlOptions options,
                                                                   Gateway& gateway);
  ~Control();

  // -- documents
  const std::map<std::pair<Kind, std::string>, Document>& documents() const { return documents_; }
  std::uint64_t generation() const { return generation_; }
  // All or nothing. `source` goes to the history and the audit log.
  std::expected<Applied, Problem> apply(std::vector<Change> changes, std::uint32_t uid,
                                        const std::string& source, bool dry_run);
  std::expected<Applied, Problem> rollback(std::uint64_t to, std::uint32_t uid, bool dry_run);
  // conf.d at start: what changed there since it was last applied (docs/decisions/0002).
  std::expected<Applied, Problem> apply_files(const std::vector<Document>& documents);
  // What endpoint names now stand for; publishes if anything differs.
  void set_resolved(Resolved resolved);
  const Resolved& resolved() const { return resolved_; }
  // Reads authorities and client certificates again if their files have changed; publishes then.
  void refresh_tls();
  bool in_use(std::uint64_t generation) const;  // by every running worker
  std::vector<unsigned> workers_behind(std::uint64_t generation) const;

  // -- tasks
  std::expected<boost::json::object, Problem> mint(const boost::json::value& request,
                                                   std::uint32_t uid);
  std::expected<boost::json::object, Problem> task(std::string_view txn) const;
  std::expected<void, Problem> revoke_task(std::string_view txn, std::uint32_t uid);
  // Sorted by txn, those greater than `after`.
  std::vector<boost::json::object> tasks(std::string_view agent_class, std::string_view state,
                                         std::string_view after, std::size_t limit) const;

  // -- periodic work, called by the daemon's timers
  // Takes events of all workers and frees old snapshots; returns whether there was work.
  bool drain_events();
  void every_second();

  // -- reading
  boost::json::object stats() const;
  boost::json::object info() const;
  std::string open_metrics() const;
  const CallLog& calls() const { return calls_; }
  Store& store() { return *store_; }
  Gateway& gateway() { return gateway_; }
  const std::string& version() const { return options_.version; }
  std::int64_t now() const { return options_.unix_now(); }
  bool ready() const;

  std::shared_ptr<Subscriber> subscribe(std::string type);
  // Runs for as long as it is owned. One at a time: another is refused until then.
  std::expected<std::shared_ptr<CaptureRun>, Problem> start_capture(const CaptureRequest& request,
                                                                    std::uint32_t uid);
  const std::deque<std::string>& recent_events() const { return recent_events_; }

  // Who resolves names; told at once what documents mention. Null: nobody. Not owned.
  void set_name_service(NameService* names);
  NameService* names() const { return names_; }
  // For readers of GET /v1/events.
  void dns_event(boost::json::object event) { emit("dns", std::move(event)); }
  // Set by the daemon; POST /v1/drain and undrain reach workers through the mailbox.
  void send_all(const runtime::Command& command);

 private:
  Control(ControlOptions options, Gateway& gateway, std::unique_ptr<Store> store,
          crypto::SigningKey key);
  std::expected<void, Problem> restore();
  // Files named by documents from `strict_from` on must be usable.
  std::expected<std::unique_ptr<policy::Snapshot>, Problem> compile_set(
      const std::map<std::pair<Kind, std::string>, Document>& set, std::uint64_t generation,
      std::uint64_t strict_from);
  void publish(std::unique_ptr<policy::Snapshot> snapshot);
  // The same documents over new addresses or files, as the next generation.
  void republish(std::unique_ptr<policy::Snapshot> snapshot);
  void flush_cancels();
  void emit(std::string_view type, boost::json::object event);
  void emit_line(std::string_view type, std::string line);
  boost::json::object task_json(const TaskRow& row) const;
  void tell_names();
  void tell_addresses(const std::string& name, const std::vector<IpAddress>& addresses);

  struct Busy {  // one worker's cycles a second ago
    std::uint64_t busy = 0, total = 0;
    double ratio = 0;
  };

  ControlOptions options_;
  Gateway& gateway_;
  std::unique_ptr<Store> store_;
  crypto::SigningKey key_;
  std::map<std::pair<Kind, std::string>, Document> documents_;
  std::uint64_t generation_ = 0;
  Resolved resolved_;
  NameService* names_ = nullptr;
  UpstreamContexts contexts_;
  // Of the services in the policy published last; only compared.
  std::vector<const void*> published_contexts_;
  std::map<state::TaskId, TaskRow> tasks_;
  // Cancels that found a mailbox full, by worker; sent later.
  std::vector<std::pair<unsigned, runtime::Command>> waiting_commands_;
  CallLog calls_;
  std::vector<std::weak_ptr<Subscriber>> subscribers_;
  std::weak_ptr<CaptureRun> capture_;
  std::deque<std::string> recent_events_;
  std::vector<Busy> busy_;
  std::int64_t last_purge_ = 0;
};

}  // namespace sluice::control
