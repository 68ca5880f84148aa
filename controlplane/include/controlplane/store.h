// Durable state: applied documents with their history, minted tasks, revocations, in one SQLite
// database under the state folder; the issuer's key and the lock file beside it.
//
// Every change is one transaction, on disk before the call returns. Owned by the control thread.
// Failures of the disk throw StoreError: nothing has changed then.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/documents.h"
#include "state/task_table.h"

namespace sluice::control {

struct StoreError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Change {
  enum class Action : std::uint8_t { put, remove };
  Action action = Action::put;
  Document document;  // remove: kind and name only
};

struct Version {
  std::uint64_t generation = 0;
  std::int64_t applied_at = 0;  // Unix seconds
  std::uint32_t uid = 0;        // who asked, from the socket
  std::string source;           // "rest", "conf.d", "rollback"
  std::vector<Change> changes;
};

struct TaskRow {
  state::TaskId id{};
  std::string jti, agent_class, subject, scope, bind_address;
  boost::json::object limits, labels;
  std::int64_t issued_at = 0, expires_at = 0;
  std::int64_t revoked_at = 0;  // 0: not revoked
};

struct RevocationRow {
  state::TaskId id{};
  std::int64_t until = 0;
};

class Store {
 public:
  // Makes the folder (0700) if needed. Refused when another process holds its lock.
  static std::expected<std::unique_ptr<Store>, std::string> open(const std::filesystem::path& dir);
  ~Store();

  // The generation of the last change or of the last publish, whichever is greater.
  std::uint64_t generation() const;
  void set_generation(std::uint64_t generation);

  std::vector<Document> documents() const;
  // Sets `generation` on what it puts. `generation` must exceed generation().
  void commit(const std::vector<Change>& changes, std::uint64_t generation, std::int64_t at,
              std::uint32_t uid, const std::string& source);
  // Newest first, those below `before` only (0: all).
  std::vector<Version> versions(std::uint64_t before, std::size_t limit) const;
  // The whole set of documents as of a version; nullopt if that version is not known (any more).
  std::optional<std::vector<Document>> documents_at(std::uint64_t generation) const;

  void put_task(const TaskRow& task);
  std::vector<TaskRow> tasks() const;
  void revoke(const state::TaskId& id, std::int64_t at, std::int64_t until);
  std::vector<RevocationRow> revocations() const;
  void forget_tasks_before(std::int64_t expired_before);

  std::optional<std::string> meta(const std::string& key) const;
  void set_meta(const std::string& key, const std::string& value);

  // Private key in PEM, mode 0600; made by `make` at first use.
  std::expected<std::string, std::string> issuer_key(
      const std::function<std::expected<std::string, std::string>()>& make);

  const std::filesystem::path& folder() const;

  static constexpr std::size_t kVersionsKept = 1000;

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The UUID text of a task id and back (RFC 9562 form, any case accepted).
std::string uuid_text(const state::TaskId& id);
std::optional<state::TaskId> parse_uuid(std::string_view text);
std::string hex(ByteSpan bytes);

}  // namespace sluice::control
