// The body of POST /v1/capture.
#include <algorithm>

#include "capture_filter.h"
#include "controlplane/capture.h"

namespace sluice::control {
namespace json = boost::json;
namespace {

constexpr std::string_view kMembers[] = {"filter", "ports",   "packets",
                                         "bytes",  "seconds", "snap_bytes"};

class Reader {
 public:
  explicit Reader(const json::object& object) : object_(object) {}

  void fail(std::string pointer, std::string text) {
    ConfigError error;
    error.pointer = std::move(pointer);
    error.message = std::move(text);
    errors.push_back(std::move(error));
  }
  void unknown_members() {
    for (const auto& member : object_) {
      if (std::ranges::find(kMembers, std::string_view(member.key())) != std::end(kMembers))
        continue;
      fail(pointer_to("", member.key()),
           "unknown member; known are filter, ports, packets, bytes, seconds, snap_bytes");
    }
  }
  std::uint64_t number(std::string_view name, std::uint64_t fallback, std::uint64_t least,
                       std::uint64_t most) {
    const auto* value = object_.if_contains(name);
    if (value == nullptr) return fallback;
    json::error_code error;
    const auto given = value->is_number() ? value->to_number<std::uint64_t>(error) : 0;
    if (value->is_number() && !error && given >= least && given <= most) return given;
    fail(pointer_to("", name), std::string(name) + ": expected a whole number from " +
                                   std::to_string(least) + " to " + std::to_string(most));
    return fallback;
  }
  std::string filter() {
    const auto* value = object_.if_contains("filter");
    if (value == nullptr) return {};
    if (value->is_string() && value->get_string().size() <= kLongestFilter) {
      return std::string(value->get_string());
    }
    fail("/filter", "filter: expected a text of at most " + std::to_string(kLongestFilter) +
                        " characters, in the language of pcap-filter(7)");
    return {};
  }
  std::vector<std::string> ports() {
    const auto* value = object_.if_contains("ports");
    if (value == nullptr) return {};
    std::vector<std::string> names;
    const auto text = [](const json::value& name) { return name.is_string(); };
    if (!value->is_array() || value->get_array().empty() || value->get_array().size() > 64 ||
        !std::ranges::all_of(value->get_array(), text)) {
      fail("/ports", "ports: expected a list of 1 to 64 names of ports");
      return names;
    }
    for (const auto& name : value->get_array()) names.emplace_back(name.get_string());
    return names;
  }
  std::vector<ConfigError> errors;

 private:
  const json::object& object_;
};

}  // namespace

std::expected<CaptureRequest, Problem> parse_capture(const json::value& body) {
  if (!body.is_object()) return std::unexpected(invalid("", "expected an object"));
  Reader reader(body.get_object());
  reader.unknown_members();
  CaptureRequest request;
  request.filter = reader.filter();
  request.ports = reader.ports();
  request.packets = reader.number("packets", request.packets, 1, 10'000'000);
  request.bytes = reader.number("bytes", request.bytes, 1024, 1u << 30);
  request.time = std::chrono::seconds(
      reader.number("seconds", static_cast<std::uint64_t>(request.time.count()), 1, 3600));
  request.snap_length = reader.number("snap_bytes", request.snap_length, 64, request.snap_length);
  if (!reader.errors.empty()) return std::unexpected(invalid(reader.errors));
  return request;
}

}  // namespace sluice::control
