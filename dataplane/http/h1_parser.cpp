#include "h1_parser.h"

#include <algorithm>

#include "grammar.h"

namespace sluice::http {

namespace {

constexpr std::size_t kMaxChunkLine = 256;  // size and extensions
constexpr int kMaxEmptyLines = 1;           // RFC 9112 section 2.2

}  // namespace

Error take_control(FieldBlock& fields, H1Control& out, std::uint16_t& status) {
  status = 400;
  std::vector<std::string> listed;
  bool bad = false;
  bool has_te = false;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const Field f = fields.at(i);
    if (f.name == "content-length") {
      // RFC 9112 section 6.3: repeated, even if equal, is a smuggling shape.
      const auto n = parse_length(f.value);
      if (!n || out.content_length) bad = true;
      out.content_length = n;
    } else if (f.name == "transfer-encoding") {
      if (has_te || !equal_ci(f.value, "chunked")) {
        status = has_te ? 400 : 501;
        bad = true;
      }
      has_te = out.chunked = true;
    } else if (f.name == "host") {
      out.host = f.value;
      out.hosts++;
    } else if (f.name == "connection") {
      for_each_element(f.value, [&](std::string_view e) {
        if (equal_ci(e, "close")) out.close = true;
        if (equal_ci(e, "keep-alive")) out.keep_alive = true;
        std::string name;
        for (const char c : e) name.push_back(lower(c));
        listed.push_back(std::move(name));
      });
    } else if (f.name == "expect") {
      if (equal_ci(f.value, "100-continue")) {
        out.expect_continue = true;
      } else {
        status = 417;
        bad = true;
      }
    }
  }
  if (bad || (has_te && out.content_length)) return Error::protocol;
  for (const auto* name : {"content-length", "host", "expect", "connection", "keep-alive",
                           "proxy-connection", "te", "transfer-encoding", "upgrade", "trailer"}) {
    fields.remove(name);
  }
  // A field named in Connection is this hop's, but naming an end-to-end control is an attack.
  for (const auto& name : listed) {
    if (name != "txn-token" && name != "authorization") fields.remove(name);
  }
  return Error::none;
}

H1Reader::Step H1Reader::fail(Error error, std::uint16_t status) {
  error_ = error;
  status_ = status;
  return Step::error;
}

std::optional<std::string_view> H1Reader::line(std::size_t limit, bool& bad) {
  bad = false;
  const std::size_t lf = buffer_.find('\n', std::max(at_, scanned_));
  if (lf == std::string::npos) {
    scanned_ = buffer_.size();
    bad = buffered() > limit;
    return std::nullopt;
  }
  // A bare LF, or a CR anywhere else, is refused.
  const std::string_view text(buffer_.data() + at_, lf - at_);
  if (text.size() > limit || text.empty() || text.back() != '\r' ||
      text.find('\r') != text.size() - 1) {
    bad = true;
    return std::nullopt;
  }
  at_ = scanned_ = lf + 1;
  return text.substr(0, text.size() - 1);
}

bool H1Reader::add_field(FieldBlock& block, std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.front() == ' ' || text.front() == '\t') return false;
  // Trims the value; a space before the colon makes the name no token.
  return block.add(text.substr(0, colon), trim(text.substr(colon + 1)), limits_.fields);
}

H1Reader::Step H1Reader::read_head() {
  bool bad = false;
  while (const auto text = line(limits_.max_request_line + limits_.fields.max_bytes, bad)) {
    if (!start_seen_) {
      if (text->empty()) {
        if (++section_bytes_ > kMaxEmptyLines) return fail(Error::protocol, 400);
        continue;
      }
      if (text->size() > limits_.max_request_line) return fail(Error::too_large, 414);
      head_.start_line = *text;
      start_seen_ = true;
      section_bytes_ = 0;
      continue;
    }
    if (text->empty()) {
      start_seen_ = false;
      section_bytes_ = 0;
      state_ = State::finished;
      compact();
      return Step::head;
    }
    section_bytes_ += text->size() + 32;
    const bool full = section_bytes_ > limits_.fields.max_bytes ||
                      head_.fields.size() >= limits_.fields.max_fields;
    if (full) return fail(Error::too_large, 431);
    if (!add_field(head_.fields, *text)) return fail(Error::protocol, 400);
  }
  if (bad) {
    const bool large =
        buffered() > (start_seen_ ? limits_.fields.max_bytes : limits_.max_request_line);
    if (large) return fail(Error::too_large, start_seen_ ? 431 : 414);
    return fail(Error::protocol, 400);
  }
  if (buffered() > (start_seen_ ? limits_.fields.max_bytes : limits_.max_request_line)) {
    return fail(Error::too_large, start_seen_ ? 431 : 414);
  }
  return Step::need_more;
}

void H1Reader::begin_body(Framing framing, std::uint64_t length) {
  trailers_.clear();
  left_ = length;
  switch (framing) {
    case Framing::none:
      state_ = State::finished;
      break;
    case Framing::length:
      state_ = length == 0 ? State::finished : State::length;
      break;
    case Framing::chunked:
      state_ = State::chunk_size;
      break;
    case Framing::until_close:
      state_ = State::until_close;
      break;
  }
}

// RFC 9112 section 7.1.
H1Reader::Step H1Reader::read_chunk_size() {
  bool bad = false;
  const auto text = line(kMaxChunkLine, bad);
  if (!text) return bad ? fail(Error::protocol, 400) : Step::need_more;
  std::uint64_t size = 0;
  std::size_t digits = 0;
  for (; digits < text->size(); ++digits) {
    const char c = lower((*text)[digits]);
    const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (d < 0) break;
    if (digits >= 15) return fail(Error::protocol, 400);
    size = size * 16 + static_cast<std::uint64_t>(d);
  }
  const std::string_view rest = text->substr(digits);
  if (digits == 0 || (!rest.empty() && rest.front() != ';') || !is_field_value(rest)) {
    return fail(Error::protocol, 400);
  }
  left_ = size;
  state_ = size == 0 ? State::trailers : State::chunk_data;
  section_bytes_ = 0;
  return step();
}

H1Reader::Step H1Reader::read_trailers() {
  bool bad = false;
  while (const auto text = line(limits_.fields.max_bytes, bad)) {
    if (text->empty()) {
      state_ = State::finished;
      return step();
    }
    section_bytes_ += text->size() + 32;
    FieldBlock one;
    if (section_bytes_ > limits_.fields.max_bytes) return fail(Error::too_large, 431);
    if (!add_field(one, *text)) return fail(Error::protocol, 400);
    if (!forbidden_in_trailers(one.at(0).name) &&
        !trailers_.add(one.at(0).name, one.at(0).value, limits_.fields)) {
      return fail(Error::too_large, 431);
    }
  }
  return bad ? fail(Error::protocol, 400) : Step::need_more;
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
      if (buffered() < 2) return Step::need_more;
      if (buffer_[at_] != '\r' || buffer_[at_ + 1] != '\n') return fail(Error::protocol, 400);
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
      compact();
      return Step::end;
  }
  return Step::need_more;
}

void H1Reader::consume_body(std::size_t n) {
  at_ += n;
  piece_ = 0;
  if (state_ != State::until_close) {
    left_ -= n;
    if (left_ == 0) state_ = state_ == State::length ? State::finished : State::chunk_end;
  }
  compact();
}

void H1Reader::compact() {
  if (at_ == buffer_.size()) {
    buffer_.clear();
    if (buffer_.capacity() > 32 * 1024) buffer_.shrink_to_fit();
    at_ = scanned_ = 0;
  } else if (at_ > 16 * 1024) {
    buffer_.erase(0, at_);
    scanned_ = scanned_ > at_ ? scanned_ - at_ : 0;
    at_ = 0;
  }
}

bool H1Reader::end_of_input() {
  if (state_ != State::until_close || buffered() > 0) return false;
  state_ = State::finished;
  return true;
}

}  // namespace sluice::http
