#include "capture.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>
#include <string_view>
#include <system_error>
#include <utility>

#include "controlplane/client.h"

namespace sluice::control {
namespace json = boost::json;
namespace {

// The connection to the gateway. Main: writes; signal handler: reads.
std::atomic<int> connection{-1};

// The gateway takes the end of what we send as "enough", and sends the rest of the file.
void enough(int) {
  const int before = errno;
  ::shutdown(connection.load(), SHUT_WR);
  errno = before;
}

json::object request_of(const CaptureArguments& given) {
  json::object body;
  std::string filter;
  for (const auto& word : given.filter) filter += (filter.empty() ? "" : " ") + word;
  if (!filter.empty()) body["filter"] = filter;
  if (!given.ports.empty()) body["ports"] = json::value_from(given.ports);
  for (const auto& [name, value] :
       {std::pair("packets", given.packets), std::pair("bytes", given.bytes),
        std::pair("seconds", given.seconds), std::pair("snap_bytes", given.snap_bytes)}) {
    if (value) body[name] = *value;
  }
  return body;
}

// What passes through, counted by its blocks. A piece is whole blocks.
class Counts {
 public:
  void see(std::string_view piece) {
    while (piece.size() >= 12) {
      const std::uint32_t type = word(piece, 0), length = word(piece, 4);
      if (length < 12 || length > piece.size()) return;
      if (type == 6) ++frames;
      if (type == 5) statistics(piece.substr(0, length));
      piece.remove_prefix(length);
    }
  }
  std::uint64_t frames = 0, lost = 0;
  bool complete = false;  // statistics stand at the end

 private:
  static std::uint32_t word(std::string_view text, std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, text.data() + at, sizeof value);
    return value;
  }
  void statistics(std::string_view block) {
    constexpr std::uint32_t kLost = 7 | 8 << 16;  // isb_osdrop, eight bytes
    complete = true;
    for (std::size_t at = 20; at + 12 <= block.size(); at += 12) {
      if (word(block, at) == kLost) lost += word(block, at + 4);
    }
  }
};

// What the capture is written to; opened when there is something to write.
class File {
 public:
  explicit File(const std::string& name) : name_(name) {}
  ~File() { close(); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool open() {
    // Others' traffic: for its owner's eyes.
    fd_ = name_ == "-" ? STDOUT_FILENO
                       : ::open(name_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd_ >= 0 || failed();
  }
  bool write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::write(fd_, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failed();
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  bool close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 || fd == STDOUT_FILENO || ::close(fd) == 0 || failed();
  }
  const std::string& trouble() const { return trouble_; }  // empty: none

 private:
  bool failed() {
    trouble_ = name_ + ": " + std::generic_category().message(errno);
    return false;
  }
  const std::string name_;
  std::string trouble_;
  int fd_ = -1;
};

[[noreturn]] void fail(const std::string& text, int code) {
  std::cerr << "sluicectl: " << text << "\n";
  throw Exit{code};
}

}  // namespace

void capture(const Options& options, const CaptureArguments& given) {
  File file(given.file);
  Counts counts;
  bool begun = false;
  struct sigaction action{};
  action.sa_handler = enough;
  const auto opened = [&](int descriptor) {
    connection.store(descriptor);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
  };
  const auto done = stream(options.socket,
                           {.method = "POST",
                            .target = "/v1/capture",
                            .body = json::serialize(request_of(given)),
                            .opened = opened},
                           [&](std::string_view piece) {
                             if (!begun) {
                               begun = true;
                               if (!file.open()) return false;
                               std::cerr << "capturing\n";
                             }
                             counts.see(piece);
                             return file.write(piece);
                           });
  if (!file.trouble().empty()) fail(file.trouble(), kWrongUse);
  if (!done) fail(done.error(), kUnreachable);
  if (done->status >= 400) {
    print_refusal(done->status, done->body);
    throw Exit{kRefused};
  }
  if (!file.close()) fail(file.trouble(), kWrongUse);
  if (!counts.complete) fail("the gateway ended before the capture did", kUnreachable);
  std::cerr << counts.frames << " frames, " << counts.lost << " lost for want of room\n";
}

}  // namespace sluice::control
