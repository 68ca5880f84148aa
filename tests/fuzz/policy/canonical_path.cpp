// A path that is accepted has one form, and no server can read it as another one's path.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "policy/decide.h"

using namespace sluice;

namespace {

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  std::abort();
}

std::string decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      out += static_cast<char>(hex(text[i + 1]) << 4 | hex(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::array<char, 512> room;
  const auto path = policy::canonical_path(text, room);
  if (path) {
    std::array<char, 512> room_again;
    const auto again = policy::canonical_path(*path, room_again);
    if (!again || *again != *path) std::abort();
    if (path->front() != '/' || path->find_first_of("?#;\\ ") != std::string_view::npos) {
      std::abort();
    }
    // The agent's own text and the canonical form are the same bytes to a server that decodes.
    const std::string decoded = decode(*path);
    if (decoded != decode(text.substr(0, text.find('?')))) std::abort();
    for (const char* bad : {"//", "/../", "/./", "\\", ";"}) {
      if ((decoded + "/").find(bad) != std::string::npos &&
          !(decoded.ends_with("/") && std::string_view(bad) == "//")) {
        std::abort();
      }
    }
    if (decoded.find('\0') != std::string::npos) std::abort();
  } else if (policy::to_string(path.error()).empty()) {
    std::abort();
  }
  std::array<char, 256> host_room;
  if (const auto host = policy::canonical_host(text, host_room)) {
    std::array<char, 256> again_room;
    if (policy::canonical_host(*host, again_room) != *host) std::abort();
  }
  return 0;
}
