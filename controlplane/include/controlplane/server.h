// HTTP/1.1 for the REST API on a unix socket and for metrics on TCP (Boost Beast, coroutines).
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>

#include "controlplane/control.h"

namespace boost::asio {
class io_context;
}

namespace sluice::control {

struct ServerOptions {
  std::filesystem::path socket;
  std::string metrics_listen;  // "127.0.0.1:9464"; empty: off
  std::size_t max_connections = 128;
  std::chrono::milliseconds request_timeout{10000};  // from the first byte to the last
  std::chrono::milliseconds idle_timeout{60000};
  std::chrono::milliseconds write_timeout{30000};
  std::chrono::milliseconds apply_timeout{5000};  // for every worker to take a generation
  std::chrono::milliseconds later_timeout{5000};  // for workers to answer a question
  std::chrono::milliseconds names_timeout{2000};  // of it, for new names to be resolved
};

class Server {
 public:
  // Binds and listens. A socket left by a dead process is replaced; one that answers is refused.
  static std::expected<std::unique_ptr<Server>, std::string> start(boost::asio::io_context& io,
                                                                   Control& control,
                                                                   ServerOptions options);
  // Closes everything and removes the socket file. Needs no running io_context.
  ~Server();
  std::uint16_t metrics_port() const;  // as bound
  std::size_t connections() const;

 private:
  struct Impl;
  explicit Server(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

// The timers of a Control: events, grace periods, once-a-second work. Until stopped.
class Ticker {
 public:
  Ticker(boost::asio::io_context& io, Control& control);
  ~Ticker();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::control
