// The AES-GCM device behind wolfSSL: a crypto callback onto ipsec-mb's direct API.
//
// Debian's wolfSSL has no AES-NI code; this device is what makes records fast. Where the CPU lacks
// AES-NI and PCLMULQDQ it declines, and wolfSSL's own code runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"

namespace sluice::crypto {

// An expanded key with its GHASH tables, and the key it was made from.
struct KeySchedule;
struct KeyScheduleDeleter {
  void operator()(KeySchedule* schedule) const;  // wipes it
};

// Both directions of one session. wolfSSL re-initialises its Aes object at each change of keys and
// tells nobody, so the schedule belongs to the session, and is found again by its key.
class KeySchedules {
 public:
  KeySchedules() = default;
  KeySchedules(const KeySchedules&) = delete;
  KeySchedules& operator=(const KeySchedules&) = delete;

  // The schedule of `key` (16 or 32 bytes), expanded when it differs from the last one.
  const KeySchedule* get(bool seal, const std::uint8_t* key, std::uint32_t key_size);

 private:
  std::unique_ptr<KeySchedule, KeyScheduleDeleter> sealing_, opening_;
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
