#include "controlplane/connections.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace sluice::control {

std::string ConnectionPosition::to_string() const { return fmt::format("{}.{:x}", worker, at); }

std::optional<ConnectionPosition> ConnectionPosition::parse(std::string_view text) {
  ConnectionPosition position;
  const char* begin = text.data();
  const char* end = begin + text.size();
  const auto first = std::from_chars(begin, end, position.worker);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, position.at, 16);
  if (second.ec != std::errc() || second.ptr != end) return std::nullopt;
  return position;
}

ConnectionSearch::ConnectionSearch(Gateway& gateway, const telemetry::ConnectionFilter& filter,
                                   std::size_t most, ConnectionPosition from)
    : gateway_(gateway), filter_(filter), most_(most), at_(from) {}

bool ConnectionSearch::step() {
  const auto workers = gateway_.workers();
  while (at_.worker < workers.size()) {
    if (!workers[at_.worker].running) {
      query_.reset();
      at_ = {at_.worker + 1, 0};
      continue;
    }
    if (query_ == nullptr) {
      auto query = std::make_shared<runtime::ConnectionQuery>();
      query->filter = filter_;
      query->from = at_.at;
      query->most = most_ - found_.size();
      query->found.reserve(query->most);
      if (!gateway_.lend(at_.worker, runtime::Command::Kind::query_connections, query)) {
        return false;
      }
      query_ = std::move(query);
    }
    if (!query_->is_back()) return false;
    const auto answer = std::exchange(query_, nullptr);
    if (answer->refused) {
      refused_ = true;
      return true;
    }
    found_.insert(found_.end(), answer->found.begin(), answer->found.end());
    at_ = answer->next == runtime::ConnectionQuery::kEnd
              ? ConnectionPosition{at_.worker + 1, 0}
              : ConnectionPosition{at_.worker, answer->next};
    if (found_.size() >= most_ && at_.worker < workers.size()) {
      next_ = at_;
      return true;
    }
  }
  return true;
}

TraceSearch::TraceSearch(Gateway& gateway, const telemetry::ConnectionFilter& filter,
                         std::size_t most)
    : gateway_(gateway), most_(most) {
  for (const auto& worker : gateway.workers()) {
    if (!worker.running) continue;
    auto query = std::make_shared<runtime::TraceQuery>();
    query->filter = filter;
    query->most = most;
    query->found.reserve(most);
    asked_.push_back({worker.index, false, std::move(query)});
  }
}

bool TraceSearch::step() {
  for (auto& asked : asked_) {
    if (!asked.sent) {
      asked.sent = gateway_.lend(asked.worker, runtime::Command::Kind::query_traces, asked.query);
    }
  }
  std::erase_if(asked_, [this](const Asked& asked) {
    if (!asked.sent || !asked.query->is_back()) return false;
    refused_ = refused_ || asked.query->refused;
    found_.insert(found_.end(), asked.query->found.begin(), asked.query->found.end());
    return true;
  });
  if (!asked_.empty()) return false;
  std::ranges::sort(found_, [](const auto& a, const auto& b) {
    return a.live != b.live ? a.live : a.since_last < b.since_last;
  });
  if (found_.size() > most_) found_.resize(most_);
  return true;
}

}  // namespace sluice::control
