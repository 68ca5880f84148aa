#include "pieces.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace sluice::control {
namespace asio = boost::asio;
using std::chrono::milliseconds;
namespace {

constexpr milliseconds kShortest{1}, kLongest{10};  // between two questions for a piece

bool has_enough(Stream& stream) {
  char next = 0;
  const ssize_t n = ::recv(stream.socket().native_handle(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

}  // namespace

asio::awaitable<void> pause(milliseconds time) {
  asio::steady_timer timer(co_await asio::this_coro::executor, time);
  co_await timer.async_wait(kTuple);
}

std::string chunk(std::string_view text) {
  return fmt::format("{:x}\r\n{}\r\n", text.size(), text);
}

asio::awaitable<void> send_pieces(Stream& stream, const RestResponse& answer, const bool& stopping,
                                  milliseconds write_timeout) {
  std::string out =
      "HTTP/1.1 200 OK\r\nServer: sluice\r\nContent-Type: " + answer.content_type +
      "\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
  milliseconds interval = kShortest;
  bool more = true;
  while (more && !stopping) {
    const auto piece = answer.pieces(has_enough(stream));
    more = piece.has_value();
    if (more && piece->empty()) {
      co_await pause(interval);
      interval = std::min(interval * 2, kLongest);
      continue;
    }
    out += more ? chunk(*piece) : std::string("0\r\n\r\n");
    stream.expires_after(write_timeout);
    auto [error, n] = co_await asio::async_write(stream, asio::buffer(out), kTuple);
    if (error) co_return;
    out.clear();
    interval = kShortest;
  }
}

}  // namespace sluice::control
