#include "api.h"

namespace sluice::control {

namespace json = boost::json;

RestResponse Api::mint() {
  auto body = parse_json(request_.body);
  if (!body) return to_response(body.error());
  auto minted = control_.mint(*body, request_.uid);
  if (!minted) return to_response(minted.error());
  RestResponse response = reply(201, *minted);
  response.headers.emplace_back("Location",
                                "/v1/tasks/" + std::string(minted->at("txn").get_string()));
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

RestResponse Api::list_tasks() {
  const std::size_t most = limit(kDefaultPage, kMaxPage);
  const std::string state = query("state"), after = query("page_token");
  if (!state.empty() && state != "live" && state != "expired" && state != "revoked") {
    refuse("state: expected live, expired or revoked");
  }
  if (!after.empty() && !parse_uuid(after)) refuse("page_token: not one of ours");
  if (!error_.empty()) return {};
  auto found = control_.tasks(query("class"), state, after, most + 1);
  json::object out;
  if (found.size() > most) {
    found.resize(most);
    out["next_page_token"] = found.back()["txn"];
  }
  json::array items;
  for (auto& task : found) items.push_back(std::move(task));
  out["items"] = std::move(items);
  return reply(200, out);
}

RestResponse Api::get_task() {
  auto task = control_.task(target_.path[2]);
  return task ? reply(200, *task) : to_response(task.error());
}

RestResponse Api::delete_task() {
  if (auto done = control_.revoke_task(target_.path[2], request_.uid); !done) {
    return to_response(done.error());
  }
  auto task = control_.task(target_.path[2]);
  return task ? reply(200, *task) : to_response(task.error());
}

}  // namespace sluice::control
