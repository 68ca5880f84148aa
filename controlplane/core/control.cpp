#include "controlplane/control.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

namespace sluice::control {
namespace json = boost::json;
namespace {

// Workers accept a token this long after its expiry (contract section 6).
constexpr std::int64_t kSkew = 30;
// Kept for reading after the end.
constexpr std::int64_t kRemember = 300;
constexpr std::size_t kMaxDocuments = 20000;
constexpr std::size_t kRecentEvents = 256;
// No document is that new: all of them were accepted before.
constexpr std::uint64_t kLenient = UINT64_MAX;

std::int64_t system_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

bool same(const Document& a, const Document& b) { return a.labels == b.labels && a.spec == b.spec; }

std::string content_hash(const Document& document) {
  Document plain = document;
  plain.generation = 0;
  return hex(crypto::sha256(as_bytes(json::serialize(to_json(plain)))));
}

std::vector<const void*> contexts_of(const policy::Snapshot& snapshot) {
  std::vector<const void*> out;
  out.reserve(snapshot.services.size());
  for (const auto& service : snapshot.services) out.push_back(service.tls.context.get());
  return out;
}

std::string key_text(const Document& document) {
  return std::string(to_string(document.kind)) + "/" + document.name;
}

}  // namespace

Control::Control(ControlOptions options, Gateway& gateway, std::unique_ptr<Store> store,
                 crypto::SigningKey key)
    : options_(std::move(options)),
      gateway_(gateway),
      store_(std::move(store)),
      key_(std::move(key)),
      contexts_(options_.certificates),
      calls_(options_.calls) {}

Control::~Control() = default;

std::expected<std::unique_ptr<Control>, std::string> Control::open(ControlOptions options,
                                                                   Gateway& gateway) {
  if (!options.unix_now) options.unix_now = system_seconds;
  auto store = Store::open(options.state);
  if (!store) return std::unexpected(store.error());
  if (options.calls.folder.empty()) options.calls.folder = options.state / "calls";
  auto pem = (*store)->issuer_key([]() -> std::expected<std::string, std::string> {
    auto fresh = crypto::SigningKey::generate();
    if (!fresh) return std::unexpected(fresh.error());
    return fresh->to_pem();
  });
  if (!pem) return std::unexpected(pem.error());
  auto key = crypto::SigningKey::from_pem(*pem);
  if (!key) {
    return std::unexpected((options.state / "issuer-key.pem").string() + ": " + key.error());
  }
  std::unique_ptr<Control> control(
      new Control(std::move(options), gateway, std::move(*store), std::move(*key)));
  try {
    if (auto restored = control->restore(); !restored) {
      std::string text = "stored documents are not valid any more: " + restored.error().detail;
      for (const auto& item : restored.error().errors) {
        text += "\n  " + item.pointer + ": " + item.detail;
      }
      return std::unexpected(text);
    }
  } catch (const StoreError& failure) {
    return std::unexpected(std::string(failure.what()));
  }
  return control;
}

std::expected<void, Problem> Control::restore() {
  for (auto& document : store_->documents()) {
    documents_.emplace(std::pair(document.kind, document.name), std::move(document));
  }
  const std::int64_t at = now();
  for (const auto& revocation : store_->revocations()) {
    if (revocation.until >= at) gateway_.tasks().revoke(revocation.id, revocation.until);
  }
  for (auto& task : store_->tasks()) {
    if (task.expires_at + kSkew >= at) gateway_.tasks().acquire(task.id, task.expires_at);
    tasks_.emplace(task.id, std::move(task));
  }
  const std::uint64_t first = std::max<std::uint64_t>(store_->generation(), 1);
  auto snapshot = compile_set(documents_, first, kLenient);
  if (!snapshot) return std::unexpected(snapshot.error());
  generation_ = first;
  publish(std::move(*snapshot));
  return {};
}

std::expected<std::unique_ptr<policy::Snapshot>, Problem> Control::compile_set(
    const std::map<std::pair<Kind, std::string>, Document>& set, std::uint64_t generation,
    std::uint64_t strict_from) {
  std::vector<Document> all;
  all.reserve(set.size());
  for (const auto& [key, document] : set) all.push_back(document);
  policy::Issuer builtin;
  builtin.name = "sluice";
  builtin.issuer = "sluice";
  builtin.audiences = {"sluice"};
  const auto& key = key_.public_key();
  builtin.algorithms = static_cast<std::uint8_t>(1u << static_cast<unsigned>(key.algorithm));
  builtin.keys.push_back({key.kid, static_cast<std::uint8_t>(key.algorithm), key.material});
  const CompileInput input{all,        generation,  std::move(builtin), resolved_.addresses,
                           &contexts_, strict_from, &resolved_.services};
  contexts_.begin();
  auto snapshot = compile(input);
  for (const auto& note : contexts_.take_notes()) spdlog::error("{}", note);
  if (!snapshot) return std::unexpected(invalid(snapshot.error()));
  return std::move(*snapshot);
}

void Control::publish(std::unique_ptr<policy::Snapshot> snapshot) {
  const std::uint64_t generation = snapshot->generation;
  contexts_.published(*snapshot);
  published_contexts_ = contexts_of(*snapshot);
  gateway_.publish(std::move(snapshot));
  emit("policy", {{"generation", generation}, {"documents", documents_.size()}});
}

std::expected<Applied, Problem> Control::apply(std::vector<Change> changes, std::uint32_t uid,
                                               const std::string& source, bool dry_run) {
  auto next = documents_;
  std::vector<Change> effective;
  const std::uint64_t generation = generation_ + 1;
  for (auto& change : changes) {
    const std::pair key(change.document.kind, change.document.name);
    const auto existing = next.find(key);
    if (change.action == Change::Action::remove) {
      if (existing == next.end()) {
        return std::unexpected(not_found(key_text(change.document) + " does not exist"));
      }
      next.erase(existing);
      effective.push_back(change);
      continue;
    }
    change.document.generation = generation;
    if (existing != next.end() && same(existing->second, change.document)) continue;
    next.insert_or_assign(key, change.document);
    effective.push_back(change);
  }
  if (next.size() > kMaxDocuments) {
    return std::unexpected(
        invalid("", "at most " + std::to_string(kMaxDocuments) + " documents can be held"));
  }
  // Compiled even if nothing differs: a dry run of what is there answers the same as a real one.
  auto snapshot = compile_set(next, generation, generation);
  if (!snapshot) return std::unexpected(snapshot.error());
  if (effective.empty() || dry_run) {
    return Applied{generation_, !effective.empty(), std::move(effective)};
  }
  try {
    store_->commit(effective, generation, now(), uid, source);
  } catch (const StoreError& failure) {
    spdlog::error("{}; nothing was changed", failure.what());
    return std::unexpected(internal_error(failure.what()));
  }
  documents_ = std::move(next);
  generation_ = generation;
  publish(std::move(*snapshot));
  for (const auto& change : effective) {
    spdlog::info("audit uid={} source={} action={} document={} generation={}",
                 static_cast<std::int64_t>(static_cast<std::int32_t>(uid)), source,
                 change.action == Change::Action::put ? "put" : "remove", key_text(change.document),
                 generation);
  }
  tell_names();
  return Applied{generation, true, std::move(effective)};
}

std::expected<Applied, Problem> Control::rollback(std::uint64_t to, std::uint32_t uid,
                                                  bool dry_run) {
  std::optional<std::vector<Document>> target;
  try {
    target = store_->documents_at(to);
  } catch (const StoreError& failure) {
    return std::unexpected(internal_error(failure.what()));
  }
  if (!target) {
    return std::unexpected(
        invalid("/generation", "no version " + std::to_string(to) + " is known"));
  }
  std::vector<Change> changes;
  std::set<std::pair<Kind, std::string>> kept;
  for (auto& document : *target) {
    kept.emplace(document.kind, document.name);
    changes.push_back({Change::Action::put, std::move(document)});
  }
  for (const auto& [key, document] : documents_) {
    if (!kept.contains(key)) changes.push_back({Change::Action::remove, document});
  }
  return apply(std::move(changes), uid, "rollback", dry_run);
}

std::expected<Applied, Problem> Control::apply_files(const std::vector<Document>& documents) {
  // name -> hash of what conf.d held when it was last applied.
  std::map<std::string, std::string> before;
  try {
    if (const auto text = store_->meta("conf_d")) {
      json::error_code error;
      const json::value value = json::parse(*text, error);
      if (!error && value.is_object()) {
        for (const auto& member : value.get_object()) {
          if (member.value().is_string()) {
            before[std::string(member.key())] = std::string(member.value().get_string());
          }
        }
      }
    }
    json::object manifest;
    std::vector<Change> changes;
    for (const auto& document : documents) {
      const std::string key = key_text(document);
      const std::string hash = content_hash(document);
      manifest[key] = hash;
      const auto old = before.find(key);
      if (old == before.end() || old->second != hash) {
        changes.push_back({Change::Action::put, document});
      }
      before.erase(key);
    }
    // Gone from the folder: removed, unless someone has changed it over REST since.
    for (const auto& [key, hash] : before) {
      for (const auto& [id, document] : documents_) {
        if (key_text(document) == key && content_hash(document) == hash) {
          changes.push_back({Change::Action::remove, document});
        }
      }
    }
    if (changes.empty()) return Applied{generation_, false, {}};
    auto applied = apply(std::move(changes), 0, "conf.d", false);
    if (applied) store_->set_meta("conf_d", json::serialize(manifest));
    return applied;
  } catch (const StoreError& failure) {
    return std::unexpected(internal_error(failure.what()));
  }
}

void Control::set_name_service(NameService* names) {
  names_ = names;
  tell_names();
}

void Control::tell_names() {
  if (names_ == nullptr) return;
  std::vector<Document> all;
  all.reserve(documents_.size());
  for (const auto& [key, document] : documents_) all.push_back(document);
  names_->want(names_to_resolve(all), services_to_resolve(all));
}

void Control::set_resolved(Resolved resolved) {
  if (resolved == resolved_) return;
  auto old = std::exchange(resolved_, std::move(resolved));
  auto snapshot = compile_set(documents_, generation_ + 1, kLenient);
  if (!snapshot) {
    spdlog::error("dns: compiling with new addresses failed: {}", snapshot.error().detail);
    resolved_ = std::move(old);
    return;
  }
  republish(std::move(*snapshot));
  for (const auto& [name, addresses] : resolved_.addresses) {
    const auto before = old.addresses.find(name);
    if (before == old.addresses.end() || before->second != addresses) {
      tell_addresses(name, addresses);
    }
  }
  for (const auto& [name, addresses] : old.addresses) {
    if (!resolved_.addresses.contains(name)) tell_addresses(name, {});
  }
}

void Control::tell_addresses(const std::string& name, const std::vector<IpAddress>& addresses) {
  json::array list;
  for (const auto& address : addresses) list.emplace_back(address.to_string());
  dns_event({{"name", name}, {"addresses", std::move(list)}});
}

void Control::refresh_tls() {
  if (!contexts_.files_changed()) return;
  auto snapshot = compile_set(documents_, generation_ + 1, kLenient);
  if (!snapshot) {
    spdlog::error("tls: compiling with new files failed: {}", snapshot.error().detail);
    return;
  }
  if (contexts_of(**snapshot) == published_contexts_) return;
  spdlog::info("tls: files of services have changed and were read again");
  republish(std::move(*snapshot));
}

void Control::republish(std::unique_ptr<policy::Snapshot> snapshot) {
  try {
    store_->set_generation(generation_ + 1);
  } catch (const StoreError& failure) {
    spdlog::error("{}", failure.what());
  }
  ++generation_;
  publish(std::move(snapshot));
}

bool Control::in_use(std::uint64_t generation) const { return workers_behind(generation).empty(); }

std::vector<unsigned> Control::workers_behind(std::uint64_t generation) const {
  std::vector<unsigned> out;
  for (const auto& worker : gateway_.workers()) {
    if (worker.running && worker.policy_generation < generation) out.push_back(worker.index);
  }
  return out;
}

bool Control::ready() const {
  const auto workers = gateway_.workers();
  if (names_ != nullptr && names_->pending()) return false;
  // Addresses that another host has will not become ready by waiting; those being checked will.
  for (const PortView& port : gateway_.ports()) {
    for (const AddressView& a : port.addresses) {
      if (a.state == "tentative") return false;
    }
  }
  return !workers.empty() && std::ranges::all_of(workers, [this](const WorkerView& w) {
    return w.running && w.policy_generation >= generation_;
  });
}

void Control::send_all(const runtime::Command& command) {
  for (const auto& worker : gateway_.workers())
    waiting_commands_.emplace_back(worker.index, command);
  flush_cancels();
}

void Control::flush_cancels() {
  std::erase_if(waiting_commands_, [this](const auto& waiting) {
    return gateway_.send(waiting.first, waiting.second);
  });
}

bool Control::drain_events() {
  bool worked = false;
  const std::int64_t at = now();
  bool watched = false;
  std::erase_if(subscribers_, [](const auto& weak) { return weak.expired(); });
  for (const auto& weak : subscribers_) {
    const auto subscriber = weak.lock();
    if (subscriber && (subscriber->type.empty() || subscriber->type == "call")) watched = true;
  }
  for (const auto& worker : gateway_.workers()) {
    // Bounded, so that a flood of calls cannot starve REST.
    for (int budget = 4096; budget > 0; --budget) {
      const auto event = gateway_.next_event(worker.index);
      if (!event) break;
      worked = true;
      calls_.add(event->call, at);
      if (watched) {
        std::string line;
        append_json(line, event->call);
        emit_line("call", std::move(line));
      }
    }
  }
  if (worked) calls_.flush();
  flush_cancels();
  return gateway_.reclaim() > 0 || worked || !waiting_commands_.empty();
}

void Control::every_second() {
  const auto workers = gateway_.workers();
  busy_.resize(workers.size());
  for (std::size_t i = 0; i < workers.size(); ++i) {
    auto& before = busy_[i];
    const std::uint64_t total = workers[i].total_cycles - before.total;
    const std::uint64_t busy = workers[i].busy_cycles - before.busy;
    before.ratio =
        total > 0 ? std::min(1.0, static_cast<double>(busy) / static_cast<double>(total)) : 0.0;
    before.total = workers[i].total_cycles;
    before.busy = workers[i].busy_cycles;
  }
  refresh_tls();
  const std::int64_t at = now();
  if (at - last_purge_ < 10) return;
  last_purge_ = at;
  // Well past the skew: no decision cache holds such a task any more.
  gateway_.tasks().reclaim(at - 2 * kSkew);
  const auto gone = std::erase_if(
      tasks_, [at](const auto& task) { return task.second.expires_at < at - kRemember; });
  if (gone > 0) {
    try {
      store_->forget_tasks_before(at - kRemember);
    } catch (const StoreError& failure) {
      spdlog::error("{}", failure.what());
    }
  }
}

void Control::emit(std::string_view type, json::object event) {
  json::object out;
  out["type"] = std::string(type);
  out["at"] = rfc3339(now());
  for (auto& member : event) out[member.key()] = std::move(member.value());
  emit_line(type, json::serialize(out));
}

void Control::emit_line(std::string_view type, std::string line) {
  for (const auto& weak : subscribers_) {
    const auto subscriber = weak.lock();
    if (!subscriber || (!subscriber->type.empty() && subscriber->type != type)) continue;
    if (subscriber->lines.size() >= Subscriber::kMaxLines) {
      ++subscriber->lost;
      continue;
    }
    subscriber->lines.push_back(line);
    if (subscriber->wake) subscriber->wake();
  }
  if (type == "call") return;
  recent_events_.push_back(std::move(line));
  if (recent_events_.size() > kRecentEvents) recent_events_.pop_front();
}

std::shared_ptr<Subscriber> Control::subscribe(std::string type) {
  auto subscriber = std::make_shared<Subscriber>();
  subscriber->type = std::move(type);
  subscribers_.push_back(subscriber);
  return subscriber;
}

}  // namespace sluice::control
