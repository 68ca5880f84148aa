// The reading half of HTTP/1.1 (RFC 9112), shared by both roles: sections, framing, bodies.
//
// Strict: every line ends in CRLF, no folding, no space before the colon, one way to frame a body.
// Bytes are parsed where they lie; what a step could not use is kept by retain().
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "http/connection.h"

namespace sluice::http {

// How a body is delimited: RFC 9112 section 6.3.
enum class Framing : std::uint8_t { none, length, chunked, until_close };

// Whose messages are read: a client reads responses, a server requests.
enum class Role : std::uint8_t { client, server };

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
  std::string host;  // lower case
  std::size_t hosts = 0;
};

// Takes the control fields out of `fields`. none, or the error with the status it deserves.
Error take_control(FieldBlock& fields, Role role, H1Control& out, std::uint16_t& status);

class H1Reader {
 public:
  H1Reader(const ConnectionLimits& limits, Role role) : limits_(limits), role_(role) {}

  enum class Step : std::uint8_t {
    need_more,
    head,   // head() is complete: call begin_body()
    body,   // a piece of body: body()
    end,    // message complete, trailers() filled
    error,  // error(), status()
  };

  // `bytes` must stay valid until retain().
  void append(ByteSpan bytes);
  // Copies what is left of the appended bytes.
  void retain();
  std::size_t buffered() const { return input_.size() - at_; }
  // One step on. After `body`, consume_body() before the next step.
  Step step();
  void begin_body(Framing framing, std::uint64_t length);
  ByteSpan body() const { return as_bytes(input_.substr(at_, piece_)); }
  void consume_body(std::size_t n);
  // The peer's side ended: true if that ends the message in good order.
  bool end_of_input();
  bool started() const { return state_ != State::head || start_seen_ || buffered() > 0; }
  // The body's bytes to come, as far as known: of a length, or of the chunk.
  std::uint64_t body_left() const { return left_; }
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
  enum class Line : std::uint8_t { complete, incomplete, too_long, bare_lf };

  Step fail(Error error, std::uint16_t status);
  // The next line, without its CRLF, of at most `limit` bytes.
  Line next_line(std::size_t limit, std::string_view& text);
  Step read_start_line();
  Step read_head();
  Step read_chunk_size();
  Step read_fields(FieldBlock& fields);
  Step read_trailers();
  bool add_field(FieldBlock& block, std::string_view text);

  const ConnectionLimits& limits_;
  const Role role_;
  std::string buffer_;
  std::string_view input_;  // buffer_, or the bytes just appended
  bool borrowed_ = false;   // input_ is the caller's
  bool start_seen_ = false;
  std::size_t at_ = 0;
  std::size_t scanned_ = 0;  // where to look for the next LF
  std::size_t piece_ = 0;
  State state_ = State::head;
  std::uint64_t left_ = 0;
  H1Head head_;
  FieldBlock trailers_;
  std::size_t section_bytes_ = 0;
  int empty_lines_ = 0;
  std::uint64_t extension_excess_ = 0;
  Error error_ = Error::none;
  std::uint16_t status_ = 400;
};

}  // namespace sluice::http
