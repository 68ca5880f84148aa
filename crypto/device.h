// AES-GCM by ipsec-mb: as a crypto callback behind wolfSSL, and as a record layer beside it.
//
// Debian's wolfSSL has no AES-NI code; this device is what makes records fast. Where the CPU lacks
// AES-NI and PCLMULQDQ it declines, and wolfSSL's own code runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"

namespace sluice::crypto {

// One direction: an expanded key with its GHASH tables, and where its record numbers stand.
struct KeySchedule;
struct KeyScheduleDeleter {
  void operator()(KeySchedule* schedule) const;  // wipes it
};

// Both directions of one session.
//
// wolfSSL re-initialises its Aes object at each change of keys and tells nobody, so the schedules
// belong to the session, and an epoch begins when the callback sees a new key. Its first record has
// number 0, so that its nonce is the epoch's IV (RFC 8446 section 5.3).
//
// Application data of TLS 1.3 need not pass through wolfSSL at all: seal() and open() do such
// records here, and when wolfSSL seals or opens one itself (alerts, key updates, tickets), the
// callback puts in the true record number, which wolfSSL no longer knows. After anything that may
// have changed wolfSSL's keys, forget_epochs() makes the next record of each direction go through
// wolfSSL, which shows whether they did.
class KeySchedules {
 public:
  KeySchedules();  // as enable_device() stands now, for this object's life
  KeySchedules(const KeySchedules&) = delete;
  KeySchedules& operator=(const KeySchedules&) = delete;
  ~KeySchedules();

  static constexpr std::size_t kNonce = 12;

  // [callback] The schedule for a record wolfSSL seals or opens, and in `nonce` what to use.
  // nullptr: wolfSSL's own code must do it.
  const KeySchedule* record(bool seal, const std::uint8_t* key, std::uint32_t key_size,
                            ByteSpan additional, const std::uint8_t* given,
                            std::uint8_t (&nonce)[kNonce]);

  bool can_seal() const;
  // One record of at most 16384 bytes; `record` has kOverhead bytes more than `plain`. can_seal().
  static constexpr std::size_t kOverhead = 22;  // header 5, inner content type 1, tag 16
  void seal(ByteSpan plain, MutByteSpan record);
  // True when this direction has sealed as much as one key should (RFC 8446 section 5.5).
  bool seal_limit_reached() const;

  bool can_open() const;
  // `record` is a whole record of type application_data; `inner` takes record.size() - 21 bytes.
  // The size of the plaintext; nothing for all that is wolfSSL's business: other content, padding
  // only, bad tags.
  std::optional<std::size_t> open(ByteSpan record, MutByteSpan inner);

  void forget_epochs();

 private:
  using Slot = std::unique_ptr<KeySchedule, KeyScheduleDeleter>;
  Slot sealing_, opening_;
  bool enabled_;
};

// Names the session on whose behalf wolfSSL runs on this thread; without one the device declines.
class DeviceScope {
 public:
  explicit DeviceScope(KeySchedules* schedules);
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  ~DeviceScope();

 private:
  KeySchedules* before_;
};

// wolfSSL keeps tables of curve points per thread, and frees them only when told. Call before
// curve operations: they go when the thread does.
void note_curve_thread();

// Registers the device. Returns its description, for the log. Once per process.
std::string register_device();
// For wolfSSL_CTX_SetDevId().
int device_id();

}  // namespace sluice::crypto
