// A blocking HTTP/1.1 client for the control socket: sluicectl and tests.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::control {

struct ClientResponse {
  unsigned status = 0;
  std::map<std::string, std::string> headers;  // lower-case names
  std::string body;
};

// One request over a new connection. `timeout_s` bounds each read and write.
std::expected<ClientResponse, std::string> request(
    const std::string& socket, std::string_view method, std::string_view target,
    std::string_view body = {},
    const std::vector<std::pair<std::string, std::string>>& headers = {}, unsigned timeout_s = 30);

struct Streaming {
  std::string_view method = "GET";
  std::string_view target;
  std::string_view body{};
  unsigned timeout_s = 0;                // bounds each read and write; 0: none
  std::function<void(int fd)> opened{};  // told the connection's descriptor
};
// Hands a response's body to `take` as it comes, chunk by chunk, until it ends or `take` returns
// false. That of a refusal is in the answer instead.
std::expected<ClientResponse, std::string> stream(
    const std::string& socket, const Streaming& wanted,
    const std::function<bool(std::string_view)>& take);

}  // namespace sluice::control
