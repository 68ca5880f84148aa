// Joins two interfaces by a bad network: wire INTERFACE0 INTERFACE1
//
// Frames that arrive at one leave from the other as tests/impair decides: the code of the
// simulator, on the real clock. Commands come on standard input, one a line, each answered by a
// line:
//
//   set SEED [PROFILE0] | [PROFILE1]   impair what comes from interface 0 and 1 from now on
//                                      (tests/impair/profile.h); counters begin at zero. What is
//                                      under way goes on at once. Answer: ok
//   stats                              counters of both directions as a JSON array
//
// A command it does not understand is answered by "error: …". It ends with its standard input.
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "impair/line.h"
#include "packet_socket.h"

namespace sluice::wire {
namespace {

constexpr std::size_t kLinkHeader = 14;
constexpr std::size_t kLargestFrame = 65536 + kLinkHeader;
constexpr int kBurst = 64;  // frames of one side before the other has its turn
constexpr std::size_t kLongestCommand = 4096;

Time clock_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Time{Micros{Seconds{t.tv_sec}} + Micros{t.tv_nsec / 1000}};
}

std::string json(const impair::LineStats& s, std::uint64_t refused) {
  std::string text = "{";
  const auto add = [&](const char* name, std::uint64_t value) {
    text += (text.size() > 1 ? ", \"" : "\"") + std::string(name) + "\": " + std::to_string(value);
  };
  add("offered", s.offered);
  add("delivered", s.delivered);
  add("dropped", s.dropped());
  add("blackout", s.blackout);
  add("rule", s.rule);
  add("loss", s.loss);
  add("burst", s.burst);
  add("too_big", s.too_big);
  add("queue_full", s.queue_full);
  add("duplicated", s.duplicated);
  add("corrupted", s.corrupted);
  add("reordered", s.reordered);
  add("fragmented", s.fragmented);
  add("lost_payload", s.lost_payload);
  add("refused", refused);
  return text + "}";
}

class Wire {
 public:
  Wire(PacketSocket side0, PacketSocket side1)
      : sides_{std::move(side0), std::move(side1)}, room_(kLargestFrame) {
    link_.emplace(impair::Profile{}, impair::Profile{}, 0, clock_now(), kLinkHeader);
  }

  // Relays until standard input ends; the exit code.
  int run() {
    for (;;) {
      std::array<pollfd, 3> wait{{{STDIN_FILENO, POLLIN, 0},
                                  {sides_[0].descriptor(), POLLIN, 0},
                                  {sides_[1].descriptor(), POLLIN, 0}}};
      const Time next = link_->next();
      timespec timeout{};
      if (next != kNever) {
        const Micros left = std::max(Micros{0}, next - clock_now());
        timeout.tv_sec = static_cast<time_t>(left.count() / 1'000'000);
        timeout.tv_nsec = static_cast<long>(left.count() % 1'000'000 * 1000);
      }
      if (ppoll(wait.data(), wait.size(), next == kNever ? nullptr : &timeout, nullptr) < 0 &&
          errno != EINTR) {
        std::perror("ppoll");
        return 1;
      }
      if (wait[0].revents != 0 && !take_commands()) return 0;
      for (unsigned side : {0u, 1u}) take_frames(side);
      for (unsigned side : {0u, 1u}) pass_frames(side);
    }
  }

 private:
  void take_frames(unsigned side) {
    for (int i = 0; i < kBurst; ++i) {
      const ByteSpan frame = sides_[side].receive(room_);
      if (frame.empty()) return;
      link_->push(side, frame, clock_now());
    }
  }

  void pass_frames(unsigned side) {
    while (const auto frame = link_->pop(side, clock_now())) {
      if (!sides_[side].send(*frame)) ++refused_[1 - side];
    }
  }

  // False at the end of the input.
  bool take_commands() {
    std::array<char, 4096> piece;
    const ssize_t n = read(STDIN_FILENO, piece.data(), piece.size());
    if (n <= 0) return n < 0 && errno == EINTR;
    commands_.append(piece.data(), static_cast<std::size_t>(n));
    for (std::size_t end; (end = commands_.find('\n')) != std::string::npos;) {
      const std::string answer = obey(std::string_view(commands_).substr(0, end));
      std::printf("%s\n", answer.c_str());
      commands_.erase(0, end + 1);
    }
    std::fflush(stdout);
    return commands_.size() < kLongestCommand;
  }

  std::string obey(std::string_view command) {
    if (command == "stats") {
      return "[" + json(link_->line(0).stats(), refused_[0]) + ", " +
             json(link_->line(1).stats(), refused_[1]) + "]";
    }
    if (!command.starts_with("set ")) return "error: expected \"set\" or \"stats\"";
    command.remove_prefix(4);
    std::uint64_t seed = 0;
    const auto [rest, error] =
        std::from_chars(command.data(), command.data() + command.size(), seed);
    if (error != std::errc{}) return "error: expected a seed";
    command.remove_prefix(static_cast<std::size_t>(rest - command.data()));
    const std::size_t bar = command.find('|');
    if (bar == std::string_view::npos) return "error: expected | between two profiles";
    const auto from0 = impair::Profile::parse(command.substr(0, bar));
    const auto from1 = impair::Profile::parse(command.substr(bar + 1));
    for (const auto* profile : {&from0, &from1}) {
      if (!*profile) return "error: " + profile->error();
    }
    // Past every delay a line can hold: what is under way arrives now.
    for (unsigned side : {0u, 1u}) {
      while (const auto frame = link_->pop(side, kNever)) sides_[side].send(*frame);
    }
    link_.emplace(*from0, *from1, seed, clock_now(), kLinkHeader);
    refused_ = {};
    return "ok";
  }

  std::array<PacketSocket, 2> sides_;
  std::vector<std::uint8_t> room_;
  std::optional<impair::Link> link_;
  std::array<std::uint64_t, 2> refused_{};  // frames from each side that the other did not take
  std::string commands_;
};

int main(const std::string& interface0, const std::string& interface1) {
  auto side0 = PacketSocket::open(interface0);
  auto side1 = PacketSocket::open(interface1);
  for (const auto* side : {&side0, &side1}) {
    if (*side) continue;
    std::fprintf(stderr, "wire: %s\n", side->error().c_str());
    return 1;
  }
  std::printf("ready\n");
  std::fflush(stdout);
  return Wire(std::move(*side0), std::move(*side1)).run();
}

}  // namespace
}  // namespace sluice::wire

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: wire INTERFACE0 INTERFACE1\n");
    return 2;
  }
  return sluice::wire::main(argv[1], argv[2]);
}
