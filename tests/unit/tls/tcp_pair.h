// Two TCP stacks joined by a wire in memory, on a virtual clock: one connection between them.
#pragma once

#include <cstddef>
#include <memory>

#include "tcp/stack.h"

namespace sluice::testing {

class TcpPair {
 public:
  struct Options {
    std::size_t receive_buffer = 64 * 1024;
    std::size_t send_buffer = 64 * 1024;
    bool listen = true;
  };

  // `accepted` observes the server's end; on_accept hands it out through server().
  TcpPair(tcp::Observer& client, tcp::Observer& server, const Options& options);
  ~TcpPair();
  TcpPair(const TcpPair&) = delete;
  TcpPair& operator=(const TcpPair&) = delete;

  tcp::Connection* client() const;
  tcp::Connection* server() const;  // null until accepted
  // One turn of both owners' loops.
  void turn();
  Time now() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::testing
