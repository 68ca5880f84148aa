// What is known of endpoint names, when to ask again, and for how long an old answer serves.
//
// Decides only: questions go out and answers come in through whoever owns it (resolver.h), and time
// is an argument. One record per name and type, since their TTLs and their failures are their own.
//
// Rules: an answer is asked for again when its TTL ends, taken between 1 s and max_ttl. While that
// question is under way the old answer serves; once it has failed, the old answer serves until
// `stale` after its TTL, and the question is repeated with growing pauses. A server's word that
// there is no such name or record is an answer and ends the old one at once (RFC 8767 section 4).
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "base/time.h"

namespace sluice::control {

enum class RecordType : std::uint8_t { a, aaaa, srv };
std::string_view to_string(RecordType type);

struct SrvTarget {
  std::string host;  // lower case
  std::uint16_t port = 0;
  std::uint16_t priority = 0;  // RFC 2782: the lowest is tried first
  std::uint16_t weight = 0;
  friend auto operator<=>(const SrvTarget&, const SrvTarget&) = default;
};

// What names stand for, as a policy is compiled with it.
struct Resolved {
  std::map<std::string, std::vector<IpAddress>> addresses;  // by host name, in lower case
  std::map<std::string, std::vector<SrvTarget>> services;   // by SRV name
  friend bool operator==(const Resolved&, const Resolved&) = default;
};

struct Question {
  std::string name;  // lower case
  RecordType type = RecordType::a;
  friend auto operator<=>(const Question&, const Question&) = default;
};

struct DnsAnswer {
  enum class Kind : std::uint8_t { records, none, failed };
  Kind kind = Kind::failed;
  std::vector<IpAddress> addresses;
  std::vector<SrvTarget> targets;
  Seconds ttl{0};
  std::string error;  // none, failed: in words
};

struct DnsLimits {
  Seconds max_ttl{60};
  Seconds stale{30};
  bool ipv4 = true, ipv6 = true;  // families that calls can leave by; others are not asked for
};

struct DnsFigures {
  std::uint64_t queries = 0, failures = 0;  // since start
  std::size_t names = 0;                    // names and types asked for
  std::size_t stale = 0;                    // served past their TTL because DNS fails
  std::size_t unresolved = 0;               // names without any address
};

class DnsTable {
 public:
  explicit DnsTable(DnsLimits limits) : limits_(limits) {}

  // Host names and SRV names that documents mention; others are forgotten.
  void set_names(const std::vector<std::string>& hosts, const std::vector<std::string>& services,
                 Time now);
  // Questions whose time has come, marked as under way; at most `room` of them.
  std::vector<Question> take_due(Time now, std::size_t room);
  void answer(const Question& question, DnsAnswer answer, Time now);
  // Asks for everything now; what is under way is enough.
  void refresh(Time now);

  Resolved resolved(Time now) const;
  // When take_due() or resolved() will next say something new; kNever if only answers can.
  Time next(Time now) const;
  bool pending() const;  // something was never answered, be it with a failure
  bool asking() const;   // questions are due by a refresh or under way
  std::size_t under_way() const { return under_way_; }

  enum class State : std::uint8_t { unasked, fresh, stale, none };
  struct View {
    Question question;
    State state = State::unasked;
    std::vector<IpAddress> addresses;
    std::vector<SrvTarget> targets;
    Seconds ttl_left{0};  // negative: so long over
    Seconds age{0};       // of the answer
    std::string error;    // of the last question; empty: it was answered
  };
  std::vector<View> view(Time now) const;  // by name and type
  DnsFigures figures(Time now) const;

 private:
  struct Record {
    std::vector<IpAddress> addresses;  // sorted: servers rotate them, and that is no change
    std::vector<SrvTarget> targets;
    Time obtained{}, expires{}, ask_at{};
    bool under_way = false;
    bool answered = false;  // ever, failures included
    bool refresh = false;   // asked for by hand
    unsigned failures = 0;  // in a row
    std::string error;
    bool empty() const { return addresses.empty() && targets.empty(); }
  };

  bool serves(const Record& record, Time now) const;
  void settle_names(Time now);

  DnsLimits limits_;
  std::set<std::string> hosts_, services_;
  std::map<Question, Record> records_;
  std::size_t under_way_ = 0;
  std::uint64_t queries_ = 0, failures_ = 0;
};

}  // namespace sluice::control
