// The requests of contract section 4, one object each: which handler, its query, its answer.
// Private to rest/. Handlers are spread over files by subject:
//
//   api.cpp        paths, methods, query parameters        api_documents.cpp  documents and history
//   api_state.cpp  health, counters, calls, events, names  api_tasks.cpp      tasks
//   api_connections.cpp  TCP connections, captures of frames
#pragma once

#include <boost/json.hpp>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/rest.h"
#include "target.h"
#include "telemetry/connection_filter.h"

namespace sluice::control {

inline constexpr std::size_t kDefaultPage = 100, kMaxPage = 1000;

RestResponse reply(unsigned status, const boost::json::value& body);

class Api {
 public:
  Api(Control& control, const RestRequest& request, Target target)
      : control_(control), request_(request), target_(std::move(target)) {}

  RestResponse run();

 private:
  using Handler = RestResponse (Api::*)();
  struct Method {
    const char* name;
    Handler handler;
    std::initializer_list<const char*> query = {};
  };

  RestResponse route();
  RestResponse resources();
  RestResponse unknown();
  RestResponse methods(std::initializer_list<Method> allowed);

  // -- query parameters; a bad one ends in a 400 after the handler returns
  void refuse(std::string text, std::string pointer = {});
  std::string query(const std::string& name) const;
  std::size_t limit(std::size_t fallback, std::size_t most);
  bool flag(const std::string& name);

  // -- health and description
  RestResponse livez();
  RestResponse readyz();
  RestResponse version();
  RestResponse info();
  RestResponse stats();
  RestResponse openapi();
  RestResponse metrics();
  RestResponse dns();
  RestResponse refresh_dns();
  RestResponse calls();
  RestResponse events();
  RestResponse send(runtime::Command::Kind kind, const char* state);
  RestResponse drain();
  RestResponse undrain();

  // -- resources
  const Document* find() const;
  boost::json::object view(const Document& document) const;
  RestResponse missing();
  RestResponse list();
  RestResponse get();
  std::optional<RestResponse> condition();
  RestResponse applied(const std::expected<Applied, Problem>& result, bool dry_run);
  RestResponse put();
  static void elsewhere(ProblemItem& item);
  RestResponse remove();
  RestResponse apply();
  RestResponse apply_list(const boost::json::array& items, const std::string& base, bool dry_run);

  // -- history
  static boost::json::object version_json(const Version& version);
  RestResponse versions();
  static bool number(std::string_view text, std::uint64_t& value);
  RestResponse get_version();
  RestResponse rollback();

  // -- connections
  telemetry::ConnectionFilter connection_filter();
  RestResponse connections();
  RestResponse connection_events();
  RestResponse capture();

  // -- tasks
  RestResponse mint();
  RestResponse list_tasks();
  RestResponse get_task();
  RestResponse delete_task();

  Control& control_;
  const RestRequest& request_;
  Target target_;
  Kind kind_ = Kind::service;
  std::string name_;
  std::string error_, error_pointer_;
};

}  // namespace sluice::control
