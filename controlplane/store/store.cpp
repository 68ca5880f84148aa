#include "controlplane/store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

namespace sluice::control {
namespace json = boost::json;
namespace {

constexpr const char* kSchema = R"(
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions(generation INTEGER PRIMARY KEY, at INTEGER NOT NULL,
  uid INTEGER NOT NULL, source TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents(kind TEXT NOT NULL, name TEXT NOT NULL,
  generation INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history(generation INTEGER NOT NULL, kind TEXT NOT NULL,
  name TEXT NOT NULL, body TEXT, PRIMARY KEY(kind, name, generation)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS history_generation ON history(generation);
CREATE TABLE IF NOT EXISTS tasks(txn TEXT PRIMARY KEY, body TEXT NOT NULL,
  expires_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revocations(txn TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
)";
constexpr int kSchemaVersion = 1;

class Statement {
 public:
  Statement(sqlite3* db, const char* sql) : db_(db) {
    if (sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr) != SQLITE_OK) fail();
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::string_view text) {
    check(sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()),
                            SQLITE_TRANSIENT));
    return *this;
  }
  Statement& bind(std::int64_t number) {
    check(sqlite3_bind_int64(statement_, ++bound_, number));
    return *this;
  }
  Statement& bind_null() {
    check(sqlite3_bind_null(statement_, ++bound_));
    return *this;
  }
  bool step() {
    const int result = sqlite3_step(statement_);
    if (result != SQLITE_ROW && result != SQLITE_DONE) fail();
    return result == SQLITE_ROW;
  }
  std::string text(int column) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    if (bytes == nullptr) return {};
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }
  std::int64_t number(int column) const { return sqlite3_column_int64(statement_, column); }
  bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  void check(int result) {
    if (result != SQLITE_OK) fail();
  }
  [[noreturn]] void fail() { throw StoreError(std::string("state: ") + sqlite3_errmsg(db_)); }

  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

std::string serialize(const Document& document) {
  json::object out;
  json::object labels;
  for (const auto& [key, value] : document.labels) labels[key] = value;
  out["labels"] = std::move(labels);
  out["spec"] = document.spec;
  return json::serialize(out);
}

Document deserialize(const std::string& kind, const std::string& name, std::int64_t generation,
                     const std::string& body) {
  Document document;
  const auto parsed_kind = parse_kind(kind);
  json::error_code error;
  json::value value = json::parse(body, error);
  if (!parsed_kind || error || !value.is_object()) {
    throw StoreError("state: stored document " + kind + "/" + name + " is damaged");
  }
  document.kind = *parsed_kind;
  document.name = name;
  document.generation = static_cast<std::uint64_t>(generation);
  auto& object = value.get_object();
  if (auto* labels = object.if_contains("labels"); labels != nullptr && labels->is_object()) {
    for (const auto& member : labels->get_object()) {
      if (member.value().is_string()) {
        document.labels[std::string(member.key())] = std::string(member.value().get_string());
      }
    }
  }
  if (auto* spec = object.if_contains("spec"); spec != nullptr && spec->is_object()) {
    document.spec = spec->get_object();
  }
  return document;
}

std::string text_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

struct Store::Impl {
  std::filesystem::path folder;
  sqlite3* db = nullptr;
  int lock = -1;

  ~Impl() {
    if (db != nullptr) sqlite3_close_v2(db);
    if (lock >= 0) ::close(lock);
  }
  void run(const char* sql) {
    char* message = nullptr;
    if (sqlite3_exec(db, sql, nullptr, nullptr, &message) != SQLITE_OK) {
      std::string text = message != nullptr ? message : "unknown";
      sqlite3_free(message);
      throw StoreError("state: " + text);
    }
  }

  // Rolls back unless committed.
  struct Transaction {
    explicit Transaction(Impl& owner) : impl(owner) { impl.run("BEGIN IMMEDIATE"); }
    ~Transaction() {
      if (!done) sqlite3_exec(impl.db, "ROLLBACK", nullptr, nullptr, nullptr);
    }
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    void commit() {
      impl.run("COMMIT");
      done = true;
    }
    Impl& impl;
    bool done = false;
  };

  void put_meta(const std::string& key, const std::string& value) {
    Statement(db,
              "INSERT INTO meta VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value")
        .bind(key)
        .bind(value)
        .step();
  }
};

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;
const std::filesystem::path& Store::folder() const { return impl_->folder; }

std::expected<std::unique_ptr<Store>, std::string> Store::open(const std::filesystem::path& dir) {
  std::error_code error;
  if (!std::filesystem::exists(dir, error)) {
    std::filesystem::create_directories(dir, error);
    if (error) {
      return std::unexpected("state folder " + dir.string() + ": " + error.message());
    }
    std::filesystem::permissions(dir, std::filesystem::perms::owner_all, error);
  }
  auto impl = std::make_unique<Impl>();
  impl->folder = dir;
  const std::string lock_file = (dir / "lock").string();
  impl->lock = ::open(lock_file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (impl->lock < 0) {
    return std::unexpected("state folder " + dir.string() + ": " +
                           std::generic_category().message(errno));
  }
  // The kernel drops the lock with the process, however it ends.
  if (::flock(impl->lock, LOCK_EX | LOCK_NB) != 0) {
    return std::unexpected("state folder " + dir.string() +
                           " is in use by another sluiced; stop it or give this one its own "
                           "control.state");
  }
  const std::string path = (dir / "state.db").string();
  const mode_t old_mask = ::umask(0077);
  const int opened = sqlite3_open_v2(
      path.c_str(), &impl->db,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_PRIVATECACHE, nullptr);
  try {
    if (opened != SQLITE_OK) throw StoreError(sqlite3_errmsg(impl->db));
    sqlite3_busy_timeout(impl->db, 1000);
    impl->run("PRAGMA journal_mode=WAL");
    impl->run("PRAGMA synchronous=FULL");
    impl->run("PRAGMA foreign_keys=ON");
    Impl::Transaction transaction(*impl);
    Statement version(impl->db, "PRAGMA user_version");
    version.step();
    if (version.number(0) > kSchemaVersion) {
      throw StoreError("made by a newer version of sluiced (schema " +
                       std::to_string(version.number(0)) + ")");
    }
    impl->run(kSchema);
    impl->run(("PRAGMA user_version=" + std::to_string(kSchemaVersion)).c_str());
    transaction.commit();
  } catch (const StoreError& failure) {
    ::umask(old_mask);
    return std::unexpected(path + ": " + failure.what());
  }
  ::umask(old_mask);
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

std::uint64_t Store::generation() const {
  const auto text = meta("generation");
  return text ? std::strtoull(text->c_str(), nullptr, 10) : 0;
}

void Store::set_generation(std::uint64_t generation) {
  set_meta("generation", std::to_string(generation));
}

std::optional<std::string> Store::meta(const std::string& key) const {
  Statement read(impl_->db, "SELECT value FROM meta WHERE key=?");
  read.bind(key);
  if (!read.step()) return std::nullopt;
  return read.text(0);
}

void Store::set_meta(const std::string& key, const std::string& value) {
  impl_->put_meta(key, value);
}

std::vector<Document> Store::documents() const {
  std::vector<Document> out;
  Statement read(impl_->db, "SELECT kind,name,generation,body FROM documents ORDER BY kind,name");
  while (read.step()) {
    out.push_back(deserialize(read.text(0), read.text(1), read.number(2), read.text(3)));
  }
  return out;
}

void Store::commit(const std::vector<Change>& changes, std::uint64_t generation, std::int64_t at,
                   std::uint32_t uid, const std::string& source) {
  Impl::Transaction transaction(*impl_);
  sqlite3* db = impl_->db;
  const auto number = static_cast<std::int64_t>(generation);
  Statement(db, "INSERT INTO versions VALUES(?,?,?,?)")
      .bind(number)
      .bind(at)
      .bind(static_cast<std::int64_t>(uid))
      .bind(source)
      .step();
  for (const auto& change : changes) {
    const auto kind = to_string(change.document.kind);
    const auto& name = change.document.name;
    if (change.action == Change::Action::put) {
      const std::string body = serialize(change.document);
      Statement(db, "INSERT OR REPLACE INTO documents VALUES(?,?,?,?)")
          .bind(kind)
          .bind(name)
          .bind(number)
          .bind(body)
          .step();
      Statement(db, "INSERT OR REPLACE INTO history VALUES(?,?,?,?)")
          .bind(number)
          .bind(kind)
          .bind(name)
          .bind(body)
          .step();
    } else {
      Statement(db, "DELETE FROM documents WHERE kind=? AND name=?").bind(kind).bind(name).step();
      Statement(db, "INSERT OR REPLACE INTO history VALUES(?,?,?,?)")
          .bind(number)
          .bind(kind)
          .bind(name)
          .bind_null()
          .step();
    }
  }
  impl_->put_meta("generation", std::to_string(generation));
  // Old versions go; what the oldest kept version consists of stays.
  Statement oldest(db, "SELECT generation FROM versions ORDER BY generation DESC LIMIT 1 OFFSET ?");
  oldest.bind(static_cast<std::int64_t>(kVersionsKept - 1));
  if (oldest.step()) {
    const std::int64_t keep = oldest.number(0);
    Statement(db, "DELETE FROM versions WHERE generation<?").bind(keep).step();
    Statement(db,
              "DELETE FROM history WHERE generation<?1 AND EXISTS(SELECT 1 FROM history AS newer "
              "WHERE newer.kind=history.kind AND newer.name=history.name AND "
              "newer.generation>history.generation AND newer.generation<=?1)")
        .bind(keep)
        .step();
  }
  transaction.commit();
}

std::vector<Version> Store::versions(std::uint64_t before, std::size_t limit) const {
  std::vector<Version> out;
  Statement read(impl_->db,
                 "SELECT generation,at,uid,source FROM versions WHERE ?1=0 OR generation<?1 "
                 "ORDER BY generation DESC LIMIT ?2");
  read.bind(static_cast<std::int64_t>(before)).bind(static_cast<std::int64_t>(limit));
  while (read.step()) {
    Version version;
    version.generation = static_cast<std::uint64_t>(read.number(0));
    version.applied_at = read.number(1);
    version.uid = static_cast<std::uint32_t>(read.number(2));
    version.source = read.text(3);
    Statement changes(impl_->db,
                      "SELECT kind,name,body FROM history WHERE generation=? ORDER BY kind,name");
    changes.bind(read.number(0));
    while (changes.step()) {
      Change change;
      change.action = changes.is_null(2) ? Change::Action::remove : Change::Action::put;
      change.document.kind = parse_kind(changes.text(0)).value_or(Kind::service);
      change.document.name = changes.text(1);
      version.changes.push_back(std::move(change));
    }
    out.push_back(std::move(version));
  }
  return out;
}

std::optional<std::vector<Document>> Store::documents_at(std::uint64_t generation) const {
  const auto number = static_cast<std::int64_t>(generation);
  Statement known(impl_->db, "SELECT 1 FROM versions WHERE generation=?");
  known.bind(number);
  if (!known.step()) return std::nullopt;
  std::vector<Document> out;
  Statement read(impl_->db,
                 "SELECT kind,name,max(generation),body FROM history WHERE generation<=? "
                 "GROUP BY kind,name ORDER BY kind,name");
  read.bind(number);
  while (read.step()) {
    if (read.is_null(3)) continue;
    out.push_back(deserialize(read.text(0), read.text(1), read.number(2), read.text(3)));
  }
  return out;
}

void Store::put_task(const TaskRow& task) {
  json::object body;
  body["jti"] = task.jti;
  body["agent_class"] = task.agent_class;
  body["subject"] = task.subject;
  body["scope"] = task.scope;
  body["bind_address"] = task.bind_address;
  body["limits"] = task.limits;
  body["labels"] = task.labels;
  body["issued_at"] = task.issued_at;
  Statement(impl_->db, "INSERT OR REPLACE INTO tasks VALUES(?,?,?,?)")
      .bind(uuid_text(task.id))
      .bind(json::serialize(body))
      .bind(task.expires_at)
      .bind(task.revoked_at)
      .step();
}

std::vector<TaskRow> Store::tasks() const {
  std::vector<TaskRow> out;
  Statement read(impl_->db, "SELECT txn,body,expires_at,revoked_at FROM tasks");
  while (read.step()) {
    const auto id = parse_uuid(read.text(0));
    json::error_code error;
    const json::value value = json::parse(read.text(1), error);
    if (!id || error || !value.is_object()) continue;
    const auto& body = value.get_object();
    TaskRow task;
    task.id = *id;
    task.jti = text_of(body, "jti");
    task.agent_class = text_of(body, "agent_class");
    task.subject = text_of(body, "subject");
    task.scope = text_of(body, "scope");
    task.bind_address = text_of(body, "bind_address");
    if (const auto* limits = body.if_contains("limits"); limits && limits->is_object()) {
      task.limits = limits->get_object();
    }
    if (const auto* labels = body.if_contains("labels"); labels && labels->is_object()) {
      task.labels = labels->get_object();
    }
    if (const auto* at = body.if_contains("issued_at"); at && at->is_int64()) {
      task.issued_at = at->get_int64();
    }
    task.expires_at = read.number(2);
    task.revoked_at = read.number(3);
    out.push_back(std::move(task));
  }
  return out;
}

void Store::revoke(const state::TaskId& id, std::int64_t at, std::int64_t until) {
  Impl::Transaction transaction(*impl_);
  const std::string txn = uuid_text(id);
  Statement(impl_->db, "UPDATE tasks SET revoked_at=? WHERE txn=? AND revoked_at=0")
      .bind(at)
      .bind(txn)
      .step();
  Statement(impl_->db,
            "INSERT INTO revocations VALUES(?,?) ON CONFLICT(txn) DO UPDATE SET "
            "until=max(until,excluded.until)")
      .bind(txn)
      .bind(until)
      .step();
  transaction.commit();
}

std::vector<RevocationRow> Store::revocations() const {
  std::vector<RevocationRow> out;
  Statement read(impl_->db, "SELECT txn,until FROM revocations");
  while (read.step()) {
    if (const auto id = parse_uuid(read.text(0))) out.push_back({*id, read.number(1)});
  }
  return out;
}

void Store::forget_tasks_before(std::int64_t expired_before) {
  Impl::Transaction transaction(*impl_);
  Statement(impl_->db, "DELETE FROM tasks WHERE expires_at<?").bind(expired_before).step();
  Statement(impl_->db, "DELETE FROM revocations WHERE until<?").bind(expired_before).step();
  transaction.commit();
}

std::expected<std::string, std::string> Store::issuer_key(
    const std::function<std::expected<std::string, std::string>()>& make) {
  const auto path = impl_->folder / "issuer-key.pem";
  if (std::filesystem::exists(path)) {
    struct stat facts{};
    if (::stat(path.c_str(), &facts) == 0 && (facts.st_mode & 077) != 0) {
      return std::unexpected(path.string() +
                             ": others may read it; chmod 600 and consider it lost");
    }
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    if (!in) return std::unexpected(path.string() + ": cannot be read");
    return text.str();
  }
  auto pem = make();
  if (!pem) return pem;
  // Written aside, then renamed: a crash leaves either no key or a whole one.
  const std::string aside = path.string() + ".new";
  const int fd = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool good = fd >= 0;
  good = good && ::write(fd, pem->data(), pem->size()) == static_cast<ssize_t>(pem->size());
  good = good && ::fsync(fd) == 0;
  const int reason = errno;
  if (fd >= 0) ::close(fd);
  good = good && ::rename(aside.c_str(), path.c_str()) == 0;
  if (!good) return std::unexpected(path.string() + ": " + std::generic_category().message(reason));
  return pem;
}

std::string hex(ByteSpan bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const std::uint8_t b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

std::string uuid_text(const state::TaskId& id) {
  std::string out = hex(id);
  for (const std::size_t at : {20u, 16u, 12u, 8u}) out.insert(at, 1, '-');
  return out;
}

std::optional<state::TaskId> parse_uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  state::TaskId id{};
  std::size_t digit = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return std::nullopt;
      continue;
    }
    int value = 0;
    if (c >= '0' && c <= '9') {
      value = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      value = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      value = c - 'A' + 10;
    } else {
      return std::nullopt;
    }
    auto& byte = id[digit / 2];
    byte = static_cast<std::uint8_t>((byte << 4) | value);
    ++digit;
  }
  return id;
}

}  // namespace sluice::control
