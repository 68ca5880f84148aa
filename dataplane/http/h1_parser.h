// The reading half of HTTP/1.1 (RFC 9112), shared by both roles: sections, framing, bodies.
//
// Strict: every line ends in CRLF, no folding, no space before the colon, one way to frame a body.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "http/connection.h"

namespace sluice::http {

// How a body is delimited: RFC 9112 section 6.3.
enum class Framing : std::uint8_t { none, length, chunked, until_close };

struct H1Head {
  std::string start_line;
  FieldBlock fields;  // as sent, names in lower case
};

// What connection-level fields of one message say.
struct H1Control {
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool close = false;
  bool keep_alive = false;
  bool expect_continue = false;
  std::string host;
  std::size_t hosts = 0;
};

// Takes the control fields out of `fields`. none, or the error with the status it deserves.
Error take_control(FieldBlock& fields, H1Control& out, std::uint16_t& status);

class H1Reader {
 public:
  explicit H1Reader(const ConnectionLimits& limits) : limits_(limits) {}

  enum class Step : std::uint8_t {
    need_more,
    head,   // head() is complete: call begin_body()
    body,   // a piece of body: body()
    end,    // message complete, trailers() filled
    error,  // error(), status()
  };

  void append(ByteSpan bytes) { buffer_.append(as_text(bytes)); }
  std::size_t buffered() const { return buffer_.size() - at_; }
  // One step on. After `body`, consume_body() before the next step.
  Step step();
  void begin_body(Framing framing, std::uint64_t length);
  ByteSpan body() const { return as_bytes(buffer_).subspan(at_, piece_); }
  void consume_body(std::size_t n);
  // The peer's side ended: true if that ends the message in good order.
  bool end_of_input();
  bool in_head() const { return state_ == State::head; }
  bool started() const { return state_ != State::head || buffered() > 0; }
  H1Head& head() { return head_; }
  FieldBlock& trailers() { return trailers_; }
  Error error() const { return error_; }
  std::uint16_t status() const { return status_; }

 private:
  enum class State : std::uint8_t {
    head,
    length,
    chunk_size,
    chunk_data,
    chunk_end,
    trailers,
    until_close,
    finished
  };
  Step fail(Error error, std::uint16_t status);
  // The next CRLF-terminated line from at_, without it. nullopt: not complete.
  std::optional<std::string_view> line(std::size_t limit, bool& bad);
  Step read_head();
  Step read_chunk_size();
  Step read_trailers();
  bool add_field(FieldBlock& block, std::string_view text);
  void compact();

  const ConnectionLimits& limits_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::size_t scanned_ = 0;  // of the section, looked at already
  std::size_t piece_ = 0;
  State state_ = State::head;
  std::uint64_t left_ = 0;
  H1Head head_;
  FieldBlock trailers_;
  std::size_t section_bytes_ = 0;
  bool start_seen_ = false;
  Error error_ = Error::none;
  std::uint16_t status_ = 400;
};

}  // namespace sluice::http
