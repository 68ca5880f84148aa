#include "database.h"

#include <atomic>
#include <vector>

namespace sluice::match {

std::expected<Database, std::string> Database::build(std::span<const Pattern> patterns,
                                                     int* failed) {
  if (failed != nullptr) *failed = -1;
  std::vector<const char*> expressions;
  std::vector<unsigned> flags;
  std::vector<unsigned> ids;
  for (const Pattern& p : patterns) {
    expressions.push_back(p.expression.c_str());
    // Anchored prefixes may be empty matches of the rest, hence ALLOWEMPTY.
    flags.push_back(HS_FLAG_SINGLEMATCH | HS_FLAG_DOTALL | HS_FLAG_ALLOWEMPTY);
    ids.push_back(p.id);
  }
  hs_database_t* raw = nullptr;
  hs_compile_error_t* error = nullptr;
  const hs_error_t result = hs_compile_multi(expressions.data(), flags.data(), ids.data(),
                                             static_cast<unsigned>(expressions.size()),
                                             HS_MODE_BLOCK, nullptr, &raw, &error);
  if (result != HS_SUCCESS) {
    std::string text = error != nullptr ? error->message : "out of memory";
    if (failed != nullptr && error != nullptr) *failed = error->expression;
    if (error != nullptr) hs_free_compile_error(error);
    return std::unexpected(std::move(text));
  }
  static std::atomic<std::uint64_t> last_serial{0};
  Database database;
  database.database_.reset(raw);
  database.serial_ = last_serial.fetch_add(1, std::memory_order_relaxed) + 1;
  return database;
}

bool Database::scan_raw(Scratch& scratch, std::string_view text, match_event_handler handler,
                        void* context) const {
  if (!database_) return false;
  Scratch::Impl& s = scratch.impl();
  std::uint64_t& fits = s.fits[serial_ % s.fits.size()];
  if (fits != serial_) {
    // Too small a space is not always noticed by hs_scan itself, so ask for every new database.
    if (hs_alloc_scratch(database_.get(), &s.space) != HS_SUCCESS) return false;
    fits = serial_;
  }
  const hs_error_t result =
      hs_scan(database_.get(), text.data(), static_cast<unsigned>(text.size()), 0, s.space, handler,
              context);
  return result == HS_SUCCESS || result == HS_SCAN_TERMINATED;
}

std::string quote(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/';
    if (plain) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 0xf];
    }
  }
  return out;
}

Scratch::Scratch() : impl_(std::make_unique<Impl>()) {}
Scratch::~Scratch() = default;
Scratch::Scratch(Scratch&&) noexcept = default;
Scratch& Scratch::operator=(Scratch&&) noexcept = default;

}  // namespace sluice::match
