// Who is calling: task token to task, with a decision cache in front of the signature check.
//
// A decision holds for one policy generation. The cache key is a keyed 128-bit hash of the token
// (the secret is the process's own), so a token is never stored.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "http/message.h"
#include "policy/snapshot.h"
#include "state/task_table.h"
#include "telemetry/call_record.h"
#include "telemetry/reasons.h"

namespace sluice::call {

inline constexpr Seconds kClockSkew{30};  // contract section 6

struct Identity {
  telemetry::Reason reason = telemetry::Reason::ok;  // why the token is refused
  std::string_view detail;                           // static text for a refusal
  state::TaskHandle task;
  state::TaskId id{};  // also the trace id: RFC 9562 txn, or the hash of (iss, txn)
  policy::ClassIndex agent_class = policy::kNone;
  std::int64_t not_before = 0;  // Unix seconds, from iat
  std::int64_t expires_at = 0;
  std::int64_t step_timeout_ms = 0;  // 0: none in the token
  std::string scope;
  telemetry::FixedText<96> subject;
};

class IdentityCache {
 public:
  IdentityCache();
  void set_secret(std::uint64_t k0, std::uint64_t k1);

  struct Key {
    std::uint64_t high = 0, low = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  Key key_of(std::string_view token) const;
  // The same for a connection that mostly sends the token it sent last: comparing is quicker than
  // hashing.
  Key key_of(std::string_view token, struct TokenMemo& memo) const;
  // nullptr if unknown in this generation.
  const Identity* find(const Key& key, std::uint64_t generation) const;
  // Takes the place of the oldest entry of its set.
  const Identity& insert(const Key& key, std::uint64_t generation, Identity&& identity);

 private:
  static constexpr std::size_t kSets = 1024;
  static constexpr std::size_t kWays = 4;
  struct Entry {
    Key key;
    std::uint64_t generation = 0;  // 0: free
    std::uint64_t age = 0;
    Identity identity;
  };
  std::vector<Entry> entries_;
  std::uint64_t secret_[2] = {1, 2};
  std::uint64_t clock_ = 0;
};

// The last token of a connection and its key. Holds the token itself, as the connection's buffers
// did a moment ago, and goes with the connection.
struct TokenMemo {
  std::string token;
  IdentityCache::Key key;
};

// The token a request carries. `field` is the name of the field it came in (never forwarded), empty
// if there is none.
struct FoundToken {
  std::string_view token;
  std::string_view field;
  bool ambiguous = false;  // several tokens: refused
};
// Txn-Token first, then Authorization: Bearer with a JWS in it.
FoundToken find_token(const http::FieldBlock& fields);

// Checks everything about the token that does not depend on the request (50 to 200 microseconds).
Identity verify_token(std::string_view token, const policy::Snapshot& snapshot,
                      state::TaskTable& tasks, WallTime now);

// What can change between two uses of one decision: time and revocation.
telemetry::Reason recheck(const Identity& identity, const state::TaskTable& tasks, WallTime now);

}  // namespace sluice::call
