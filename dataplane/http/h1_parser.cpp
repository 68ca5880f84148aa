#include "h1_parser.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "grammar.h"

namespace sluice::http {

namespace {

constexpr std::size_t kMaxChunkLine = 256;  // size and extensions
// Of one message: how much more its chunk extensions may weigh than its chunks.
constexpr std::uint64_t kMaxExtensionExcess = std::uint64_t{16} * 1024;
constexpr int kMaxEmptyLines = 1;  // before a request: RFC 9112 section 2.2
constexpr std::size_t kKeptBuffer = std::size_t{32} * 1024;
constexpr std::size_t kDropAt = std::size_t{16} * 1024;

// RFC 9112 section 6.1: chunked once and last is framing; we apply no other coding.
std::uint16_t transfer_coding_status(std::string_view value) {
  std::string_view last;
  std::size_t chunked = 0;
  for_each_element(value, [&](std::string_view e) {
    last = e;
    chunked += equal_ci(e, "chunked") ? 1 : 0;
  });
  return chunked == 1 && equal_ci(last, "chunked") ? 501 : 400;
}

// A field the agent may not have a hop remove: naming it in Connection is an attack.
bool protected_from_connection(std::string_view name) {
  return name == "txn-token" || name == "authorization" || name == "proxy-authorization";
}

void take_connection(std::string_view value, H1Control& out, std::vector<std::string>& listed) {
  for_each_element(value, [&](std::string_view e) {
    if (equal_ci(e, "close")) {
      out.close = true;
    } else if (equal_ci(e, "keep-alive")) {
      out.keep_alive = true;
    } else {
      listed.push_back(lowered(e));
    }
  });
}

}  // namespace

Error take_control(FieldBlock& fields, Role role, H1Control& out, std::uint16_t& status) {
  status = 400;
  std::vector<std::string> listed;
  bool bad = false;
  std::uint16_t bad_status = 400;
  fields.remove_if([&](const Field& f) {
    if (f.name == "content-length") {
      // RFC 9112 section 6.3: repeated, even if equal, is a smuggling shape.
      const auto n = parse_length(f.value);
      if (!n || out.content_length) bad = true;
      out.content_length = n;
      return true;
    }
    if (f.name == "transfer-encoding") {
      if (out.chunked) {
        bad = true;
      } else if (!equal_ci(f.value, "chunked")) {
        bad = true;
        bad_status = transfer_coding_status(f.value);
      }
      out.chunked = true;
      return true;
    }
    if (f.name == "connection") take_connection(f.value, out, listed);
    if (role == Role::server && f.name == "host") {
      out.host = lowered(f.value);
      out.hosts++;
      return true;
    }
    if (role == Role::server && f.name == "expect") {
      if (equal_ci(f.value, "100-continue")) {
        out.expect_continue = true;
      } else {
        bad = true;
        bad_status = 417;
      }
      return true;
    }
    return is_hop_by_hop(f.name);
  });
  if (out.chunked && out.content_length) {
    bad = true;
    bad_status = 400;
  }
  if (bad) {
    status = bad_status;
    return Error::protocol;
  }
  if (!listed.empty()) {
    fields.remove_if([&](const Field& f) {
      return !protected_from_connection(f.name) &&
             std::ranges::find(listed, f.name) != listed.end();
    });
  }
  return Error::none;
}

void H1Reader::append(ByteSpan bytes) {
  if (borrowed_) retain();
  if (buffered() == 0) {
    buffer_.clear();
    input_ = as_text(bytes);
    borrowed_ = true;
    at_ = scanned_ = 0;
    return;
  }
  buffer_.append(as_text(bytes));
  input_ = buffer_;
}

void H1Reader::retain() {
  if (borrowed_) {
    buffer_.assign(input_.substr(at_));
    borrowed_ = false;
  } else if (buffered() == 0) {
    buffer_.clear();
  } else if (at_ > kDropAt) {
    buffer_.erase(0, at_);
  } else {
    input_ = buffer_;
    return;
  }
  if (buffer_.empty() && buffer_.capacity() > kKeptBuffer) buffer_.shrink_to_fit();
  scanned_ = scanned_ > at_ ? scanned_ - at_ : 0;
  at_ = 0;
  input_ = buffer_;
}

H1Reader::Step H1Reader::fail(Error error, std::uint16_t status) {
  error_ = error;
  status_ = status;
  return Step::error;
}

H1Reader::Line H1Reader::next_line(std::size_t limit, std::string_view& text) {
  const std::size_t lf = input_.find('\n', std::max(at_, scanned_));
  // The line with its CR must fit, whether its end is here yet or not.
  const std::size_t length = (lf == std::string_view::npos ? input_.size() : lf) - at_;
  if (length > limit + 1) return Line::too_long;
  if (lf == std::string_view::npos) {
    scanned_ = input_.size();
    return Line::incomplete;
  }
  text = input_.substr(at_, length);
  // A CR elsewhere in it is no part of anything: each use of the text refuses it.
  if (text.empty() || text.back() != '\r') return Line::bare_lf;
  text.remove_suffix(1);
  at_ = scanned_ = lf + 1;
  return Line::complete;
}

bool H1Reader::add_field(FieldBlock& block, std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  // Trims the value. Folding or a space before the colon makes the name no token.
  return block.add(text.substr(0, colon), trim(text.substr(colon + 1)), limits_.fields);
}

H1Reader::Step H1Reader::read_start_line() {
  for (;;) {
    std::string_view text;
    switch (next_line(limits_.max_request_line, text)) {
      case Line::incomplete:
        return Step::need_more;
      case Line::too_long:
        return fail(Error::too_large, 414);
      case Line::bare_lf:
        return fail(Error::protocol, 400);
      case Line::complete:
        break;
    }
    if (text.empty()) {
      if (role_ == Role::client || ++empty_lines_ > kMaxEmptyLines) {
        return fail(Error::protocol, 400);
      }
      continue;
    }
    head_.start_line = text;
    start_seen_ = true;
    empty_lines_ = 0;
    section_bytes_ = 0;
    return Step::head;
  }
}

// Field lines up to the empty one: Step::head once that has come.
H1Reader::Step H1Reader::read_fields(FieldBlock& fields) {
  for (;;) {
    std::string_view text;
    switch (next_line(limits_.fields.max_bytes, text)) {
      case Line::incomplete:
        return Step::need_more;
      case Line::too_long:
        return fail(Error::too_large, 431);
      case Line::bare_lf:
        return fail(Error::protocol, 400);
      case Line::complete:
        break;
    }
    if (text.empty()) return Step::head;
    section_bytes_ += text.size() + 32;
    const bool full =
        section_bytes_ > limits_.fields.max_bytes || fields.size() >= limits_.fields.max_fields;
    if (full) return fail(Error::too_large, 431);
    if (!add_field(fields, text)) return fail(Error::protocol, 400);
  }
}

H1Reader::Step H1Reader::read_head() {
  if (!start_seen_) {
    const Step step = read_start_line();
    if (step != Step::head) return step;
  }
  const Step step = read_fields(head_.fields);
  if (step != Step::head) return step;
  start_seen_ = false;
  state_ = State::finished;
  return Step::head;
}

void H1Reader::begin_body(Framing framing, std::uint64_t length) {
  trailers_.clear();
  left_ = length;
  extension_excess_ = 0;
  switch (framing) {
    case Framing::none:
      left_ = 0;
      state_ = State::finished;
      break;
    case Framing::length:
      state_ = length == 0 ? State::finished : State::length;
      break;
    case Framing::chunked:
      left_ = 0;
      state_ = State::chunk_size;
      break;
    case Framing::until_close:
      state_ = State::until_close;
      break;
  }
}

// RFC 9112 section 7.1.
H1Reader::Step H1Reader::read_chunk_size() {
  std::string_view text;
  const Line line = next_line(kMaxChunkLine, text);
  if (line == Line::incomplete) return Step::need_more;
  if (line != Line::complete) return fail(Error::protocol, 400);
  std::uint64_t size = 0;
  std::size_t digits = 0;
  for (; digits < text.size(); ++digits) {
    const char c = lower(text[digits]);
    const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (d < 0) break;
    if (digits >= 15) return fail(Error::protocol, 400);
    size = size * 16 + static_cast<std::uint64_t>(d);
  }
  const std::string_view rest = text.substr(digits);
  if (digits == 0 || (!rest.empty() && rest.front() != ';') || !is_field_value(rest)) {
    return fail(Error::protocol, 400);
  }
  // Small chunks with long extensions are work without a message.
  extension_excess_ += rest.size();
  extension_excess_ -= std::min(extension_excess_, size);
  if (extension_excess_ > kMaxExtensionExcess) return fail(Error::protocol, 400);
  left_ = size;
  state_ = size == 0 ? State::trailers : State::chunk_data;
  section_bytes_ = 0;
  return step();
}

H1Reader::Step H1Reader::read_trailers() {
  const Step read = read_fields(trailers_);
  if (read != Step::head) return read;
  state_ = State::finished;
  trailers_.remove_if([](const Field& f) { return forbidden_in_trailers(f.name); });
  return step();
}

H1Reader::Step H1Reader::step() {
  switch (state_) {
    case State::head:
      return read_head();
    case State::length:
    case State::chunk_data:
      piece_ = static_cast<std::size_t>(std::min<std::uint64_t>(left_, buffered()));
      return piece_ == 0 ? Step::need_more : Step::body;
    case State::chunk_size:
      return read_chunk_size();
    case State::chunk_end:
      if (buffered() > 0 && input_[at_] != '\r') return fail(Error::protocol, 400);
      if (buffered() < 2) return Step::need_more;
      if (input_[at_ + 1] != '\n') return fail(Error::protocol, 400);
      at_ += 2;
      state_ = State::chunk_size;
      return step();
    case State::trailers:
      return read_trailers();
    case State::until_close:
      piece_ = buffered();
      return piece_ == 0 ? Step::need_more : Step::body;
    case State::finished:
      state_ = State::head;
      head_.fields.clear();
      head_.start_line.clear();
      return Step::end;
  }
  return Step::need_more;
}

void H1Reader::consume_body(std::size_t n) {
  at_ += n;
  scanned_ = std::max(scanned_, at_);
  piece_ = 0;
  if (state_ == State::until_close) return;
  left_ -= n;
  if (left_ == 0) state_ = state_ == State::length ? State::finished : State::chunk_end;
}

bool H1Reader::end_of_input() {
  if (state_ != State::until_close || buffered() > 0) return false;
  state_ = State::finished;
  return true;
}

}  // namespace sluice::http
