#include <sys/random.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "crypto/jose.h"

namespace sluice::crypto {

std::array<std::uint8_t, 32> sha256(ByteSpan bytes) {
  std::array<std::uint8_t, 32> digest{};
  wc_Sha256 sha;
  if (wc_InitSha256(&sha) != 0 ||
      wc_Sha256Update(&sha, bytes.data(), static_cast<word32>(bytes.size())) != 0 ||
      wc_Sha256Final(&sha, digest.data()) != 0) {
    std::abort();
  }
  wc_Sha256Free(&sha);
  return digest;
}

namespace {

// One system call for many small requests. What was handed out is wiped from here.
struct RandomPool {
  std::uint8_t bytes[4096];
  std::size_t left = 0;
};
thread_local RandomPool t_pool;

void from_kernel(MutByteSpan out) {
  while (!out.empty()) {
    const ssize_t n = ::getrandom(out.data(), out.size(), 0);
    if (n > 0) {
      out = out.subspan(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      std::abort();
    }
  }
}

}  // namespace

void random_bytes(MutByteSpan out) {
  if (out.size() > sizeof(t_pool.bytes) / 4) {
    from_kernel(out);
    return;
  }
  if (out.size() > t_pool.left) {
    from_kernel(t_pool.bytes);
    t_pool.left = sizeof(t_pool.bytes);
  }
  std::uint8_t* from = t_pool.bytes + sizeof(t_pool.bytes) - t_pool.left;
  std::memcpy(out.data(), from, out.size());
  explicit_bzero(from, out.size());
  t_pool.left -= out.size();
}

}  // namespace sluice::crypto
