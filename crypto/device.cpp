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
  std::uint8_t iv[KeySchedules::kNonce];
  std::uint64_t next;  // number of the next record
  bool tls13;
  bool certain;  // wolfSSL's present key is this one
};

namespace {

constexpr int kDeviceId = 0x51;
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

const KeySchedule* schedule_for(const Aes& aes, bool seal, ByteSpan additional,
                                const std::uint8_t* given,
                                std::uint8_t (&nonce)[KeySchedules::kNonce]) {
  if (t_schedules == nullptr) return nullptr;
  return t_schedules->record(seal, reinterpret_cast<const std::uint8_t*>(aes.devKey),
                             static_cast<std::uint32_t>(aes.keylen), additional, given, nonce);
}

int seal(const wc_CryptoInfo& info) {
  const auto& op = info.cipher.aesgcm_enc;
  if (op.ivSz != KeySchedules::kNonce || op.authTagSz != kTagSize) return CRYPTOCB_UNAVAILABLE;
  std::uint8_t nonce[KeySchedules::kNonce];
  const KeySchedule* schedule = schedule_for(*op.aes, true, {op.authIn, op.authInSz}, op.iv, nonce);
  if (schedule == nullptr) return CRYPTOCB_UNAVAILABLE;
  gcm_context_data context;
  const auto run = schedule->key_size == 16 ? g_manager->gcm128_enc : g_manager->gcm256_enc;
  run(&schedule->data, &context, op.out, op.in, op.sz, nonce, op.authIn, op.authInSz, op.authTag,
      kTagSize);
  return 0;
}

int open(const wc_CryptoInfo& info) {
  const auto& op = info.cipher.aesgcm_dec;
  if (op.ivSz != KeySchedules::kNonce || op.authTagSz != kTagSize) return CRYPTOCB_UNAVAILABLE;
  std::uint8_t nonce[KeySchedules::kNonce];
  const KeySchedule* schedule =
      schedule_for(*op.aes, false, {op.authIn, op.authInSz}, op.iv, nonce);
  if (schedule == nullptr) return CRYPTOCB_UNAVAILABLE;
  gcm_context_data context;
  // The tag is copied first: the output may overlap the record it came in.
  std::uint8_t expected[kTagSize];
  std::memcpy(expected, op.authTag, kTagSize);
  std::uint8_t tag[kTagSize];
  const auto run = schedule->key_size == 16 ? g_manager->gcm128_dec : g_manager->gcm256_dec;
  run(&schedule->data, &context, op.out, op.in, op.sz, nonce, op.authIn, op.authInSz, tag,
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
  return info->cipher.enc != 0 ? seal(*info) : open(*info);
}

}  // namespace

void KeyScheduleDeleter::operator()(KeySchedule* schedule) const {
  if (schedule == nullptr) return;
  explicit_bzero(schedule, sizeof(KeySchedule));
  delete schedule;
}

KeySchedules::KeySchedules()
    : enabled_(g_manager != nullptr && g_enabled.load(std::memory_order_relaxed)) {}
KeySchedules::~KeySchedules() = default;

namespace {

constexpr std::size_t kHeader = 5;
constexpr std::uint8_t kApplicationData = 23;
constexpr std::size_t kMaxPlaintext = 16384;
// RFC 8446 section 5.5 allows 2^24.5 full records under one AES-GCM key.
constexpr std::uint64_t kMaxRecords = std::uint64_t{1} << 24;

// RFC 8446 section 5.3.
void make_nonce(const KeySchedule& schedule, std::uint8_t (&nonce)[KeySchedules::kNonce]) {
  std::memcpy(nonce, schedule.iv, sizeof(nonce));
  std::uint8_t number[8];
  store_be64(number, schedule.next);
  for (std::size_t i = 0; i < 8; ++i) nonce[4 + i] ^= number[i];
}

}  // namespace

const KeySchedule* KeySchedules::record(bool seal, const std::uint8_t* key, std::uint32_t key_size,
                                        ByteSpan additional, const std::uint8_t* given,
                                        std::uint8_t (&nonce)[kNonce]) {
  if (!enabled_ || (key_size != 16 && key_size != 32)) return nullptr;
  Slot& slot = seal ? sealing_ : opening_;
  if (!slot) slot.reset(new KeySchedule{});
  KeySchedule& schedule = *slot;
  if (schedule.key_size != key_size || std::memcmp(schedule.key, key, key_size) != 0) {
    const auto expand = key_size == 16 ? g_manager->gcm128_pre : g_manager->gcm256_pre;
    expand(key, &schedule.data);
    std::memcpy(schedule.key, key, key_size);
    schedule.key_size = key_size;
    std::memcpy(schedule.iv, given, kNonce);
    schedule.next = 0;
  }
  // TLS 1.2 authenticates 13 bytes and carries its nonces in the records.
  schedule.tls13 = additional.size() == kHeader;
  schedule.certain = true;
  if (schedule.tls13) {
    make_nonce(schedule, nonce);
    ++schedule.next;
  } else {
    std::memcpy(nonce, given, kNonce);
  }
  return &schedule;
}

bool KeySchedules::can_seal() const { return sealing_ && sealing_->certain && sealing_->tls13; }
bool KeySchedules::can_open() const { return opening_ && opening_->certain && opening_->tls13; }
bool KeySchedules::seal_limit_reached() const {
  return can_seal() && sealing_->next >= kMaxRecords;
}

void KeySchedules::forget_epochs() {
  if (sealing_) sealing_->certain = false;
  if (opening_) opening_->certain = false;
}

void KeySchedules::seal(ByteSpan plain, MutByteSpan record) {
  KeySchedule& schedule = *sealing_;
  const std::uint8_t type = kApplicationData;
  record[0] = type;
  store_be16(&record[1], 0x0303);
  store_be16(&record[3], static_cast<std::uint16_t>(record.size() - kHeader));
  std::uint8_t nonce[kNonce];
  make_nonce(schedule, nonce);
  ++schedule.next;
  const bool small = schedule.key_size == 16;
  const IMB_MGR& m = *g_manager;
  gcm_context_data context;
  std::uint8_t* out = &record[kHeader];
  (small ? m.gcm128_init : m.gcm256_init)(&schedule.data, &context, nonce, record.data(), kHeader);
  const auto update = small ? m.gcm128_enc_update : m.gcm256_enc_update;
  update(&schedule.data, &context, out, plain.data(), plain.size());
  update(&schedule.data, &context, out + plain.size(), &type, 1);
  (small ? m.gcm128_enc_finalize : m.gcm256_enc_finalize)(&schedule.data, &context,
                                                          out + plain.size() + 1, kTagSize);
}

std::optional<std::size_t> KeySchedules::open(ByteSpan record, MutByteSpan inner) {
  if (record.size() < kHeader + 1 + kTagSize || record[0] != kApplicationData) return {};
  KeySchedule& schedule = *opening_;
  std::size_t size = record.size() - kHeader - kTagSize;
  if (size > kMaxPlaintext + 1 || inner.size() < size) return {};
  std::uint8_t nonce[kNonce], tag[kTagSize];
  make_nonce(schedule, nonce);
  gcm_context_data context;
  const auto run = schedule.key_size == 16 ? g_manager->gcm128_dec : g_manager->gcm256_dec;
  run(&schedule.data, &context, inner.data(), &record[kHeader], size, nonce, record.data(), kHeader,
      tag, kTagSize);
  if (!equal_in_constant_time(tag, &record[kHeader + size], kTagSize)) {
    std::memset(inner.data(), 0, size);
    return {};
  }
  // RFC 8446 section 5.4: the type is the last byte that is not padding.
  while (size > 0 && inner[size - 1] == 0) --size;
  if (size == 0 || inner[size - 1] != kApplicationData) return {};
  ++schedule.next;
  return size - 1;
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
