#include "controlplane/dns_table.h"

#include <algorithm>

namespace sluice::control {
namespace {

constexpr Seconds kShortestTtl{1};
// A server's "no such name" is not asked about again for so long: RFC 2308 would take the zone's
// own time, but a name that has just been made should work soon.
constexpr Seconds kNegativeTtl{5};
constexpr Seconds kFirstPause{1}, kLongestPause{16};

}  // namespace

std::string_view to_string(RecordType type) {
  return type == RecordType::a ? "A" : type == RecordType::aaaa ? "AAAA" : "SRV";
}

bool DnsTable::serves(const Record& record, Time now) const {
  if (record.empty()) return false;
  return record.failures == 0 || now < record.expires + limits_.stale;
}

void DnsTable::set_names(const std::vector<std::string>& hosts,
                         const std::vector<std::string>& services, Time now) {
  hosts_ = {hosts.begin(), hosts.end()};
  services_ = {services.begin(), services.end()};
  settle_names(now);
}

// Records for what documents mention, and for the targets of SRV records that serve.
void DnsTable::settle_names(Time now) {
  std::set<Question> wanted;
  std::set<std::string> hosts = hosts_;
  for (const std::string& name : services_) {
    const Question question{name, RecordType::srv};
    wanted.insert(question);
    const auto record = records_.find(question);
    if (record == records_.end() || !serves(record->second, now)) continue;
    for (const SrvTarget& target : record->second.targets) hosts.insert(target.host);
  }
  for (const std::string& name : hosts) {
    if (limits_.ipv4) wanted.insert({name, RecordType::a});
    if (limits_.ipv6) wanted.insert({name, RecordType::aaaa});
  }
  std::erase_if(records_, [&](const auto& record) {
    if (wanted.contains(record.first)) return false;
    if (record.second.under_way) --under_way_;
    return true;
  });
  for (const Question& question : wanted) {
    const auto [record, fresh] = records_.try_emplace(question);
    if (fresh) record->second.ask_at = now;
  }
}

std::vector<Question> DnsTable::take_due(Time now, std::size_t room) {
  std::vector<Question> due;
  for (auto& [question, record] : records_) {
    if (due.size() == room) break;
    if (record.under_way || record.ask_at > now) continue;
    record.under_way = true;
    record.refresh = false;
    ++under_way_;
    ++queries_;
    due.push_back(question);
  }
  return due;
}

void DnsTable::answer(const Question& question, DnsAnswer answer, Time now) {
  const auto found = records_.find(question);
  // Forgotten meanwhile, or forgotten and wanted again: that one has its own question.
  if (found == records_.end() || !found->second.under_way) return;
  Record& record = found->second;
  record.under_way = false;
  --under_way_;
  record.answered = true;
  record.error = std::move(answer.error);
  switch (answer.kind) {
    case DnsAnswer::Kind::records:
      record.addresses = std::move(answer.addresses);
      record.targets = std::move(answer.targets);
      std::ranges::sort(record.addresses);
      std::ranges::sort(record.targets);
      record.failures = 0;
      record.obtained = now;
      record.expires =
          now + std::clamp(answer.ttl, kShortestTtl, std::max(kShortestTtl, limits_.max_ttl));
      record.ask_at = record.expires;
      break;
    case DnsAnswer::Kind::none:
      record.addresses.clear();
      record.targets.clear();
      record.failures = 0;
      record.obtained = record.expires = now;
      record.ask_at = now + std::min(kNegativeTtl, std::max(kShortestTtl, limits_.max_ttl));
      break;
    case DnsAnswer::Kind::failed:
      ++failures_;
      record.ask_at =
          now + std::min(kFirstPause * (1u << std::min(record.failures, 8u)), kLongestPause);
      ++record.failures;
      break;
  }
  if (question.type == RecordType::srv) settle_names(now);
}

void DnsTable::refresh(Time now) {
  for (auto& [question, record] : records_) {
    if (record.under_way) continue;
    record.ask_at = std::min(record.ask_at, now);
    record.refresh = true;
  }
}

Resolved DnsTable::resolved(Time now) const {
  Resolved out;
  for (const auto& [question, record] : records_) {
    if (!serves(record, now)) continue;
    if (question.type == RecordType::srv) {
      out.services[question.name] = record.targets;
    } else {
      // A sorts before AAAA.
      auto& list = out.addresses[question.name];
      list.insert(list.end(), record.addresses.begin(), record.addresses.end());
    }
  }
  return out;
}

Time DnsTable::next(Time now) const {
  Time soonest = kNever;
  for (const auto& [question, record] : records_) {
    if (!record.under_way) soonest = std::min(soonest, record.ask_at);
    const Time end = record.expires + limits_.stale;
    if (record.failures > 0 && !record.empty() && end > now) soonest = std::min(soonest, end);
  }
  return soonest;
}

bool DnsTable::pending() const {
  return std::ranges::any_of(records_, [](const auto& r) { return !r.second.answered; });
}

bool DnsTable::asking() const {
  return std::ranges::any_of(records_,
                             [](const auto& r) { return r.second.under_way || r.second.refresh; });
}

std::vector<DnsTable::View> DnsTable::view(Time now) const {
  std::vector<View> out;
  for (const auto& [question, record] : records_) {
    View v;
    v.question = question;
    v.error = record.error;
    if (serves(record, now)) {
      v.addresses = record.addresses;
      v.targets = record.targets;
      v.ttl_left = std::chrono::floor<Seconds>(record.expires - now);
      v.age = std::chrono::floor<Seconds>(now - record.obtained);
      v.state = record.failures > 0 && now >= record.expires ? State::stale : State::fresh;
    } else {
      v.state = record.answered ? State::none : State::unasked;
    }
    out.push_back(std::move(v));
  }
  return out;
}

DnsFigures DnsTable::figures(Time now) const {
  DnsFigures f;
  f.queries = queries_;
  f.failures = failures_;
  f.names = records_.size();
  std::set<std::string> names, good;
  for (const auto& [question, record] : records_) {
    names.insert(question.name);
    if (!serves(record, now)) continue;
    good.insert(question.name);
    if (record.failures > 0 && now >= record.expires) ++f.stale;
  }
  f.unresolved = names.size() - good.size();
  return f;
}

}  // namespace sluice::control
