// Bytes on their way to the stream: appended at the end, taken from the front.
//
// A consumer that never quite catches up must not make it grow: what was taken is dropped once it
// is the larger part.
#pragma once

#include <string>

#include "base/bytes.h"

namespace sluice::http {

class OutBuffer {
 public:
  // Append to it; nothing else.
  std::string& tail() { return bytes_; }
  ByteSpan pending() const { return as_bytes(bytes_).subspan(at_); }
  std::size_t size() const { return bytes_.size() - at_; }
  void consume(std::size_t n) {
    at_ += n;
    if (at_ == bytes_.size()) {
      clear();
    } else if (at_ >= kDropAt && at_ >= bytes_.size() / 2) {
      bytes_.erase(0, at_);
      at_ = 0;
    }
  }
  void clear() {
    bytes_.clear();
    if (bytes_.capacity() > kKept) bytes_.shrink_to_fit();
    at_ = 0;
  }

 private:
  static constexpr std::size_t kDropAt = std::size_t{16} * 1024;
  static constexpr std::size_t kKept = std::size_t{32} * 1024;

  std::string bytes_;
  std::size_t at_ = 0;
};

}  // namespace sluice::http
