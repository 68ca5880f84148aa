// A compiled Hyperscan database, and a worker's scratch space that knows which databases it fits.
#pragma once

#include <hs.h>

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "match/scratch.h"

namespace sluice::match {

struct Pattern {
  std::string expression;
  unsigned id;
};

class Database {
 public:
  // All patterns in block mode, each reported at most once per scan. On failure `failed` is the
  // index of the pattern Hyperscan refused, if it names one.
  static std::expected<Database, std::string> build(std::span<const Pattern> patterns,
                                                    int* failed = nullptr);
  Database() = default;

  // Calls `on_match(id) -> bool` for each pattern found until it answers false. False if nothing
  // could be scanned (no database, or no memory for scratch space).
  template <typename OnMatch>
  bool scan(Scratch& scratch, std::string_view text, OnMatch on_match) const {
    return scan_raw(
        scratch, text,
        [](unsigned id, unsigned long long, unsigned long long, unsigned, void* context) -> int {
          return (*static_cast<OnMatch*>(context))(id) ? 0 : 1;
        },
        &on_match);
  }
  explicit operator bool() const { return database_ != nullptr; }

 private:
  bool scan_raw(Scratch& scratch, std::string_view text, match_event_handler handler,
                void* context) const;

  struct Free {
    void operator()(hs_database_t* d) const { hs_free_database(d); }
  };
  std::unique_ptr<hs_database_t, Free> database_;
  std::uint64_t serial_ = 0;  // never reused, unlike an address
};

struct Scratch::Impl {
  hs_scratch_t* space = nullptr;
  // Databases already known to fit, direct mapped by serial; a miss asks Hyperscan again, which
  // allocates only when the space is too small.
  std::array<std::uint64_t, 1024> fits{};

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (space != nullptr) hs_free_scratch(space);
  }
};

// `text` as a pattern that matches exactly these bytes.
std::string quote(std::string_view text);

}  // namespace sluice::match
