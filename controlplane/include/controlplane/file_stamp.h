// Tells whether a file is still the one that was read.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::control {

struct FileStamp {
  std::uint64_t device = 0, inode = 0, size = 0;  // all 0: not there
  std::int64_t modified_ns = 0, changed_ns = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

FileStamp stamp_of(const std::string& file);

}  // namespace sluice::control
