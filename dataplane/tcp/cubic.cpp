#include "cubic.h"

#include <algorithm>

namespace sluice::tcp {

namespace {
// The curve is not followed farther from its inflection than this: there it is beyond any window.
constexpr std::uint64_t kFarthest = 150'000'000;
}  // namespace

std::uint32_t Cubic::cube_root(std::uint64_t x) {
  // Digit by digit in base two.
  std::uint64_t root = 0;
  for (int shift = 63; shift >= 0; shift -= 3) {
    root <<= 1;
    const std::uint64_t step = 3 * root * (root + 1) + 1;  // (root + 1)^3 - root^3
    if (x >> shift >= step) {
      x -= step << shift;
      ++root;
    }
  }
  return static_cast<std::uint32_t>(root);
}

Micros Cubic::time_to_rise(std::uint32_t below, std::uint32_t mss) {
  // K^3 = below / (0.4 mss) s^3. Each three decimals of it are one of K; as many as fit.
  const std::uint64_t divisor = std::uint64_t{2} * mss;
  std::uint64_t cube = std::uint64_t{5} * below / divisor;
  std::uint64_t rest = std::uint64_t{5} * below % divisor;
  std::uint64_t unit = 1'000'000;  // of K, in microseconds
  while (unit > 1 && cube < UINT64_MAX / 1000 - 1) {
    rest *= 1000;
    cube = cube * 1000 + rest / divisor;
    rest %= divisor;
    unit /= 10;
  }
  return Micros{static_cast<std::int64_t>(cube_root(cube) * unit)};
}

std::uint32_t Cubic::rise(Micros from_inflection, std::uint32_t mss) {
  const auto away = static_cast<std::uint64_t>(from_inflection.count());
  const std::uint64_t d = std::min(from_inflection.count() < 0 ? 0 - away : away, kFarthest);
  const std::uint64_t cube = d * d / 1'000'000 * d / 1'000'000;  // s^3 * 10^6
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(cube * 2 * mss / 5'000'000, UINT32_MAX));
}

void Cubic::reduce(std::uint32_t window) {
  // Below the last W_max already: make room for those who came since.
  w_max_ = window < w_max_ ? static_cast<std::uint32_t>(std::uint64_t{window} * 17 / 20) : window;
  prior_ = window;
  running_ = false;
}

void Cubic::timeout(std::uint32_t window) {
  w_max_ = 0;
  prior_ = window;
  running_ = false;
}

void Cubic::begin_stage(std::uint32_t window, std::uint32_t mss, Time now) {
  running_ = true;
  seen_ = now;
  elapsed_ = k_ = Micros{0};
  w_est_ = window;
  growth_rest_ = est_rest_ = 0;
  if (window < w_max_) {
    k_ = time_to_rise(w_max_ - window, mss);
  } else {
    w_max_ = window;
  }
}

std::uint32_t Cubic::curve(Micros t, std::uint32_t mss) const {
  const std::uint32_t away = rise(t - k_, mss);
  if (t < k_) return w_max_ - std::min(w_max_, away);
  return w_max_ + std::min(UINT32_MAX - w_max_, away);
}

std::uint32_t Cubic::growth(std::uint32_t window, std::uint32_t acked, std::uint32_t mss, Time now,
                            Micros rtt) {
  if (!running_) begin_stage(window, mss, now);
  if (seen_ < now) elapsed_ += now - seen_;
  seen_ = now;
  // Figure 4 with alpha = 3 (1 - beta) / (1 + beta) = 9/17, and 1 from cwnd_prior on.
  const std::uint64_t alpha = w_est_ < prior_ ? 9 : 17;
  est_rest_ += alpha * acked * mss;
  const std::uint64_t whole = std::uint64_t{17} * window;
  w_est_ += static_cast<std::uint32_t>(est_rest_ / whole);
  est_rest_ %= whole;
  // Section 4.3: the Reno-friendly region.
  if (curve(elapsed_, mss) < w_est_) return w_est_ - std::min(w_est_, window);
  // Sections 4.4 and 4.5, figure 3.
  const std::uint32_t room =
      std::clamp(curve(elapsed_ + rtt, mss), window, window + window / 2) - window;
  growth_rest_ += std::uint64_t{room} * acked;
  const auto grown =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(growth_rest_ / window, room));
  growth_rest_ %= window;
  return grown;
}

}  // namespace sluice::tcp
