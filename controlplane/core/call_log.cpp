#include "controlplane/call_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/utf8.h"
#include "controlplane/store.h"

namespace sluice::control {
namespace {

double seconds(Micros d) { return static_cast<double>(d.count()) / 1e6; }

}  // namespace

void append_json_text(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
      ++at;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
      ++at;
    } else if (const std::size_t n = utf8_length(text, at); n > 0) {
      out.append(text.substr(at, n));
      at += n;
    } else {
      out += "\xef\xbf\xbd";
      ++at;
    }
  }
  out += '"';
}

std::string rfc3339(std::int64_t unix_seconds) {
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  gmtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

void append_json(std::string& out, const telemetry::CallRecord& r) {
  static constexpr std::string_view kVersions[] = {"1.0", "1.1", "2"};
  const auto started = r.started.time_since_epoch().count();
  const std::int64_t second = started >= 0 ? started / 1'000'000 : 0;
  std::string at = rfc3339(second);
  at.pop_back();
  const auto put = [&out](std::string_view name, std::string_view value) {
    out += ",\"";
    out += name;
    out += "\":";
    append_json_text(out, value);
  };
  auto to = std::back_inserter(out);
  fmt::format_to(to,
                 "{{\"type\":\"call\",\"started\":\"{}.{:06}Z\",\"total_us\":{},\"stages_us\":{{",
                 at, started >= 0 ? started % 1'000'000 : 0, r.total.count());
  for (std::size_t i = 0; i < r.stages.size(); ++i) {
    fmt::format_to(to, "{}\"{}\":{:.3f}", i == 0 ? "" : ",",
                   telemetry::to_string(static_cast<telemetry::Stage>(i)),
                   static_cast<double>(r.stages[i].count()) / 1e3);
  }
  out += '}';
  put("trace_id", hex(r.trace_id));
  put("span_id", hex(r.span_id));
  put("task", uuid_text(r.task));
  put("agent_class", r.agent_class.view());
  put("subject", r.subject.view());
  put("service", r.service.view());
  put("tool", r.tool.view());
  put("method", r.method.view());
  put("path", r.path.view());
  put("agent", r.agent.to_string());
  put("endpoint", r.endpoint.port == 0 ? std::string() : r.endpoint.to_string());
  put("code", telemetry::to_string(r.reason));
  put("http_version", r.http_version < 3 ? kVersions[r.http_version] : "?");
  fmt::format_to(to,
                 ",\"status\":{},\"bytes_in\":{},\"bytes_out\":{},\"policy_generation\":{},"
                 "\"attempts\":{},\"pooled\":{},\"cached_identity\":{},\"agent_gone\":{},"
                 "\"worker\":{}}}",
                 r.status, r.bytes_in, r.bytes_out, r.policy_generation, r.attempts, r.pooled,
                 r.cached_identity, r.agent_gone, r.worker);
}

CallLog::CallLog(CallLogOptions options) : options_(std::move(options)) {
  if (options_.folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(options_.folder, error);
  const auto path = options_.folder / "calls.jsonl";
  file_ = std::fopen(path.c_str(), "ae");
  if (file_ == nullptr) {
    ++write_errors_;
    return;
  }
  const auto size = std::filesystem::file_size(path, error);
  file_size_ = error ? 0 : size;
}

CallLog::~CallLog() {
  flush();
  if (file_ != nullptr) std::fclose(file_);
}

void CallLog::add(const telemetry::CallRecord& record, std::int64_t now_s) {
  recent_.push_front(record);
  if (recent_.size() > kRecent) recent_.pop_back();

  Series& series = series_of(record);
  const double took = seconds(record.total);
  const auto bucket = std::lower_bound(kBuckets.begin(), kBuckets.end(), took) - kBuckets.begin();
  ++series.counts[static_cast<std::size_t>(bucket)];
  series.sum += took;
  ++series.count;
  write(record, now_s);
}

CallLog::Series& CallLog::series_of(const telemetry::CallRecord& record) {
  const std::string_view code = telemetry::to_string(record.reason);
  if (last_series_ != series_.end()) {
    const SeriesKey& last = last_series_->first;
    if (last.service == record.service.view() && last.tool == record.tool.view() &&
        last.code == code) {
      return last_series_->second;
    }
  }
  SeriesKey key{std::string(record.service.view()), std::string(record.tool.view()),
                std::string(code)};
  if (series_.size() >= kSeries && !series_.contains(key)) key = {"other", "other", key.code};
  last_series_ = series_.try_emplace(std::move(key)).first;
  return last_series_->second;
}

void CallLog::write(const telemetry::CallRecord& record, std::int64_t now_s) {
  if (file_ == nullptr) return;
  if (now_s != second_) {
    second_ = now_s;
    lines_this_second_ = 0;
  }
  if (++lines_this_second_ > options_.lines_per_second) {
    ++lines_skipped_;
    return;
  }
  append_json(buffer_, record);
  buffer_ += '\n';
  if (buffer_.size() > (256u << 10)) flush();
}

void CallLog::flush() {
  if (file_ == nullptr || buffer_.empty()) return;
  if (file_size_ + buffer_.size() > options_.file_bytes && file_size_ > 0) rotate();
  if (file_ != nullptr) {
    const std::size_t written = std::fwrite(buffer_.data(), 1, buffer_.size(), file_);
    file_size_ += written;
    if (written != buffer_.size() || std::fflush(file_) != 0) ++write_errors_;
  }
  buffer_.clear();
}

void CallLog::rotate() {
  std::fclose(file_);
  std::error_code error;
  const auto name = [this](unsigned n) {
    return options_.folder / (n == 0 ? "calls.jsonl" : "calls.jsonl." + std::to_string(n));
  };
  for (unsigned n = options_.files; n-- > 1;) std::filesystem::rename(name(n - 1), name(n), error);
  if (options_.files <= 1) std::filesystem::remove(name(0), error);
  file_ = std::fopen(name(0).c_str(), "ae");
  file_size_ = 0;
  if (file_ == nullptr) ++write_errors_;
}

std::vector<const telemetry::CallRecord*> CallLog::latest(std::size_t limit) const {
  std::vector<const telemetry::CallRecord*> out;
  for (const auto& record : recent_) {
    if (out.size() == limit) break;
    out.push_back(&record);
  }
  return out;
}

}  // namespace sluice::control
