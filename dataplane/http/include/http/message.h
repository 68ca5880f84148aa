// The one message model behind HTTP/1.1 (RFC 9112) and HTTP/2 (RFC 9113): semantics of RFC 9110.
//
// Field names are lower case. A FieldBlock owns its text in one bounded arena, so that building
// and copying a message costs at most two allocations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::http {

struct Field {
  std::string_view name;   // lower case
  std::string_view value;  // trimmed
};

// Limits on every header or trailer section.
struct FieldLimits {
  std::size_t max_fields = 128;
  std::size_t max_bytes =
      std::size_t{64} * 1024;  // names + values + 32 per field, as RFC 9113 section 6.5.2
};

class FieldBlock {
 public:
  FieldBlock() = default;
  FieldBlock(const FieldBlock&) = default;
  FieldBlock& operator=(const FieldBlock&) = default;
  // What was moved from is empty.
  FieldBlock(FieldBlock&& from) noexcept
      : arena_(std::exchange(from.arena_, {})),
        entries_(std::exchange(from.entries_, {})),
        live_(std::exchange(from.live_, 0)) {}
  FieldBlock& operator=(FieldBlock&& from) noexcept {
    arena_ = std::exchange(from.arena_, {});
    entries_ = std::exchange(from.entries_, {});
    live_ = std::exchange(from.live_, 0);
    return *this;
  }

  // False if the block is full (limits), or name/value break RFC 9110 section 5.1/5.5 syntax.
  bool add(std::string_view name, std::string_view value, const FieldLimits& limits = {});
  // Replaces all fields of this name by one. False, and nothing changed, for the reasons of add().
  bool set(std::string_view name, std::string_view value, const FieldLimits& limits = {});
  void remove(std::string_view name) {
    remove_if([&](const Field& f) { return f.name == name; });
  }
  // Removes the fields for which drop(field) is true, in one pass.
  template <typename Drop>
  void remove_if(Drop&& drop) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const Entry entry = entries_[i];
      if (drop(at(i))) {
        live_ -= entry.name_length + entry.value_length;
      } else {
        entries_[kept++] = entry;
      }
    }
    entries_.resize(kept);
  }
  // The first value, or nullopt. `name` in lower case.
  std::optional<std::string_view> find(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  Field at(std::size_t i) const {
    const Entry& e = entries_[i];
    const char* text = arena_.data() + e.offset;
    return {{text, e.name_length}, {text + e.name_length, e.value_length}};
  }
  void clear();

 private:
  struct Entry {
    std::uint32_t offset;
    std::uint32_t name_length;
    std::uint32_t value_length;
  };
  bool fits(std::size_t bytes, std::size_t fields, const FieldLimits& limits) const {
    return fields < limits.max_fields && bytes + 32 * (fields + 1) <= limits.max_bytes;
  }
  void append(std::string_view name, std::string_view value);
  void compact();

  std::string arena_;
  std::vector<Entry> entries_;
  std::size_t live_ = 0;  // bytes of arena_ that belong to a field; the rest was removed
};

enum class Version : std::uint8_t { http_1_0, http_1_1, http_2 };

struct Request {
  std::string method;
  std::string scheme;     // "https" or "http", from the connection for HTTP/1.1
  std::string authority;  // host[:port], from Host or :authority, lower case
  std::string path;       // origin-form target with query; "*" for OPTIONS; empty for CONNECT
  FieldBlock fields;      // without Host, Content-Length, Transfer-Encoding and hop-by-hop fields
  std::optional<std::uint64_t> content_length;
  bool expect_continue = false;
  Version version = Version::http_1_1;
};

struct Response {
  std::uint16_t status = 0;
  FieldBlock fields;  // without Content-Length, Transfer-Encoding and hop-by-hop fields
  std::optional<std::uint64_t> content_length;
  Version version = Version::http_1_1;
};

}  // namespace sluice::http
