// Bodies that are sent as they come into being. Private to rest/.
#pragma once

#include <boost/asio.hpp>
#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/beast/core.hpp>
#include <chrono>
#include <string>
#include <string_view>

#include "controlplane/rest.h"

namespace sluice::control {

inline constexpr auto kTuple = boost::asio::experimental::as_tuple(boost::asio::use_awaitable);
using Protocol = boost::asio::generic::stream_protocol;
using Stream = boost::beast::basic_stream<Protocol, boost::asio::any_io_executor>;

boost::asio::awaitable<void> pause(std::chrono::milliseconds time);

// A chunk of RFC 9112 section 7.1.
std::string chunk(std::string_view text);

// The whole answer, chunked, of RestResponse::pieces; ends early when `stopping` becomes true or
// the client takes nothing for so long. A client that closes its sending side has seen enough.
boost::asio::awaitable<void> send_pieces(Stream& stream, const RestResponse& answer,
                                         const bool& stopping,
                                         std::chrono::milliseconds write_timeout);

}  // namespace sluice::control
