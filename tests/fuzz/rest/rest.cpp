// One request to the API: method, target and body from the input, on a control plane in memory.
#include <spdlog/spdlog.h>

#include "../../unit/rest/fake_gateway.h"
#include "controlplane/rest.h"

using namespace sluice::control;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static TempFolder folder;
  static FakeGateway gateway;
  static const std::unique_ptr<Control> control = [] {
    spdlog::set_level(spdlog::level::off);
    ControlOptions options;
    options.state = folder.path / "state";
    auto opened = Control::open(std::move(options), gateway);
    if (!opened) std::abort();
    return std::move(*opened);
  }();
  static constexpr const char* kMethods[] = {"GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"};
  if (size < 2) return 0;
  RestRequest request;
  request.method = kMethods[data[0] % 6];
  std::string_view rest(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto line = std::min(rest.find('\n'), rest.size());
  request.target = std::string(rest.substr(0, line));
  rest.remove_prefix(std::min(line + 1, rest.size()));
  request.body = std::string(rest);
  const RestResponse response = handle(*control, request);
  if (response.status < 200 || response.status > 599) std::abort();
  if (response.status == 500) std::abort();
  if (response.status >= 400) {
    // A refusal is a whole problem document.
    const auto problem = boost::json::parse(response.body);
    if (problem.at("status").to_number<unsigned>() != response.status) std::abort();
  }
  // Bounded: the fuzzer must not fill the disk.
  if (control->documents().size() > 200) {
    std::vector<Change> all;
    for (const auto& [key, document] : control->documents()) {
      all.push_back({Change::Action::remove, document});
    }
    if (!control->apply(std::move(all), 0, "rest", false)) std::abort();
  }
  return 0;
}
