// Handlers that write down what they are told, and can be told how to behave.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/connection.h"

namespace sluice::http::test {

inline std::string fields_text(const FieldBlock& fields) {
  std::string s;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    s.append(fields.at(i).name).append("=").append(fields.at(i).value).append(";");
  }
  return s;
}

// One message as its handler saw it.
struct Seen {
  std::string method, scheme, authority, path;
  std::uint16_t status = 0;
  FieldBlock fields, trailers;
  std::optional<std::uint64_t> content_length;
  bool expect_continue = false;
  Version version = Version::http_1_1;
  std::string body;
  bool ended = false;
  bool closed = false;
  Error error = Error::none;

  // Everything, for comparison.
  std::string text() const {
    return method + " " + scheme + " " + authority + " " + path + " " + std::to_string(status) +
           " {" + fields_text(fields) + "} " +
           (content_length ? std::to_string(*content_length) : "-") + " [" + body + "] {" +
           fields_text(trailers) + "}" + (ended ? " ended" : "") +
           (closed ? " closed " + std::string(to_string(error)) : "");
  }
};

class ServerRecorder final : public ServerHandler {
 public:
  void on_request(StreamId id, Request&& r, bool end) override {
    order.push_back(id);
    Seen& s = seen[id];
    s.method = r.method;
    s.scheme = r.scheme;
    s.authority = r.authority;
    s.path = r.path;
    s.fields = std::move(r.fields);
    s.content_length = r.content_length;
    s.expect_continue = r.expect_continue;
    s.version = r.version;
    s.ended = end;
    if (request) request(id);
    if (end && complete) complete(id);
  }
  std::size_t on_body(StreamId id, ByteSpan data) override {
    const std::size_t n = std::min(data.size(), take);
    take -= n;
    seen[id].body.append(as_text(data.first(n)));
    return n;
  }
  void on_message_end(StreamId id, const FieldBlock& trailers) override {
    seen[id].trailers = trailers;
    seen[id].ended = true;
    if (complete) complete(id);
  }
  void on_writable(StreamId id) override {
    writable++;
    if (more) more(id);
  }
  void on_stream_closed(StreamId id, Error error) override {
    seen[id].closed = true;
    seen[id].error = error;
  }
  void on_request_refused(Error error, std::uint16_t status) override {
    refused.push_back({error, status});
  }

  std::string text() const {
    std::string s;
    for (const auto& [id, one] : seen) s += std::to_string(id) + ": " + one.text() + "\n";
    for (const auto& [error, status] : refused) {
      s += "refused " + std::string(to_string(error)) + " " + std::to_string(status) + "\n";
    }
    return s;
  }

  std::map<StreamId, Seen> seen;
  std::vector<StreamId> order;
  std::vector<std::pair<Error, std::uint16_t>> refused;
  std::size_t take = static_cast<std::size_t>(-1);  // bytes of body still wanted
  int writable = 0;
  std::function<void(StreamId)> request, complete, more;
};

class ClientRecorder final : public ClientHandler {
 public:
  void on_response(StreamId id, Response&& r, bool end) override {
    Seen& s = seen[id];
    s.status = r.status;
    s.fields = std::move(r.fields);
    s.content_length = r.content_length;
    s.version = r.version;
    s.ended = end;
    if (end && complete) complete(id);
  }
  void on_continue(StreamId) override { continues++; }
  std::size_t on_body(StreamId id, ByteSpan data) override {
    const std::size_t n = std::min(data.size(), take);
    take -= n;
    seen[id].body.append(as_text(data.first(n)));
    return n;
  }
  void on_message_end(StreamId id, const FieldBlock& trailers) override {
    seen[id].trailers = trailers;
    seen[id].ended = true;
    if (complete) complete(id);
  }
  void on_writable(StreamId) override { writable++; }
  void on_stream_closed(StreamId id, Error error) override {
    seen[id].closed = true;
    seen[id].error = error;
  }

  std::map<StreamId, Seen> seen;
  std::size_t take = static_cast<std::size_t>(-1);
  int continues = 0, writable = 0;
  std::function<void(StreamId)> complete;
};

template <typename Connection>
std::string drain(Connection& connection) {
  std::string s;
  for (ByteSpan out = connection.pending_output(); !out.empty();
       out = connection.pending_output()) {
    s.append(as_text(out));
    connection.consume_output(out.size());
  }
  return s;
}

inline constexpr Time kStart{Micros{1'000'000}};

}  // namespace sluice::http::test
