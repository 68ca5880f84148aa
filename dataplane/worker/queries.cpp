#include "queries.h"

namespace sluice::worker {
namespace {

// Where a walk stands: which port, and which place of its table.
struct Position {
  std::uint32_t port, place;
};
Position unpack(std::uint64_t at) {
  return {static_cast<std::uint32_t>(at >> 32), static_cast<std::uint32_t>(at)};
}
std::uint64_t pack(Position at) { return std::uint64_t{at.port} << 32 | at.place; }

class Collector final : public tcp::Stack::Visitor {
 public:
  Collector(runtime::ConnectionQuery& query, std::uint16_t worker, std::uint16_t port)
      : query_(query), worker_(worker), port_(port) {}
  bool visit(const telemetry::ConnectionRecord& record) override {
    if (!query_.filter.matches(record)) return true;
    if (query_.found.size() >= query_.most) return false;
    query_.found.push_back(record);
    query_.found.back().worker = worker_;
    query_.found.back().port_index = port_;
    return true;
  }

 private:
  runtime::ConnectionQuery& query_;
  const std::uint16_t worker_, port_;
};

}  // namespace

void Queries::add(Question question) {
  if (count_ == kWaiting) {
    std::visit(
        [](auto* query) {
          query->refused = true;
          query->give_back();
        },
        question);
    return;
  }
  if (auto* const* query = std::get_if<runtime::ConnectionQuery*>(&question)) {
    (*query)->next = (*query)->from;
  }
  waiting_[(first_ + count_++) % kWaiting] = question;
}

bool Queries::run(Stacks stacks, Time now) {
  if (count_ == 0) return false;
  std::visit(
      [&](auto* query) {
        if (!go_on(*query, stacks, now)) return;
        first_ = (first_ + 1) % kWaiting;
        --count_;
        query->give_back();
      },
      waiting_[first_]);
  return true;
}

bool Queries::go_on(runtime::ConnectionQuery& query, Stacks stacks, Time now) const {
  Position at = unpack(query.next);
  bool full = false;
  if (at.port < stacks.size()) {
    Collector collector(query, worker_, static_cast<std::uint16_t>(at.port));
    at.place = stacks[at.port]->walk(at.place, kPlacesPerTurn, collector, now);
    full = query.found.size() >= query.most;
    if (at.place == tcp::Stack::kWalkEnd) at = {at.port + 1, 0};
  }
  const bool through = at.port >= stacks.size();
  query.next = through ? runtime::ConnectionQuery::kEnd : pack(at);
  return through || full;
}

bool Queries::go_on(runtime::TraceQuery& query, Stacks stacks, Time now) const {
  if (query.port >= stacks.size()) return true;
  const auto add = [&](telemetry::ConnectionTrace trace) {
    trace.connection.worker = worker_;
    trace.connection.port_index = static_cast<std::uint16_t>(query.port);
    query.found.push_back(trace);
  };
  const tcp::Stack& tcp = *stacks[query.port];
  const telemetry::EndpointFilter &local = query.filter.local, &remote = query.filter.remote;
  if (local.exact() && remote.exact() && query.found.size() < query.most) {
    const auto live = tcp.live_trace(
        {local.address->address, remote.address->address, local.port, remote.port}, now);
    if (live) add(*live);
  }
  for (std::size_t i = 0; i < tcp.kept_traces() && query.found.size() < query.most; ++i) {
    const auto trace = tcp.kept_trace(i, now);
    if (query.filter.matches(trace.connection)) add(trace);
  }
  return ++query.port >= stacks.size() || query.found.size() >= query.most;
}

}  // namespace sluice::worker
