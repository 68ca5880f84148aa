#include "controlplane/client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

namespace sluice::control {
namespace {

class Connection {
 public:
  ~Connection() {
    if (fd_ >= 0) ::close(fd_);
  }
  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  std::expected<void, std::string> open(const std::string& path, unsigned timeout_s) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return std::unexpected(path + ": path too long");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0 ||
        ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      return std::unexpected(path + ": " + std::generic_category().message(errno));
    }
    const timeval limit{static_cast<time_t>(timeout_s), 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return {};
  }
  // A refusal may come before all is sent; what the server said counts then.
  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  // False at the end.
  std::expected<bool, std::string> receive() {
    char room[65536];
    while (true) {
      const ssize_t n = ::recv(fd_, room, sizeof room, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        return std::unexpected(errno == EAGAIN ? "timed out waiting for an answer"
                                               : std::generic_category().message(errno));
      }
      bytes.append(room, static_cast<std::size_t>(n));
      return n > 0;
    }
  }
  int descriptor() const { return fd_; }
  std::string bytes;

 private:
  int fd_ = -1;
};

std::string compose(std::string_view method, std::string_view target, std::string_view body,
                    const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string out;
  out.append(method).append(" ").append(target);
  out += " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  for (const auto& [name, value] : headers) {
    out.append(name).append(": ").append(value).append("\r\n");
  }
  if (!body.empty() || method == "POST" || method == "PUT") {
    out +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  out += "\r\n";
  out.append(body);
  return out;
}

// Takes the header section off the front of the connection's bytes.
std::expected<ClientResponse, std::string> read_head(Connection& connection) {
  std::size_t end = 0;
  while (true) {
    end = connection.bytes.find("\r\n\r\n");
    if (end != std::string::npos) {
      // 100 Continue precedes the real answer.
      if (!connection.bytes.starts_with("HTTP/1.1 100")) break;
      connection.bytes.erase(0, end + 4);
      continue;
    }
    auto more = connection.receive();
    if (!more) return std::unexpected(more.error());
    if (!*more) return std::unexpected("the gateway closed the connection without an answer");
  }
  ClientResponse response;
  std::string_view head(connection.bytes.data(), end);
  if (!head.starts_with("HTTP/1.1 ") || head.size() < 12) return std::unexpected("no HTTP answer");
  std::from_chars(head.data() + 9, head.data() + 12, response.status);
  for (auto line_end = head.find("\r\n"); line_end != head.npos;) {
    head.remove_prefix(line_end + 2);
    line_end = head.find("\r\n");
    const std::string_view line = head.substr(0, line_end);
    const auto colon = line.find(':');
    if (colon == line.npos) continue;
    std::string name(line.substr(0, colon));
    std::ranges::transform(name, name.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    response.headers[name] = std::string(value);
  }
  connection.bytes.erase(0, end + 4);
  return response;
}

// A body whose length is stated.
std::expected<void, std::string> read_body(Connection& connection, ClientResponse& response) {
  const auto length = response.headers.find("content-length");
  std::size_t wanted = 0;
  if (length != response.headers.end()) {
    std::from_chars(length->second.data(), length->second.data() + length->second.size(), wanted);
  }
  while (connection.bytes.size() < wanted) {
    auto more = connection.receive();
    if (!more) return std::unexpected(more.error());
    if (!*more) return std::unexpected("the answer ended early");
  }
  response.body = connection.bytes.substr(0, wanted);
  return {};
}

// Chunks that are here whole; true when the body has ended or `take` wants no more.
bool take_chunks(std::string& bytes, const std::function<bool(std::string_view)>& take) {
  while (true) {
    const auto line = bytes.find("\r\n");
    if (line == std::string::npos) return false;
    std::size_t size = 0;
    std::from_chars(bytes.data(), bytes.data() + line, size, 16);
    if (bytes.size() < line + 2 + size + 2) return false;
    if (size == 0 || !take(std::string_view(bytes).substr(line + 2, size))) return true;
    bytes.erase(0, line + 2 + size + 2);
  }
}

}  // namespace

std::expected<ClientResponse, std::string> request(
    const std::string& socket, std::string_view method, std::string_view target,
    std::string_view body, const std::vector<std::pair<std::string, std::string>>& headers,
    unsigned timeout_s) {
  Connection connection;
  if (auto opened = connection.open(socket, timeout_s); !opened) {
    return std::unexpected(opened.error());
  }
  connection.send(compose(method, target, body, headers));
  auto response = read_head(connection);
  if (!response) return response;
  if (method == "HEAD" || response->status == 304 || response->status == 204) return response;
  if (auto read = read_body(connection, *response); !read) return std::unexpected(read.error());
  return response;
}

std::expected<ClientResponse, std::string> stream(
    const std::string& socket, const Streaming& wanted,
    const std::function<bool(std::string_view)>& take) {
  Connection connection;
  if (auto opened = connection.open(socket, wanted.timeout_s); !opened) {
    return std::unexpected(opened.error());
  }
  if (wanted.opened) wanted.opened(connection.descriptor());
  connection.send(compose(wanted.method, wanted.target, wanted.body, {}));
  auto response = read_head(connection);
  if (!response) return response;
  if (response->status >= 400) {
    if (auto read = read_body(connection, *response); !read) return std::unexpected(read.error());
    return response;
  }
  const bool chunked = response->headers["transfer-encoding"] == "chunked";
  while (true) {
    std::string& bytes = connection.bytes;
    if (chunked && take_chunks(bytes, take)) return response;
    if (!chunked && !bytes.empty()) {
      if (!take(bytes)) return response;
      bytes.clear();
    }
    auto more = connection.receive();
    if (!more) return std::unexpected(more.error());
    if (!*more) return response;
  }
}

}  // namespace sluice::control
