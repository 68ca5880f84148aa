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

// Streams a response's body as it comes until it ends or `take` returns false.
std::expected<unsigned, std::string> stream(const std::string& socket, std::string_view target,
                                            const std::function<bool(std::string_view)>& take,
                                            unsigned timeout_s = 0);

}  // namespace sluice::control
