#include "telemetry/histogram.h"

#include <algorithm>
#include <cmath>

namespace sluice::telemetry {

void Histogram::add_to(HistogramSnapshot& total) const {
  for (std::size_t i = 0; i < kBuckets; ++i) {
    const std::uint64_t n = cells_[i].load(std::memory_order_relaxed);
    total.cells[i] += n;
    total.count += n;
  }
  total.sum += sum_.load(std::memory_order_relaxed);
  total.max = std::max(total.max, max_.load(std::memory_order_relaxed));
}

std::uint64_t HistogramSnapshot::quantile(double q) const {
  if (count == 0) return 0;
  const double wanted = std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(count));
  const std::uint64_t rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i + 1 < cells.size(); ++i) {
    seen += cells[i];
    if (seen >= rank) return std::min(max, Histogram::lower_bound(i + 1) - 1);
  }
  return max;
}

std::uint64_t HistogramSnapshot::at_most(std::uint64_t value) const {
  const std::size_t last = Histogram::bucket_of(value);
  std::uint64_t n = 0;
  for (std::size_t i = 0; i <= last; ++i) n += cells[i];
  return n;
}

}  // namespace sluice::telemetry
