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
#include <vector>

namespace sluice::http {

struct Field {
  std::string_view name;   // lower case
  std::string_view value;  // trimmed
};

// Limits on every header or trailer section.
struct FieldLimits {
  std::size_t max_fields = 128;
  std::size_t max_bytes = 64 * 1024;  // names + values + 32 per field, as RFC 9113 section 6.5.2
};

class FieldBlock {
 public:
  // False if the block is full (limits), or name/value break RFC 9110 section 5.1/5.5 syntax.
  bool add(std::string_view name, std::string_view value, const FieldLimits& limits = {});
  // Replaces all fields of this name by one.
  bool set(std::string_view name, std::string_view value);
  void remove(std::string_view name);
  // The first value, or nullopt. `name` in lower case.
  std::optional<std::string_view> find(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  Field at(std::size_t i) const;
  void clear();

 private:
  struct Entry {
    std::uint32_t offset;
    std::uint32_t name_length;
    std::uint32_t value_length;
  };
  std::string arena_;
  std::vector<Entry> entries_;
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
