#include "device.h"

#define NO_COMPAT_IMB_API_053  // else its macros clash with wolfSSL's names
#include <intel-ipsec-mb.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/cryptocb.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "crypto/contexts.h"
#include "crypto/jose.h"

namespace sluice::crypto {

struct alignas(64) KeySchedule {
  gcm_key_data data;
  std::uint8_t key[32];
  std::uint32_t key_size;
};

namespace {

constexpr int kDeviceId = 0x51;
constexpr std::uint32_t kNonceSize = 12;
constexpr std::uint32_t kTagSize = 16;

// [initialise] writes once, before any session; workers read.
IMB_MGR* g_manager = nullptr;
// [benchmarks, tests] write; workers read.
std::atomic<bool> g_enabled{true};

thread_local KeySchedules* t_schedules = nullptr;

bool equal_in_constant_time(const std::uint8_t* a, const std::uint8_t* b, std::uint32_t n) {
  std::uint8_t difference = 0;
  for (std::uint32_t i = 0; i < n; ++i)
    difference = static_cast<std::uint8_t>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

const KeySchedule* schedule_for(const Aes& aes, bool seal) {
  const auto key_size = static_cast<std::uint32_t>(aes.keylen);
  if (t_schedules == nullptr || (key_size != 16 && key_size != 32)) return nullptr;
  return t_schedules->get(seal, reinterpret_cast<const std::uint8_t*>(aes.devKey), key_size);
}

int seal(const wc_CryptoInfo& info) {
  const auto& op = info.cipher.aesgcm_enc;
  if (op.ivSz != kNonceSize || op.authTagSz != kTagSize) return CRYPTOCB_UNAVAILABLE;
  const KeySchedule* schedule = schedule_for(*op.aes, true);
  if (schedule == nullptr) return CRYPTOCB_UNAVAILABLE;
  gcm_context_data context;
  const auto run = schedule->key_size == 16 ? g_manager->gcm128_enc : g_manager->gcm256_enc;
  run(&schedule->data, &context, op.out, op.in, op.sz, op.iv, op.authIn, op.authInSz, op.authTag,
      kTagSize);
  return 0;
}

int open(const wc_CryptoInfo& info) {
  const auto& op = info.cipher.aesgcm_dec;
  if (op.ivSz != kNonceSize || op.authTagSz != kTagSize) return CRYPTOCB_UNAVAILABLE;
  const KeySchedule* schedule = schedule_for(*op.aes, false);
  if (schedule == nullptr) return CRYPTOCB_UNAVAILABLE;
  gcm_context_data context;
  // The tag is copied first: the output may overlap the record it came in.
  std::uint8_t expected[kTagSize];
  std::memcpy(expected, op.authTag, kTagSize);
  std::uint8_t tag[kTagSize];
  const auto run = schedule->key_size == 16 ? g_manager->gcm128_dec : g_manager->gcm256_dec;
  run(&schedule->data, &context, op.out, op.in, op.sz, op.iv, op.authIn, op.authInSz, tag,
      kTagSize);
  if (!equal_in_constant_time(tag, expected, kTagSize)) {
    if (op.sz > 0) std::memset(op.out, 0, op.sz);
    return AES_GCM_AUTH_E;
  }
  return 0;
}

int on_crypto(int /*device*/, wc_CryptoInfo* info, void* /*context*/) {
  if (info == nullptr) return CRYPTOCB_UNAVAILABLE;
  if (info->algo_type == WC_ALGO_TYPE_SEED) {
    // wolfSSL seeds a generator for each session from a file; this saves open, read and close.
    random_bytes({info->seed.seed, info->seed.sz});
    return 0;
  }
  if (info->algo_type != WC_ALGO_TYPE_CIPHER || info->cipher.type != WC_CIPHER_AES_GCM) {
    return CRYPTOCB_UNAVAILABLE;
  }
  if (g_manager == nullptr || !g_enabled.load(std::memory_order_relaxed)) {
    return CRYPTOCB_UNAVAILABLE;
  }
  return info->cipher.enc != 0 ? seal(*info) : open(*info);
}

}  // namespace

void KeyScheduleDeleter::operator()(KeySchedule* schedule) const {
  explicit_bzero(schedule, sizeof(KeySchedule));
  delete schedule;
}

const KeySchedule* KeySchedules::get(bool seal, const std::uint8_t* key, std::uint32_t key_size) {
  auto& slot = seal ? sealing_ : opening_;
  if (!slot) slot.reset(new KeySchedule{});
  KeySchedule& schedule = *slot;
  if (schedule.key_size == key_size && std::memcmp(schedule.key, key, key_size) == 0) {
    return &schedule;
  }
  const auto expand = key_size == 16 ? g_manager->gcm128_pre : g_manager->gcm256_pre;
  expand(key, &schedule.data);
  std::memcpy(schedule.key, key, key_size);
  schedule.key_size = key_size;
  return &schedule;
}

DeviceScope::DeviceScope(KeySchedules* schedules) : before_(t_schedules) {
  t_schedules = schedules;
}
DeviceScope::~DeviceScope() { t_schedules = before_; }

void note_curve_thread() {
  struct Tables {
    ~Tables() { wc_ecc_fp_free(); }
    bool used = false;
  };
  thread_local Tables tables;
  tables.used = true;  // a thread_local is made, and later destroyed, only when it is touched
}

std::string register_device() {
  wc_CryptoCb_RegisterDevice(kDeviceId, on_crypto, nullptr);
  if (g_manager != nullptr) return "AES-GCM: ipsec-mb";
  IMB_MGR* manager = alloc_mb_mgr(0);
  if (manager == nullptr) return "AES-GCM: wolfSSL (ipsec-mb gave no manager)";
  constexpr std::uint64_t kNeeded = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
  if ((manager->features & kNeeded) != kNeeded) {
    free_mb_mgr(manager);
    return "AES-GCM: wolfSSL (the CPU has no AES-NI)";
  }
  IMB_ARCH arch = IMB_ARCH_NONE;
  init_mb_mgr_auto(manager, &arch);
  if (arch < IMB_ARCH_SSE || imb_get_errno(manager) != 0) {
    free_mb_mgr(manager);
    return "AES-GCM: wolfSSL (ipsec-mb failed its self-test)";
  }
  const bool vaes = (manager->features & IMB_FEATURE_VAES) != 0;
  g_manager = manager;
  std::string text = "AES-GCM: ipsec-mb ";
  text += imb_get_version_str();
  text += arch == IMB_ARCH_AVX512 ? ", AVX-512" : arch == IMB_ARCH_AVX2 ? ", AVX2" : ", SSE or AVX";
  if (vaes) text += " with VAES";
  return text;
}

int device_id() { return kDeviceId; }

bool device_available() { return g_manager != nullptr; }
void enable_device(bool enabled) { g_enabled.store(enabled, std::memory_order_relaxed); }

}  // namespace sluice::crypto
