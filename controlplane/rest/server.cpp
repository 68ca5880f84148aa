#include "controlplane/server.h"

#include <fcntl.h>
#include <grp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio.hpp>
#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <set>

#include "controlplane/rest.h"
#include "pieces.h"

namespace sluice::control {
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using std::chrono::milliseconds;
namespace {

using Request = http::request_parser<http::string_body>;
using Response = http::response<http::string_body>;

constexpr std::uint32_t kHeaderLimit = 16 << 10;
// What a client may still send after a refusal before the connection is cut: it would otherwise see
// a reset instead of the answer.
constexpr std::size_t kLinger = 64u << 20;

std::optional<gid_t> group_id(const char* name) {
  group entry{};
  group* found = nullptr;
  std::array<char, 65536> room;
  ::getgrnam_r(name, &entry, room.data(), room.size(), &found);
  return found != nullptr ? std::optional(entry.gr_gid) : std::nullopt;
}

std::string header_of(const Request::value_type& request, http::field field) {
  std::string all;
  for (auto range = request.equal_range(field); range.first != range.second; ++range.first) {
    if (!all.empty()) all += ", ";
    all += std::string_view(range.first->value().data(), range.first->value().size());
  }
  return all;
}

RestResponse simple_problem(unsigned status, const char* code, const char* title,
                            std::string detail) {
  Problem problem;
  problem.status = status;
  problem.code = code;
  problem.title = title;
  problem.detail = std::move(detail);
  problem.errors.push_back({"", problem.detail, ""});
  return to_response(problem);
}

RestResponse problem_of(const beast::error_code& error) {
  if (error == http::error::body_limit) {
    return simple_problem(413, "request_too_large", "Request too large", "a body may have 4 MiB");
  }
  if (error == http::error::header_limit) {
    return simple_problem(431, "request_too_large", "Header section too large",
                          "a header section may have 16 KiB");
  }
  return simple_problem(400, "request_invalid", "Request not valid",
                        "not HTTP/1.1: " + error.message());
}

bool is_protocol_error(const beast::error_code& error) {
  return error.category() == beast::error_code(http::error::bad_method).category() &&
         error != http::error::end_of_stream && error != http::error::partial_message;
}

}  // namespace

struct Server::Impl : std::enable_shared_from_this<Server::Impl> {
  Impl(asio::io_context& context, Control& owner, ServerOptions given)
      : io(context), control(owner), options(std::move(given)) {}

  asio::io_context& io;
  Control& control;
  ServerOptions options;
  std::unique_ptr<asio::local::stream_protocol::acceptor> local;
  std::unique_ptr<asio::ip::tcp::acceptor> tcp;
  std::set<Stream*> streams;
  bool owns_socket = false;
  bool stopping = false;

  std::expected<void, std::string> listen_local();
  std::expected<void, std::string> listen_tcp();
  template <typename Acceptor>
  asio::awaitable<void> accept(Acceptor& acceptor, bool metrics_only);
  asio::awaitable<void> serve(std::shared_ptr<Stream> stream, std::uint32_t uid, bool metrics_only);
  // One request and its answer. False: the connection is done with.
  asio::awaitable<bool> exchange(Stream& stream, beast::flat_buffer& buffer, std::uint32_t uid,
                                 bool metrics_only);
  asio::awaitable<bool> write(Stream& stream, RestResponse answer, unsigned version,
                              bool keep_alive, bool head);
  asio::awaitable<void> refuse(Stream& stream, RestResponse answer);
  asio::awaitable<void> settle(RestResponse& answer);
  asio::awaitable<void> complete(RestResponse& answer);
  asio::awaitable<void> follow(Stream& stream, std::shared_ptr<Subscriber> subscriber);
};

std::expected<void, std::string> Server::Impl::listen_local() {
  const std::string path = options.socket.string();
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return std::unexpected("control socket " + path + ": longer than 107 characters");
  }
  std::error_code error;
  if (const auto folder = options.socket.parent_path(); !folder.empty()) {
    std::filesystem::create_directories(folder, error);
  }
  boost::system::error_code failed;
  struct stat facts{};
  if (::lstat(path.c_str(), &facts) == 0) {
    if (!S_ISSOCK(facts.st_mode)) {
      return std::unexpected("control socket " + path + ": there is something that is no socket");
    }
    asio::local::stream_protocol::socket probe(io);
    probe.connect(asio::local::stream_protocol::endpoint(path), failed);
    if (!failed)
      return std::unexpected("control socket " + path + ": another process answers there");
    ::unlink(path.c_str());
  }
  auto acceptor = std::make_unique<asio::local::stream_protocol::acceptor>(io);
  acceptor->open(asio::local::stream_protocol(), failed);
  // The mode is right from the first instant on.
  const mode_t old_mask = ::umask(0117);
  if (!failed) acceptor->bind(asio::local::stream_protocol::endpoint(path), failed);
  ::umask(old_mask);
  if (failed) return std::unexpected("control socket " + path + ": " + failed.message());
  owns_socket = true;
  ::chmod(path.c_str(), 0660);
  if (const auto members = group_id("sluice")) {
    if (::chown(path.c_str(), static_cast<uid_t>(-1), *members) != 0) {
      spdlog::warn("control socket {}: could not be given to group sluice", path);
    }
  }
  acceptor->listen(128, failed);
  if (failed) return std::unexpected("control socket " + path + ": " + failed.message());
  local = std::move(acceptor);
  return {};
}

std::expected<void, std::string> Server::Impl::listen_tcp() {
  const std::string& text = options.metrics_listen;
  if (text.empty()) return {};
  const auto bad = [&](const std::string& why) {
    return std::unexpected("metrics listener " + text + ": " + why);
  };
  const auto colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  boost::system::error_code failed;
  const auto address = asio::ip::make_address(host, failed);
  const unsigned long port =
      colon == std::string::npos ? 65536 : std::strtoul(text.c_str() + colon + 1, nullptr, 10);
  if (failed || port > 65535) return bad("expected ADDRESS:PORT");
  const asio::ip::tcp::endpoint endpoint(address, static_cast<std::uint16_t>(port));
  auto acceptor = std::make_unique<asio::ip::tcp::acceptor>(io);
  acceptor->open(endpoint.protocol(), failed);
  if (!failed) acceptor->set_option(asio::socket_base::reuse_address(true), failed);
  if (!failed) acceptor->bind(endpoint, failed);
  if (!failed) acceptor->listen(128, failed);
  if (failed) return bad(failed.message());
  tcp = std::move(acceptor);
  return {};
}

template <typename Acceptor>
asio::awaitable<void> Server::Impl::accept(Acceptor& acceptor, bool metrics_only) {
  auto self = shared_from_this();
  while (!stopping) {
    auto [error, socket] = co_await acceptor.async_accept(kTuple);
    if (stopping || error == asio::error::operation_aborted) co_return;
    if (error) {
      // Out of descriptors, most likely: give others time to close.
      co_await pause(milliseconds(50));
      continue;
    }
    std::uint32_t uid = 0xffffffff;
    if (!metrics_only) {
      ucred peer{};
      socklen_t size = sizeof peer;
      if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
        uid = peer.uid;
      }
    }
    auto stream = std::make_shared<Stream>(Protocol::socket(std::move(socket)));
    asio::co_spawn(io, serve(std::move(stream), uid, metrics_only), asio::detached);
  }
}

asio::awaitable<void> Server::Impl::serve(std::shared_ptr<Stream> stream, std::uint32_t uid,
                                          bool metrics_only) {
  auto self = shared_from_this();
  if (streams.size() >= options.max_connections) {
    stream->expires_after(milliseconds(1000));
    auto answer = to_response(unavailable("too many connections to the control socket", 1));
    co_await write(*stream, std::move(answer), 11, false, false);
    co_return;
  }
  streams.insert(stream.get());
  beast::flat_buffer buffer(kMaxRestBody + kHeaderLimit);
  try {
    while (!stopping && co_await exchange(*stream, buffer, uid, metrics_only)) {
    }
  } catch (const std::exception& failure) {
    spdlog::error("rest connection: {}", failure.what());
  }
  streams.erase(stream.get());
  boost::system::error_code ignored;
  stream->socket().shutdown(asio::socket_base::shutdown_both, ignored);
}

asio::awaitable<void> Server::Impl::refuse(Stream& stream, RestResponse answer) {
  co_await write(stream, std::move(answer), 11, false, false);
  boost::system::error_code ignored;
  stream.socket().shutdown(asio::socket_base::shutdown_send, ignored);
  std::array<char, 65536> sink;
  stream.expires_after(milliseconds(2000));
  for (std::size_t taken = 0; taken < kLinger;) {
    auto [error, n] = co_await stream.async_read_some(asio::buffer(sink), kTuple);
    if (error) co_return;
    taken += n;
  }
}

asio::awaitable<bool> Server::Impl::exchange(Stream& stream, beast::flat_buffer& buffer,
                                             std::uint32_t uid, bool metrics_only) {
  Request parser;
  parser.header_limit(kHeaderLimit);
  parser.body_limit(kMaxRestBody);
  if (buffer.size() == 0) {
    stream.expires_after(options.idle_timeout);
    auto room = buffer.prepare(4096);
    auto [error, n] = co_await stream.async_read_some(room, kTuple);
    if (error) co_return false;
    buffer.commit(n);
  }
  stream.expires_after(options.request_timeout);
  auto [header_error, header_bytes] =
      co_await http::async_read_header(stream, buffer, parser, kTuple);
  if (header_error) {
    if (is_protocol_error(header_error)) {
      RestResponse problem = problem_of(header_error);
      co_await refuse(stream, std::move(problem));
    }
    co_return false;
  }
  const bool expects = beast::iequals(parser.get()[http::field::expect], "100-continue");
  if (expects && !parser.is_done()) {
    http::response<http::empty_body> go_on(http::status::continue_, 11);
    auto [error, n] = co_await http::async_write(stream, go_on, kTuple);
    if (error) co_return false;
  }
  if (!parser.is_done()) {
    auto [error, n] = co_await http::async_read(stream, buffer, parser, kTuple);
    if (error) {
      if (is_protocol_error(error)) {
        RestResponse problem = problem_of(error);
        co_await refuse(stream, std::move(problem));
      }
      co_return false;
    }
  }
  auto message = parser.release();
  RestRequest request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.if_match = header_of(message, http::field::if_match);
  request.if_none_match = header_of(message, http::field::if_none_match);
  request.body = std::move(message.body());
  request.uid = uid;
  const bool keep_alive = message.keep_alive();
  RestResponse answer = metrics_only ? handle_metrics(control, request) : handle(control, request);
  if (answer.pieces) {
    co_await send_pieces(stream, answer, stopping, options.write_timeout);
    co_return false;
  }
  if (answer.follow && request.method != "HEAD") {
    co_await follow(stream, answer.follow);
    co_return false;
  }
  if (answer.later) {
    co_await complete(answer);
  } else {
    co_await settle(answer);
  }
  co_return co_await write(stream, std::move(answer), message.version(), keep_alive,
                           request.method == "HEAD");
}

// Applied and durable already; the answer says whether every worker follows.
asio::awaitable<void> Server::Impl::settle(RestResponse& answer) {
  using Names = RestResponse::Names;
  const auto begun = std::chrono::steady_clock::now();
  auto interval = milliseconds(1);
  const auto unresolved = [&] {
    const NameService* names = control.names();
    if (answer.wait_names == Names::no || names == nullptr) return false;
    return answer.wait_names == Names::all ? names->asking() : names->pending();
  };
  const bool asked = unresolved();
  while (true) {
    const auto waited = std::chrono::steady_clock::now() - begun;
    const bool open = unresolved();
    if (!open || waited >= options.names_timeout) {
      // Addresses come as a later generation.
      const std::uint64_t wanted = asked && !open ? control.generation() : answer.wait_generation;
      if (wanted == 0 || control.in_use(wanted)) break;
    }
    if (stopping || waited >= options.apply_timeout) {
      answer.status = 202;
      break;
    }
    co_await pause(interval);
    interval = std::min(interval * 2, milliseconds(10));
  }
  if (answer.wait_names == Names::all && unresolved()) answer.status = 202;
  if (answer.late_body) answer.body = answer.late_body();
}

// Workers are asked; what they answer comes in its time, or not at all.
asio::awaitable<void> Server::Impl::complete(RestResponse& answer) {
  const auto later = std::exchange(answer.later, nullptr);
  const auto begun = std::chrono::steady_clock::now();
  auto interval = milliseconds(1);
  while (!later(answer)) {
    if (stopping || std::chrono::steady_clock::now() - begun >= options.later_timeout) {
      answer = to_response(unavailable("a worker has not answered in time", 1));
      co_return;
    }
    co_await pause(interval);
    interval = std::min(interval * 2, milliseconds(10));
  }
}

asio::awaitable<bool> Server::Impl::write(Stream& stream, RestResponse answer, unsigned version,
                                          bool keep_alive, bool head) {
  Response response(static_cast<http::status>(answer.status), version);
  response.set(http::field::server, "sluice");
  if (answer.status != 304) response.set(http::field::content_type, answer.content_type);
  for (const auto& [name, value] : answer.headers) response.set(name, value);
  response.keep_alive(keep_alive && !stopping);
  const std::size_t size = answer.body.size();
  if (!head && answer.status != 304) response.body() = std::move(answer.body);
  response.prepare_payload();
  if (head) response.content_length(size);
  stream.expires_after(options.write_timeout);
  http::response_serializer<http::string_body> serializer(response);
  if (head) {
    auto [error, n] = co_await http::async_write_header(stream, serializer, kTuple);
    co_return !error && response.keep_alive();
  }
  auto [error, n] = co_await http::async_write(stream, serializer, kTuple);
  co_return !error && response.keep_alive();
}

asio::awaitable<void> Server::Impl::follow(Stream& stream, std::shared_ptr<Subscriber> subscriber) {
  asio::steady_timer wake(io);
  subscriber->wake = [&wake] { wake.cancel(); };
  std::string out =
      "HTTP/1.1 200 OK\r\nServer: sluice\r\nContent-Type: application/jsonl\r\n"
      "Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
  while (!stopping) {
    std::string lines;
    while (!subscriber->lines.empty() && lines.size() < (256u << 10)) {
      lines += subscriber->lines.front() + "\n";
      subscriber->lines.pop_front();
    }
    if (const auto lost = std::exchange(subscriber->lost, 0); lost > 0) {
      lines += "{\"type\":\"lost\",\"count\":" + std::to_string(lost) + "}\n";
    }
    if (!lines.empty()) {
      out += chunk(lines);
    }
    if (!out.empty()) {
      stream.expires_after(options.write_timeout);
      auto [error, n] = co_await asio::async_write(stream, asio::buffer(out), kTuple);
      if (error) break;
      out.clear();
      continue;
    }
    // An empty line now and then finds out that the client has left.
    wake.expires_after(milliseconds(1000));
    auto [woken] = co_await wake.async_wait(kTuple);
    if (!woken) out = "1\r\n\n\r\n";
  }
  subscriber->wake = nullptr;
}

Server::Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::expected<std::unique_ptr<Server>, std::string> Server::start(asio::io_context& io,
                                                                  Control& control,
                                                                  ServerOptions options) {
  auto impl = std::make_shared<Impl>(io, control, std::move(options));
  std::unique_ptr<Server> server(new Server(impl));
  if (auto listening = impl->listen_local(); !listening) return std::unexpected(listening.error());
  if (auto listening = impl->listen_tcp(); !listening) return std::unexpected(listening.error());
  asio::co_spawn(io, impl->accept(*impl->local, false), asio::detached);
  if (impl->tcp) asio::co_spawn(io, impl->accept(*impl->tcp, true), asio::detached);
  return server;
}

Server::~Server() {
  impl_->stopping = true;
  boost::system::error_code ignored;
  if (impl_->local) impl_->local->close(ignored);
  if (impl_->tcp) impl_->tcp->close(ignored);
  for (Stream* stream : impl_->streams) {
    try {
      stream->cancel();
    } catch (const boost::system::system_error&) {
      // Its coroutine goes with the io_context, and the socket with it.
    }
  }
  if (impl_->owns_socket) ::unlink(impl_->options.socket.c_str());
}

std::uint16_t Server::metrics_port() const {
  return impl_->tcp ? impl_->tcp->local_endpoint().port() : std::uint16_t{0};
}
std::size_t Server::connections() const { return impl_->streams.size(); }

struct Ticker::Impl : std::enable_shared_from_this<Ticker::Impl> {
  Impl(asio::io_context& io, Control& owner) : control(owner), fast(io), slow(io) {}
  Control& control;
  asio::steady_timer fast, slow;
  milliseconds interval{2};
  bool stopped = false;

  void run_fast() {
    if (stopped) return;
    // Every 2 ms while something comes, down to every 20 ms when nothing does.
    interval = control.drain_events() ? milliseconds(2) : std::min(interval * 2, milliseconds(20));
    fast.expires_after(interval);
    fast.async_wait([self = shared_from_this()](auto error) {
      if (!error) self->run_fast();
    });
  }
  void run_slow() {
    if (stopped) return;
    control.every_second();
    slow.expires_after(milliseconds(1000));
    slow.async_wait([self = shared_from_this()](auto error) {
      if (!error) self->run_slow();
    });
  }
};

Ticker::Ticker(asio::io_context& io, Control& control)
    : impl_(std::make_shared<Impl>(io, control)) {
  impl_->run_fast();
  impl_->run_slow();
}

Ticker::~Ticker() {
  impl_->stopped = true;
  boost::system::error_code ignored;
  impl_->fast.cancel(ignored);
  impl_->slow.cancel(ignored);
}

}  // namespace sluice::control
