// The REST API of contract section 4: requests to answers, without a socket.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "controlplane/control.h"

namespace sluice::control {

struct RestRequest {
  std::string method;
  std::string target;  // path and query as sent
  std::string body;
  std::string if_match, if_none_match;
  std::uint32_t uid = 0xffffffff;  // of the caller
};

struct RestResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  // Not 0: answer only when every worker uses this generation (or with 202 after a while).
  std::uint64_t wait_generation = 0;
  // Answer only when questions about names that are under way have ended, or after a while: those
  // of new names when documents change, all of a refresh.
  enum class Names : std::uint8_t { no, fresh, all };
  Names wait_names = Names::no;
  // Makes the body once all that is over; empty: the body is there.
  std::function<std::string()> late_body;
  // Asked again until it has made the whole answer; empty: it is made. What takes longer than the
  // server waits becomes a 503.
  std::function<bool(RestResponse&)> later;
  // The body in pieces, asked for again until there is none: empty when there is nothing yet. Told
  // whether the client has said that it has seen enough. No other body then.
  std::function<std::optional<std::string>(bool enough)> pieces;
  // GET /v1/events?follow=1: what follows the body, line by line, until the client leaves.
  std::shared_ptr<Subscriber> follow;
};

inline constexpr std::size_t kMaxRestBody = 4u << 20;

// Never throws.
RestResponse handle(Control& control, const RestRequest& request);
// What the metrics listener serves: GET /metrics alone.
RestResponse handle_metrics(Control& control, const RestRequest& request);
RestResponse to_response(const Problem& problem);

std::string_view openapi_document();

}  // namespace sluice::control
