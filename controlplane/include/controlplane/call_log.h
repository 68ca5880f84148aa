// Finished calls on the control thread: the latest in memory, all in files, and their histogram.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "telemetry/call_record.h"

namespace sluice::control {

// One JSON object without a newline; text that is not UTF-8 gets U+FFFD.
void append_json(std::string& out, const telemetry::CallRecord& record);
void append_json_text(std::string& out, std::string_view text);  // quoted
std::string rfc3339(std::int64_t unix_seconds);

struct CallLogOptions {
  std::filesystem::path folder;  // empty: memory only
  std::uint64_t file_bytes = 16u << 20;
  unsigned files = 4;                      // calls.jsonl, calls.jsonl.1, …
  std::uint64_t lines_per_second = 20000;  // more are counted, not written
};

class CallLog {
 public:
  static constexpr std::size_t kRecent = 1024;
  static constexpr std::size_t kSeries = 1024;  // histogram series; more fall into "other"
  static constexpr std::array<double, 14> kBuckets = {
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30};
  struct SeriesKey {
    std::string service, tool, code;
    auto operator<=>(const SeriesKey&) const = default;
  };
  struct Series {
    std::array<std::uint64_t, kBuckets.size() + 1> counts{};  // not cumulative; last: +Inf
    double sum = 0;
    std::uint64_t count = 0;
  };

  explicit CallLog(CallLogOptions options);
  ~CallLog();
  CallLog(const CallLog&) = delete;
  CallLog& operator=(const CallLog&) = delete;

  void add(const telemetry::CallRecord& record, std::int64_t now_s);
  void flush();

  // Newest first.
  std::vector<const telemetry::CallRecord*> latest(std::size_t limit) const;
  const std::map<SeriesKey, Series>& series() const { return series_; }
  std::uint64_t lines_skipped() const { return lines_skipped_; }
  std::uint64_t write_errors() const { return write_errors_; }

 private:
  void write(const telemetry::CallRecord& record, std::int64_t now_s);
  void rotate();

  CallLogOptions options_;
  std::deque<telemetry::CallRecord> recent_;
  Series& series_of(const telemetry::CallRecord& record);

  std::map<SeriesKey, Series> series_;
  std::map<SeriesKey, Series>::iterator last_series_ = series_.end();  // calls come in runs
  std::string buffer_;
  std::FILE* file_ = nullptr;
  std::uint64_t file_size_ = 0;
  std::int64_t second_ = 0;
  std::uint64_t lines_this_second_ = 0;
  std::uint64_t lines_skipped_ = 0;
  std::uint64_t write_errors_ = 0;
};

}  // namespace sluice::control
